"""`BandPower`: the log power of a band, as rows on a regular grid that say when they happened."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import ROW_RATE_HZ, Block, Mask, bad_samples
from realtime.envelope import envelope_delay_s as measured_delay_s
from realtime.envelope import ring_s
from realtime.errors import UserError
from realtime.filters import Values, band_pass, filtered

Counts = npt.NDArray[np.int64]

EPSILON_UV2 = 0.01  # added to the mean square before its logarithm, as Angrick et al. 2024 do


@dataclass
class BandPowerState:
    """seen, rows: the stream's own index of the sample and of the row to come next.

    squares: (channels,) sum over the samples of the row under way. recent: (window_rows - 1, channels) those of the
    rows before it, oldest first. first: the row that the stream began or restarted with. last_bad: (channels,) the
    newest bad sample.
    """

    zi: Values | None = None
    seen: int = 0
    rows: int = 0
    squares: Values | None = None
    recent: Values | None = None
    first: int = 0
    last_bad: Counts | None = None


class BandPower:
    """Log power in a band, row_rate_hz rows a second.

    A Butterworth band-pass (`butter(4)` as second-order sections, float64, started as if the first sample had
    been there forever), then log(mean square + EPSILON_UV2) over the samples of each row and of the window_rows - 1
    before it, as far as there are any. Row k begins with sample ceil(k rate / row_rate): any ratio will do.

    envelope_delay_s: how late the whole linear chain up to here shows a change; measured on this band-pass
        alone where None. A row's time is its newest sample's minus this delay, which is the stage's lag_s.
    guard_s: a bad sample marks every row whose window begins up to this long after it; where None, how long this
        band-pass rings (99.9 % of the energy of its impulse response). The start counts as bad as well, for
        the band-pass has yet to settle.

    Input (time, channels) in microvolts, output (rows, channels) float32 with extra["bad"]. After a gap it
    restarts: the row under way is dropped and the next is row ceil(input index row_rate / rate).
    """

    def __init__(
        self,
        rate_hz: float,
        low_hz: float,
        high_hz: float,
        row_rate_hz: float = ROW_RATE_HZ,
        envelope_delay_s: float | None = None,
        guard_s: float | None = None,
        window_rows: int = 1,
    ) -> None:
        check_band(rate_hz, low_hz, high_hz, row_rate_hz)
        self.rate_hz, self.row_rate_hz = rate_hz, row_rate_hz
        self.window_rows = window_rows
        self.sos = band_pass(rate_hz, low_hz, high_hz)
        if envelope_delay_s is None:
            envelope_delay_s = measured_delay_s([self.sos], rate_hz, low_hz, high_hz, window_rows / row_rate_hz)
        self.lag_s = envelope_delay_s
        self.guard_samples = math.ceil((ring_s([self.sos], rate_hz) if guard_s is None else guard_s) * rate_hz)

    def initial_state(self) -> BandPowerState:
        return BandPowerState()

    def step(self, x: Block, state: BandPowerState) -> tuple[Block, BandPowerState]:
        channels = x.data.shape[1]
        if len(x) and (state.squares is None or x.index != state.seen):
            state = self._restarted(x.index, channels)
        if state.squares is None or state.recent is None or len(x) == 0:
            return _no_rows(channels, state.rows), state

        y, state.zi = filtered(self.sos, x, state.zi)
        edges = self._edges(state.rows, x.end)  # where each row begins, the unfinished one included
        if not len(edges):  # after a restart, before the first whole row
            state.seen = x.end
            return _no_rows(channels, state.rows), state
        starts = np.maximum(edges - state.seen, 0)
        if starts[-1] == len(x):  # the last row has no sample yet
            power = np.concatenate([np.add.reduceat(y**2, starts[:-1], axis=0), np.zeros((1, channels))])
        else:
            power = np.add.reduceat(y**2, starts, axis=0)
        power[0] += state.squares

        count = len(edges) - 1
        index = state.rows
        finished = np.concatenate([state.recent, power[:-1]])
        window = np.sum([finished[i : i + count] for i in range(self.window_rows)], axis=0)
        begins = self._begins(np.maximum(np.arange(index, index + count) - (self.window_rows - 1), state.first))
        bad = self._guarded(bad_samples(x), edges, starts, begins, state)
        width = (edges[1:] - begins)[:, None]
        data = np.log(window / width + EPSILON_UV2).astype(np.float32)
        times = x.times[edges[1:] - 1 - state.seen] - self.lag_s
        state.squares, state.recent, state.rows = power[-1].copy(), finished[count:].copy(), state.rows + count
        state.seen = x.end
        return Block(data, times, index, {"bad": bad}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _restarted(self, index: int, channels: int) -> BandPowerState:
        """All before the first row, which is the first whole one from sample `index` on, counts as bad."""
        row = math.ceil(index * self.row_rate_hz / self.rate_hz)
        begin = math.ceil(row * self.rate_hz / self.row_rate_hz)
        nothing, recent = np.zeros(channels), np.zeros((self.window_rows - 1, channels))
        return BandPowerState(None, index, row, nothing, recent, row, np.full(channels, begin - 1, np.int64))

    def _edges(self, row: int, seen: int) -> Counts:
        """First samples of `row` and of those after it, as far as `seen` samples complete the row before."""
        last = math.floor(seen * self.row_rate_hz / self.rate_hz) + 2
        edges = self._begins(np.arange(row, last + 1))
        return edges[edges <= seen]

    def _begins(self, rows: Counts) -> Counts:
        """The first sample of each row."""
        samples: Counts = np.ceil(rows * self.rate_hz / self.row_rate_hz).astype(np.int64)
        return samples

    def _guarded(self, bad: Mask, edges: Counts, starts: Counts, begins: Counts, state: BandPowerState) -> Mask:
        """(rows, channels) whether a bad sample lies in a finished row's window, which begins with `begins`, or in
        the guard before it."""
        assert state.last_bad is not None
        newest = np.empty((len(edges), bad.shape[1]), np.int64)  # bad sample up to the end of each row
        for i, start in enumerate(starts):
            part = bad[start : starts[i + 1] if i + 1 < len(starts) else len(bad)]
            if part.any():
                back = np.argmax(part[::-1], axis=0)
                found = state.seen + int(start) + len(part) - 1 - back
                state.last_bad = np.where(part.any(axis=0), found, state.last_bad)
            newest[i] = state.last_bad
        guarded: Mask = newest[:-1] >= begins[:, None] - self.guard_samples
        return guarded


def _no_rows(channels: int, index: int) -> Block:
    return Block(np.zeros((0, channels), np.float32), np.zeros(0), index, {"bad": np.zeros((0, channels), bool)})


def check_band(rate_hz: float, low_hz: float, high_hz: float, row_rate_hz: float) -> None:
    """UserError where a stream of rate_hz cannot hold the band, or not so many rows."""
    if not 0 < low_hz < high_hz < rate_hz / 2:
        raise UserError(
            f"band of {low_hz:g} to {high_hz:g} Hz: found an ECoG stream of {rate_hz:g} Hz, expected a band that rises "
            f"and lies between 0 and {rate_hz / 2:g} Hz; choose another band or record at a higher rate"
        )
    if not 0 < row_rate_hz <= rate_hz:
        raise UserError(
            f"row rate of {row_rate_hz:g} Hz: found an ECoG stream of {rate_hz:g} Hz, expected more than 0 and at most "
            f"{rate_hz:g} rows a second; choose another row rate"
        )
