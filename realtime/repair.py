"""`Repair`: the first stage of both lanes. Unusable samples and short gaps become marked, harmless rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import Block, Floats, Mask, Times


@dataclass
class RepairState:
    """nan_samples: (channels,) NaN or infinite samples so far. filled_rows: rows put into gaps so far."""

    next_index: int = -1
    last_time_s: float = 0.0
    held: Floats | None = None
    nan_samples: npt.NDArray[np.int64] | None = None
    filled_rows: int = 0


class Repair:
    """Replace NaN and infinite samples and fill short gaps, and say where in extra["bad"].

    rate_hz: rows a second. fill_s: the longest gap that is filled.
    hold: a replaced sample is the channel's last good value (0 before there was any), as suits ECoG,
        whose filters a jump to zero would ring; or it is 0, as suits sound.

    Input (time, channels), output the same with extra["bad"] (time, channels) bool. lag_s is 0.

    After a gap of up to fill_s the missing rows go before the block, all their channels marked, times
    linear between the rows on either side. After a longer one, or where the index goes backwards, the
    gap is passed on and the held values are forgotten; the counts go on.
    """

    lag_s = 0.0

    def __init__(self, rate_hz: float, fill_s: float, hold: bool) -> None:
        self.hold = hold
        self.fill_rows = round(fill_s * rate_hz)

    def initial_state(self) -> RepairState:
        return RepairState()

    def step(self, x: Block, state: RepairState) -> tuple[Block, RepairState]:
        if len(x) == 0:
            index = x.index if state.next_index < 0 else state.next_index
            return Block(x.data.copy(), x.times.copy(), index, {"bad": np.zeros(x.data.shape, bool)}), state
        missing = x.index - state.next_index if state.next_index >= 0 else 0
        if state.held is None or not 0 <= missing <= self.fill_rows:
            missing = 0
            self._restart(x, state)
        filled = self._fill(x, missing, state)
        data, bad = self._replace(x.data, state)
        state.next_index, state.last_time_s = x.end, float(x.times[-1])
        state.filled_rows += missing
        if missing:
            data = np.concatenate([filled.data, data])
            bad = np.concatenate([filled.extra["bad"], bad])
        times = np.concatenate([filled.times, x.times])
        return Block(data, times, x.index - missing, {"bad": bad}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _restart(self, x: Block, state: RepairState) -> None:
        channels = x.data.shape[1:]
        state.held = np.zeros(channels, x.data.dtype)
        if state.nan_samples is None:
            state.nan_samples = np.zeros(channels, np.int64)

    def _fill(self, x: Block, missing: int, state: RepairState) -> Block:
        """The missing rows before x."""
        assert state.held is not None
        value = state.held if self.hold else np.zeros_like(state.held)
        data = np.repeat(value[None], missing, axis=0)
        share = np.arange(1, missing + 1) / (missing + 1)
        times: Times = state.last_time_s + share * (float(x.times[0]) - state.last_time_s)
        return Block(data, times, x.index - missing, {"bad": np.ones(data.shape, bool)})

    def _replace(self, raw: Floats, state: RepairState) -> tuple[Floats, Mask]:
        """Data without NaN, and what is bad in it."""
        assert state.held is not None
        assert state.nan_samples is not None
        unusable = ~np.isfinite(raw)
        data = raw.copy()
        for channel in np.flatnonzero(unusable.any(axis=0)):
            lost = unusable[:, channel]
            data[lost, channel] = _held(data[:, channel], lost, state.held[channel])[lost] if self.hold else 0
            state.nan_samples[channel] += int(np.count_nonzero(lost))
        if self.hold:
            state.held = data[-1].copy()
        return data, unusable


def _held(values: Floats, lost: Mask, before: np.floating) -> Floats:
    """(time,) values whose lost entries are the last one that is not lost, or `before`."""
    last = np.maximum.accumulate(np.where(lost, -1, np.arange(len(values))))
    held: Floats = np.where(last < 0, before, values[np.maximum(last, 0)])
    return held
