"""A recording through chains: in pieces as in one step, and gaps stay gaps."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, Spec, regular
from realtime.offline import PIECE_S, joined, run_blocks, run_chain
from realtime.signals import ecog_chain
from realtime.sources.recording import RecordedStream
from realtime.stage import Chain

RATE_HZ = 400.0


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(round(seconds * RATE_HZ), 2)).astype(np.float32) * 20


def high_gamma() -> Chain:
    return ecog_chain(RATE_HZ, 2, baseline=([3.0, 3.0], [0.5, 0.5]))


def test_pieces_give_what_one_step_gives() -> None:
    whole = regular(noise(2.3 * PIECE_S), RATE_HZ)
    told: list[float] = []
    (found,) = run_blocks([whole], high_gamma(), RATE_HZ, told.append)
    expected = high_gamma().layer(whole)
    assert found.index == expected.index
    np.testing.assert_array_equal(found.times, expected.times)
    np.testing.assert_allclose(found.data, expected.data, atol=1e-5)
    np.testing.assert_array_equal(found.extra["bad"], expected.extra["bad"])
    assert told == sorted(told)
    assert (len(told), told[-1]) == (3, 1.0)


def test_a_long_gap_gives_two_blocks_and_a_short_one_is_filled() -> None:
    data, stamps = noise(12.0), np.arange(round(12.0 * RATE_HZ)) / RATE_HZ
    spec = Spec("ecog", RATE_HZ, ("A1", "A2"))

    def through(lost_s: float) -> list[Block]:
        kept = (stamps < 6.0) | (stamps >= 6.0 + lost_s)
        return run_chain(RecordedStream(spec, data[kept], stamps[kept]), high_gamma())

    (filled,) = through(0.2)
    within = (filled.times > 6.05) & (filled.times < 6.1)
    assert within.any()
    assert filled.extra["bad"][within].all(), "filled rows are marked"
    before, after = through(2.0)
    assert before.times[-1] < 6.0 < 8.0 <= after.times[-1]
    assert after.times[0] > 7.9
    assert after.index > before.end
    fresh = run_blocks([Block(data[3200:], stamps[3200:])], high_gamma(), RATE_HZ)[0]
    np.testing.assert_allclose(after.data, fresh.data, atol=1e-5, err_msg="the chain begins anew after the gap")


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 4), max_size=8), gaps=st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_joined_makes_one_block_of_each_run(lengths: list[int], gaps: list[int]) -> None:
    blocks, index = [], 0
    for length, gap in zip(lengths, gaps, strict=False):
        index += gap if length else 0
        blocks.append(
            Block(
                np.arange(index, index + length)[:, None].astype(np.float64), np.arange(length, dtype=np.float64), index
            )
        )
        index += length
    rows = [int(value) for block in blocks for value in block.data[:, 0]]
    runs: list[list[int]] = []
    for row in rows:
        if runs and runs[-1][-1] + 1 == row:
            runs[-1].append(row)
        else:
            runs.append([row])
    result = joined(blocks)
    assert [block.data[:, 0].astype(int).tolist() for block in result] == runs
    assert [block.index for block in result] == [run[0] for run in runs]


def test_nothing_gives_nothing() -> None:
    assert run_blocks([], high_gamma(), RATE_HZ) == []
    assert joined([]) == []
