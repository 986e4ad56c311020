"""Blocks against plain lists of rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, concat, regular


def numbered(index: int, rows: int) -> Block:
    """Each row, its time and its mark tell the row's stream index."""
    number = index + np.arange(rows)
    return Block(number[:, None].astype(np.float32), number / 4.0, index, {"mark": number[:, None] % 3 == 0})


def told(block: Block) -> list[tuple[int, float, float, bool]]:
    """A block's rows as (stream index, data, time, mark)."""
    marks = block.extra["mark"]
    return [
        (block.index + i, float(block.data[i, 0]), float(block.times[i]), bool(marks[i, 0])) for i in range(len(block))
    ]


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 50), lengths=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_concat_puts_rows_in_order(index: int, lengths: list[int]) -> None:
    edges = list(itertools.accumulate(lengths, initial=index))
    blocks = [numbered(start, stop - start) for start, stop in itertools.pairwise(edges)]
    whole = concat(blocks)
    assert told(whole) == [row for block in blocks for row in told(block)]
    assert whole.end == (edges[-1] if len(whole) else whole.index)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 12), start=st.integers(-15, 15), stop=st.integers(-15, 15))
def test_rows_are_a_list_slice(rows: int, start: int, stop: int) -> None:
    block = numbered(7, rows)
    part = block.rows(start, stop)
    assert told(part) == told(block)[start:stop]
    assert part.end == part.index + len(part)
    assert np.shares_memory(part.data, block.data) == bool(len(part))


def test_what_does_not_follow_is_not_joined() -> None:
    for index in (0, 2, 4, 9):
        with pytest.raises(ValueError, match=f"index {index} does not follow one that ends at 3"):
            concat([numbered(0, 3), numbered(index, 2)])
    assert len(concat([numbered(0, 3), numbered(8, 0), numbered(3, 2)])) == 5, "an empty block is no gap"
    with pytest.raises(ValueError, match="nothing to join"):
        concat([])


def test_arrays_of_a_block_have_one_length() -> None:
    with pytest.raises(ValueError, match="different numbers of rows"):
        Block(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ValueError, match="different numbers of rows"):
        Block(np.zeros((3, 2)), np.zeros(3), 0, {"bad": np.zeros((4, 2), bool)})


def test_regular_times_do_not_drift() -> None:
    block = regular(np.zeros((1_000_001, 1), np.float32), 1000.0, start_s=5.0, index=3)
    assert (block.times[0], block.times[-1], block.end) == (5.0, 1005.0, 1_000_004)
