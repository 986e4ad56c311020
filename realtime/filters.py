"""Causal filters as second-order sections with carried state, and `Notch`, which takes out the mains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, iirnotch, sosfilt, sosfilt_zi

from realtime.block import Block, bad_samples

Values = npt.NDArray[np.float64]


@dataclass
class FilterState:
    """zi: (sections, 2, channels) of the filter, None before the first sample."""

    next_index: int = -1
    zi: Values | None = None


class Notch:
    """Take out the mains and its harmonics below up_to_hz and below the Nyquist rate.

    Second-order notches (scipy.signal.iirnotch) of quality q, in float64. They start as if the first sample
    had been there forever: the start then rings no more than the signal itself does.

    Input (time, channels), output float64 of the same shape and unit. lag_s is 0: the delay, which is small,
    belongs to the band power's. After a gap it restarts from the first new sample.
    """

    lag_s = 0.0

    def __init__(self, rate_hz: float, mains_hz: float, up_to_hz: float, q: float = 30.0) -> None:
        limit = min(up_to_hz, rate_hz / 2)
        count = max(0, math.ceil(limit / mains_hz) - 1)
        self.frequencies_hz = tuple(mains_hz * (k + 1) for k in range(count))
        sections = [np.concatenate(iirnotch(f, q, fs=rate_hz)) for f in self.frequencies_hz]
        self.sos: Values = np.array(sections, np.float64).reshape(-1, 6)

    def initial_state(self) -> FilterState:
        return FilterState()

    def step(self, x: Block, state: FilterState) -> tuple[Block, FilterState]:
        data, state.zi = filtered(self.sos, x, None if after_gap(x, state.next_index) else state.zi)
        state.next_index = x.end if len(x) else state.next_index
        return Block(data, x.times.copy(), x.index, {"bad": bad_samples(x)}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]


def band_pass(rate_hz: float, low_hz: float, high_hz: float) -> Values:
    """(sections, 6) of the band-pass."""
    return np.asarray(butter(4, [low_hz, high_hz], "bandpass", fs=rate_hz, output="sos"), np.float64)


def filtered(sos: Values, x: Block, zi: Values | None) -> tuple[Values, Values | None]:
    """x filtered in float64, and the state after it. zi None: as if the first sample had been there forever."""
    data = x.data.astype(np.float64)
    if len(x) == 0 or len(sos) == 0:
        return data, zi
    if zi is None:
        zi = sosfilt_zi(sos)[:, :, None] * data[0]
    filtered, zi = sosfilt(sos, data, axis=0, zi=zi)
    return np.ascontiguousarray(filtered), zi


def after_gap(x: Block, next_index: int) -> bool:
    """Whether x does not follow the rows before it; next_index is -1 where there were none."""
    return len(x) > 0 and next_index >= 0 and x.index != next_index
