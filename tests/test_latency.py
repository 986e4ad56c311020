"""The histogram's percentiles against NumPy's, on all the values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.latency import Histogram


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(2e-3, 3e5), min_size=1, max_size=200),
    share=st.floats(0.001, 1.0),
)
def test_percentiles_are_right_to_one_percent(values: list[float], share: float) -> None:
    histogram = filled(values)
    expected = float(np.percentile(values, 100 * share, method="inverted_cdf"))
    assert histogram.percentile(share) == pytest.approx(expected, rel=0.01)
    assert histogram.count == len(values)
    assert histogram.max_ms == max(values)


def test_summary_of_a_long_tail() -> None:
    values = np.random.default_rng(0).lognormal(1.0, 1.0, 5003)
    summary = filled(values.tolist()).summary()
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("p999", 99.9)):
        assert summary[name] == pytest.approx(np.percentile(values, percent, method="inverted_cdf"), rel=0.01)
    assert summary["max"] == values.max()


def test_the_edges_of_what_it_holds() -> None:
    assert all(math.isnan(value) for value in Histogram().summary().values())
    assert set(filled([-3.0, 0.0]).summary().values()) == {0.0}, "before its time counts as 0"
    late = filled([1e9])
    assert late.max_ms == 1e9
    assert late.percentile(0.5) > 3e5


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.tuples(st.floats(2e-3, 3e5), st.integers(1, 9)), min_size=1, max_size=50))
def test_a_value_counted_several_times_is_that_value_added_as_often(values: list[tuple[float, int]]) -> None:
    at_once = Histogram()
    for value, times in values:
        at_once.add(value, times)
    one_by_one = filled([value for value, times in values for _ in range(times)])
    assert at_once.summary() == one_by_one.summary()
    assert at_once.count == one_by_one.count


def test_memory_does_not_grow() -> None:
    histogram = filled([1.0])
    size = histogram._counts.nbytes
    for value in range(1, 3000):
        histogram.add(float(value))
    assert histogram._counts.nbytes == size
