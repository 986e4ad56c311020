"""Puts observed rows on the times of the predictions, for score, fit and view; never in the prediction's way."""

from __future__ import annotations

from collections import deque

import numpy as np

from realtime.block import ROW_RATE_HZ, Array, Block, Times, bad_samples, concat
from realtime.errors import UserError

GAP_ROWS = 1.5  # neighbours further apart than this have a gap between them
CARRIED = ("fitted", "adapted", "components")  # of the predictions' extra, for a model that adapts


def put_on_grid(observed: Block, times: Times, row_rate_hz: float = ROW_RATE_HZ) -> Block:
    """Observed rows, (rows, electrodes) at row_rate_hz, interpolated linearly at `times` (n,), in seconds.

    Returns data (n, electrodes) float32 with extra["bad"] (n, electrodes). Outside of the observed times, and
    where the rows around a time are more than 1.5 rows apart, data is NaN and bad. A row is bad too when one of
    the observed rows that it is made of is; a time that falls on a row is made of that row alone.
    """
    count, electrodes = len(times), observed.data.shape[1]
    if not len(observed):
        missing = np.full((count, electrodes), np.nan, np.float32)
        return Block(missing, times.copy(), 0, {"bad": np.ones((count, electrodes), np.bool_)})
    last = len(observed) - 1
    lower = np.clip(np.searchsorted(observed.times, times, side="right") - 1, 0, last)
    upper = np.minimum(lower + 1, last)
    from_lower = times - observed.times[lower]
    apart = observed.times[upper] - observed.times[lower]
    exact = from_lower == 0
    reached = exact | ((from_lower > 0) & (lower < last) & (apart <= GAP_ROWS / row_rate_hz))

    weight = np.divide(from_lower, apart, out=np.zeros(count), where=apart > 0)[:, None]
    upper = np.where(exact, lower, upper)  # a weight of zero would let a NaN through
    low, high = observed.data[lower].astype(np.float64), observed.data[upper].astype(np.float64)
    data = np.where(reached[:, None], low + weight * (high - low), np.nan).astype(np.float32)
    mask = bad_samples(observed, electrodes)
    bad = mask[lower] | mask[upper] | np.isnan(data)
    return Block(data, times.copy(), 0, {"bad": bad})


def align(predicted: Block, observed: Block, row_rate_hz: float = ROW_RATE_HZ) -> Block:
    """Predicted and observed side by side, on the predictions' times.

    Both (rows, electrodes). Returns data (rows, electrodes, 2) float32: predicted, observed; times and index of
    the predictions; extra["bad"] (rows, electrodes): observed row absent or bad, or the prediction's own bad; and
    what an adapting model's predictions carry.
    Raises UserError where the numbers of electrodes differ.
    """
    electrodes = predicted.data.shape[1]
    if observed.data.shape[1] != electrodes:
        raise UserError(
            f"{observed.data.shape[1]} observed electrodes found, {electrodes} expected, as many as are predicted: "
            "choose the electrodes that the model was trained for"
        )
    on_grid = put_on_grid(observed, predicted.times, row_rate_hz)
    data = np.stack([np.asarray(predicted.data, np.float32), on_grid.data], axis=-1)
    bad = np.asarray(on_grid.extra["bad"], np.bool_) | bad_samples(predicted, electrodes)
    return Block(data, on_grid.times, predicted.index, {"bad": bad, **_carried(predicted)})


class Aligner:
    """`align`, live: predictions and observed rows come in as they are there, aligned rows go out in order.

    A prediction is aligned as soon as an observed row at or past its time is there, or after max_wait_s of newer
    predictions, then with what there is: a dead ECoG lane gives bad rows and nothing grows. Observed rows are kept
    for max_wait_s of newer ones. Aligned rows that nobody takes are dropped, oldest first, after ten times that;
    `untaken` counts them. An observed row older than the one before (its clock was reset) forgets those before.
    For one thread.
    """

    def __init__(self, row_rate_hz: float = ROW_RATE_HZ, max_wait_s: float = 5.0) -> None:
        self.row_rate_hz = row_rate_hz
        self.max_rows = max(2, int(np.ceil(max_wait_s * row_rate_hz)))
        self.untaken = 0
        self._pending: deque[Block] = deque()
        self._observed: Block | None = None
        self._ready: deque[Block] = deque()

    def add_predicted(self, predicted: Block) -> None:
        """(rows, electrodes), in the order of their times."""
        if len(predicted):
            self._pending.append(_copy(predicted))
            self._align_ready()

    def add_observed(self, observed: Block) -> None:
        """(rows, electrodes), in the order of their times; gaps are found by the times."""
        if not len(observed):
            return
        before = self._observed
        if before is None or observed.times[0] <= before.times[-1]:
            self._observed = _copy(observed, index=0)
        else:
            self._observed = concat([before, _copy(observed, index=before.end)])
        self._align_ready()
        surplus = len(self._observed) - self.max_rows
        if surplus > 0:
            self._observed = _copy(self._observed.rows(surplus, len(self._observed)), index=0)

    def take(self) -> Block | None:
        """The aligned rows up to a gap, or None when there are none. Call it until it gives None."""
        if not self._ready:
            return None
        taken = [self._ready.popleft()]
        while self._ready and self._ready[0].index == taken[-1].end:
            taken.append(self._ready.popleft())
        return concat(taken)

    def flush(self) -> None:
        """Nothing more will be observed: align what still waits."""
        while self._pending:
            self._align_first(len(self._pending[0]))

    def _align_ready(self) -> None:
        newest = -np.inf if self._observed is None else self._observed.times[-1]
        waiting = sum(len(block) for block in self._pending)
        while self._pending:
            block = self._pending[0]
            seen = int(np.argmin(np.append(block.times <= newest, False)))
            count = min(len(block), max(seen, waiting - self.max_rows))
            if not count:
                break
            self._align_first(count)
            waiting -= count
        self._drop_untaken()

    def _align_first(self, count: int) -> None:
        """Align the first `count` rows of the oldest pending block."""
        block = self._pending.popleft()
        if count < len(block):
            self._pending.appendleft(block.rows(count, len(block)))
        part = block.rows(0, count)
        observed = Block(part.data[:0], part.times[:0]) if self._observed is None else self._observed
        self._ready.append(align(part, observed, self.row_rate_hz))

    def _drop_untaken(self) -> None:
        rows = sum(len(block) for block in self._ready)
        while len(self._ready) > 1 and rows - len(self._ready[0]) >= 10 * self.max_rows:
            dropped = len(self._ready.popleft())
            rows -= dropped
            self.untaken += dropped


def _carried(x: Block) -> dict[str, Array]:
    return {name: array for carried in CARRIED for name, array in x.carried(carried).items()}


def _copy(x: Block, index: int | None = None) -> Block:
    """The rows that an aligner keeps: data, bad and CARRIED, detached from the caller's arrays."""
    extra = {"bad": bad_samples(x), **_carried(x)}
    return Block(x.data.copy(), x.times.copy(), x.index if index is None else index, extra)
