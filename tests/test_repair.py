"""Repair against a loop over rows: NaN, gaps short and long, indices that go back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, concat, regular
from realtime.repair import Repair, RepairState
from tests.contract import verify_contract
from tests.oracles import signals as oracle

RATE_HZ = 100.0


def damaged(seed: int, rows: int = 300, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    data = rng.normal(0, 20, (rows, channels)).astype(np.float32)
    data[rng.random(data.shape) < 0.1] = np.nan
    data[rng.random(data.shape) < 0.05] = np.inf
    data[rng.random(data.shape) < 0.05] = -np.inf
    return data


def stepped(stage: Repair, blocks: list[Block]) -> tuple[list[Block], RepairState]:
    state, out = stage.initial_state(), []
    for block in blocks:
        result, state = stage.step(block, state)
        out.append(result)
    return out, state


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=8), st.integers(0, 100), st.booleans())
def test_contract(cuts: list[int], seed: int, hold: bool) -> None:
    x = regular(damaged(seed), RATE_HZ, 5.0)
    result = verify_contract(Repair(RATE_HZ, 0.2, hold), x, cuts)
    assert np.all(np.isfinite(result.data))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_like_the_oracle(data: st.DataObject) -> None:
    hold = data.draw(st.booleans())
    gaps = data.draw(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 12)), min_size=1, max_size=8))
    raw = damaged(data.draw(st.integers(0, 50)))
    blocks, rows, times, at, index = [], {}, {}, 0, 7
    for count, gap in gaps:
        index += gap
        part = raw[at : at + count]
        stamps = 3.0 + (index + np.arange(count)) / RATE_HZ + (0.001 if gap else 0.0)
        blocks.append(Block(part, stamps, index))
        for i in range(count):
            rows[index + i], times[index + i] = part[i].tolist(), float(stamps[i])
        at, index = at + count, index + count
    found, state = stepped(Repair(RATE_HZ, 0.05, hold), blocks)
    indices, values, bad, stamps_out = oracle.repair(rows, times, 5, hold)
    assert [i for b in found for i in range(b.index, b.end)] == indices
    np.testing.assert_array_equal(np.concatenate([b.data for b in found]), np.array(values, np.float32))
    np.testing.assert_array_equal(np.concatenate([b.extra["bad"] for b in found]), np.array(bad))
    np.testing.assert_allclose(np.concatenate([b.times for b in found]), stamps_out, rtol=0, atol=1e-9)
    assert state.nan_samples is not None
    assert state.nan_samples.tolist() == [int(n) for n in (~np.isfinite(raw[:at])).sum(axis=0)]
    assert state.filled_rows == len(indices) - len(rows)


def test_a_short_gap_is_filled_and_the_grid_goes_on() -> None:
    x = regular(np.arange(1, 41, dtype=np.float32).reshape(20, 2), RATE_HZ)
    out, state = stepped(Repair(RATE_HZ, 0.05, hold=True), [x.rows(0, 8), x.rows(13, 20)])
    whole = concat(out)
    assert (whole.index, len(whole)) == (0, 20)
    np.testing.assert_allclose(whole.times, x.times, atol=1e-12)
    assert np.array_equal(whole.data[8:13], np.repeat(x.data[7:8], 5, axis=0))
    assert whole.extra["bad"].any(axis=1).tolist() == [8 <= i < 13 for i in range(20)]
    assert state.filled_rows == 5


@pytest.mark.parametrize("index", [100, 3])
def test_a_long_gap_and_an_index_that_goes_back_are_passed_on(index: int) -> None:
    x = regular(np.full((10, 2), 5, np.float32), RATE_HZ)
    after = regular(np.full((4, 2), np.nan, np.float32), RATE_HZ, 9.0, index)
    out, state = stepped(Repair(RATE_HZ, 0.05, hold=True), [x, after])
    assert (out[1].index, len(out[1])) == (index, 4)
    assert np.all(out[1].data == 0), "a value was held over a restart"
    assert state.filled_rows == 0
    assert state.nan_samples is not None
    assert state.nan_samples.tolist() == [4, 4]
