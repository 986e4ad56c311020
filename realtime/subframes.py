"""More than one predicted row for each embedding frame: what a model predicts side by side, in the order of time."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from realtime.block import Block
from realtime.errors import UserError

FRAME_RATE_HZ = 50.0
ROW_RATES_HZ = (50.0, 100.0, 200.0)

T = TypeVar("T", bound=np.generic)
Indices = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]


def per_frame(row_rate_hz: float) -> int:
    """Rows for each frame. Raises UserError for a rate that is none of ROW_RATES_HZ."""
    if row_rate_hz not in ROW_RATES_HZ:
        raise UserError(
            f"{row_rate_hz:g} rows a second found, {', '.join(f'{rate:g}' for rate in ROW_RATES_HZ)} expected: "
            "fit a model with one of these as --row-rate"
        )
    return round(row_rate_hz / FRAME_RATE_HZ)


def offsets_s(row_rate_hz: float) -> tuple[float, ...]:
    """When, after its frame's own time, each of a frame's rows is."""
    return tuple(j / row_rate_hz for j in range(per_frame(row_rate_hz)))


def unfolded(side_by_side: npt.NDArray[T], count: int) -> npt.NDArray[T]:
    """(frames, count electrodes), the electrodes of each offset in turn -> (count frames, electrodes); a copy."""
    frames, columns = side_by_side.shape
    return side_by_side.reshape(frames * count, columns // count).copy()


def rows_of_frames(frames: Indices, count: int) -> Indices:
    """Indices of frames (n,) -> those of all of their rows, (count n,)."""
    return (count * frames[:, None] + np.arange(count)).ravel()


def mean_over_offsets(values: Doubles, count: int) -> Doubles:
    """One value for each electrode, (electrodes,), from one for each of its offsets, (count electrodes,)."""
    mean: Doubles = values.reshape(count, -1).mean(axis=0)
    return mean


def spread(rows: npt.NDArray[T], count: int) -> npt.NDArray[T]:
    """Each of (frames, ...) so many times: what holds for a frame, for all of its rows."""
    return np.repeat(rows, count, axis=0)


class Unfold:
    """Predictions (frames, count electrodes), 50 a second -> (count frames, electrodes). A stage.

    Columns: the electrodes at the frame's own time, then those 1 / row_rate_hz later, and so on. What of extra is as
    wide is unfolded as well; what it has for a frame as a whole, its attention or bad sound, holds for each of its
    rows. Without state: after a gap the rows' index goes on as the frames' does.
    """

    lag_s = 0.0  # a row is of its frame or later

    def __init__(self, row_rate_hz: float) -> None:
        self.offsets_s = np.array(offsets_s(row_rate_hz))

    def initial_state(self) -> None:
        return None

    def step(self, x: Block, state: None) -> tuple[Block, None]:
        count = len(self.offsets_s)
        times = (x.times[:, None] + self.offsets_s).ravel()
        alike = x.data.shape[1:]
        extra = {
            name: unfolded(array, count) if array.shape[1:] == alike else spread(array, count)
            for name, array in x.extra.items()
        }
        return Block(unfolded(np.asarray(x.data), count), times, count * x.index, extra), state

    def layer(self, x: Block) -> Block:
        return self.step(x, None)[0]
