"""`corticast sync` on arrays with known delays and drifts, on recordings, over LSL, and where nothing is shared."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import firwin

from realtime.block import Spec
from realtime.cli import main
from realtime.commands.sync import in_words, sync_of
from realtime.errors import UserError
from realtime.sources.recording import RecordedStream, Recording, save_folder
from realtime.sync import NotMeasurable, SyncReport, measure_sync

Values = npt.NDArray[np.float64]
SOUND_HZ, AUX_HZ = 16_000.0, 1000.0


@functools.cache
def heard(seconds: int) -> Values:
    """Noise in syllables, with pauses, at 16 kHz: as far from periodic as speech is."""
    rng = np.random.default_rng(0)
    noise = np.convolve(rng.normal(size=int(seconds * SOUND_HZ)), firwin(101, 3000, fs=SOUND_HZ), "same")
    envelope = np.repeat(rng.random(seconds * 8) ** 2 * (rng.random(seconds * 8) > 0.3), int(SOUND_HZ) // 8)
    return np.asarray(0.2 * noise * envelope, np.float64)


def recorded(seconds: int, delay_s: float, ppm: float, noise: float, sign: int = 1) -> tuple[Values, ...]:
    """The sound stamped delay_s late, by a clock that runs fast by ppm; the auxiliary channel true."""
    rng = np.random.default_rng(1)
    sound = heard(seconds)
    true = np.arange(len(sound)) / SOUND_HZ
    aux_times = np.arange(int(seconds * AUX_HZ)) / AUX_HZ
    slow = np.convolve(sound, firwin(161, 450, fs=SOUND_HZ), "same")
    aux = sign * 900 * np.interp(aux_times, true, slow)
    aux += noise * aux.std() * rng.normal(size=len(aux))
    return sound, 100 + delay_s + true * (1 + ppm * 1e-6), aux, 100 + aux_times


@settings(max_examples=8, deadline=None)
@given(st.floats(-0.4, 0.4), st.sampled_from([0.0, 0.5]), st.sampled_from([1, -1]))
def test_a_delay_is_found(delay_s: float, noise: float, sign: int) -> None:
    report = measure_sync(*recorded(20, delay_s, 0.0, noise, sign))
    assert isinstance(report, SyncReport), report
    assert abs(report.offset_s - delay_s) < 5e-4
    assert report.spread_s < 1e-3
    assert np.isnan(report.drift_ppm)
    assert np.sign(report.correlation) == sign


def test_37_ms_within_2_ms_and_50_ppm_within_10() -> None:
    """Ten minutes, with as much noise as half of the signal."""
    report = measure_sync(*recorded(600, 0.037, 50.0, 0.5))
    assert isinstance(report, SyncReport), report
    assert abs(report.offset_s - (0.037 + 300 * 50e-6)) < 2e-3
    assert abs(report.drift_ppm - 50) < 10
    assert report.drift_ms_per_min == pytest.approx(3.0, abs=0.6)
    short = measure_sync(*recorded(20, 0.037, 0.0, 0.5))
    assert isinstance(short, SyncReport), short
    assert abs(short.offset_s - 0.037) < 2e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["noise", "hum", "other sound", "envelope"])
def test_nothing_shared_gives_no_number(seed: int, kind: str) -> None:
    sound, sound_times, aux, aux_times = recorded(40, 0.0, 0.0, 0.0)
    rng = np.random.default_rng(seed)
    if kind == "noise":
        aux = np.cumsum(rng.normal(size=len(aux)))
    elif kind == "hum":
        aux = 100 * np.sin(2 * np.pi * 50 * aux_times) + rng.normal(size=len(aux))
    elif kind == "other sound":
        aux = np.roll(aux, 10_000 + 3000 * seed)  # by more than is searched
    else:
        aux = np.abs(np.roll(aux, 15_000))
    found = measure_sync(sound, sound_times, aux, aux_times)
    assert isinstance(found, NotMeasurable), found
    assert "no shared signal" in found.reason


def test_silence_and_shortness_are_named() -> None:
    sound, sound_times, aux, aux_times = recorded(20, 0.0, 0.0, 0.0)
    silent = measure_sync(sound, sound_times, np.zeros(len(aux)), aux_times)
    assert isinstance(silent, NotMeasurable)
    assert "second stream" in silent.reason
    apart = measure_sync(sound, sound_times, aux, aux_times + 10)
    assert isinstance(apart, NotMeasurable)
    assert "10 s in common" in apart.reason


def streams(seconds: int, delay_s: float, ppm: float = 0.0) -> tuple[RecordedStream, RecordedStream]:
    sound, sound_times, aux, aux_times = recorded(seconds, delay_s, ppm, 0.1)
    rng = np.random.default_rng(2)
    rows = np.stack([rng.normal(size=len(aux)), aux], axis=1).astype(np.float32)
    return (
        RecordedStream(Spec("sound", SOUND_HZ, ("left",)), sound[:, None].astype(np.float32), sound_times),
        RecordedStream(Spec("ecog", AUX_HZ, ("G1", "AUX1")), rows, aux_times),
    )


def test_streams_of_a_recording_need_no_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for the other commands: the rate tells which is which, and a name given counts."""
    sound, ecog = (
        replace(stream, spec=replace(stream.spec, name=name))
        for stream, name in zip(streams(20, 0.037), ("Microphone", "Amplifier"), strict=True)
    )
    save_folder(Recording({"Microphone": sound, "Amplifier": ecog}), tmp_path / "recording")
    words = ["sync", str(tmp_path / "recording"), "--aux", "AUX1"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "'Microphone', channel 0 stamps the sound 37.0 ms later than 'Amplifier', channel AUX1" in told
    assert main([*words, "--sound", "Microfone"]) == 2
    assert "has no stream 'Microfone', did you mean 'Microphone'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("delay_s", "table"), [(0.037, "[sound]\ndelay_s = 0.0370"), (-0.012, "[ecog]\ndelay_s = 0.0120")]
)
def test_a_recording_gives_the_line_for_the_configuration(delay_s: float, table: str) -> None:
    sound, ecog = streams(20, delay_s)
    words = in_words(sync_of(sound, 0, ecog, "AUX1"), "sound", "AUX1")
    assert words.endswith(table)
    assert "not measured" in words
    with pytest.raises(UserError, match="cannot be measured: no shared signal"):
        sync_of(sound, 0, ecog, "G1")
    with pytest.raises(UserError, match="no channel 'AUX2'"):
        sync_of(sound, 0, ecog, "AUX2")
