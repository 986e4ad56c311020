"""Power spectra: against what is known of sines and noise, from a ring with gaps, and what they tell of a channel."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, Floats, regular
from realtime.monitor.spectra import Spectra, verdict_words, verdicts
from realtime.ring import Ring
from realtime.spectrum import SpectrumWatch, newest, spectrum_bins, spectrum_db
from tests.toys import PATIENCE_S


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0, 2034.5])
def test_sine_and_noise_have_the_power_that_they_have(rate_hz: float) -> None:
    t = np.arange(round(4 * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).normal(0, 3.0, len(t))
    data = np.stack([noise, 10.0 * np.sin(2 * np.pi * 50.0 * t), np.zeros(len(t)), np.full(len(t), np.nan)], axis=1)
    bins_hz, powers = spectrum_bins(rate_hz), spectrum_db(data.astype(np.float32), rate_hz)
    assert powers.shape == (len(bins_hz), 4)
    assert bins_hz[1] == pytest.approx(2.0, rel=1e-3)
    assert np.mean(10 ** (powers[2:-2, 0] / 10)) == pytest.approx(9.0 / (rate_hz / 2), rel=0.1)
    assert np.sum(10 ** (powers[:, 1] / 10)) * bins_hz[1] == pytest.approx(50.0, rel=0.02)  # a sine's: half its square
    assert abs(bins_hz[np.argmax(powers[:, 1])] - 50.0) <= 1.1
    assert powers[:, 2].max() <= -119.0
    assert np.isnan(powers[:, 3]).all()


def test_columns_are_chosen_and_too_little_is_nothing() -> None:
    data = np.random.default_rng(1).normal(size=(4000, 40)).astype(np.float32)
    some = spectrum_db(data, 1000.0, np.array([39, 3]))
    np.testing.assert_array_equal(some, spectrum_db(data, 1000.0)[:, [39, 3]])
    assert np.isnan(spectrum_db(data[:400], 1000.0)).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=8), st.integers(1, 40))
def test_newest_rows_are_those_after_the_last_gap(chunks: list[tuple[int, int]], rows: int) -> None:
    ring, index, run = Ring(50, (1,)), 0, list[int]()
    for count, lost in chunks:
        index += lost
        if count and lost:
            run = []
        at = np.arange(index, index + count, dtype=np.float64)
        block = Block(at.astype(np.float32)[:, None], at, index)
        ring.write(block)
        run += range(index, index + count)
        index += count
    assert newest(ring, rows).data[:, 0].tolist() == run[-min(rows, 50) :]


def test_a_watch_computes_only_while_somebody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.spectrum.EVERY_S", 0.001)
    ring, stop, came, asked = Ring(8000, (3,)), threading.Event(), threading.Event(), threading.Event()
    wanted = [False]
    data = np.random.default_rng(2).normal(size=(5000, 3)).astype(np.float32)
    ring.write(regular(data, 1000.0, start_s=100.0))
    got: list[tuple[float, Floats]] = []

    def publish(time_s: float, powers: Floats) -> None:
        got.append((time_s, powers))
        came.set()

    def is_wanted() -> bool:
        asked.set()
        return wanted[0]

    watch = SpectrumWatch(ring, 1000.0, np.array([2, 0]), publish, is_wanted)
    watch.start(stop)
    assert asked.wait(PATIENCE_S)
    assert not got
    wanted[0] = True
    assert came.wait(PATIENCE_S)
    stop.set()
    watch.join(PATIENCE_S)
    assert got[0][0] == pytest.approx(104.999)
    np.testing.assert_array_equal(got[0][1], spectrum_db(data[-4000:, [2, 0]], 1000.0))


def test_spectra_are_whole_however_they_arrive() -> None:
    spectra = Spectra(("a", "b"))
    rows = np.arange(12.0).reshape(4, 3)
    assert spectra.latest()[0].tolist() == []
    spectra.add(np.full(4, 1.0), rows)
    spectra.add(np.full(3, 2.0), rows[:3] + 100)
    assert spectra.latest()[1].tolist() == rows[:, 1:].tolist()  # the next one is not whole yet
    spectra.add(np.array([2.0, 3.0]), np.stack([rows[3] + 100, rows[0] + 200]))
    assert spectra.latest()[0].tolist() == [100.0, 103.0, 106.0, 109.0]


def test_dead_noisy_and_humming_channels_are_told_by_name() -> None:
    bins_hz = np.arange(0.0, 251.0, 2.0)
    powers = (20 - 10 * np.log10(bins_hz + 2))[:, None] + np.zeros(6)
    powers[:, 1] -= 30
    powers[:, 2] += 12
    powers[bins_hz == 60.0, 3] += 20
    powers[bins_hz == 50.0, :] += 3
    powers[5, 4] = np.nan
    names = list("abcdef")
    assert verdicts(names, bins_hz, powers) == {"b": "dead", "c": "noisy", "e": "no numbers"}
    powers[bins_hz == 60.0] += 15
    found = verdicts(names, bins_hz, powers)
    assert found["a"] == found["d"] == "60 Hz hum"
    assert verdict_words(found, 6) == "dead: b; noisy: c; no numbers: e; 60 Hz hum: a, d, f"
    assert verdict_words(dict.fromkeys(names, "dead"), 9) == "dead: 6 of 9"
    assert (verdicts(names, bins_hz[:0], powers[:0]), verdict_words({}, 6)) == ({}, "")
