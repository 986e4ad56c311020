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
    values = np.random.default_rng(0).lognormal(1.0, 1.0, 5000)
    summary = filled(values.tolist()).summary()
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert summary[name] == pytest.approx(np.percentile(values, percent, method="inverted_cdf"), rel=0.01)
    assert summary["max"] == values.max()


def test_the_edges_of_what_it_holds() -> None:
    assert all(math.isnan(value) for value in Histogram().summary().values())
    assert set(filled([-3.0, 0.0]).summary().values()) == {0.0}, "before its time counts as 0"
    late = filled([1e9])
    assert late.max_ms == 1e9
    assert late.percentile(0.5) > 3e5


def test_memory_does_not_grow() -> None:
    histogram = filled([1.0])
    size = histogram._counts.nbytes
    for value in range(1, 3000):
        histogram.add(float(value))
    assert histogram._counts.nbytes == size
