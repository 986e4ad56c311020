"""Attention in time: planted lags are found by masking, and peaks are counted as a slow count says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from encoders.analysis.attention import PLANTED_LAGS_S, groups_of, listen, planted, without_head
from encoders.analysis.attention_peaks import NEAR_ROWS, coincidence, event_rows, peaks_of, received
from encoders.analysis.lagged import Fold, Heard, folds_of
from encoders.analysis.phone_events import Speech
from encoders.analysis.time_models import fit_lstm_fold
from encoders.training import masked_r
from realtime.block import regular
from tests.test_lstm_attention import embeddings, some_stage


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(760, 1200))
def test_coincidences_equal_a_slow_count(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    peaks, events = rng.random(rows) < 0.03, rng.random(rows) < 0.05
    found = coincidence(peaks, events)

    def count(shift: int) -> int:
        at = [(p + shift) % rows for p in np.flatnonzero(peaks)]
        return sum(any(abs(a - e) <= NEAR_ROWS for e in np.flatnonzero(events)) for a in at)

    null = [count(shift) for shift in range(250, rows - 249)]
    assert found.count == count(0)
    assert found.expected == pytest.approx(np.mean(null))
    more, fewer = (1 + sum(n >= found.count for n in null)), (1 + sum(n <= found.count for n in null))
    assert found.p == pytest.approx(min(1.0, 2 * min(more, fewer) / (1 + len(null))))


def test_peaks_on_events_are_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    events = rng.random(6000) < 0.02
    bumps = np.convolve(events, [0.3, 1, 0.3], "same") + 0.02 * rng.standard_normal(6000)
    peaks = peaks_of(bumps, (3000, 3000))
    assert coincidence(peaks, events).p < 0.01
    assert coincidence(peaks, rng.random(6000) < 0.02).p > 0.01


def test_attention_received_is_what_later_rows_gave() -> None:
    rng = np.random.default_rng(1)
    segments, lags = (20, 15), 4
    weights = rng.random((35, 2, lags)).astype(np.float32)
    tests = [np.arange(0, 10), np.arange(10, 35)]
    folds = [Fold(np.ones(35, bool), rows) for rows in tests]
    slow = np.zeros((35, 2))
    for row in range(35):
        for lag in range(lags):
            if row - lag >= (0 if row < 20 else 20):
                slow[row - lag] += weights[row, :, lag]
    np.testing.assert_allclose(received([weights[rows] for rows in tests], folds, segments), slow, rtol=1e-5)


def test_events_fall_on_their_rows() -> None:
    phones = [("SIL", 0.0, 0.3), ("AA", 0.3, 0.4), ("T", 0.4, 0.5), ("SIL", 0.5, 1.0)]
    speech = Speech(np.arange(50, dtype=np.float64) * 0.02, phones)
    rows = event_rows([None, speech], [[], [("at", 0.3, 0.5)]], (10, 50))
    assert list(np.flatnonzero(rows["word onsets"])) == [25]
    assert list(np.flatnonzero(rows["phone boundaries"])) == [25, 30]
    assert list(np.flatnonzero(rows["pauses"])) == [35]


def test_a_head_left_out_is_one_that_carries_nothing() -> None:
    stage, x = some_stage(1, 2, 0), regular(embeddings(60, 2), 50.0)
    width = stage.model.config.head_width
    for head in range(2):
        other = copy.deepcopy(stage)
        with torch.no_grad():
            other.model.value.weight[head * width : (head + 1) * width] = 0
        found, expected = without_head(stage, head).layer(x).data, other.layer(x).data
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(expected - stage.layer(x).data).max() > 1e-3


@pytest.mark.long
def test_planted_lags_are_recovered() -> None:
    """The lag whose masking costs most is the planted one, within 40 ms, for nine in ten simulated electrodes."""
    rng = np.random.default_rng(0)
    rows = 9000
    features = lfilter([0.6], [1, -0.8], rng.standard_normal((rows, 30)), axis=0).astype(np.float32)
    nothing = Heard((rows,), np.zeros((rows, 1), np.float32), np.zeros((rows, 1), bool))
    heard = planted(features, nothing, PLANTED_LAGS_S, 0.6)
    fold = folds_of(heard)[0]
    stage = fit_lstm_fold("lstm_attention", features, heard, fold, epochs=6)
    found = listen(stage, features, heard, fold)
    good = np.ones((len(fold.test), len(PLANTED_LAGS_S)), bool)
    r = np.stack([masked_r(one, heard.observed[fold.test], good) for one in found.predicted])
    groups = groups_of(found.weights.shape[2])
    middle_s = np.array([0.02 * (first + stop - 1) / 2 for first, stop in groups])
    costliest = middle_s[(r[0] - r[1 : 1 + len(groups)]).argmax(axis=0)]
    assert np.mean(np.abs(costliest - PLANTED_LAGS_S) <= 0.041) >= 0.9
    np.testing.assert_allclose(found.weights.sum(axis=2), 1, atol=1e-3)
