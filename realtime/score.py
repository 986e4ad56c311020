"""Running correlation of predicted with observed, per electrode, and what chance alone would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import ROW_RATE_HZ, Block, Mask, Times

Doubles = npt.NDArray[np.float64]

NULL_DELAYS = 20
NULL_FROM_S, NULL_TO_S = 5.0, 25.0
SUMS = 6  # rows, predicted, its square, observed, its square, product
NOT_ENOUGH, SILENT = "not enough data", "silent, not scored"


@dataclass
class ScoreState:
    """Sums of the last seconds and the observed rows that the delays reach back to.

    second: the one being filled, counted in row_rate_hz rows of the stream; next: index of the next row.
    predicted, observed: (electrodes, rows) of it, minus `reference` (electrodes, 2); ok: which rows count; both
    `observed` and `ok` begin with the rows before. sums: (seconds, electrodes, SUMS, 1 + delays). total: of all seconds
    ever, (electrodes, SUMS, 1 + delays). silent: rows of the second in which nothing was heard.
    """

    second: int
    next: int
    predicted: Doubles
    observed: Doubles
    ok: Mask
    reference: Doubles
    sums: Doubles
    total: Doubles
    silent: int = 0


class Score:
    """Pearson correlation over the last window_s seconds, once a second, from aligned rows.

    Input: data (rows, electrodes, 2), predicted and observed, at row_rate_hz; extra["bad"] (rows, electrodes);
    extra["silent"] (rows, 1), optional, True where nothing was heard. Rows that are bad, silent or not finite are
    masked. Output, one row a second, stamped with the second's last row and
    numbered by the input's own seconds: data (rows, electrodes) float32, r, NaN with under enough_s unmasked
    seconds or no variance; extra["enough"] (rows, electrodes); extra["seconds"] (rows, electrodes), unmasked
    seconds in the window; extra["null_max_p95"] (rows, 1); extra["silent"] (rows, 1), True where most of the second
    was silent: there is no r then, and no null.

    The null: observed rows delayed by 20 delays of null_from_s to null_to_s, further than a response lasts, are
    correlated with the predictions over the same window; at each delay the largest r of all electrodes that have
    enough is kept, and the 95th percentile of these is what the best electrode reaches by chance (maximum
    statistic: Nichols and Holmes 2002). An electrode counts at a delay with at least half of enough_s in common,
    and the null is NaN until half of the delays have one. claimed: (electrodes,), of which alone the largest is taken,
    None: of all; it may be set between steps, from any thread. r is of every electrode all the same.

    A gap does not restart it: lost rows are masked, and a second whose last row was lost gives no row.
    """

    lag_s = 0.0

    def __init__(
        self,
        row_rate_hz: float = ROW_RATE_HZ,
        window_s: float = 60.0,
        enough_s: float = 30.0,
        null_from_s: float = NULL_FROM_S,
        null_to_s: float = NULL_TO_S,
    ) -> None:
        self.claimed: Mask | None = None
        self.rows = round(row_rate_hz)
        self.window = round(window_s)
        self.enough_rows = enough_s * row_rate_hz
        delays_s = np.linspace(null_from_s, null_to_s, NULL_DELAYS)
        self.delays = np.concatenate([[0], np.round(delays_s * row_rate_hz)]).astype(np.int64)
        self.history = -(-int(self.delays[-1]) // self.rows) * self.rows

    def initial_state(self) -> ScoreState:
        return self._fresh(0, 0)

    def step(self, x: Block, state: ScoreState) -> tuple[Block, ScoreState]:
        electrodes = x.data.shape[1]
        if len(x) and (not state.predicted.size or x.index < state.next):
            state = self._fresh(electrodes, x.index)
        rows: list[tuple[Doubles, Mask, Doubles, float, bool]] = []
        times: list[float] = []
        numbers: list[int] = []
        at = 0
        while at < len(x):
            self._move_to((x.index + at) // self.rows, state)
            slot = (x.index + at) % self.rows
            count = min(self.rows - slot, len(x) - at)
            self._fill(x.rows(at, at + count), slot, state)
            at += count
            if slot + count == self.rows:
                numbers.append(state.second)
                times.append(float(x.times[at - 1]))
                silent = 2 * state.silent > self.rows
                self._move_to(state.second + 1, state)
                rows.append(self._result(state, silent))
        if len(x):
            state.next = x.end
        return self._block(rows, times, numbers[0] if numbers else state.second, electrodes), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _fresh(self, electrodes: int, index: int) -> ScoreState:
        return ScoreState(
            index // self.rows,
            index,
            np.zeros((electrodes, self.rows)),
            np.zeros((electrodes, self.history + self.rows)),
            np.zeros((electrodes, self.history + self.rows), np.bool_),
            np.full((electrodes, 2), np.nan),
            np.zeros((self.window, electrodes, SUMS, len(self.delays))),
            np.zeros((electrodes, SUMS, len(self.delays))),
        )

    def _fill(self, x: Block, slot: int, state: ScoreState) -> None:
        """Put rows of the second into their slots, centred, with zero where masked."""
        data = x.data.astype(np.float64).transpose(1, 0, 2)
        ok: Mask = np.isfinite(data[..., 0]) & np.isfinite(data[..., 1])
        if "bad" in x.extra:
            ok &= ~np.broadcast_to(np.asarray(x.extra["bad"], np.bool_), (len(x), len(data))).T
        if "silent" in x.extra:
            ok &= ~np.asarray(x.extra["silent"], np.bool_).T
            state.silent += int(np.count_nonzero(x.extra["silent"]))
        new = np.isnan(state.reference[:, 0]) & ok.any(axis=1)
        state.reference[new] = data[new, ok[new].argmax(axis=1)]
        data = np.where(ok[..., None], data - state.reference[:, None], 0.0)
        rows = slice(slot, slot + len(x))
        late = slice(self.history + slot, self.history + slot + len(x))
        state.predicted[:, rows], state.observed[:, late], state.ok[:, late] = data[..., 0], data[..., 1], ok

    def _move_to(self, second: int, state: ScoreState) -> None:
        """Add up the second being filled and go on to `second`; those in between have no rows."""
        for _ in range(min(second - state.second, self.window + self.history // self.rows + 1)):
            state.sums[state.second % self.window] = sums = self._sums(state)
            state.total += sums
            state.second += 1
            state.silent = 0
            state.predicted[:] = 0.0
            for kept, empty in ((state.observed, 0.0), (state.ok, False)):
                kept[:, : self.history] = kept[:, self.rows :].copy()
                kept[:, self.history :] = empty
        state.second = second

    def _sums(self, state: ScoreState) -> Doubles:
        """(electrodes, SUMS, 1 + delays) over the rows of one second."""
        sums = np.zeros((len(state.ok), SUMS, len(self.delays)))
        ok_now = state.ok[:, self.history :]
        if not ok_now.any():
            return sums
        back = self.history + np.arange(self.rows)[:, None] - self.delays
        ok, observed = state.ok[:, back].astype(np.float64), state.observed[:, back]
        predicted = np.stack([ok_now.astype(np.float64), state.predicted, state.predicted**2], axis=1)
        sums[:, 0:3] = predicted @ ok
        sums[:, 3] = (predicted[:, :1] @ observed)[:, 0]
        sums[:, 4] = (predicted[:, :1] @ observed**2)[:, 0]
        sums[:, 5] = (predicted[:, 1:2] @ observed)[:, 0]
        return sums

    def overall(self, state: ScoreState) -> tuple[Doubles, Mask, Doubles, float]:
        """Over all whole seconds since the start: r, enough, unmasked seconds (electrodes,), and the null."""
        return self._scored(state.total, silent=False)

    def _result(self, state: ScoreState, silent: bool) -> tuple[Doubles, Mask, Doubles, float, bool]:
        """r, enough and unmasked seconds of each electrode, the null over the window, and whether it is silent."""
        return *self._scored(state.sums.sum(axis=0), silent), silent

    def _scored(self, sums: Doubles, silent: bool) -> tuple[Doubles, Mask, Doubles, float]:
        rows = sums[:, 0]
        r = _correlation(sums)
        enough = rows[:, 0] >= self.enough_rows
        usable = (rows[:, 1:] >= self.enough_rows / 2) & enough[:, None] & np.isfinite(r[:, 1:])
        if self.claimed is not None:
            usable &= self.claimed[:, None]
        largest = np.where(usable, r[:, 1:], -np.inf).max(axis=0, initial=-np.inf)
        largest = largest[np.isfinite(largest)]
        enough_delays = 2 * len(largest) >= NULL_DELAYS and not silent
        # of n draws the quantile that one more passes in 5 % of cases: others are meant for the draws themselves
        null = float(np.percentile(largest, 95, method="weibull")) if enough_delays else float("nan")
        return np.where(enough & (not silent), r[:, 0], np.nan), enough, rows[:, 0] / self.rows, null

    def _block(
        self, rows: list[tuple[Doubles, Mask, Doubles, float, bool]], times: list[float], index: int, electrodes: int
    ) -> Block:
        shape = (len(rows), electrodes)
        r, enough, seconds = np.zeros(shape, np.float32), np.zeros(shape, np.bool_), np.zeros(shape, np.float32)
        null, silent = np.zeros((len(rows), 1), np.float32), np.zeros((len(rows), 1), np.bool_)
        for i, row in enumerate(rows):
            r[i], enough[i], seconds[i], null[i], silent[i] = row
        stamps: Times = np.array(times, np.float64)
        return Block(r, stamps, index, {"enough": enough, "seconds": seconds, "null_max_p95": null, "silent": silent})


def score_words(score: Block | None) -> str:
    """Why the newest row of a score says nothing; empty where it does."""
    if score is None or not len(score):
        return NOT_ENOUGH
    if score.extra["silent"][-1, 0]:
        return SILENT
    return "" if np.any(score.extra["enough"][-1]) else NOT_ENOUGH


def _correlation(sums: Doubles) -> Doubles:
    """Pearson r (electrodes, 1 + delays) from sums (electrodes, SUMS, 1 + delays); NaN without variance."""
    rows, p, pp, o, oo, po = sums.transpose(1, 0, 2)
    count = np.maximum(rows, 1.0)
    var_p, var_o = pp - p * p / count, oo - o * o / count
    varies = (rows >= 2) & (var_p > 1e-13 * pp) & (var_o > 1e-13 * oo)
    product = np.sqrt(np.where(varies, var_p * var_o, 1.0))
    return np.where(varies, np.clip((po - p * o / count) / product, -1.0, 1.0), np.nan)
