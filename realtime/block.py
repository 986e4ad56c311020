"""`Block` and `Spec`: what travels between the parts of the engine."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.floating]
Times = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ROW_RATE_HZ = 50.0  # of predicted and observed rows, where a model says no other


@dataclass(frozen=True, slots=True)
class Spec:
    """What is fixed about a stream: exchanged once, at connection."""

    name: str
    rate_hz: float
    channels: tuple[str, ...]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a stream, never with a gap inside.

    data: (time, *features). times: (time,) float64 seconds on the LSL clock. index: of the first row,
    counted from the stream's start, lost rows included; so a block whose index is not the previous
    block's end follows a gap. extra: named arrays with one row per row of data (masks, attention).
    """

    data: Floats
    times: Times
    index: int = 0
    extra: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = {len(self.data), len(self.times), *(len(a) for a in self.extra.values())}
        if len(rows) != 1:
            raise ValueError(f"a block's arrays have different numbers of rows: {sorted(rows)}")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def end(self) -> int:
        """Index of the row that would follow without a gap."""
        return self.index + len(self.times)

    def carried(self, name: str) -> dict[str, Array]:
        """A copy of the named extra array, as `extra` for a result with the same rows; empty where there is none."""
        return {name: self.extra[name].copy()} if name in self.extra else {}

    def rows(self, start: int, stop: int) -> Block:
        """Rows start to stop, counted from this block's first row; views, not copies."""
        start, stop, _ = slice(start, stop).indices(len(self))
        extra = {name: array[start:stop] for name, array in self.extra.items()}
        return Block(self.data[start:stop], self.times[start:stop], self.index + start, extra)


def bad_samples(x: Block, columns: int | None = None) -> Mask:
    """A copy of extra["bad"] as (rows, columns), by default as wide as the data; all False where x has none."""
    wide = (len(x), x.data.shape[1] if columns is None else columns)
    return np.array(np.broadcast_to(np.asarray(x.extra.get("bad", False), bool), wide))


def concat(blocks: Sequence[Block]) -> Block:
    """Join consecutive blocks into one. Raises ValueError where one does not follow the other."""
    if not blocks:
        raise ValueError("nothing to join: give at least one block")
    first = blocks[0]
    filled = [b for b in blocks if len(b)]
    for before, after in itertools.pairwise(filled):
        if after.index != before.end:
            raise ValueError(f"a block of index {after.index} does not follow one that ends at {before.end}")
    if not filled:
        return first
    if len(filled) == 1:
        return filled[0]
    extra = {name: np.concatenate([b.extra[name] for b in filled]) for name in filled[0].extra}
    return Block(
        np.concatenate([b.data for b in filled]),
        np.concatenate([b.times for b in filled]),
        filled[0].index,
        extra,
    )


def regular(data: Floats, rate_hz: float, start_s: float = 0.0, index: int = 0) -> Block:
    """A block whose rows are 1 / rate_hz apart, the first at start_s."""
    return Block(data, start_s + np.arange(len(data), dtype=np.float64) / rate_hz, index)
