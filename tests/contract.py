"""`verify_contract`: what every stage must keep, whatever it computes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from realtime.block import Block, concat
from realtime.stage import Stage
from realtime.state import flatten, load_state, save_state

LARGE = 1e3  # overwrites the future; finite, because 0 x NaN is NaN even where nothing is read


def verify_contract(
    stage: Stage[Any],
    x: Block,
    cuts: Sequence[int],
    *,
    tolerance: float = 1e-5,
    tolerance_in_sd: bool = False,
    bounded: bool = True,
) -> Block:
    """Check a stage on `x`, cut at the rows `cuts`, and return what `layer` gives.

    tolerance: largest difference between chunkings, absolute or (tolerance_in_sd) in SDs of each channel.
    bounded: the state after all of x may not be larger than after its first half.
    """
    whole = stage.layer(x)
    assert len(whole), "the stage gave no row at all: the example is too short to test anything"
    assert np.all(np.diff(whole.times) > 0), "times do not increase"
    limit = tolerance * _scale(whole.data) if tolerance_in_sd else tolerance
    pieces = _pieces(x, cuts)

    _same(_stepped(stage, pieces, restore=False), whole, limit, "stepping")
    _same(_stepped(stage, pieces, restore=True), whole, limit, "stepping with a saved and loaded state")
    _check_empty(stage, x)
    _check_interleaved(stage, pieces, whole, limit)
    _check_input_untouched(stage, x)
    _check_causal(stage, x, whole, limit)
    if bounded:
        _check_bounded(stage, x)
    return whole


def random_cuts(rows: int, seed: int, count: int) -> list[int]:
    """Cut points for callers without Hypothesis; empty pieces and single rows included."""
    rng = np.random.default_rng(seed)
    cuts = rng.integers(0, rows + 1, count)
    return sorted([*cuts.tolist(), *cuts[:2].tolist(), *(int(c) + 1 for c in cuts[:2] if c < rows)])


def _pieces(x: Block, cuts: Sequence[int]) -> list[Block]:
    edges = [0, *sorted(min(max(c, 0), len(x)) for c in cuts), len(x)]
    return [x.rows(a, b) for a, b in itertools.pairwise(edges)]


def _stepped(stage: Stage[Any], pieces: Sequence[Block], restore: bool) -> Block:
    state, results = stage.initial_state(), []
    for piece in pieces:
        if restore:
            state = load_state(save_state(state), stage.initial_state())
        result, state = stage.step(piece, state)
        kept = Block(
            result.data.copy(), result.times.copy(), result.index, {k: v.copy() for k, v in result.extra.items()}
        )
        results.append(kept)
        _overwrite(result)  # what was handed out belongs to the caller
    return concat(results)


def _overwrite(block: Block) -> None:
    for array in (block.data, block.times, *block.extra.values()):
        if array.flags.writeable:
            array[...] = 0


def _scale(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scale: np.ndarray[Any, Any] = np.maximum(np.asarray(data, np.float64).std(axis=0), 1e-12)
    return scale


def _same(found: Block, expected: Block, limit: Any, how: str) -> None:
    assert found.index == expected.index, f"{how}: first index {found.index}, in one step {expected.index}"
    assert np.array_equal(found.times, expected.times), f"{how}: other times than in one step"
    assert found.extra.keys() == expected.extra.keys(), f"{how}: other extra arrays"
    assert found.data.shape == expected.data.shape
    assert found.data.dtype == expected.data.dtype
    assert np.array_equal(np.isnan(found.data), np.isnan(expected.data)), f"{how}: NaN elsewhere"
    difference = np.nan_to_num(np.abs(found.data.astype(np.float64) - expected.data))
    assert np.all(difference <= limit), f"{how}: differs by {difference.max():.3g}"
    for name, array in expected.extra.items():
        if array.dtype == bool or array.dtype.kind in "iu":
            assert np.array_equal(found.extra[name], array), f"{how}: extra {name!r} differs"
        else:
            close = np.isclose(
                np.asarray(found.extra[name], float), np.asarray(array, float), 1e-4, 1e-5, equal_nan=True
            )
            assert np.all(close), f"{how}: extra {name!r} differs"


def _check_empty(stage: Stage[Any], x: Block) -> None:
    result, state = stage.step(x.rows(0, 0), stage.initial_state())
    assert len(result) == 0, "rows out of nothing"
    again, _ = stage.step(x, state)
    _same(again, stage.layer(x), np.inf, "after an empty step")


def _check_interleaved(stage: Stage[Any], pieces: Sequence[Block], whole: Block, limit: Any) -> None:
    one, two = stage.initial_state(), stage.initial_state()
    first, second = [], []
    for piece in pieces:
        other = Block(
            piece.data[::-1].copy(), piece.times, piece.index, {k: v[::-1].copy() for k, v in piece.extra.items()}
        )
        a, one = stage.step(piece, one)
        b, two = stage.step(other, two)
        first.append(Block(a.data.copy(), a.times.copy(), a.index, {k: v.copy() for k, v in a.extra.items()}))
        second.append(b)
    _same(concat(first), whole, limit, "interleaved with another state")


def _check_input_untouched(stage: Stage[Any], x: Block) -> None:
    data, times = x.data.copy(), x.times.copy()
    stage.step(x, stage.initial_state())
    assert np.array_equal(x.data, data, equal_nan=True), "the input was changed"
    assert np.array_equal(x.times, times), "the input's times were changed"


def _check_causal(stage: Stage[Any], x: Block, whole: Block, limit: Any) -> None:
    for share in (0.4, 0.8):
        now = x.times[int(share * len(x))]
        data = x.data.copy()
        data[x.times > now] = LARGE
        changed = stage.layer(Block(data, x.times, x.index, x.extra))
        settled = whole.times + stage.lag_s <= now + 1e-9
        assert np.any(settled) or share < 0.5, "nothing to compare: lag_s is longer than the example"
        upto = int(np.count_nonzero(settled))
        assert np.array_equal(changed.times[:upto], whole.times[:upto])
        difference = np.nan_to_num(np.abs(changed.data[:upto].astype(np.float64) - whole.data[:upto]))
        assert np.all(difference <= limit), f"rows up to {now:.3f} s depend on later input, by {difference.max():.3g}"


def _check_bounded(stage: Stage[Any], x: Block) -> None:
    half = len(x) // 2
    _, state = stage.step(x.rows(0, half), stage.initial_state())
    before = state_size(state)
    _, state = stage.step(x.rows(half, len(x)), state)
    after = state_size(state)
    assert after <= before * 1.25 + 4096, f"the state grows: {before} bytes after half, {after} after all"


def state_size(state: Any) -> int:
    """Bytes that a state's leaves take."""
    return len(save_state(state)) if flatten(state) else 0
