"""Observed rows on the predictions' times, offline and live."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.align import Aligner, align, put_on_grid
from realtime.block import Block, concat
from realtime.errors import UserError
from tests.oracles.align import aligned_value

FEW = settings(max_examples=25, deadline=None)


def observed_rows(rng: np.random.Generator, rows: int, electrodes: int = 3) -> Block:
    """50 rows a second with jitter, with rows lost, with bad rows and a NaN."""
    kept = np.sort(rng.choice(rows + 8, rows, replace=False))
    data = rng.standard_normal((rows, electrodes)).astype(np.float32)
    data[rows // 2, 0] = np.nan
    bad = rng.random((rows, electrodes)) < 0.1
    return Block(data, 10 + kept / 50 + rng.uniform(0, 0.004, rows), 0, {"bad": bad})


def predicted_rows(rng: np.random.Generator, rows: int, electrodes: int = 3) -> Block:
    data = rng.standard_normal((rows, electrodes)).astype(np.float32)
    return Block(data, 10 + rng.uniform(-0.1, 0.1) + np.arange(rows) / 50, int(rng.integers(0, 1000)))


def pieces(rng: np.random.Generator, x: Block, count: int) -> list[Block]:
    edges = [0, *np.sort(rng.integers(0, len(x) + 1, count)).tolist(), len(x)]
    return [x.rows(a, b) for a, b in itertools.pairwise(edges)]


def taken(aligner: Aligner) -> list[Block]:
    blocks = []
    while (block := aligner.take()) is not None:
        blocks.append(block)
    return blocks


@FEW
@given(st.integers(0, 10_000))
def test_against_a_search_through_all_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    observed = observed_rows(rng, 60)
    times = np.sort(np.concatenate([rng.uniform(9.8, 11.6, 40), observed.times[[0, 5, 30, 59]]]))
    y = put_on_grid(observed, times)
    assert y.data.dtype == np.float32
    assert np.array_equal(y.times, times)
    for row, time in enumerate(times):
        for electrode in range(3):
            value, bad = aligned_value(observed, float(time), electrode, 0.03)
            assert y.data[row, electrode] == pytest.approx(value, abs=1e-5, nan_ok=True)
            assert y.extra["bad"][row, electrode] == bad


def test_a_straight_line_stays_one_and_a_gap_is_missing() -> None:
    at = np.delete(np.arange(100) / 50, [40, 41])
    observed = Block((3 * at + 1)[:, None].astype(np.float32), at)
    times = np.array([-0.001, 0.0, 0.013, 0.78, 0.79, 0.839, 0.84, 1.98, 1.981])
    y = put_on_grid(observed, times)
    bad = np.array([True, False, False, False, True, True, False, False, True])
    assert np.array_equal(y.extra["bad"][:, 0], bad)
    assert np.array_equal(np.isnan(y.data[:, 0]), bad)
    np.testing.assert_allclose(y.data[~bad, 0], 3 * times[~bad] + 1, atol=1e-5)


def test_align_puts_both_side_by_side_and_keeps_the_predictions_own_mask() -> None:
    rng = np.random.default_rng(0)
    observed, predicted = observed_rows(rng, 50), predicted_rows(rng, 40)
    mask = rng.random((40, 1)) < 0.3
    y = align(Block(predicted.data, predicted.times, predicted.index, {"bad": mask}), observed)
    on_grid = put_on_grid(observed, predicted.times)
    assert y.data.shape == (40, 3, 2)
    assert y.data.dtype == np.float32
    assert y.index == predicted.index
    assert np.array_equal(y.data[..., 0], predicted.data)
    assert np.array_equal(y.data[..., 1], on_grid.data, equal_nan=True)
    assert np.array_equal(y.extra["bad"], np.logical_or(on_grid.extra["bad"], mask))


def test_other_electrodes_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="2 observed electrodes found, 3 expected"):
        align(predicted_rows(rng, 5), observed_rows(rng, 20, electrodes=2))


@FEW
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40))
def test_live_in_any_interleaving_is_offline(seed: int, predicted_cuts: int, observed_cuts: int) -> None:
    rng = np.random.default_rng(seed)
    observed, predicted = observed_rows(rng, 150), predicted_rows(rng, 160)
    aligner = Aligner(50.0, max_wait_s=5.0)
    lanes = {
        aligner.add_predicted: pieces(rng, predicted, predicted_cuts),
        aligner.add_observed: pieces(rng, observed, observed_cuts),
    }
    order = rng.permutation([0] * (predicted_cuts + 1) + [1] * (observed_cuts + 1))
    found = []
    for lane in order:
        add, waiting = list(lanes.items())[lane]
        add(waiting.pop(0))
        if rng.random() < 0.7:
            found += taken(aligner)
    aligner.flush()
    found += taken(aligner)
    whole, expected = concat(found), align(predicted, observed)
    assert whole.index == expected.index
    assert np.array_equal(whole.times, expected.times)
    assert np.array_equal(whole.data, expected.data, equal_nan=True)
    assert np.array_equal(whole.extra["bad"], expected.extra["bad"])


def test_a_prediction_goes_out_when_the_observed_row_is_there_and_not_before() -> None:
    aligner = Aligner(50.0, max_wait_s=2.0)
    data = np.ones((3, 1), np.float32)
    aligner.add_predicted(Block(data, np.array([1.0, 1.02, 1.04]), 7))
    aligner.add_observed(Block(data, np.array([0.97, 0.99, 1.01])))
    first = aligner.take()
    assert first is not None
    assert first.index == 7
    assert len(first) == 1
    assert aligner.take() is None
    aligner.add_observed(Block(data, np.array([1.03, 1.05, 1.07]), 3))
    second = aligner.take()
    assert second is not None
    assert second.index == 8
    assert np.array_equal(second.times, [1.02, 1.04])
    assert not second.extra["bad"].any()


def test_a_dead_ecog_lane_gives_bad_rows_and_nothing_grows() -> None:
    aligner = Aligner(50.0, max_wait_s=1.0)
    found = []
    for start in range(0, 1000, 5):
        aligner.add_predicted(Block(np.ones((5, 2), np.float32), (start + np.arange(5)) / 50, start))
        found += taken(aligner)
        assert sum(len(block) for block in aligner._pending) <= 50
    whole = concat(found)
    assert whole.index == 0
    assert whole.end == 950
    assert whole.extra["bad"].all()
    assert np.isnan(whole.data[..., 1]).all()
    aligner.add_observed(Block(np.ones((60, 2), np.float32), (945 + np.arange(60)) / 50))
    late = concat(taken(aligner))
    assert late.index == 950
    assert late.end == 1000
    assert not late.extra["bad"].any(), "the lane came back and its rows still count for nothing"


def test_observed_rows_and_untaken_rows_stay_bounded() -> None:
    aligner = Aligner(50.0, max_wait_s=1.0)
    for start in range(0, 5000, 25):
        block = Block(np.ones((25, 1), np.float32), (start + np.arange(25)) / 50, start)
        aligner.add_observed(block)
        aligner.add_predicted(block)
        assert aligner._observed is not None
        assert len(aligner._observed) <= 50
    left = concat(taken(aligner))
    assert left.end == 5000
    assert 500 <= len(left) <= 525
    assert aligner.untaken == 5000 - len(left)


def test_a_gap_in_the_predictions_gives_two_blocks() -> None:
    aligner = Aligner()
    aligner.add_observed(Block(np.zeros((200, 1), np.float32), np.arange(200) / 50))
    aligner.add_predicted(Block(np.zeros((10, 1), np.float32), np.arange(10) / 50, 0))
    aligner.add_predicted(Block(np.zeros((10, 1), np.float32), np.arange(20, 30) / 50, 20))
    assert [(block.index, block.end) for block in taken(aligner)] == [(0, 10), (20, 30)]


def test_a_clock_that_jumps_back_forgets_what_was_observed_before() -> None:
    aligner = Aligner()
    aligner.add_observed(Block(np.zeros((80, 1), np.float32), 0.3 + np.arange(80) / 50))
    aligner.add_observed(Block(np.ones((50, 1), np.float32), np.arange(50) / 50, 80))
    aligner.add_predicted(Block(np.zeros((40, 1), np.float32), 0.01 + np.arange(40) / 50))
    block = concat(taken(aligner))
    assert len(block) == 40
    assert np.array_equal(block.data[..., 1], np.ones((40, 1)))


def test_what_goes_out_shares_no_memory_with_what_came_in() -> None:
    rows = Block(np.ones((10, 1), np.float32), np.arange(10) / 50)
    observed = Block(np.ones((10, 1), np.float32), np.arange(10) / 50)
    aligner = Aligner()
    aligner.add_predicted(rows)
    rows.data[:] = 9
    rows.times[:] += 100
    aligner.add_observed(observed)
    observed.data[:] = 9
    block = concat(taken(aligner))
    assert np.array_equal(block.data, np.ones((10, 1, 2)))
    assert np.array_equal(block.times, np.arange(10) / 50)
