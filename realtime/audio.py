"""Sound on its way to the model: one channel of it, at 16 kHz, and how loud it is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.signal import firwin, kaiser_beta, upfirdn

from realtime.block import Block, Floats, Mask, Times, bad_samples
from realtime.errors import UserError

MIN_RATE_HZ = 8000.0
MAX_UP = 2000  # keeps the filter at the common rate short enough to be designed in milliseconds
QUIETEST_DB = -120.0

STOP_BAND_DB = 80.0
PASS_SHARE = 0.9  # of the Nyquist rate that limits; the stop-band begins at the Nyquist rate itself
HALF_PERIODS = 51  # periods of the slower of both rates; Kaiser's estimate for the two figures above


@dataclass
class ResampleState:
    """The input rows that outputs to come still need. start: index of the first; next: of the next output."""

    start: int
    next: int
    data: Floats
    times: Times
    bad: Mask


class Resample:
    """Sound at rate_hz to sound at to_hz, (rows, channels) float32, by a linear-phase polyphase filter.

    Output m speaks of input position m * rate_hz / to_hz, counted from the stream's own row 0, and has that
    position's time, interpolated between the two input rows around it. The filter is a Kaiser-windowed sinc:
    flat to 1e-3 up to 0.9 of the lower Nyquist rate, 80 dB down from that Nyquist rate on, gain 1 at 0 Hz.
    lag_s is half its length (51 periods of the slower rate: 3.2 ms from 16 kHz up). Samples before the stream's
    start, or before the restart after a gap, count as zeros. extra["bad"] is true where an input row under the
    filter's main lobe is bad. At to_hz itself, rows pass unchanged and at once.

    Raises UserError below 8 kHz and for rates in no simple ratio to to_hz.
    """

    def __init__(self, rate_hz: float, to_hz: float = 16000.0) -> None:
        self.up, self.down = _ratio(rate_hz, to_hz)
        self.rate_hz = rate_hz
        self.to_hz = to_hz
        slower_hz = min(rate_hz, to_hz)
        self.half = 0 if self.up == self.down else int(np.ceil(HALF_PERIODS * rate_hz / slower_hz))
        self.main = int(np.ceil(rate_hz / slower_hz / (0.5 + 0.5 * PASS_SHARE)))
        self.lag_s = self.half / rate_hz
        self.taps = _design(rate_hz, slower_hz, self.up, self.half) if self.half else np.ones(1)

    def initial_state(self) -> ResampleState:
        return ResampleState(-1, -1, np.zeros((0, 1), np.float32), np.zeros(0), np.zeros((0, 1), np.bool_))

    def step(self, x: Block, state: ResampleState) -> tuple[Block, ResampleState]:
        if not self.half:
            data = np.array(x.data, np.float32)
            return Block(data, x.times.copy(), x.index, {"bad": bad_samples(x)}), state
        if not len(x) and state.start < 0:
            return self._restarted(x)[0], state
        if len(x):
            state = self._joined(x, state)
        last = ((state.start + len(state.times) - self.half) * self.up - 1) // self.down
        result = self._outputs(state, max(0, last + 1 - state.next))
        return result, self._trimmed(state, result.end)

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _restarted(self, x: Block) -> tuple[Block, ResampleState]:
        first = -(-x.index * self.up // self.down)
        bad = bad_samples(x)
        state = ResampleState(x.index, first, np.array(x.data, np.float32), x.times.copy(), bad.copy())
        return Block(state.data[:0], state.times[:0], first, {"bad": bad[:0]}), state

    def _joined(self, x: Block, state: ResampleState) -> ResampleState:
        if state.start < 0 or x.index != state.start + len(state.times):
            return self._restarted(x)[1]
        return ResampleState(
            state.start,
            state.next,
            np.concatenate([state.data, x.data], dtype=np.float32),
            np.concatenate([state.times, x.times]),
            np.concatenate([state.bad, bad_samples(x)]),
        )

    def _outputs(self, state: ResampleState, count: int) -> Block:
        """The next `count` outputs, all of whose input is there."""
        if not count:
            return Block(state.data[:0].copy(), np.zeros(0), state.next, {"bad": state.bad[:0].copy()})
        positions = (state.next + np.arange(count)) * self.down - state.start * self.up
        rows = positions // self.up
        share = (positions % self.up) / self.up
        times = state.times[rows] + share * (state.times[rows + 1] - state.times[rows])
        extra = {"bad": self._bad_under(state.bad, rows)}
        return Block(self._filtered(state.data, int(positions[0]), count), times, state.next, extra)

    def _filtered(self, data: Floats, position: int, count: int) -> Floats:
        """Outputs at `position` and every `down` further, in units of 1 / up rows of data."""
        reach = position + self.half * self.up  # of the newest tap, at the common rate
        pad = -reach % self.down  # puts output `position` on upfirdn's own grid, which begins at row 0
        first = (reach + pad) // self.down
        taps = np.concatenate([np.zeros(pad), self.taps])
        whole = upfirdn(taps, data.astype(np.float64), self.up, self.down, axis=0)
        return np.asarray(whole[first : first + count], np.float32)

    def _bad_under(self, bad: Mask, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Mask:
        before = np.concatenate([np.zeros((1, bad.shape[1]), np.int64), np.cumsum(bad, axis=0)])
        first = np.maximum(rows - self.main + 1, 0)
        return np.asarray(before[np.minimum(rows + self.main + 1, len(bad))] > before[first])

    def _trimmed(self, state: ResampleState, following: int) -> ResampleState:
        """Only what the outputs from `following` on can need."""
        drop = max(0, following * self.down // self.up - self.half - state.start)
        drop = min(drop, len(state.times))
        return ResampleState(
            state.start + drop,
            following,
            state.data[drop:].copy(),
            state.times[drop:].copy(),
            state.bad[drop:].copy(),
        )


def sound_level_db(data: Floats) -> float:
    """Root mean square of a sound in dB of full scale (1.0): a full-scale sine has -3. Never under -120.

    data: any shape; samples that are not finite are left out.
    """
    finite = np.asarray(data, np.float64)[np.isfinite(data)]
    power = float(np.mean(finite**2)) if finite.size else 0.0
    return max(QUIETEST_DB, 10.0 * float(np.log10(power))) if power > 0.0 else QUIETEST_DB


def _ratio(rate_hz: float, to_hz: float) -> tuple[int, int]:
    if not rate_hz >= MIN_RATE_HZ or not np.isfinite(rate_hz):
        raise UserError(
            f"sound at {rate_hz:g} Hz found, at least {MIN_RATE_HZ:g} Hz expected, because speech needs 4 kHz of "
            "bandwidth and a stream holds half its rate: record the sound at 16 kHz or more"
        )
    ratio = Fraction(to_hz / rate_hz).limit_denominator(1_000_000)
    if ratio.numerator > MAX_UP or abs(float(ratio) * rate_hz / to_hz - 1.0) > 1e-9:
        raise UserError(
            f"sound at {rate_hz!r} Hz found, a rate in a simple ratio to {to_hz:g} Hz expected, such as 16000, 44100 "
            "or 48000: give the stream's nominal rate"
        )
    return ratio.numerator, ratio.denominator


def _design(rate_hz: float, slower_hz: float, up: int, half: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Taps at the common rate, 2 * half * up + 1 of them; each of the `up` phases sums to 1."""
    cutoff_hz = slower_hz / 2 * (1.0 + PASS_SHARE) / 2
    window = ("kaiser", float(kaiser_beta(STOP_BAND_DB)))
    taps = np.asarray(firwin(2 * half * up + 1, cutoff_hz, window=window, fs=rate_hz * up), np.float64)
    for phase in range(up):
        taps[phase::up] /= taps[phase::up].sum()
    return taps
