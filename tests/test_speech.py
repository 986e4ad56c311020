"""The read speech: what it holds, that its cache is exact, and that damage is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import encoders.speech as speech
from encoders.archive import cache_dir, load_sealed
from encoders.speech import Trial, load_trials
from realtime.errors import UserError


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return load_trials()


def _no_network(*_: object) -> bytes:
    raise UserError("the network was touched")


def test_ten_trials_of_speech(trials: list[Trial]) -> None:
    assert [t.name for t in trials] == [f"stim{i:02d}" for i in range(1, 11)]
    minutes = sum(len(t.sound) / t.rate_hz for t in trials) / 60
    assert minutes == pytest.approx(10.74, abs=0.01)
    for trial in trials:
        assert trial.sound.dtype == np.float32
        assert trial.sound.ndim == 1
        assert 0.5 < np.abs(trial.sound).max() <= 1.0
        words_a_second = len(trial.transcript.split()) / (len(trial.sound) / trial.rate_hz)
        assert 2.0 < words_a_second < 4.0
        assert set(trial.transcript) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


def test_the_sound_is_speech_at_its_rate(trials: list[Trial]) -> None:
    """Voiced speech has its fundamental between 75 and 400 Hz: found by autocorrelation of the loudest 50 ms."""
    for trial in trials:
        rows = int(0.05 * trial.rate_hz)
        frames = trial.sound[: len(trial.sound) // rows * rows].reshape(-1, rows)
        loud = frames[np.argsort((frames**2).sum(1))[-20:]]
        pitches = []
        for frame in loud:
            scores = [frame[lag:] @ frame[:-lag] for lag in range(int(trial.rate_hz / 400), int(trial.rate_hz / 75))]
            pitches.append(trial.rate_hz / (int(trial.rate_hz / 400) + int(np.argmax(scores))))
        assert 80 < np.median(pitches) < 300


def test_the_cache_gives_the_same_and_needs_no_network(trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "fetch", _no_network)
    for first, again in zip(trials, load_trials(), strict=True):
        np.testing.assert_array_equal(first.sound, again.sound)
        assert (first.name, first.rate_hz, first.transcript) == (again.name, again.rate_hz, again.transcript)


def test_the_cache_holds_no_simulated_responses(trials: list[Trial]) -> None:
    (path,) = cache_dir().glob("speech-*.safetensors")
    tensors, _ = load_sealed(path)
    assert sorted(tensors) == [t.name for t in trials]
    assert all(str(t.dtype) == "torch.int16" for t in tensors.values())


@pytest.mark.usefixtures("trials")
@pytest.mark.parametrize("damage", ["truncated", "altered", "garbage"])
def test_a_damaged_cache_is_fetched_again(
    damage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (good,) = cache_dir().glob("speech-*.safetensors")
    content = bytearray(good.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "altered":
        content[-1000] ^= 1
    else:
        content[:] = b"not a file of ours"
    monkeypatch.setenv("CORTICAST_CACHE", str(tmp_path))
    (cache_dir() / good.name).write_bytes(content)
    monkeypatch.setattr(speech, "fetch", _no_network)
    with pytest.raises(UserError, match="no speech: the network was touched"):
        load_trials()
    said = capsys.readouterr().err
    assert str(cache_dir() / good.name) in said
    assert said.count("\n") == 1


def test_packed_trials_unpack_exactly() -> None:
    rng = np.random.default_rng(0)
    sound = (rng.integers(-32768, 32768, 999) / 32768).astype(np.float32)
    (back,) = speech._unpack(*speech._pack([Trial("a", sound, 11025.0, "IT'S")]))
    np.testing.assert_array_equal(back.sound, sound)
    assert (back.name, back.rate_hz, back.transcript) == ("a", 11025.0, "IT'S")
