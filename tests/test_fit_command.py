"""`corticast fit` and `corticast evaluate` on a recording whose ECoG is known to follow the sound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from encoders.archive import save_sealed
from encoders.lstm_attention import LstmAttentionConfig, LstmAttentionStage
from encoders.model_file import load_model, read_model, save_model
from encoders.ridge import RidgeConfig
from encoders.scores import Scores, score_predictions
from encoders.student import STUDENT
from encoders.training import FitConfig
from encoders.weights import file_sha256, load_whisper
from realtime.artefacts import Artefacts
from realtime.block import Spec
from realtime.cli import main
from realtime.commands import embedding_cache, evaluate, judging, wiring
from realtime.commands import fit as fit_command
from realtime.commands.claims import tell_of_reference
from realtime.commands.fit_report import ridge_ahead
from realtime.config import EcogTable, load_config
from realtime.errors import UserError
from realtime.sources.recording import Recording, load_recording, save_folder
from tests.rig import ECOG_HZ, SOUND_HZ, small_recording, with_sound_in_the_cable

SECONDS = 60.0
CONFIG = """
[sound]
name = "fit sound"
channel = "stimulus"
[ecog]
name = "fit ecog"
exclude = ["AUX"]
[whisper]
model = "tiny.en"
layer = 2
"""


def following(recording: Recording, electrode: int, lag_s: float = 0.1) -> Recording:
    """The recording with one electrode whose high gamma follows the loudness of the second sound channel."""
    sound, ecog = recording.streams["sound"], recording.streams["ecog"]
    loudness = np.abs(sound.data[:, 1])[:: round(SOUND_HZ / ECOG_HZ)][: len(ecog.data)]
    envelope = np.maximum(sosfiltfilt(butter(2, 8, fs=ECOG_HZ, output="sos"), loudness), 0)
    envelope = np.roll(np.resize(envelope, len(ecog.data)), round(lag_s * ECOG_HZ))
    carrier = sosfiltfilt(
        butter(4, (70, 150), "bandpass", fs=ECOG_HZ, output="sos"),
        np.random.default_rng(5).normal(size=len(ecog.data)),
    )
    data = np.nan_to_num(ecog.data)
    data[:, electrode] += 400 * carrier * envelope / envelope.std()
    return replace(recording, streams={"sound": sound, "ecog": replace(ecog, data=data.astype(np.float32))})


SMALL = RidgeConfig(components=16, lag_functions=6)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_command, "FitConfig", partial(FitConfig, ridge=SMALL, epochs=1, margin=1.0))
        patch.setattr(judging, "FOLDS", 3)
        source = with_sound_in_the_cable(small_recording(SECONDS, "fit"), "A2")
        save_folder(following(source, electrode=3), folder / "calibration")
        (folder / "rig.toml").write_text(CONFIG)
        model = folder / "patient.safetensors"
        words = ["fit", folder / "calibration", "--config", folder / "rig.toml", "--out", model]
        assert main([str(word) for word in words]) == 0
        yield folder, model, json.loads((folder / "patient.json").read_text())


def test_the_following_electrode_is_found(fitted: tuple[Path, Path, dict[str, Any]]) -> None:
    _, _, report = fitted
    assert [row["name"] for row in report["electrodes"]] == ["A1", "A2", "A3", "A4", "A5", "A6"]
    best = report["electrodes"][3]
    assert best["r"] > 0.3
    assert best["p_fdr"] < 0.05
    assert best["r_low"] < best["r"] < best["r_high"]
    assert 0 <= best["lag_ms"] <= 360
    assert set(best["baselines"]) == {"ridge", "spectrogram", "rate", "untrained"}
    assert all(row["r"] < best["r"] for row in report["electrodes"] if row is not best and row["claimed"])
    assert report["mean_r"]["model"] == report["mean_r"]["ridge"]


def test_the_electrode_that_records_the_sound_is_left_out_of_claims(
    fitted: tuple[Path, Path, dict[str, Any]], tmp_path: Path, capsys: Any
) -> None:
    folder, model, report = fitted
    rows = {row["name"]: row for row in report["electrodes"]}
    assert report["training"]["contaminated"] == report["left_out"] == ["A2"]
    assert [name for name, row in rows.items() if not row["claimed"]] == ["A2"]
    assert rows["A2"]["p_fdr"] is None
    assert report["mean_r"]["model"] == pytest.approx(np.mean([row["r"] for row in rows.values() if row["claimed"]]))
    assert report["found"] == sum(row["p_fdr"] is not None and row["p_fdr"] < 0.05 for row in rows.values())
    assert "A2: left out of all claims" in (folder / "patient.html").read_text()
    words = ["evaluate", str(folder / "calibration"), "--model", str(model), "--channel", "stimulus"]
    assert main([*words, "--json", str(tmp_path / "left.json")]) == 0
    assert "A2 (records the sound)" in capsys.readouterr().out
    assert main([*words, "--json", str(tmp_path / "kept.json"), "--keep-contaminated"]) == 0
    left, kept = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("left", "kept"))
    assert (left["left_out"], kept["left_out"]) == (["A2"], [])
    assert left["contaminated"] == kept["contaminated"] == ["A2"]
    assert left["electrodes"][1]["p_fdr"] is None
    assert kept["electrodes"][1]["p_fdr"] is not None


@pytest.mark.parametrize(("reference", "told"), [("common average", 'bad = ["A5", "A2"]'), ("none", "")])
def test_how_to_take_it_out_of_the_reference_is_told(reference: Any, told: str, capsys: Any) -> None:
    plan = wiring.EcogPlan.of(EcogTable(name="any", reference=reference, bad=["A5"]))
    tell_of_reference(["A2"], plan)
    said = capsys.readouterr().err
    assert told in said if told else not said


def test_the_model_remembers_the_artefacts_threshold(fitted: tuple[Path, Path, dict[str, Any]]) -> None:
    folder, model, _ = fitted
    brain, header = load_model(model)
    assert header.ecog["artefact_sd"] == 10.0
    asked = folder / "asked.toml"
    asked.write_text(CONFIG.replace('exclude = ["AUX"]', 'exclude = ["AUX"]\nartefact_sd = 12.5'))
    with pytest.raises(UserError, match=r"artefact_sd = 12.5, but the model was fitted with 10.0"):
        wiring.plan_for(load_config(asked), header)
    kept = wiring.EcogPlan.of(load_config(asked).ecog).facts()
    save_model(folder / "other.safetensors", brain, replace(header, ecog={**header.ecog, **kept}))
    _, again = load_model(folder / "other.safetensors")
    for plan in (wiring.EcogPlan.fitted(again), wiring.plan_for(load_config(asked), again)):
        lane = wiring.ecog_lane(Spec("e", header.rate_hz, header.channels), plan)
        assert [one.threshold_sd for one in lane.stages if isinstance(one, Artefacts)] == [12.5]


def test_the_report_says_what_trust_needs(fitted: tuple[Path, Path, dict[str, Any]]) -> None:
    folder, _, report = fitted
    assert set(report["seconds"]) == {"embed", "fit", "evaluate"}
    assert {"name": "AUX", "why": "no electrode: excluded by the configuration"} in report["excluded"]
    assert report["whisper"]["name"] == "tiny.en"
    assert report["machine"]["cores"]
    assert report["simulated"] is False
    assert len(report["horizons"]["r"]["model"]) == len(report["horizons"]["horizons_s"])
    page = (folder / "patient.html").read_text()
    assert "SIMULATED" not in page
    assert page.count("data:image/png;base64") >= 5
    assert "not measured" in page


def test_the_lstm_is_chosen_on_sounds_that_were_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """45 s, the last 12 s of which play again what was heard from 20 s on."""
    recording = small_recording(45.0, "fit")
    sound = recording.streams["sound"]
    data = np.array(sound.data)
    at, again, rows = (round(s * SOUND_HZ) for s in (20, 33, 12))
    data[again : again + rows] = data[at : at + rows]
    heard = replace(sound, data=data)
    save_folder(replace(recording, streams={**recording.streams, "sound": heard}), tmp_path / "again")
    (tmp_path / "rig.toml").write_text(CONFIG)
    lstm = LstmAttentionConfig(hidden=16, heads=2, head_width=8, reads=10, gain=True)
    settings = partial(FitConfig, ridge=SMALL, lstm=lstm, epochs=1, margin=-1.0, trust_errors=-1.0)
    monkeypatch.setattr(fit_command, "FitConfig", settings)
    words = ["fit", tmp_path / "again", "--config", tmp_path / "rig.toml", "--out", tmp_path / "lstm.safetensors"]
    assert main([str(word) for word in (*words, "--quick", "--report", tmp_path / "lstm.html")]) == 0
    model, header = load_model(tmp_path / "lstm.safetensors")
    assert isinstance(model, LstmAttentionStage)
    chosen_on = header.training["chosen_on"]
    assert chosen_on["repeats_apart"]
    assert 13.0 < chosen_on["held_out_s"] < 17.0, "a quarter of 33 s, and most of it again"
    assert "whose sounds neither had learnt from" in (tmp_path / "lstm.html").read_text()


def test_a_ridge_that_is_ahead_of_the_lstm_is_told() -> None:
    ahead = {"model": "lstm_attention", "mean_r": {"model": 0.3, "ridge": 0.31}}
    assert "the ridge is ahead of the LSTM with attention that is kept: mean r 0.310, not 0.300" in ridge_ahead(ahead)
    assert not ridge_ahead({**ahead, "mean_r": {"model": 0.31, "ridge": 0.3}})
    assert not ridge_ahead({**ahead, "mean_r": {"model": None, "ridge": 0.3}})
    assert not ridge_ahead({**ahead, "model": "ridge"})
    assert not ridge_ahead({"model": "lstm_attention"})


@pytest.mark.long
def test_the_lstm_is_judged_by_lstms_of_the_folds(
    fitted: tuple[Path, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fitted[0]
    settings = partial(FitConfig, ridge=SMALL, epochs=2, margin=-1.0, trust_errors=-1.0, validation=0.15)
    monkeypatch.setattr(fit_command, "FitConfig", settings)
    words = ["fit", folder / "calibration", "--config", folder / "rig.toml", "--out", folder / "lstm.safetensors"]
    assert main([str(word) for word in (*words, "--horizon", "auto", "--acausal")]) == 0
    found = json.loads((folder / "lstm.json").read_text())
    assert found["model"] == "lstm_attention"
    assert found["horizon_s"] == found["horizons"]["recommended_s"]
    assert found["electrodes"][3]["r"] != found["electrodes"][3]["baselines"]["ridge"]
    assert found["electrodes"][3]["r"] > 0.3
    assert len(found["history"]) == 3
    assert len(found["acausal"]["r"]) == 6
    assert found["acausal"]["r"][3] > 0.3
    assert "reads both ways" in (folder / "lstm.html").read_text()


def test_a_second_run_reads_its_embeddings_and_gives_the_same_model(
    fitted: tuple[Path, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model, _ = fitted

    def embeds_nothing(*_: object) -> None:
        raise AssertionError("the embeddings are in the cache")

    monkeypatch.setattr(embedding_cache, "_save_part", embeds_nothing)
    words = ["fit", folder / "calibration", "--config", folder / "rig.toml", "--out", folder / "b.safetensors"]
    assert main([str(word) for word in (*words, "--quick")]) == 0
    assert load_model(folder / "b.safetensors")[1].training["recordings"] == load_model(model)[1].training["recordings"]
    assert not (folder / "b.html").exists()
    first, second = (read_model(path).tensors for path in (model, folder / "b.safetensors"))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_model_is_evaluated_on_a_recording(fitted: tuple[Path, Path, dict[str, Any]], capsys: Any) -> None:
    folder, model, _ = fitted
    scores = folder / "scores.json"
    words = ["evaluate", folder / "calibration", "--model", model, "--channel", "stimulus", "--json", scores]
    words += ["--report", folder / "scores.html"]
    assert main([str(word) for word in words]) == 0
    rows = {row["name"]: row for row in json.loads(scores.read_text())["electrodes"]}
    assert rows["A4"]["r"] > rows["A4"]["null_p99"]
    assert rows["A4"]["p_fdr"] < 0.05
    said = capsys.readouterr()
    assert "A4" in said.out
    assert "the model was fitted to calibration" in said.err
    assert json.loads(scores.read_text())["recordings"] == [{"name": "calibration", "fitted_to": True}]
    assert "say nothing of other recordings" in (folder / "scores.html").read_text()


def test_a_model_of_a_student_is_judged_with_the_students_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The student is in no cache and nowhere published: its file is asked for by name, and taken."""
    monkeypatch.setattr(fit_command, "FitConfig", partial(FitConfig, ridge=SMALL, kinds=("ridge",)))
    student, of_student = tmp_path / "student.safetensors", tmp_path / "m.safetensors"
    teacher, teachers = load_whisper("tiny.en").model, tmp_path / "teacher.safetensors"
    save_sealed(teachers, teacher.state_dict(), {"dims": json.dumps(asdict(teacher.dims))})
    weights = {name: 0.9 * w if name.startswith("encoder.blocks") else w for name, w in teacher.state_dict().items()}
    save_sealed(student, weights, {"format": STUDENT, "dims": json.dumps(asdict(teacher.dims)), "student": "{}"})
    save_folder(small_recording(24.0, "fit"), tmp_path / "calibration")
    (tmp_path / "rig.toml").write_text(f'{CONFIG}file = "{student}"\n')
    (tmp_path / "words.csv").write_text("word,start,end\nand,1.0,1.2\n")
    heard = [str(tmp_path / "calibration"), "--channel", "stimulus", "--model"]
    options = ["--config", str(tmp_path / "rig.toml"), "--out", str(of_student), "--quick"]
    assert main(["fit", heard[0], *options]) == 0
    segments = ["--events", str(tmp_path / "words.csv"), "--out", str(tmp_path / "w-epo.fif")]
    commands: dict[str, list[str]] = {"evaluate": [], "segments": segments, "replay": ["--fast"]}
    for command, more in commands.items():
        words = [command, *heard, str(of_student), *more]
        capsys.readouterr()
        assert main(words) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "fitted to student.safetensors, Whisper 'tiny.en'" in said
        assert file_sha256(student)[:12] in said
        assert "--whisper-file FILE" in said
        if command != "segments":  # whose epochs are tested elsewhere and take a while
            assert main([*words, "--whisper-file", str(student)]) == 0
    assert main(["evaluate", *heard, str(of_student), "--whisper-file", str(teachers)]) == 2
    assert f"{teachers} has weights with sha256 {file_sha256(teachers)[:12]}" in capsys.readouterr().err
    assert main(["replay", heard[0], "--whisper-file", str(student)]) == 2
    assert "belong to --fast" in capsys.readouterr().err


def test_what_the_patient_spoke_is_not_scored(
    fitted: tuple[Path, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config gives evaluate what it gives fit: streams, channel, states and delays."""
    folder, model, _ = fitted
    marked = replace(load_recording(folder / "calibration"), markers={"Markers": [(20.0, "talk"), (30.0, "go")]})
    save_folder(marked, folder / "marked")
    states = '[states]\nstream = "Markers"\nmap = { talk = "speaking", go = "listening" }\n'
    config = CONFIG.replace("[ecog]", "delay_s = 0.02\n[ecog]") + states
    (folder / "marked.toml").write_text(config)
    bad: list[Any] = []

    def scored(predicted: Any, observed: Any, masked: Any, *args: Any, **named: Any) -> Scores:
        bad.append(masked)
        return score_predictions(predicted, observed, masked, *args, **named)

    monkeypatch.setattr(evaluate, "score_predictions", scored)
    words = ["evaluate", folder / "marked", "--model", model, "--config", folder / "marked.toml"]
    assert main([str(word) for word in [*words, "--json", folder / "marked.json"]]) == 0
    assert bad[0][20 * 50 + 5 : 30 * 50].all()
    assert bad[0][: 20 * 50 - 5, 0].mean() < 0.1
    assert bad[0][31 * 50 : 59 * 50, 0].mean() < 0.1
    content = json.loads((folder / "marked.json").read_text())
    assert content["delays_s"] == {"sound": 0.02, "ecog": None}
    row = {row["name"]: row for row in content["electrodes"]}["A1"]
    assert row["r"] > row["null_p95"], "the channel of --config, through the common average"


def test_the_other_channel_of_the_sound_predicts_little(fitted: tuple[Path, Path, dict[str, Any]]) -> None:
    folder, model, report = fitted
    scores = folder / "other.json"
    words = ["evaluate", folder / "calibration", "--model", model, "--channel", "room", "--json", scores]
    assert main([str(word) for word in words]) == 0
    rows = {row["name"]: row for row in json.loads(scores.read_text())["electrodes"]}
    followed = {row["name"]: row["r"] for row in report["electrodes"]}["A4"]
    assert abs(rows["A4"]["r"]) < 0.5 * followed


@pytest.mark.long
def test_a_hundred_rows_a_second_through_fit_evaluate_and_replay(
    fitted: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _, before = fitted
    model, scores, rows_file = (tmp_path / name for name in ("fine.safetensors", "scores.json", "rows.npz"))
    words = ["fit", folder / "calibration", "--config", folder / "rig.toml", "--out", model, "--row-rate", "100"]
    assert main([str(word) for word in words]) == 0
    _, header = load_model(model)
    assert header.row_rate_hz == 100.0
    report = json.loads((tmp_path / "fine.json").read_text())
    assert report["row_rate_hz"] == 100.0
    assert "100 a second" in (tmp_path / "fine.html").read_text()
    assert report["training"]["minutes_of_recording"] == before["training"]["minutes_of_recording"]
    assert len(report["training"]["validation_r"]["ridge"]) == len(header.electrodes)
    best, best_before = report["electrodes"][3], before["electrodes"][3]
    assert best["p_fdr"] < 0.05
    assert best["r"] == pytest.approx(best_before["r"], abs=0.05)
    assert best["lag_ms"] == pytest.approx(best_before["lag_ms"], abs=20)
    heard = [folder / "calibration", "--model", model, "--channel", "stimulus"]
    assert main(["evaluate", *map(str, heard), "--json", str(scores)]) == 0
    assert main(["replay", *map(str, heard), "--fast", "--out", str(rows_file)]) == 0
    found, rows = json.loads(scores.read_text()), np.load(rows_file)
    assert found["minutes"] == pytest.approx(SECONDS / 60, abs=0.02)
    claimed = [row["name"] not in found["left_out"] for row in found["electrodes"]]
    counted = np.isfinite(rows["observed"])[:, claimed].mean()
    assert counted < 0.999
    assert found["minutes_counted"] == pytest.approx(found["minutes"] * counted, abs=0.006)
    np.testing.assert_allclose(np.diff(rows["times"]), 0.01, atol=1e-6)
    predicted = rows["predicted"]
    between = (predicted[:-2:2] + predicted[2::2]) / 2
    assert np.all(np.std(predicted[1:-1:2] - between, axis=0) < 0.1 * predicted.std(axis=0)), "a zigzag"
    for e, row in enumerate(found["electrodes"]):
        good = np.isfinite(rows["observed"][:, e])
        assert row["r"] == pytest.approx(np.corrcoef(rows["predicted"][good, e], rows["observed"][good, e])[0, 1])


def test_a_rate_that_frames_do_not_divide_is_refused(tmp_path: Path, capsys: Any) -> None:
    words = ["fit", "calibration", "--out", str(tmp_path / "m.safetensors"), "--row-rate", "75"]
    assert main(words) == 2
    assert "--row-rate: invalid choice: 75.0 (choose from 50.0, 100.0, 200.0)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "given", "told"),
    [
        ("fit", "--out patient.json", "--out patient.json: expected a name that ends in .safetensors"),
        ("fit", "--out patient", "--out patient: expected a name that ends in .safetensors"),
        ("fit", "--out m.safetensors --json ./m.safetensors", "--json m.safetensors is the file of --out, too"),
        ("fit", "--out m.safetensors --report m.safetensors", "--report m.safetensors is the file of --out, too"),
        ("fit", "--out m.safetensors --json m.html", "--json m.html is the file of --report, too"),
        ("evaluate", "--model m.safetensors --json m.safetensors", "--json m.safetensors is the file of --model, too"),
    ],
)
def test_no_report_overwrites_the_model(
    command: str, given: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command, "calibration", *given.split()]) == 2
    assert told in capsys.readouterr().err


def test_too_little_is_told(tmp_path: Path, capsys: Any) -> None:
    save_folder(small_recording(8.0, "fit"), tmp_path / "short")
    (tmp_path / "rig.toml").write_text(CONFIG)
    words = ["fit", tmp_path / "short", "--config", tmp_path / "rig.toml", "--out", tmp_path / "m.safetensors"]
    assert main([str(word) for word in words]) == 2
    assert "too little to fit on" in capsys.readouterr().err
    assert not (tmp_path / "m.safetensors").exists()
