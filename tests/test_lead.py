"""Leads of predictions against an oracle that looks every row up in lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block
from realtime.latency import LeadHistogram
from realtime.lead import COUNTED_AT_ONCE, KEPT, Leads


def rows(index: int, times: list[float], bad: bool = False) -> Block:
    data = np.zeros((len(times), 1), np.float32)
    return Block(data, np.array(times), index, {"bad": np.full(data.shape, bad)})


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-9e3, 9e3), min_size=1, max_size=200),
    share=st.floats(0.001, 1.0),
)
def test_percentiles_of_either_sign_are_right_to_half_a_millisecond(values: list[float], share: float) -> None:
    histogram = LeadHistogram()
    for part in (values[:3], values[3:]):
        histogram.add(np.array(part))
    expected = float(np.percentile(values, 100 * share, method="inverted_cdf"))
    assert histogram.percentile(share) == pytest.approx(expected, abs=0.5)
    assert histogram.summary()["min"] == min(values)
    assert histogram.count == len(values)


def test_no_lead_is_no_number() -> None:
    assert np.isnan(list(LeadHistogram().summary().values())).all()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_row_gets_both_leads(data: st.DataObject) -> None:
    """Predicted and observed rows in blocks of any size, published at any time; the oracle keeps everything."""
    leads, count = Leads(), data.draw(st.integers(1, 3 * COUNTED_AT_ONCE))
    times = 5.0 + 0.02 * np.arange(count)
    published, available = np.zeros(count), np.zeros(count)
    for told, block_of in ((published, leads.predicted), (available, leads.observed)):
        at, now = 0, 5.0
        while at < count:
            size = data.draw(st.integers(1, 7))
            now += data.draw(st.floats(0, 0.3))
            told[at : at + size] = now
            block_of(rows(at, times[at : at + size].tolist()), now)
            at += size
    cut = data.draw(st.integers(0, count))
    for start, stop in ((0, cut), (cut, count)):
        both_s = leads.aligned(rows(start, times[start:stop].tolist()))
        np.testing.assert_array_equal(both_s, np.maximum(available, published)[start:stop])
    physical, display = (times - published) * 1e3, (available - published) * 1e3
    for found, expected in ((leads.physical, physical), (leads.display, display)):
        assert found.count == count
        assert found.min_ms == pytest.approx(expected.min())
        assert found.percentile(0.5) == pytest.approx(np.percentile(expected, 50, method="inverted_cdf"), abs=0.5)


def test_rows_that_were_never_observed_have_no_display_lead() -> None:
    leads = Leads()
    leads.predicted(rows(0, [1.0, 1.02]), 1.1)
    leads.aligned(rows(0, [1.0, 1.02], bad=True))
    leads.observed(rows(0, [1.0]), 1.2)
    leads.aligned(rows(0, [1.0, 1.02]))
    assert leads.display.count == 1, "the second row's time was not reached"
    assert leads.display.min_ms == pytest.approx(100.0)


def test_rows_long_gone_and_a_clock_set_back_give_no_false_lead() -> None:
    leads = Leads()
    leads.predicted(rows(0, [100.0]), 100.1)
    leads.predicted(rows(KEPT, [182.0]), 182.1)  # takes the place of row 0
    leads.observed(rows(0, [182.0]), 182.2)
    leads.aligned(rows(0, [100.0]))
    assert leads.display.count == 0
    leads.predicted(rows(KEPT + 1, [50.0]), 182.3)
    leads.observed(rows(1, [50.0]), 182.4)
    leads.aligned(rows(KEPT + 1, [50.0]))
    assert leads.display.min_ms == pytest.approx(100.0)
