"""Channels by number and by label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, Spec, regular
from realtime.errors import UserError
from realtime.pick import Pick, channel_number
from tests.contract import verify_contract

SPEC = Spec("amplifier", 1000.0, ("G1", "G2", "AUX"))


@settings(max_examples=15, deadline=None)
@given(channels=st.lists(st.integers(0, 3), min_size=1, max_size=5), cuts=st.lists(st.integers(0, 50), max_size=5))
def test_pick_takes_these_channels_in_this_order(channels: list[int], cuts: list[int]) -> None:
    data = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    bad = data > 1
    x = Block(data, regular(data, 100.0).times, 0, {"bad": bad})
    picked = verify_contract(Pick(channels), x, cuts)
    for column, channel in enumerate(channels):
        assert np.array_equal(picked.data[:, column], data[:, channel])
        assert np.array_equal(picked.extra["bad"][:, column], bad[:, channel])


def test_a_channel_is_found_by_label_or_number() -> None:
    assert channel_number(SPEC, "AUX") == channel_number(SPEC, 2) == 2


@pytest.mark.parametrize(
    ("channel", "told"), [("AUX1", "did you mean 'AUX'"), (3, "channels 0 to 2"), (-1, "no channel -1")]
)
def test_a_channel_that_is_not_there_is_told(channel: str | int, told: str) -> None:
    with pytest.raises(UserError, match=told):
        channel_number(SPEC, channel)
