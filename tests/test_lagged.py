"""The fast cross-validated ridge against slow normal equations, and what it must not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from encoders.analysis.lagged import LAGGED, Fold, Heard, folds_of, instantaneous, predict_fold
from encoders.projection import fit_projection
from realtime.errors import UserError
from tests.oracles.lagged import slow_predictions

SMALL = replace(LAGGED, components=3, lags=5, lag_functions=4, alphas=(1.0, 100.0), folds=3, gap_frames=8)


def data(seed: int, rows: int = 420, electrodes: int = 3) -> tuple[np.ndarray, Heard]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 6)).astype(np.float32)
    y = rng.standard_normal((rows, electrodes)).astype(np.float32)
    y[2:, 0] += 2 * x[:-2, 0]
    y[:, 1] += x[:, 1]
    return x, Heard((rows - 150, 150), y, np.zeros(y.shape, bool))


@pytest.mark.parametrize("config", [SMALL, instantaneous(SMALL)])
def test_equals_slow_normal_equations(config: object) -> None:
    settings = config if isinstance(config, type(SMALL)) else SMALL
    x, heard = data(0)
    for fold in folds_of(heard, settings):
        training = np.flatnonzero(fold.training)
        projected = fit_projection(x[training], settings.components, whitening=1.0).apply(x).astype(float)
        expected = slow_predictions(
            projected, heard.observed.astype(float), list(heard.segments), list(training), list(fold.test), settings
        )
        np.testing.assert_allclose(predict_fold(x, heard, fold, settings), expected, atol=2e-4)


def test_nothing_is_learnt_from_the_test_rows_or_bad_ones() -> None:
    x, heard = data(1)
    fold = folds_of(heard, SMALL)[1]
    before = predict_fold(x, heard, fold, SMALL)
    assert np.abs(before).max() > 0.1
    other = heard.observed.copy()
    other[~fold.training] = 1e6
    bad = heard.bad.copy()
    np.testing.assert_array_equal(predict_fold(x, Heard(heard.segments, other, bad), fold, SMALL), before)
    bad[np.flatnonzero(fold.training)[::7], 0] = True
    garbage = np.where(bad, np.nan, heard.observed)
    masked = predict_fold(x, Heard(heard.segments, heard.observed, bad), fold, SMALL)
    np.testing.assert_array_equal(predict_fold(x, Heard(heard.segments, garbage, bad), fold, SMALL), masked)


def test_features_that_are_no_numbers_cost_their_rows_alone() -> None:
    x, heard = data(2)
    fold = folds_of(heard, SMALL)[0]
    whole = predict_fold(x, heard, fold, SMALL)
    x[-3:] = np.nan  # as a causal encoder leaves the end of a sound
    found = predict_fold(x, heard, fold, SMALL)
    assert np.isfinite(found).all()
    assert np.corrcoef(found[:, 0], whole[:, 0])[0, 1] > 0.99


def test_a_dead_electrode_and_a_lively_one() -> None:
    x, heard = data(3)
    bad = heard.bad.copy()
    bad[:, 2] = True
    fold = folds_of(heard, SMALL)[2]
    found = predict_fold(x, Heard(heard.segments, heard.observed, bad), fold, SMALL)
    assert np.all(found[:, 2] == 0)
    np.testing.assert_array_equal(found[:, :2], predict_fold(x, heard, fold, SMALL)[:, :2])


def test_too_short_a_recording_is_told() -> None:
    x, heard = data(4, rows=160)
    fold = Fold(np.arange(160) < 40, np.arange(100, 160))
    with pytest.raises(UserError, match="too little to fit on"):
        predict_fold(x, heard, fold, LAGGED)


def test_a_sound_heard_twice_is_in_one_fold() -> None:
    _, heard = data(5)
    source = np.arange(420)
    source[300:400] = np.arange(20, 120)
    for fold in folds_of(replace(heard, source=source), SMALL):
        inside = np.isin(np.arange(420), fold.test)
        np.testing.assert_array_equal(inside[300:400], inside[20:120])
        assert not fold.training[fold.test].any()
