"""Speech to distil from: any files, joined and resampled, windows varied; what cannot be read is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from encoders.distillation_data import FULL_SCALE, Speech, read_speech, varied, window
from encoders.speech import load_trials
from realtime.errors import UserError


def write_speech(folder: Path) -> Path:
    """The first 60 s of a real trial as three files, one of them stereo."""
    trial = load_trials()[0]
    pieces = np.array_split(trial.sound[: int(60 * trial.rate_hz)], 3)
    for number, piece in enumerate(pieces):
        sound = np.stack([piece, piece], axis=1) if number == 1 else piece
        wavfile.write(folder / f"{number}.wav", round(trial.rate_hz), sound)
    (folder / "notes.txt").write_text("not sound")
    return folder


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module", name="speech")
def _speech(folder: Path) -> Speech:
    return read_speech([folder])


def test_files_are_joined_resampled_and_mixed(folder: Path, speech: Speech) -> None:
    seconds = (len(speech.train) + len(speech.held_out)) / 16_000
    assert speech.files == 3
    assert seconds == pytest.approx(60, abs=0.01)
    assert 0.09 < len(speech.held_out) / 16_000 / seconds < 0.11
    assert read_speech([folder]).sha256 == speech.sha256
    assert read_speech([folder], seed=1).sha256 != speech.sha256


def test_varied_windows_differ_and_are_drawn_again_alike(speech: Speech) -> None:
    one, again, other = (varied(speech.train, 0, 2, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[:1000], other[:1000])
    assert len(one) <= 480_000
    quicker = window(speech.train, 0, speed=25)
    assert len(quicker) == pytest.approx(480_000, abs=2)
    np.testing.assert_allclose(window(speech.train, 5), speech.train[5:480_005] / FULL_SCALE, atol=1e-7)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no recordings"), (b"RIFF no sound at all", "cannot read .*broken.wav"), (b"", "cannot read .*broken.wav")],
)
def test_bad_speech_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "broken.wav").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_speech([tmp_path])
    assert "\n" not in str(caught.value)


def test_flac_needs_soundfile_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    sound = np.random.default_rng(0).integers(-9000, 9000, 25 * 16_000).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", sound, 16_000)
    speech = read_speech([tmp_path])
    np.testing.assert_array_equal(np.concatenate([speech.train, speech.held_out]), sound)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match=r"a.flac: without the package soundfile only .wav can be read"):
        read_speech([tmp_path])


def test_missing_short_and_silent_speech(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recordings at"):
        read_speech([tmp_path / "nowhere"])
    wavfile.write(tmp_path / "a.wav", 16_000, np.ones(16_000, np.int16))
    with pytest.raises(UserError, match=r"found 1.0 s .* at least 20 s"):
        read_speech([tmp_path])
    wavfile.write(tmp_path / "a.wav", 16_000, np.zeros(30 * 16_000, np.uint8) + np.uint8(128))
    with pytest.raises(UserError, match="silent"):
        read_speech([tmp_path])
