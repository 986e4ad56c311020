"""Raw stamps to regular times: a robust line through the stamps, gaps and clock resets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from realtime.block import Times

FIT_BLOCK_S = 1.0  # the line is corrected once in so many rows
RATE_SD = 1e-3  # of a source's rate about nominal, as a share: what is believed before the first stamp
RATE_WALK = 2e-6  # by which it wanders in a second, as a share: warming up
INDEPENDENT = 8  # stamps of a block whose errors are taken to be independent: those of a chunk are one
LEAST_NOISE_S = 5e-5  # of a block's median
JITTER_WEIGHT = 1 / 16  # of the newest block in the jitter
LONGEST_GAP_S = 3600.0  # a longer jump is another clock, not lost rows
BURST_STEP = 0.1  # of a period: a stamp this close behind the one before belongs to the same burst
LARGEST_LAG_S = 1.0  # stamps further behind the line than this are another clock's
LARGEST_DRIFT = 0.05  # of the nominal period
LARGEST_SLEW = 0.5  # of the nominal period: times always increase
LATE_SHARE = 0.1  # of a block's second half: when all but these stamps are late, rows are probably missing
LATE_S = 3e-3  # by which stamps must stay late: a busy machine stamps later too
LATE_SDS = 6.0  # in SDs of the stamps' own jitter, and of the line
LATE_BLOCKS = 3  # fit blocks in a row
LATE_AFTER = 4  # fit blocks, by which the source's rate is known

Rows = npt.NDArray[np.int64]
IsJump = Callable[[float], bool]  # whether stamps that step ahead by so many seconds lost nothing


@dataclass(frozen=True, slots=True)
class Span:
    """A run of rows without a gap inside.

    start: its first row, counted in the stamps handed in. index: of that row in the stream, lost rows
    included. times: (rows,) float64 seconds. lost: rows that are missing right before it; below 0: so many that were
    taken for lost came late after all, and the index does not go back. reset: the clock was set anew right before
    it. jump_s: how far the first stamp lay from where it was expected.
    """

    start: int
    index: int
    times: Times
    lost: int = 0
    reset: bool = False
    jump_s: float = 0.0


@dataclass(slots=True)
class ClockState:
    """Where a clock stands. Line `fit` is the estimate; line `out` gives the times and slews toward it."""

    residuals: Times  # (rows of a fit block,) of the block being filled, seconds
    started: bool = False
    index: int = 0  # of the next row, unless a gap comes first
    anchor: int = 0  # index where both lines and the present fit block begin
    fit_s: float = 0.0  # both lines at the anchor
    out_s: float = 0.0
    period_s: float = 0.0  # slope of fit
    slope_s: float = 0.0  # slope of out
    count: int = 0  # residuals in the block
    pending_s: float = np.nan  # residual of the newest row: it counts once the row is known to end its burst
    stamp_s: float = 0.0  # newest stamp, offset added
    offset_s: float = 0.0  # in force at the newest row
    run: int = 0  # rows since the present burst began
    longest_run: int = 0  # of this fit block
    longest_before: int = 0  # of the fit block before
    blocks: int = 0  # fit blocks seen
    p_phase: float = 1.0  # covariance of the estimated line: phase, s^2
    p_cross: float = 0.0
    p_rate: float = RATE_SD**2
    variance: float = 0.0  # of the residuals, s^2
    variance_before: float = 0.0  # without the newest fit block's
    late_blocks: int = 0  # fit blocks in a row whose stamps stayed late
    unproven: int = 0  # rows taken for lost since the last fit block: they may only have been late
    found: int = 0  # rows that a fit block shows to be lost, or below 0 late, to be told before the next row
    stepped_s: float = 0.0  # by which the offset has changed and the line not followed yet
    nominal_s: float = 0.0
    resets: int = 0
    lost: int = 0

    @property
    def jitter_s(self) -> float:
        """SD of the stamps about the line, seconds."""
        return float(np.sqrt(self.variance))

    @property
    def rate_deviation_ppm(self) -> float:
        """How much faster than nominal the source samples, parts per million."""
        return (self.nominal_s / self.period_s - 1.0) * 1e6


@dataclass
class Clock:
    """Turns stamps into times. What it gives depends on stamps, offsets and jumps alone, not on how they were pulled.

    A line from index to time begins at the first stamp with the nominal rate. After every second's worth of rows it is
    corrected by the median of their residuals (a Kalman filter of phase and rate, its noise taken from the
    stamps' own jitter); the times slew to the corrected line over the next second, so they never jump.

    A stamp more than `gap_s` (and a row) ahead of the line is a gap: round(jump x rate) rows are lost, the index
    passes over them and the line is anchored at that stamp. A stamp more than that behind the one before and the line,
    or an adopted offset or a jump ahead that no gap explains, is a reset: the index advances by one row, so that it
    shows downstream, and the times follow the new clock, backward where that is so.

    A shorter loss looks like a chunk that came late, until the stamps stay late: where nine in ten of them are late by
    3 ms or more, and by 6 SD of their jitter, for three seconds, round(lateness x rate) rows are lost, and the index
    passes over them then. Meanwhile the line is kept as it was. The other way round, where the first second of stamps
    after a gap lies behind it by as much, rows came late and were not lost: so many are taken off the count, and the
    times follow.

    Whether stamps that step ahead passed over lost rows, or a clock was set, only their arrival can tell: `stamp` asks
    `is_jump`, and keeps the answer in `jumps`. Whoever stamps the same rows later hands these jumps in instead.

    A source that stamps a whole chunk with one time, or pushes it sample by sample in no time, makes bursts.
    Their last row counts, by LSL's convention, and their usual length is allowed for when looking for gaps.
    """

    rate_hz: float
    gap_s: float = 0.05
    offsets: list[tuple[int, float]] = field(default_factory=list)
    jumps: set[int] = field(default_factory=set)  # indices of rows before which a step ahead lost nothing

    def __post_init__(self) -> None:
        if not self.rate_hz > 0 or not self.gap_s > 0:
            raise ValueError(f"rate and gap must be above 0, found {self.rate_hz} Hz and {self.gap_s} s")
        self._rows = max(8, round(self.rate_hz * FIT_BLOCK_S))
        self._period = 1.0 / self.rate_hz
        self._limit = max(self.gap_s, self._period)

    def initial_state(self) -> ClockState:
        return ClockState(
            residuals=np.zeros(self._rows), period_s=self._period, slope_s=self._period, nominal_s=self._period
        )

    def set_offset(self, index: int, offset_s: float) -> None:
        """From the row expected at `index` on, add offset_s (LSL's time_correction) to the stamps."""
        self.offsets = sorted([*(o for o in self.offsets if o[0] != index), (index, offset_s)])

    def forget_offsets(self, index: int) -> None:
        """Drop the offsets that were replaced, and the jumps that came, before `index`: a live clock must not grow."""
        self.jumps = {at for at in self.jumps if at >= index}
        passed = sum(1 for at, _ in self.offsets if at <= index)
        self.offsets = self.offsets[max(0, passed - 1) :]

    def stamp(self, raw: Times, state: ClockState, is_jump: IsJump | None = None) -> tuple[list[Span], ClockState]:
        """Times of rows stamped `raw` ((n,) float64 seconds, the source's clock). Reuses the state."""
        spans: list[Span] = []
        raw = np.asarray(raw, np.float64)
        start, row = 0, 0
        head = Span(0, state.index, np.empty(0))
        parts: list[Times] = []
        while row < len(raw):
            offset, until = self._offset(state)
            room = state.anchor + self._rows - state.index if state.started else 1
            stamps = raw[row : row + min(room, until)] + offset
            times, broken = self._run(stamps, state, offset, is_jump)
            if len(times):
                parts.append(times)
            row += len(times)
            if broken is not None:
                _finish(spans, head, start, parts)
                head, start, parts = broken, row, []
        _finish(spans, head, start, parts)
        return spans, state

    def _offset(self, state: ClockState) -> tuple[float, int]:
        """The offset of the next row, and the number of rows until the next one counts."""
        after = bisect_right(self.offsets, (state.index, np.inf))
        offset = self.offsets[after - 1][1] if after else state.offset_s
        return offset, self.offsets[after][0] - state.index if after < len(self.offsets) else self._rows

    def _run(
        self, stamps: Times, state: ClockState, offset: float, is_jump: IsJump | None
    ) -> tuple[Times, Span | None]:
        """Times of the rows up to the next break; with the break, if one comes, to go on from."""
        if state.found:
            return np.empty(0), self._tell_found(state)
        if not state.started:
            _anchor(state, stamps[0], stamps[0])
            state.started, state.offset_s, state.stamp_s = True, offset, stamps[0] - self._period
            return np.empty(0), Span(0, state.index, np.empty(0))
        steps = np.diff(stamps, prepend=state.stamp_s)
        runs = self._runs(steps, state)
        longest = np.maximum.accumulate(np.append(max(state.longest_run, state.longest_before), runs))
        rows = np.arange(state.index - state.anchor, state.index - state.anchor + len(stamps))
        residuals = stamps - (state.fit_s + rows * state.period_s)
        # By this much the first row of a usual burst is ahead; two close stamps may be chance.
        allowed = np.where(longest[:-1] > 2, longest[:-1], 0) * self._period
        behind = residuals < -(LARGEST_LAG_S + runs * self._period)
        # Behind the stamp before, but not behind where the line would be without gaps that are not proven, is on time.
        back = (steps < -self._limit) & (residuals < -(self._limit + state.unproven * self._period))
        breaks = np.flatnonzero((residuals > self._limit + allowed) | back | behind)
        count = int(breaks[0]) if len(breaks) else len(stamps)
        times: Times = np.float64(state.out_s) + rows[:count] * np.float64(state.slope_s)
        if count:
            state.stepped_s += offset - state.offset_s
            self._advance(state, residuals[:count], runs[:count])
            state.stamp_s, state.offset_s = float(stamps[count - 1]), offset
        if count == len(stamps):
            return times, None
        jump = float(residuals[count] - allowed[count])
        reset = bool(back[count] or behind[count] or jump > LONGEST_GAP_S)
        reset = reset or abs(offset - state.offset_s) > self._limit
        if not reset and is_jump is not None and is_jump(jump):
            self.jumps.add(state.index + 1)
        reset = reset or state.index + 1 in self.jumps
        return times, self._break(state, float(stamps[count]), float(allowed[count]), jump, reset, offset)

    def _runs(self, steps: Times, state: ClockState) -> Rows:
        """For every row, the number of rows of its burst that came before it."""
        rows = np.arange(len(steps))
        inside = (steps >= 0) & (steps < BURST_STEP * self._period)
        return rows - np.maximum.accumulate(np.where(inside, -1 - state.run, rows))

    def _advance(self, state: ClockState, residuals: Times, runs: Rows) -> None:
        """Take rows in: where a burst begins, the row before it has ended one, and counts."""
        ended = np.append(state.pending_s, residuals[:-1])[runs == 0]
        ended = ended[~np.isnan(ended)]
        state.residuals[state.count : state.count + len(ended)] = ended
        state.count += len(ended)
        state.pending_s, state.run = float(residuals[-1]), int(runs[-1])
        state.longest_run = max(state.longest_run, int(runs.max()))
        state.index += len(residuals)
        if state.index == state.anchor + self._rows:
            self._correct(state)

    def _correct(self, state: ClockState) -> None:
        """At the end of a fit block: one step of the Kalman filter, and a new slope for the times."""
        rows, block_s = self._rows, self._rows * self._period
        fit = state.fit_s + rows * state.period_s
        out = state.out_s + rows * state.slope_s
        # Predict the covariance of (phase, rate) at this block's middle.
        state.p_phase += 2 * block_s * state.p_cross + block_s**2 * state.p_rate
        state.p_cross += block_s * state.p_rate
        state.p_rate += RATE_WALK**2 * block_s
        residuals = state.residuals[: state.count]
        if self._stay_late(residuals, state):
            self._count_late(residuals, state)
        elif state.count:
            state.late_blocks, state.variance_before = 0, state.variance
            error = -self._late_after_gap(residuals, state)
            if not error:
                error = float(np.median(residuals))
                weight = max(1.0 / max(1, state.blocks), JITTER_WEIGHT)  # a stream's beginning counts for a second
                state.variance += weight * (float(np.mean((residuals - error) ** 2)) - state.variance)
            noise = state.variance / INDEPENDENT + LEAST_NOISE_S**2
            phase, rate = state.p_phase / (state.p_phase + noise), state.p_cross / (state.p_phase + noise)
            state.p_rate -= rate * state.p_cross
            state.p_cross *= 1 - phase
            state.p_phase *= 1 - phase
            low, high = self._period * (1 - LARGEST_DRIFT), self._period * (1 + LARGEST_DRIFT)
            period = min(max(state.period_s + rate * error * self._period, low), high)
            fit += phase * error + (period - state.period_s) * rows / 2  # on from the middle
            state.period_s = period
            state.stepped_s *= 1 - phase
            state.blocks += 1
        state.anchor = state.index
        state.fit_s, state.out_s, state.count = fit, out, 0
        state.longest_before, state.longest_run = state.longest_run, state.run
        slope = (fit + rows * state.period_s - out) / rows
        state.slope_s = min(max(slope, self._period * (1 - LARGEST_SLEW)), self._period * (1 + LARGEST_SLEW))

    def _stay_late(self, residuals: Times, state: ClockState) -> bool:
        """Whether the stamps of the block's second half are late, as after rows that never came."""
        if not len(residuals) or state.blocks < LATE_AFTER:
            return False
        sd = float(np.sqrt(min(state.variance, state.variance_before) + state.p_phase))
        late = float(np.quantile(residuals[len(residuals) // 2 :], LATE_SHARE)) - abs(state.stepped_s)
        return late > max(LATE_S, self._period / 2, LATE_SDS * sd)

    def _count_late(self, residuals: Times, state: ClockState) -> None:
        state.late_blocks += 1
        state.variance = min(state.variance, state.variance_before)  # a loss within the block before was no jitter
        if state.late_blocks == LATE_BLOCKS:
            state.found = max(1, round(float(np.median(residuals)) * self.rate_hz))
            state.late_blocks = 0

    def _late_after_gap(self, residuals: Times, state: ClockState) -> float:
        """Seconds by which rows after a gap were late rather than lost: so far the earliest lie before the first."""
        late_s = -float(np.quantile(residuals, LATE_SHARE)) if state.unproven else 0.0
        limit_s = max(LATE_S, self._period / 2, LATE_SDS * state.jitter_s)
        late_s = late_s if late_s > limit_s else 0.0
        if late_s:
            late = round(late_s * self.rate_hz)
            all_late = (state.unproven - late) * self._period <= limit_s
            state.found = -(state.unproven if all_late else late)
        state.unproven = 0
        return late_s

    def _tell_found(self, state: ClockState) -> Span:
        """Where rows are lost the lines go on as they were, and these rows lie between."""
        found, state.found = state.found, 0
        state.lost += found
        lost = max(0, found)
        state.index += lost
        state.anchor = state.index
        state.fit_s += lost * state.period_s
        state.out_s += lost * state.slope_s
        state.pending_s -= lost * state.period_s
        return Span(0, state.index, np.empty(0), found, jump_s=found * state.period_s)

    def _break(self, state: ClockState, stamp: float, allowed: float, jump: float, reset: bool, offset: float) -> Span:
        """Pass over what is missing and anchor both lines at the stamp after it."""
        lost = 0 if reset else max(1, round(jump * self.rate_hz))
        newest = state.out_s + (state.index - 1 - state.anchor) * state.slope_s
        state.index += 1 if reset else lost
        state.resets += int(reset)
        state.lost += lost
        state.unproven = 0 if reset else state.unproven + lost
        fit = stamp - allowed
        _anchor(state, fit, fit if reset else max(fit, newest + self._period / 2))
        state.stamp_s, state.offset_s = stamp - self._period, offset  # so that the next row begins a burst
        return Span(0, state.index, np.empty(0), lost, reset, jump)


def _anchor(state: ClockState, fit_s: float, out_s: float) -> None:
    state.anchor, state.fit_s, state.out_s = state.index, fit_s, out_s
    state.slope_s = state.period_s
    state.count = state.run = 0
    state.pending_s, state.late_blocks, state.stepped_s = np.nan, 0, 0.0
    state.p_phase, state.p_cross = 1.0, 0.0  # one stamp says little of the phase and nothing of the rate


def _finish(spans: list[Span], head: Span, start: int, parts: list[Times]) -> None:
    if parts:
        spans.append(Span(start, head.index, np.concatenate(parts), head.lost, head.reset, head.jump_s))
