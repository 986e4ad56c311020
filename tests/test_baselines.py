"""Baseline features, banded ridge, lags and horizons, each on data whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from encoders.aligned import Aligned, runs
from encoders.banded import fit_banded, pair_weightings, side_by_side, unique_shares
from encoders.baselines import onset_rate, spectrogram_at
from encoders.folds import purged_folds
from encoders.horizon import HORIZONS_S, horizon_curve, recommended
from encoders.lags import best_lags, lag_profile
from encoders.nested import Model, out_of_fold
from encoders.projection import fit_projection
from encoders.ridge import RidgeConfig
from realtime.block import Block, Floats, regular
from tests.test_scores import smooth

SMALL = RidgeConfig(components=6, lags=16, lag_functions=8, folds=3, gap_frames=20)


def followers(seed: int, lags: list[int], noise: float, rows: int = 3000) -> Aligned:
    """Electrodes that follow one direction of the embeddings, each at a lag of its own, in frames."""
    rng = np.random.default_rng(seed)
    x = smooth(rng, rows, 6, 4)
    weights = rng.standard_normal((6, len(lags))) / np.sqrt(6)
    drive = np.stack([np.roll(x @ w, lag) for w, lag in zip(weights.T, lags, strict=True)], axis=1)
    observed = drive + noise * smooth(rng, rows, len(lags), 3)
    return Aligned(x.astype(np.float32), observed.astype(np.float32), np.zeros(observed.shape, bool))


# ---------------------------------------------------------------- features


def test_spectrogram_rows_are_those_nearest_to_the_frames() -> None:
    mel = regular(np.arange(100, dtype=np.float32)[:, None] ** 2, 100.0, 5.0)
    times = np.array([5.0 + 0.02 * frame for frame in range(50)])
    found = spectrogram_at(mel, times)
    for frame in range(50):
        row = 2 * frame
        expected = 0.25 * max(row - 1, 0) ** 2 + 0.5 * row**2 + 0.25 * min(row + 1, 99) ** 2
        assert found[frame, 0] == pytest.approx(expected)
    shifted = spectrogram_at(mel, times + 0.003)
    np.testing.assert_allclose(shifted, found)


def test_onsets_are_rises_and_their_rate_looks_back_one_second() -> None:
    spectrogram = np.zeros((200, 3), np.float32)
    spectrogram[60:80] = [1, 2, 3]
    spectrogram[120:] = 6
    strength, rate = onset_rate(spectrogram).T
    assert np.flatnonzero(strength).tolist() == [60, 120]
    assert strength[[60, 120]].tolist() == pytest.approx([2, 6])
    assert np.flatnonzero(rate > 1e-9).tolist() == list(range(60, 110)) + list(range(120, 170))
    changed = spectrogram.copy()
    changed[150:] = 99
    np.testing.assert_array_equal(onset_rate(changed)[:150], onset_rate(spectrogram)[:150])


# ---------------------------------------------------------------- nested fits


def test_training_parts_are_runs_of_training_rows() -> None:
    one, two = followers(0, [1], 1, 400), followers(1, [1], 1, 200)
    training = np.ones(600, bool)
    training[100:150] = training[380:420] = training[460:490] = False
    parts = runs([one, two], training)
    assert [len(p) for p in parts] == [100, 230, 110]
    np.testing.assert_array_equal(parts[1].embeddings, one.embeddings[150:380])
    np.testing.assert_array_equal(parts[2].observed, two.observed[90:])


def test_rows_are_predicted_by_models_that_never_saw_their_targets() -> None:
    rng = np.random.default_rng(0)
    one = followers(0, [2, 4], 0.5, 1500)
    seen: list[Floats] = []

    class Memory:
        def __init__(self, parts: list[Aligned]) -> None:
            self.targets = np.concatenate([p.observed for p in parts])
            seen.append(self.targets)

        def layer(self, x: Block) -> Block:
            return regular(np.tile(self.targets.mean(axis=0), (len(x), 1)), 50.0)

    folds = purged_folds([1500], 3, 50)
    targets = rng.standard_normal((1500, 2)).astype(np.float32)
    told: list[float] = []
    (predicted,) = out_of_fold([([replace(one, observed=targets)], Memory)], folds, 2, told.append)
    assert told[-1] == 1
    for _training, test in folds:
        expected = [m for m in seen if np.allclose(m.mean(axis=0), predicted[test[0]])]
        assert len(expected) == 1
        inside = {tuple(row) for row in expected[0].tolist()}
        assert not inside & {tuple(row) for row in targets[max(0, test[0] - 50) : test[-1] + 51].tolist()}


def test_a_failing_fold_is_told() -> None:
    def fails(parts: list[Aligned]) -> Model:
        raise RuntimeError(f"no model of {len(parts)} part")

    with pytest.raises(RuntimeError, match="no model"):
        out_of_fold([([followers(0, [1], 1, 600)], fails)], purged_folds([600], 2, 10), 2)


# ---------------------------------------------------------------- banded ridge


def test_unique_shares_are_those_of_the_truth() -> None:
    """Electrodes out of one band, the other, both, and of what both bands have in common."""
    rng = np.random.default_rng(3)
    rows = 5000
    shared, own, other = (smooth(rng, rows, 3) for _ in range(3))
    first, second = np.concatenate([shared, own], axis=1), np.concatenate([shared, other], axis=1)
    drive = np.stack([own[:, 0], other[:, 0], (own[:, 1] + other[:, 1]) / np.sqrt(2), shared[:, 0]], axis=1)
    observed = (drive + 0.5 * smooth(rng, rows, 4)).astype(np.float32)
    bad = np.zeros(observed.shape, bool)
    segments = side_by_side([first.astype(np.float32)], [Aligned(second.astype(np.float32), observed, bad)])
    config = replace(SMALL, lags=4, lag_functions=4)
    jobs = [
        (segments, lambda parts, w=w: fit_banded(parts, (6, 6), (6, 6), w, config))  # type: ignore[misc]
        for w in pair_weightings().values()
    ]
    together, one, two = out_of_fold(jobs, purged_folds([rows], 3, 30), 1)
    shares = unique_shares(together, one, two, observed, bad)
    np.testing.assert_allclose(shares.together, 0.8, atol=0.08)
    np.testing.assert_allclose(shares.first, [0.8, 0, 0.4, 0], atol=0.08)
    np.testing.assert_allclose(shares.second, [0, 0.8, 0.4, 0], atol=0.08)


# ---------------------------------------------------------------- lags and horizons


def test_lags_come_back_and_the_horizon_is_added() -> None:
    lags = [2, 4, 6, 8, 10, 12]
    one = followers(1, lags, 0.7)
    projection = fit_projection(one.embeddings, 6)
    profile = lag_profile(projection, [one.rows(0, 1000), one.rows(1000, 3000)], 16)
    np.testing.assert_allclose(best_lags(profile, 0.0), 0.02 * np.array(lags), atol=0.015)
    assert np.all(profile.max(axis=0) < 1)
    ahead = replace(one, observed=np.roll(one.observed, -2, axis=0))
    again = best_lags(lag_profile(projection, [ahead], 16), 0.04)
    np.testing.assert_allclose(again, 0.02 * np.array(lags), atol=0.015)


def test_a_lag_profile_is_the_gain_of_a_regression_on_that_lag() -> None:
    one = followers(4, [3, 7], 0.5, 800)
    one = replace(one, bad=np.random.default_rng(0).random((800, 2)) < 0.1)
    projection = fit_projection(one.embeddings, 6)
    x = projection.apply(one.embeddings).astype(np.float64)
    x -= x.mean(axis=0)
    extra = 0.1 * np.mean(np.sum(x * x, axis=0))
    found = lag_profile(projection, [one], 9)
    for e in range(2):
        y = np.where(one.bad[:, e], 0, one.observed[:, e] - one.observed[~one.bad[:, e], e].mean())
        for lag in (0, 3, 8):
            past = np.concatenate([np.zeros((lag, 6)), x[: 800 - lag]])
            w = np.linalg.solve(x.T @ x + extra * np.eye(6), past.T @ y)
            assert found[lag, e] == pytest.approx(w @ (past.T @ y) / (y @ y), rel=1e-6)


def test_a_dead_electrode_has_no_lag() -> None:
    one = followers(1, [2, 4], 0.5, 1500)
    dead = replace(one, bad=np.stack([one.bad[:, 0], np.ones(1500, bool)], axis=1))
    profile = lag_profile(fit_projection(dead.embeddings, 6), [dead], 8)
    assert np.isnan(best_lags(profile, 0.0)).tolist() == [False, True]


def test_prediction_holds_up_to_the_lag_and_not_beyond() -> None:
    lag = 8  # 160 ms
    one = followers(2, [lag] * 4, 0.5, 4000)
    grids = [np.roll(one.observed, -round(50 * h), axis=0) for h in HORIZONS_S]
    ahead = replace(one, observed=np.concatenate(grids, axis=1), bad=np.tile(one.bad, (1, len(HORIZONS_S))))
    curve = horizon_curve([one], [ahead], HORIZONS_S, SMALL, (30, 30))
    means = curve.means()
    by_horizon = dict(zip(HORIZONS_S, means["model"], strict=True))
    assert by_horizon[0.15] > 0.97 * by_horizon[0.0]
    assert by_horizon[0.3] < 0.5 * by_horizon[0.0]
    assert curve.recommended_s == 0.15
    held = slice(3000, 4000)
    for h, shift in enumerate(round(50 * s) for s in HORIZONS_S):
        later = np.roll(one.observed, -shift, axis=0)[held]
        before = np.roll(one.observed, 1, axis=0)[held]
        expected = np.mean([np.corrcoef(before[20:, e], later[20:, e])[0, 1] for e in range(4)])
        assert means["persistence"][h] == pytest.approx(expected, abs=0.03)
    assert means["autoregressive"][0] > means["persistence"][0] - 0.02
    assert means["autoregressive"][-1] < 0.2


def test_the_recommended_horizon_is_the_largest_that_is_as_good() -> None:
    assert recommended([0, 0.1, 0.2], np.array([0.5, 0.495, 0.3])) == 0.1
    assert recommended([0, 0.1, 0.2], np.array([0.3, 0.5, 0.4])) == 0.1
    assert recommended([0, 0.1, 0.2], np.array([0.3, 0.2, 0.5])) == 0.2
    assert recommended([0, 0.1], np.array([np.nan, np.nan])) == 0.0
    assert recommended([0, 0.1], np.array([-0.2, -0.1])) == 0.0
