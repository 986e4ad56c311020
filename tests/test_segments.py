"""Epochs against cuts by hand: on drawn rows, and through real files from a recording to MNE."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.analysis.epochs import BaselineMode, Rules, cut
from encoders.analysis.phone_times import read_events
from realtime.align import put_on_grid
from realtime.cli import main
from realtime.commands import wiring
from realtime.errors import UserError
from realtime.signals import ecog_chain
from realtime.sources.recording import load_recording, save_folder, to_blocks
from tests.oracles.segments import cut_by_hand
from tests.rig import TABLE, small_model, small_recording

WORDS = [("Act", 0.05, 0.3), ("one,", 1.0, 1.19), ("monkey", 3.333, 3.9), ("in", 7.9, 8.05), ("the", 9.0, 9.1)]
STATES = '[states]\nstream = "Markers"\nmap = { talk = "speaking", go = "listening" }\n'
TIMED = [*WORDS, ("middle", 9.112, 9.4), ("late", 11.9, 12.2)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_epochs_are_what_is_cut_by_hand(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    steps = np.full(70, 0.02)
    steps[data.draw(st.lists(st.integers(0, 69), max_size=2))] = 0.5
    times = 100 + np.cumsum(steps)
    rows = rng.normal(size=(70, 3, 2)).astype(np.float32)
    rows[:, data.draw(st.integers(0, 2)), 1] = 1.0  # a prediction without spread
    bad = rng.random((70, 3)) < data.draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    counted = np.array(data.draw(st.lists(st.booleans(), min_size=3, max_size=3)))
    mode: BaselineMode = data.draw(st.sampled_from(["mean", "zscore", "none"]))
    rules = Rules((-0.06, 0.1), (-0.06, -0.02), mode, data.draw(st.sampled_from([0.0, 0.1, 0.5])))
    onsets = 100 + data.draw(st.lists(st.floats(-0.2, 2.5), max_size=6).map(np.array)).astype(float)
    on_row = times[rng.integers(5, 60, size=2)]
    ends_at_a_gap = times[:-1][np.diff(times) > 0.1] - 0.1
    onsets = np.concatenate([onsets, on_row, ends_at_a_gap])
    found = cut(times, rows, bad, onsets, rules, counted)
    kept = iter(found.data)
    observed = np.where(bad, np.nan, rows[:, :, 0])
    for onset_s, reason in zip(onsets, found.reasons, strict=True):
        numbers = [e for e in range(3) if counted[e]]
        why, epoch = cut_by_hand(
            times, observed, rows[:, :, 1], onset_s, -3, 5, (-3, -1), mode, rules.bad_share, numbers
        )
        assert reason == why
        if not reason:
            one = next(kept).transpose(1, 0, 2)
            np.testing.assert_allclose(one[counted], epoch[counted], rtol=2e-4, atol=2e-4)
    assert next(kept, None) is None


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A recording with a masked spell, a model file, and words."""
    folder = tmp_path_factory.mktemp("segments")
    recording = small_recording(12.0, "s")
    save_folder(recording, folder / "session")
    model = small_model(folder, recording, wiring.embedding_of(TABLE))
    lines = [f"{word!r},{start},{end}".replace("'", '"') for word, start, end in TIMED]
    (folder / "words.csv").write_text("word,start,end\n" + "\n".join(lines) + "\n")
    return folder / "session", model, folder / "words.csv"


def test_through_files(rig: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session, model, words = rig
    given_ = [str(session), "--model", str(model), "--channel", "stimulus"]
    assert main(["replay", *given_, "--fast", "--out", str(tmp_path / "rows.npz")]) == 0
    out = tmp_path / "words-epo.fif"
    options = ["--window", "-0.1", "0.3", "--baseline", "-0.1", "0", "--bad-share", "0"]
    assert main(["segments", *given_, "--events", str(words), "--out", str(out), *options]) == 0
    assert "epochs kept; dropped:" in capsys.readouterr().err
    rows = np.load(tmp_path / "rows.npz")
    observed, predicted = (
        mne.read_epochs(file, verbose="ERROR") for file in (out, tmp_path / "words_predicted-epo.fif")
    )
    expected, reasons = [], []
    for _, start_s, _ in TIMED:
        numbers = list(range(6))
        why, epoch = cut_by_hand(
            rows["times"], rows["observed"], rows["predicted"], start_s, -5, 15, (-5, 0), "mean", 0.0, numbers
        )
        reasons.append(why)
        if not why:
            expected.append(epoch)
    assert {"", "NO_DATA", "ARTEFACT"} == set(reasons), "the test proves less than it should"
    np.testing.assert_allclose(observed.get_data(copy=False), np.array(expected)[..., 0], atol=1e-4)
    np.testing.assert_allclose(predicted.get_data(copy=False), np.array(expected)[..., 1], atol=1e-4)
    for epochs in (observed, predicted):
        assert [log[0] if log else "" for log in epochs.drop_log] == reasons
        kept = [event for event, why in zip(TIMED, reasons, strict=True) if not why]
        assert list(epochs.metadata["label"]) == [word for word, _, _ in kept]
        np.testing.assert_allclose(epochs.metadata["onset_s"], [start for _, start, _ in kept])
        assert (epochs.ch_names, epochs.info["sfreq"]) == ([f"A{i}" for i in range(1, 7)], 50.0)
    assert len(observed["label == 'monkey'"]) == 1
    assert "simulated" in predicted.info["description"]
    after_pause = dict(zip(observed.metadata["label"], observed.metadata["after_pause"], strict=True))
    assert after_pause["monkey"]
    assert not after_pause["middle"]


def test_words_that_the_patient_speaks_are_left_out(
    rig: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--config names streams, channel and states; what is said without it tells what to do."""
    session, model, words = rig
    markers = {"Markers": [(8.6, "talk"), (9.8, "go")]}
    save_folder(replace(load_recording(session), markers=markers), tmp_path / "marked")
    config = f'[sound]\nname = "s sound"\nchannel = "stimulus"\n[ecog]\nname = "s ecog"\n{STATES}'
    (tmp_path / "rig.toml").write_text(config)
    begun = ["segments", str(tmp_path / "marked"), "--model", str(model), "--events", str(words)]
    assert main([*begun, "--out", str(tmp_path / "a-epo.fif"), "--channel", "stimulus"]) == 0
    assert "marked has markers (Markers) that are not read" in capsys.readouterr().err
    assert main([*begun, "--out", str(tmp_path / "b-epo.fif"), "--config", str(tmp_path / "rig.toml")]) == 0
    assert "not read" not in capsys.readouterr().err
    every, listened = (mne.read_epochs(tmp_path / f"{name}-epo.fif", verbose="ERROR") for name in "ab")
    assert set(every.metadata["label"]) - set(listened.metadata["label"]) == {"the", "middle"}
    np.testing.assert_array_equal(listened.get_data()[0], every.get_data()[0])


def test_at_the_models_rows_a_second(rig: tuple[Path, Path, Path], tmp_path: Path) -> None:
    session, _, words = rig
    recording = small_recording(12.0, "s")
    model = small_model(tmp_path, recording, wiring.embedding_of(TABLE), row_rate_hz=100.0)
    given_ = [str(session), "--model", str(model), "--channel", "stimulus"]
    assert main(["replay", *given_, "--fast", "--out", str(tmp_path / "rows.npz")]) == 0
    out = tmp_path / "words-epo.fif"
    assert main(["segments", *given_, "--events", str(words), "--out", str(out), "--baseline-mode", "none"]) == 0
    rows, observed = np.load(tmp_path / "rows.npz"), mne.read_epochs(out, verbose="ERROR")
    assert observed.info["sfreq"] == 100.0
    ecog = to_blocks(recording.streams["ecog"])[0]
    chain = ecog_chain(1000.0, 6, row_rate_hz=100.0, baseline=(np.full(6, 3.0), np.full(6, 0.7)))
    by_chain = put_on_grid(chain.layer(replace(ecog, data=ecog.data[:, :6])), rows["times"], 100.0)
    good = ~np.asarray(by_chain.extra["bad"], bool)
    assert good.mean() > 0.9
    np.testing.assert_array_equal(np.isfinite(rows["observed"]), good)
    np.testing.assert_allclose(rows["observed"][good], by_chain.data[good], atol=1e-4)
    monkey = observed["label == 'monkey'"]
    at = float(monkey.metadata["onset_s"].iloc[0]) + monkey.times
    by_hand = [np.interp(at, rows["times"], rows["observed"][:, e]) for e in range(6)]
    np.testing.assert_allclose(monkey.get_data(copy=False)[0], by_hand, atol=1e-4)


def test_words_and_phones_of_every_format(tmp_path: Path) -> None:
    tables = {
        "words.csv": "kind,label,start_s,end_s\nword,in,0.5,0.7\nphone,IH,0.5,0.6\nphone,N,0.6,0.7\nphone,SIL,0.7,1\n",
        "words.ctm": "a 1 0.5 0.2 in\na 1 0.9 0.2 middle\n",
        "phones.ctm": "a 1 0.5 0.1 IH0\na 1 0.6 0.1 n\na 1 0.7 0.1 sil\n",
    }
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    assert read_events(tmp_path / "words.csv") == ("word", [("in", 0.5, 0.7)])
    kind, phones = read_events(tmp_path / "words.csv", "phone")
    assert (kind, [label for label, _, _ in phones]) == ("phone", ["IH", "N"])
    assert [label for label, _, _ in read_events(tmp_path / "words.ctm")[1]] == ["in", "middle"]
    kind, phones = read_events(tmp_path / "phones.ctm")
    assert (kind, [label for label, _, _ in phones]) == ("phone", ["IH", "N"])
    with pytest.raises(UserError, match="found no phone"):
        read_events(tmp_path / "words.ctm", "phone")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--out", "words.fif"], "ends in -epo.fif"),
        (["--baseline", "-0.5", "0"], "expected a stretch of the window"),
        (["--bad-share", "1"], "expected a number from 0 to less than 1"),
        (["--window", "0.6", "0.1"], "expected a later end than start"),
        (["--events", "words.csv", "words.csv"], "2 files for 1 recordings"),
        (["--kind", "phone"], "found no phone"),
    ],
)
def test_mistakes_are_one_line(
    rig: tuple[Path, Path, Path], change: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    session, model, words = rig
    base = ["--model", str(model), "--events", str(words), "--out", str(tmp_path / "w-epo.fif")]
    assert main(["segments", str(session), *base, *change]) == 2
    assert told in capsys.readouterr().err


def test_without_mne(
    rig: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    session, model, words = rig
    monkeypatch.setitem(sys.modules, "mne", None)
    words_ = ["segments", str(session), "--model", str(model), "--events", str(words)]
    assert main([*words_, "--out", str(tmp_path / "w-epo.fif")]) == 2
    assert "pip install 'corticast[analysis]'" in capsys.readouterr().err
