"""One channel of a sound, and its way to 16 kHz."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime.audio import Resample, sound_level_db
from realtime.block import Block, concat, regular
from realtime.errors import UserError
from tests.contract import random_cuts, verify_contract

RATES_HZ = (8000.0, 11025.0, 22050.0, 32000.0, 44100.0, 48000.0, 96000.0)
FEW = settings(max_examples=12, deadline=None)


def noise(rows: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, channels)).astype(np.float32)


def band_limited(rows: int, rate_hz: float, upto_hz: float) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(rows))
    spectrum[np.fft.rfftfreq(rows, 1 / rate_hz) > upto_hz] = 0
    return np.fft.irfft(spectrum, rows)[:, None].astype(np.float32)


def windowed_sinc(data: NDArray[np.float32], rate_hz: float, output: int) -> float:
    """Output sample `output` at 16 kHz, from the formula of the Kaiser-windowed sinc alone."""
    slower_hz = min(rate_hz, 16000.0)
    half = math.ceil(51 * rate_hz / slower_hz)
    beta = 0.1102 * (80 - 8.7)
    position = output * rate_hz / 16000.0
    total = weights = 0.0
    for row in range(math.floor(position) - half - 1, math.ceil(position) + half + 2):
        distance = position - row
        if abs(distance) > half + 1e-9:
            continue
        window = float(np.i0(beta * math.sqrt(max(0.0, 1 - (distance / half) ** 2))) / np.i0(beta))
        weight = float(np.sinc(0.95 * slower_hz / rate_hz * distance)) * window
        weights += weight
        total += weight * float(data[row, 0]) if 0 <= row < len(data) else 0.0
    return total / weights


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_resampling_is_the_windowed_sinc(rate_hz: float) -> None:
    x = regular(noise(int(rate_hz * 0.05)), rate_hz, start_s=100.0)
    y = Resample(rate_hz).layer(x)
    for output in {0, 1, 2, 7, 160, len(y) // 2, len(y) - 2, len(y) - 1}:
        assert y.data[output, 0] == pytest.approx(windowed_sinc(x.data, rate_hz, output), abs=3e-6)
    np.testing.assert_allclose(y.times, 100.0 + np.arange(len(y)) / 16000.0, atol=1e-9)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_resampling_agrees_with_soxr(rate_hz: float) -> None:
    x = band_limited(int(rate_hz), rate_hz, 0.85 * min(rate_hz, 16000.0) / 2)
    y = Resample(rate_hz).layer(regular(x, rate_hz)).data[:, 0]
    reference = soxr.resample(x[:, 0], rate_hz, 16000, quality="VHQ")
    inner = slice(400, len(y) - 400)
    error = np.sqrt(np.mean((y[inner] - reference[: len(y)][inner]) ** 2) / np.mean(reference**2))
    assert error < 2e-4, f"{rate_hz:g} Hz: {20 * np.log10(error):.1f} dB"


@pytest.mark.parametrize("rate_hz", [22050.0, 44100.0, 48000.0, 96000.0])
def test_what_would_alias_is_80_db_down(rate_hz: float) -> None:
    at = np.arange(int(rate_hz)) / rate_hz
    tones = np.sin(2 * np.pi * 8005.0 * at) + np.sin(2 * np.pi * 10500.0 * at)
    y = Resample(rate_hz).layer(regular(tones[:, None].astype(np.float32), rate_hz))
    assert sound_level_db(y.data[400:]) < -78.0
    passed = Resample(rate_hz).layer(regular(np.sin(2 * np.pi * 7190.0 * at)[:, None].astype(np.float32), rate_hz))
    assert sound_level_db(passed.data[400:]) == pytest.approx(-3.01, abs=0.01)


@FEW
@given(st.sampled_from([*RATES_HZ, 16000.0]), st.integers(0, 10_000), st.integers(0, 700), st.integers(1, 2))
def test_contract(rate_hz: float, index: int, seed: int, channels: int) -> None:
    rows = int(rate_hz * 0.06)
    bad = np.random.default_rng(seed).random((rows, 1)) < 0.002
    x = Block(noise(rows, channels, seed), 5.0 + np.arange(rows) / rate_hz, index, {"bad": bad})
    y = verify_contract(Resample(rate_hz), x, random_cuts(rows, seed, 12), tolerance=0.0)
    assert y.index == math.ceil(index * 16000 / rate_hz)


def test_an_impulse_arrives_at_its_own_time() -> None:
    for rate_hz in RATES_HZ:
        data = np.zeros((int(rate_hz * 0.1), 1), np.float32)
        row = int(rate_hz * 0.05)
        data[row] = 1.0
        y = Resample(rate_hz).layer(regular(data, rate_hz, start_s=7.0))
        power = y.data[:, 0].astype(np.float64) ** 2
        centre_s = float(np.sum(power * y.times) / np.sum(power))
        assert centre_s == pytest.approx(7.0 + row / rate_hz, abs=2e-6)


def test_times_follow_a_clock_that_is_not_nominal() -> None:
    times = 3.0 + np.arange(4410) / 44102.2
    y = Resample(44100.0).layer(Block(noise(4410), times))
    np.testing.assert_allclose(y.times, 3.0 + np.arange(len(y)) * (44100 / 16000) / 44102.2, atol=1e-9)


def test_a_gap_restarts_on_a_later_index() -> None:
    stage = Resample(48000.0)
    x = regular(noise(4000), 48000.0)
    first, state = stage.step(x.rows(0, 2000), stage.initial_state())
    second, state = stage.step(x.rows(2001, 3000), state)
    third, _ = stage.step(x.rows(3000, 4000), state)
    assert second.index == math.ceil(2001 / 3) > first.end
    alone = stage.layer(x.rows(2001, 4000))
    joined = concat([second, third])
    assert alone.index == joined.index
    assert np.array_equal(joined.data, alone.data)
    assert np.array_equal(joined.times, alone.times)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_bad_rows_mark_the_outputs_that_they_dominate(rate_hz: float) -> None:
    rows = int(rate_hz * 0.05)
    bad = np.zeros((rows, 1), np.bool_)
    row = rows // 2
    bad[row] = True
    y = Resample(rate_hz).layer(Block(noise(rows), np.arange(rows) / rate_hz, 0, {"bad": bad}))
    impulse = np.zeros((rows, 1), np.float32)
    impulse[row] = 1.0
    weight = np.abs(Resample(rate_hz).layer(regular(impulse, rate_hz)).data[:, 0])
    marked = y.extra["bad"][:, 0]
    assert np.all(marked[weight > 0.25 * weight.max()])
    reach_s = 2 / min(rate_hz, 16000.0) + 1 / rate_hz
    assert not np.any(marked[np.abs(y.times - row / rate_hz) > reach_s])


@pytest.mark.parametrize("rate_hz", [7999.0, 2000.0, math.nan])
def test_a_rate_too_low_for_speech_is_refused(rate_hz: float) -> None:
    with pytest.raises(UserError, match="speech needs 4 kHz"):
        Resample(rate_hz)


def test_a_rate_in_no_simple_ratio_is_refused() -> None:
    with pytest.raises(UserError, match="simple ratio"):
        Resample(44100.37)


def test_sound_level() -> None:
    at = np.arange(16000) / 16000
    assert sound_level_db(np.sin(2 * np.pi * 440 * at)) == pytest.approx(-3.0103, abs=1e-3)
    assert sound_level_db(np.full((100, 1), 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-4)
    assert sound_level_db(np.array([np.nan, 1.0])) == pytest.approx(0.0)
    assert sound_level_db(np.zeros(10)) == sound_level_db(np.zeros(0)) == -120.0
