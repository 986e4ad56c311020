"""`Stage`, one causal operation on blocks, and `Chain`, several in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from realtime.block import Block

S = TypeVar("S")


class Stage(Protocol[S]):
    """One causal operation: state in, state out.

    lag_s: a row stamped t may depend on input up to t + lag_s, never beyond.
    initial_state: fresh at each call; two states of one stage may interleave.
    step: any number of rows, none and one included. It may reuse the state it is given, so the caller
        keeps only the returned one; what it returns aliases neither state nor input. Work falls on
        a grid anchored to the stream's own row count, never to the edges of the blocks that arrive.
    layer: a whole recording, as one big step from a fresh state.

    A block whose index is not the previous block's end follows a gap. Unless a stage says otherwise it
    then restarts: it drops what was pending and begins anew on a grid anchored at the new first row.
    """

    @property
    def lag_s(self) -> float: ...
    def initial_state(self) -> S: ...
    def step(self, x: Block, state: S) -> tuple[Block, S]: ...
    def layer(self, x: Block) -> Block: ...


class Chain:
    """Stages in a row, itself a stage. Its state is the tuple of theirs; its lag_s their sum."""

    def __init__(self, stages: Sequence[tuple[str, Stage[Any]]]) -> None:
        self.names = tuple(name for name, _ in stages)
        self.stages = tuple(stage for _, stage in stages)

    @property
    def lag_s(self) -> float:
        return sum(stage.lag_s for stage in self.stages)

    def initial_state(self) -> tuple[Any, ...]:
        return tuple(stage.initial_state() for stage in self.stages)

    def step(
        self, x: Block, state: tuple[Any, ...], done: Callable[[str, Block], None] | None = None
    ) -> tuple[Block, tuple[Any, ...]]:
        """One step of every stage. `done(name, block)` is told of each stage's result as it is there."""
        after = []
        for name, stage, before in zip(self.names, self.stages, state, strict=True):
            x, new = stage.step(x, before)
            after.append(new)
            if done is not None:
                done(name, x)
        return x, tuple(after)

    def layer(self, x: Block) -> Block:
        for stage in self.stages:
            x = stage.layer(x)
        return x
