"""Projection and lagged ridge: the stage, the fit, what is masked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.projection import fit_projection
from encoders.ridge import (
    LaggedRidge,
    RidgeChoice,
    RidgeConfig,
    fit_ridge,
    lag_basis,
    lag_windows,
    lagged_design,
)
from realtime.block import Block, Floats, regular
from realtime.errors import UserError
from tests.contract import verify_contract
from tests.oracles import ridge as oracle

SMALL = RidgeConfig(components=5, lags=7, lag_functions=4, window_frames=2.0, folds=4, gap_frames=10, horizon_s=0.08)


def smooth(rows: int, width: int, seed: int) -> Floats:
    """Correlated in time and over channels, as embeddings are."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows + 4, width)) @ rng.standard_normal((width, width)) + 3
    averaged: Floats = np.mean([x[i : rows + i] for i in range(5)], axis=0).astype(np.float32)
    return averaged


def correlation(a: Floats, b: Floats) -> Floats:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    r: Floats = (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return r


def some_ridge(seed: int = 0) -> LaggedRidge:
    rng = np.random.default_rng(seed)
    projection = fit_projection(smooth(400, 8, seed), 5)
    return LaggedRidge(projection, rng.standard_normal((6, 5, 3)) / 5, rng.standard_normal(3), 0.1)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 150), max_size=12), st.integers(0, 5))
def test_contract(cuts: list[int], seed: int) -> None:
    result = verify_contract(some_ridge(seed), regular(smooth(150, 8, seed + 9), 50.0, 12.5, index=30), cuts)
    assert len(result) == 150
    assert result.times[0] == 12.5 + 0.1


def test_prediction_equals_the_row_by_row_oracle_from_the_first_row() -> None:
    stage, x = some_ridge(), smooth(60, 8, 4)
    p = stage.projection
    expected = oracle.predict(oracle.project(x, p.mean, p.sd, p.matrix), stage.weights, stage.intercept)
    np.testing.assert_allclose(stage.layer(regular(x, 50.0)).data, expected, atol=1e-5)


def test_attention_is_the_share_of_weight_energy_per_lag() -> None:
    stage = some_ridge()
    attention = stage.layer(regular(smooth(4, 8, 1), 50.0)).extra["attention"]
    share = np.zeros(6)
    for e in range(3):
        norms = [np.sum(stage.weights[lag, :, e].astype(float) ** 2) for lag in range(6)]
        share += np.array(norms) / sum(norms) / 3
    assert attention.shape == (4, 1, 6)
    np.testing.assert_allclose(attention[3, 0], share, rtol=1e-5)


def test_a_gap_restarts() -> None:
    stage, x = some_ridge(), smooth(40, 8, 2)
    _, state = stage.step(regular(x[:20], 50.0), stage.initial_state())
    after, _ = stage.step(regular(x[20:], 50.0, 1.0, index=25), state)
    assert np.array_equal(after.data, stage.layer(regular(x[20:], 50.0)).data)
    assert after.index == 25


def test_nan_counts_as_the_mean_and_does_not_spread() -> None:
    stage, x = some_ridge(), smooth(40, 8, 3)
    broken, filled = x.copy(), x.copy()
    broken[10, 2], filled[10, 2] = np.nan, stage.projection.mean[2]
    broken[11], filled[11] = np.inf, stage.projection.mean
    found = stage.layer(regular(broken, 50.0)).data
    np.testing.assert_allclose(found, stage.layer(regular(filled, 50.0)).data, atol=1e-5)


def test_projection_is_standardised_components_in_order() -> None:
    x = smooth(500, 8, 6)
    x[:, 7] = 4.0  # never moves
    flat = fit_projection(x, 5, whitening=0.0).apply(x)
    white = fit_projection(x, 5, whitening=1.0).apply(x)
    np.testing.assert_allclose(white.T @ white / len(x), np.eye(5), atol=1e-3)
    assert np.all(np.diff(flat.std(axis=0)) < 0)
    z = (x[:, :7] - x[:, :7].mean(axis=0)) / x[:, :7].std(axis=0)
    first = np.linalg.svd(z, full_matrices=False)[0][:, 0]
    assert abs(np.corrcoef(first, flat[:, 0])[0, 1]) > 0.9999


def test_a_design_row_is_its_past_weighted_by_the_lag_functions() -> None:
    basis, x = lag_basis(7, 4), smooth(20, 3, 1)
    design = lagged_design(x, basis).reshape(20, 4, 3)
    for t in (0, 3, 19):
        for k in range(4):
            expected = sum(basis[lag, k] * x[t - lag] for lag in range(min(7, t + 1)))
            np.testing.assert_allclose(design[t, k], expected, atol=1e-4)


def planted(rows: int, seed: int, noise: float) -> tuple[Floats, Floats, Floats]:
    """Embeddings, targets driven at lags 1, 3 and 5 frames, and the same with noise."""
    rng = np.random.default_rng(seed)
    x = smooth(rows, 8, 77)
    weights = np.random.default_rng(5).standard_normal((8, 3))
    driven = np.stack([np.roll(x, lag, axis=0) @ weights[:, e] for e, lag in enumerate((1, 3, 5))], axis=1)
    clean = ((driven - driven.mean(axis=0)) / driven.std(axis=0)).astype(np.float32)
    return x, clean, (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32)


def test_learns_a_planted_lagged_relation_up_to_its_noise_ceiling() -> None:
    x, clean, noisy = planted(4000, 0, noise=1.5)
    cut = 3000
    ridge = fit_ridge(
        [x[:cut]], [noisy[:cut]], [np.zeros((cut, 3), bool)], replace(SMALL, components=8, lag_functions=7)
    )
    found = ridge.layer(regular(x[cut:], 50.0)).data
    assert np.all(correlation(found, clean[cut:]) > 0.95)
    assert np.argmax(ridge.attention) in (1, 3, 5)


def test_window_and_penalty_are_those_of_cross_validation_over_all_the_rows() -> None:
    x, _, noisy = planted(600, 1, noise=4.0)
    config = replace(SMALL, alphas=(1.0, 30.0, 1000.0, 30000.0), window_frames=1e6)  # every window is flat
    ridge = fit_ridge([x], [noisy], [np.zeros(noisy.shape, bool)], config)
    design = lagged_design(ridge.projection.apply(x), lag_basis(7, 4))
    design, y = design - design.mean(axis=0), noisy - noisy.mean(axis=0)
    assert ridge.choice is not None
    for e in range(3):
        assert ridge.choice.alpha[e] == pytest.approx(oracle.best_alpha(design, y[:, e], [*config.alphas], 4, 10))


def test_bad_targets_count_for_nothing() -> None:
    x, _, noisy = planted(1500, 2, noise=1.0)
    rng = np.random.default_rng(3)
    bad = rng.random(noisy.shape) < 0.1
    bad[200:260] = True  # all electrodes at once: rows dropped
    bad[:, 2] = True  # a dead channel
    choice = RidgeChoice(np.zeros(3, np.intp), np.array([20.0, 300.0, 20.0]))
    config = replace(SMALL, imputations=12)
    projection = fit_projection(x, 5)
    broken = np.where(bad, np.where(rng.random(bad.shape) < 0.5, np.nan, 1e4), noisy).astype(np.float32)
    ridge = fit_ridge([x], [broken], [bad], config, choice, projection)
    design = lagged_design(projection.apply(x), lag_basis(7, 4))
    found = ridge.layer(regular(x, 50.0)).data
    for e in range(2):
        good = ~bad[:, e]
        centre = design[~bad.all(axis=1)].mean(axis=0)
        y = noisy[:, e] - noisy[good, e].mean()
        b = oracle.masked_ridge(design - centre, y, good, choice.alpha[e])
        expected = (design - centre) @ b
        np.testing.assert_allclose(found[:, e] - found[:, e].mean(), expected - expected.mean(), atol=5e-3)
    assert not found[:, 2].any()


def test_no_lag_reaches_into_another_segment() -> None:
    x, _, noisy = planted(1200, 4, noise=0.5)
    choice = RidgeChoice(np.zeros(3, np.intp), np.full(3, 10.0))
    projection = fit_projection(x, 5)
    none = np.zeros(noisy.shape, bool)

    def fit(order: list[slice]) -> Floats:
        return fit_ridge([x[s] for s in order], [noisy[s] for s in order], [none[s] for s in order],
                         SMALL, choice, projection).weights  # fmt: skip

    parts = [slice(0, 500), slice(500, 1200)]
    np.testing.assert_allclose(fit(parts), fit(parts[::-1]), atol=1e-4)
    assert np.abs(fit(parts) - fit([slice(0, 1200)])).max() > 1e-4


def test_windows_cover_every_lag() -> None:
    windows = lag_windows(RidgeConfig())
    assert np.all(windows[0] == 1)
    assert np.all(windows[1:].max(axis=0) > 0.5)


def test_too_short_a_recording_is_refused_with_both_lengths() -> None:
    x, _, noisy = planted(70, 4, noise=0.5)
    with pytest.raises(UserError, match=r"found 1\.4 s .* expected at least 2 s"):
        fit_ridge([x], [noisy], [np.zeros(noisy.shape, bool)], SMALL)


def test_state_does_not_alias_what_was_handed_out() -> None:
    stage, x = some_ridge(), smooth(40, 8, 2)
    data = x[:20].copy()
    first, state = stage.step(regular(data, 50.0), stage.initial_state())
    data[:] = 1e3
    first.data[:] = 1e3
    again, _ = stage.step(Block(x[20:], np.arange(20) / 50, 20), state)
    np.testing.assert_allclose(again.data, stage.layer(regular(x, 50.0)).data[20:], atol=1e-5)
