"""The contract's checker against stages that break it, one way each: a checker that lets one pass checks nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, regular
from tests.contract import random_cuts, verify_contract

Array = np.ndarray[Any, Any]
ROWS = 40


@dataclass
class State:
    """sums: (channels,) of the rows so far. grown: whatever a broken stage piles up."""

    sums: Array = field(default_factory=lambda: np.zeros(2))
    grown: Array = field(default_factory=lambda: np.zeros(0))


class RunningSum:
    """A stage that keeps the contract; its broken children change one thing."""

    lag_s = 0.0

    def initial_state(self) -> State:
        return State()

    def step(self, x: Block, state: State) -> tuple[Block, State]:
        sums = state.sums + np.cumsum(x.data, axis=0)
        return self.given(sums, x), State(sums[-1].copy() if len(x) else state.sums)

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def given(self, data: Array, x: Block) -> Block:
        return Block(data, x.times.copy(), x.index, {"odd": (x.index + np.arange(len(x))) % 2 == 1})


class LooksAhead(RunningSum):
    def layer(self, x: Block) -> Block:
        return self.given(np.cumsum(x.data, axis=0) + x.data.sum(axis=0), x)

    def step(self, x: Block, state: State) -> tuple[Block, State]:
        return self.layer(x), state


class SumsEachBlockAlone(RunningSum):
    def step(self, x: Block, state: State) -> tuple[Block, State]:
        return self.given(np.cumsum(x.data, axis=0), x), state


class TimesFromTheBlock(RunningSum):
    def given(self, data: Array, x: Block) -> Block:
        times = x.times[:1] + np.arange(len(x)) * 0.0101 if len(x) else x.times
        return Block(data, times, x.index)


class IndexFromTheBlock(RunningSum):
    def given(self, data: Array, x: Block) -> Block:
        return Block(data, x.times.copy(), 0)


class ExtraFromTheBlock(RunningSum):
    def given(self, data: Array, x: Block) -> Block:
        return Block(data, x.times.copy(), x.index, {"odd": np.arange(len(x)) % 2 == 1})


class HandsOutItsState(RunningSum):
    """The last row of the result is the state itself."""

    def step(self, x: Block, state: State) -> tuple[Block, State]:
        sums = state.sums + np.cumsum(x.data, axis=0)
        return self.given(sums, x), State(sums[-1] if len(x) else state.sums)


class HandsOutItsInput(RunningSum):
    def step(self, x: Block, state: State) -> tuple[Block, State]:
        return self.given(x.data, x), state


class KeepsEverything(RunningSum):
    def step(self, x: Block, state: State) -> tuple[Block, State]:
        y, after = super().step(x, state)
        return y, State(after.sums, np.concatenate([state.grown, np.zeros(200 * len(x))]))


class OneStateForAll(RunningSum):
    def __init__(self) -> None:
        self.only = State()

    def initial_state(self) -> State:
        self.only.sums[:] = 0.0
        return self.only

    def step(self, x: Block, state: State) -> tuple[Block, State]:
        y, after = super().step(x, state)
        state.sums[:] = after.sums
        return y, state


class RemembersOutsideItsState(RunningSum):
    def initial_state(self) -> State:
        self.sums = np.zeros(2)
        return State()

    def step(self, x: Block, state: State) -> tuple[Block, State]:
        y, after = super().step(x, State(self.sums))
        self.sums = after.sums
        return y, state


class ChangesItsInput(RunningSum):
    def step(self, x: Block, state: State) -> tuple[Block, State]:
        y, after = super().step(x, state)
        x.data[:] *= 2.0
        return y, after


class RowsOutOfNothing(RunningSum):
    def step(self, x: Block, state: State) -> tuple[Block, State]:
        if len(x):
            return super().step(x, state)
        return Block(np.zeros((1, 2)), np.zeros(1), x.index, {"odd": np.zeros(1, bool)}), state


class EmptyIsABeginning(RunningSum):
    """An empty block upsets its state."""

    def step(self, x: Block, state: State) -> tuple[Block, State]:
        y, after = super().step(x, state)
        return y, after if len(x) else State(np.ones(2))


class StaysSilent(RunningSum):
    def step(self, x: Block, state: State) -> tuple[Block, State]:
        return super().step(x.rows(0, 0), state)


class LosesPrecisionWhenSaved(RunningSum):
    """Half of its memory is a number that is no leaf of its state."""

    def step(self, x: Block, state: State) -> tuple[Block, State]:
        hidden = getattr(state, "hidden", 0.0)
        sums = state.sums + np.cumsum(x.data, axis=0)
        after = State(sums[-1].copy() if len(x) else state.sums)
        after.hidden = hidden + len(x)  # type: ignore[attr-defined]
        return self.given(sums + hidden + np.arange(1, len(x) + 1)[:, None], x), after


BROKEN = (
    (LooksAhead, r"stepping|depend on later input"),
    (SumsEachBlockAlone, r"stepping: differs by"),
    (TimesFromTheBlock, r"other times"),
    (IndexFromTheBlock, r"does not follow"),
    (ExtraFromTheBlock, r"extra 'odd' differs"),
    (HandsOutItsState, r"stepping: differs by"),
    (HandsOutItsInput, r"differs by"),
    (KeepsEverything, r"the state grows"),
    (OneStateForAll, r"differs by"),
    (RemembersOutsideItsState, r"differs by"),
    (ChangesItsInput, r"changed|differs by"),
    (RowsOutOfNothing, r"rows out of nothing|does not follow|index|other times"),
    (EmptyIsABeginning, r"differs by"),
    (StaysSilent, r"no row at all"),
    (LosesPrecisionWhenSaved, r"saved and loaded state: differs by"),
)


def example() -> Block:
    """Larger than its later overwriting is small: every row counts."""
    return regular(np.random.default_rng(0).normal(size=(ROWS, 2)) + 3.0, 100.0)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, ROWS), max_size=8))
def test_a_stage_that_keeps_it_passes(cuts: list[int]) -> None:
    x = example()
    np.testing.assert_allclose(verify_contract(RunningSum(), x, cuts).data, np.cumsum(x.data, axis=0))


@pytest.mark.parametrize(("broken", "why"), BROKEN, ids=lambda part: getattr(part, "__name__", None))
def test_a_stage_that_breaks_it_is_caught(broken: Callable[[], RunningSum], why: str) -> None:
    with pytest.raises((AssertionError, ValueError), match=why):
        verify_contract(broken(), example(), [0, 3, 3, 10, 11, 25])


def test_looking_ahead_is_caught_even_in_one_step() -> None:
    """Cut nowhere, every chunking is alike: the overwritten future alone shows it."""
    with pytest.raises(AssertionError, match="depend on later input"):
        verify_contract(LooksAhead(), example(), [])


def test_a_declared_look_ahead_is_allowed_and_no_longer_one() -> None:
    class Next(RunningSum):
        """Each row is the input two rows later."""

        def layer(self, x: Block) -> Block:
            return Block(x.data[2:].copy(), x.times[:-2].copy(), x.index)

        def step(self, x: Block, state: State) -> tuple[Block, State]:
            return (self.layer(x) if len(x) > 2 else x.rows(0, 0)), state

    stage = Next()
    stage.lag_s = 0.02
    verify_contract(stage, example(), [], bounded=False)
    stage.lag_s = 0.01
    with pytest.raises(AssertionError, match="depend on later input"):
        verify_contract(stage, example(), [], bounded=False)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 50), seed=st.integers(0, 99), count=st.integers(2, 9))
def test_random_cuts_lie_inside_and_hold_an_empty_piece(rows: int, seed: int, count: int) -> None:
    cuts = random_cuts(rows, seed, count)
    assert cuts == sorted(cuts)
    assert 0 <= min(cuts) <= max(cuts) <= rows
    assert len(set(cuts)) < len(cuts)
