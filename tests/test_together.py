"""`corticast fit --patient ... --patient ...`: one trunk, a model of each patient that the other commands take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.lstm_attention import LstmAttentionConfig, LstmAttentionStage
from encoders.model_file import load_model
from encoders.several import trunk_sha256
from encoders.training import FitConfig
from realtime.cli import main
from realtime.commands import together
from realtime.sources.recording import Recording, save_folder
from tests.rig import SOUND_HZ, small_recording
from tests.test_fit_command import CONFIG, SECONDS, SMALL, following

QUICK = partial(
    FitConfig, ridge=SMALL, lstm=LstmAttentionConfig(hidden=16, heads=2, head_width=8, reads=10, gain=True), epochs=1,
    margin=-1.0, trust_errors=-1.0, validation=0.15,
)  # fmt: skip


def with_other_electrodes(recording: Recording) -> Recording:
    """Four of the electrodes, under other names, and no auxiliary channel."""
    ecog = recording.streams["ecog"]
    spec = replace(ecog.spec, channels=("B1", "B2", "B3", "B4"))
    return replace(recording, streams={**recording.streams, "ecog": replace(ecog, spec=spec, data=ecog.data[:, :4])})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("together")
    source = small_recording(SECONDS, "fit")
    save_folder(following(source, electrode=3), folder / "jane")
    save_folder(with_other_electrodes(following(source, electrode=1)), folder / "john")
    (folder / "jane.toml").write_text(CONFIG)
    (folder / "john.toml").write_text(CONFIG.replace('exclude = ["AUX"]', ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "FitConfig", QUICK)
        words = ["fit", "--config", folder / "jane.toml", "--out", folder / "models", "--patient", folder / "jane"]
        words += ["--patient", folder / "john.toml", folder / "john"]
        assert main([str(word) for word in words]) == 0
        yield folder


def test_each_patient_gets_a_model_with_the_common_trunk(fitted: Path) -> None:
    (jane, of_jane), (john, of_john) = (load_model(fitted / "models" / f"{n}.safetensors") for n in ("jane", "john"))
    assert isinstance(jane, LstmAttentionStage)
    assert isinstance(john, LstmAttentionStage)
    assert of_jane.electrodes == ("A1", "A2", "A3", "A4", "A5", "A6")
    assert of_john.electrodes == ("B1", "B2", "B3", "B4")
    assert trunk_sha256(jane) == trunk_sha256(john) == of_jane.training["together"]["trunk_sha256"]
    assert of_jane.training["together"] == of_john.training["together"]
    assert of_jane.training["together"]["patients"] == ["jane", "john"]
    assert not np.array_equal(of_jane.baseline_median[:4], of_john.baseline_median)


@pytest.mark.long
def test_a_hundred_rows_a_second_of_each(fitted: Path, tmp_path: Path) -> None:
    words = ["fit", "--config", fitted / "jane.toml", "--out", tmp_path, "--row-rate", "100"]
    words += ["--patient", fitted / "jane", "--patient", fitted / "john.toml", fitted / "john"]
    assert main([str(word) for word in words]) == 0
    for name, electrodes in (("jane", 6), ("john", 4)):
        model, header = load_model(tmp_path / f"{name}.safetensors")
        assert header.row_rate_hz == 100.0
        assert isinstance(model, LstmAttentionStage)
        assert (len(header.electrodes), model.model.config.electrodes) == (electrodes, 2 * electrodes)
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(report["electrodes"]) == len(report["together"]["r_alone"]) == electrodes
        heard = [str(fitted / name), "--model", str(tmp_path / f"{name}.safetensors"), "--channel", "stimulus"]
        assert main(["replay", *heard, "--fast", "--out", str(tmp_path / "rows.npz")]) == 0
        assert np.load(tmp_path / "rows.npz")["predicted"].shape[1] == electrodes


def test_the_report_of_each_says_what_sharing_gained(fitted: Path) -> None:
    reports = {n: json.loads((fitted / "models" / f"{n}.json").read_text()) for n in ("jane", "john")}
    assert reports["jane"]["together"]["patients"] == reports["john"]["together"]["patients"]
    for name, row in zip(reports, reports["jane"]["together"]["patients"], strict=True):
        report = reports[name]
        r, alone = (
            np.mean(values) for values in ([e["r"] for e in report["electrodes"]], report["together"]["r_alone"])
        )
        assert row["patient"] == name
        assert row["electrodes"] == len(report["electrodes"])
        assert row["LSTM with attention, together"] == pytest.approx(r, abs=1e-3)
        assert row["fitted alone"] == pytest.approx(alone, abs=1e-3)
        assert row["sharing gained"] == pytest.approx(r - alone, abs=1e-3)
        page = (fitted / "models" / f"{name}.html").read_text()
        assert "Fitted together with others" in page
        assert "sharing gained" in page
    assert reports["jane"]["electrodes"][3]["r"] > 0.3
    assert reports["john"]["electrodes"][1]["r"] > 0.3


def test_no_sound_is_held_out_of_one_and_learnt_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """45 s of speech; the other patient heard its second half first, 7 ms late."""
    recording = small_recording(45.0, "fit")
    sound = recording.streams["sound"]
    other = replace(sound, data=np.roll(sound.data, len(sound.data) // 2 + round(0.007 * SOUND_HZ), axis=0))
    save_folder(recording, tmp_path / "jane")
    save_folder(replace(recording, streams={**recording.streams, "sound": other}), tmp_path / "john")
    (tmp_path / "rig.toml").write_text(CONFIG)
    monkeypatch.setattr(together, "FitConfig", QUICK)
    words = ["fit", "--quick", "--config", tmp_path / "rig.toml", "--out", tmp_path / "models"]
    words += ["--patient", tmp_path / "jane", "--patient", tmp_path / "john"]
    assert main([str(word) for word in words]) == 0
    for name in ("jane", "john"):
        chosen_on = load_model(tmp_path / "models" / f"{name}.safetensors")[1].training["chosen_on"]
        assert chosen_on["repeats_apart"]
        assert 11.5 < chosen_on["held_out_s"] < 14.5, "the last 6.75 s of each"


def test_the_models_predict_their_own_patient_alone(fitted: Path, capsys: Any) -> None:
    john = fitted / "models" / "john.safetensors"
    words = ["replay", fitted / "john", "--fast", "--model", john, "--channel", "stimulus"]
    assert main([str(word) for word in (*words, "--out", fitted / "rows.npz")]) == 0
    with np.load(fitted / "rows.npz") as rows:
        good = np.isfinite(rows["observed"][:, 1])
        assert np.corrcoef(rows["predicted"][good, 1], rows["observed"][good, 1])[0, 1] > 0.3
    capsys.readouterr()
    words[1] = fitted / "jane"
    assert main([str(word) for word in (*words, "--ecog", "ecog")]) == 2
    assert "the model was trained for 4 channels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--patient", "jane"), "found one --patient, expected two or more"),
        (("jane", "--patient", "jane", "--patient", "john"), "found jane beside --patient"),
        (("--patient", "jane", "--patient", "jane"), "two patients would be called"),
        (("--patient", "jane.toml", "--patient", "john"), "--patient jane.toml has no recording"),
        (("--patient", "jane", "--patient", "gone"), "gone"),
        (("--patient", "jane", "--patient", "john", "--horizon", "auto"), "--horizon auto is found for one patient"),
        (("--patient", "jane", "--patient", "john", "--acausal"), "--acausal: not with --patient"),
        (("--patient", "jane", "--patient", "other.toml", "john"), "[whisper] layer is 3 for john and 2 for jane"),
        (("--patient", "jane", "--patient", "john", "--out", "jane.toml"), "--out jane.toml is a file"),
        ((), "found no recording"),
        (("jane", "--out", "models"), "--out models is a folder"),
    ],
)
def test_mistakes_are_told_before_the_work(
    fitted: Path, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(fitted)
    Path("other.toml").write_text(CONFIG.replace("layer = 2", "layer = 3"))
    assert main(["fit", "--out", "new", "--config", "jane.toml", *words]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said
    assert len(said.splitlines()) == 1 + said.count("jane: sound"), "beside which streams were found, one line"
    assert not Path("new").exists()


def test_who_has_recorded_too_little_is_named(fitted: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fitted)
    save_folder(small_recording(4.0, "fit"), fitted / "short")
    words = ["fit", "--out", "new", "--config", "jane.toml", "--quick", "--patient", "jane", "--patient", "short"]
    assert main(words) == 2
    assert "short: too little to fit on" in capsys.readouterr().err
    assert not Path("new").exists()
