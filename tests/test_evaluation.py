"""Masked correlation, its null, p-values and folds."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from encoders.evaluation import benjamini_hochberg, correlation, drawn_shifts, p_values, r_squared, shift_null
from realtime.errors import UserError
from tests.oracles import evaluation as oracle

FEW = settings(max_examples=20, deadline=None)
Doubles = NDArray[np.float64]


def example(seed: int, rows: int, electrodes: int, offset: float = 0.0) -> tuple[Doubles, Doubles, NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    predicted = rng.standard_normal((rows, electrodes)).cumsum(axis=0)
    observed = predicted * rng.uniform(-1, 1, electrodes) + 3 * rng.standard_normal((rows, electrodes)) + offset
    observed[rng.random(observed.shape) < 0.02] = np.nan
    return predicted, observed, rng.random(observed.shape) < 0.15


@FEW
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.0, 1e5]))
def test_correlation_is_numpys(seed: int, rows: int, offset: float) -> None:
    predicted, observed, bad = example(seed, rows, 4, offset)
    observed[:, 1] = 0.1  # constant, and not exactly representable
    bad[:, 2] = True
    bad[1:, 3] = True
    np.testing.assert_allclose(
        correlation(predicted, observed, bad), oracle.correlation(predicted, observed, bad), atol=1e-8
    )
    assert np.isnan(correlation(predicted, observed, bad)[1:]).all()


@FEW
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([0.0, 1e5]))
def test_r_squared_is_one_minus_error_over_variance(seed: int, rows: int, offset: float) -> None:
    predicted, observed, bad = example(seed, rows, 4, offset)
    observed[:, 1] = 0.1
    bad[:, 2] = True
    found, expected = r_squared(predicted, observed, bad), oracle.r_squared(predicted, observed, bad)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(found[1:3]).all()


def test_two_rows_correlate_and_one_does_not() -> None:
    x = np.array([[1.0], [2.0], [5.0]])
    bad = np.array([[False], [False], [True]])
    assert correlation(x, -x, bad)[0] == pytest.approx(-1.0)
    assert np.isnan(correlation(x[1:], -x[1:], bad[1:])[0])


@FEW
@given(st.integers(0, 10_000), st.integers(41, 130), st.sampled_from([0.0, 1e5]))
def test_null_is_rolling_and_correlating(seed: int, rows: int, offset: float) -> None:
    predicted, observed, bad = example(seed, rows, 4, offset)
    observed[:, 1] = 0.1
    bad[:, 2] = True
    bad[3:, 3] = True  # leaves shifts with one common row, or none
    null = shift_null(predicted, observed, bad, 10.0, 30, seed, min_shift_s=2.0)
    shifts = drawn_shifts(rows, 10.0, 30, seed, 2.0)
    assert shifts.min() >= 20
    assert shifts.max() <= rows - 20
    expected = oracle.rolled(predicted, observed, bad, shifts.tolist())
    assert np.array_equal(np.isnan(null), np.isnan(expected))
    np.testing.assert_allclose(null, expected, atol=1e-7)


def test_draws_repeat_only_with_the_seed_and_no_shift_twice() -> None:
    first, again = drawn_shifts(6400, 50.0, 500, 1), drawn_shifts(6400, 50.0, 500, 1)
    assert np.array_equal(first, again)
    assert len(set(first.tolist())) == 500
    assert first.min() >= 250
    assert first.max() <= 6150
    assert not np.array_equal(first, drawn_shifts(6400, 50.0, 500, 2))
    assert sorted(drawn_shifts(510, 50.0, 500, 1).tolist()) == list(range(250, 261)), "each once where there are few"


def test_too_short_a_recording_is_refused() -> None:
    predicted, observed, bad = example(0, 499, 1)
    with pytest.raises(UserError, match=r"10\.0 s to evaluate found, at least 10\.0 s expected"):
        shift_null(predicted, observed, bad, 50.0, 10, 0)
    assert shift_null(*example(0, 500, 1), 50.0, 3, 0).shape == (1, 1)


def test_a_whole_evaluation_takes_seconds() -> None:
    predicted, observed, bad = example(0, 6400, 64)
    started = time.process_time()
    null = shift_null(predicted, observed, bad, 50.0, 500, 0)
    assert time.process_time() - started < 20
    shifts = drawn_shifts(6400, 50.0, 500, 0)
    np.testing.assert_allclose(null[::100], oracle.rolled(predicted, observed, bad, shifts[::100].tolist()), atol=1e-9)


def test_p_of_what_is_not_predicted_is_uniform_and_of_what_is_is_small() -> None:
    rng = np.random.default_rng(3)
    white = rng.standard_normal((2, 2010, 200))
    predicted, observed = (sum(part[i : i + 2000] for i in range(10)) for part in white)
    observed[:, 0] += 2 * predicted[:, 0]
    bad = rng.random((2000, 200)) < 0.1
    r, null = correlation(predicted, observed, bad), shift_null(predicted, observed, bad, 50.0, 400, 0)
    for pooled in (False, True):
        p = p_values(r, null, pooled)
        assert p[0] <= 1 / 400
        assert 0.02 < np.mean(p[1:] < 0.05 + 1e-9) < 0.09
        adjusted = benjamini_hochberg(p)
        assert np.sum(adjusted < 0.05) <= 4


@FEW
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_p_values_count(seed: int, draws: int) -> None:
    rng = np.random.default_rng(seed)
    null = np.round(rng.standard_normal((draws, 5)), 1)
    null[rng.random(null.shape) < 0.2] = np.nan
    r = np.round(rng.standard_normal(5), 1)  # rounded, so that ties occur
    r[4] = np.nan
    null[:, 3] = np.nan
    single, pooled = p_values(r, null), p_values(r, null, pooled=True)
    for electrode in range(5):
        assert single[electrode] == pytest.approx(
            oracle.p_value(r[electrode], null[:, electrode].tolist()), nan_ok=True
        )
        assert pooled[electrode] == pytest.approx(oracle.p_value(r[electrode], null.ravel().tolist()), nan_ok=True)


@FEW
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_benjamini_hochberg_is_the_step_up_rule(p: list[float]) -> None:
    found = benjamini_hochberg(np.array([*p, np.nan]))
    np.testing.assert_allclose(found[:-1], oracle.step_up(p), atol=1e-12)
    assert np.isnan(found[-1])
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
