"""`ZScore`: activity in units of a baseline's spread, and `baseline`, which finds that baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import ROW_RATE_HZ, Block, Floats, Mask, bad_samples

Values = npt.NDArray[np.float64]

SD_PER_MAD = 1.4826  # of a normal distribution
SMALLEST_MAD = 1e-6  # of log power: below it an electrode does nothing but round


def baseline(x: Block) -> tuple[Values, Values]:
    """Median and median absolute deviation (MAD) of each electrode, (electrodes,) each, over a recording.

    x: (rows, electrodes) log power. Rows of an electrode that extra["bad"] marks do not count; an
    electrode without any other row gets NaN.
    """
    bad = bad_samples(x)
    return _median_mad([x.data[~bad[:, c], c] for c in range(x.data.shape[1])])


@dataclass
class ZScoreState:
    """frozen: nothing will change any more. median, mad: (electrodes,), NaN where not known.

    count: rows collected of each electrode. seen: rows so far. buffer: (rows, electrodes) while collecting.
    """

    frozen: bool = False
    median: Values | None = None
    mad: Values | None = None
    seen: int = 0
    count: npt.NDArray[np.int64] | None = None
    buffer: Floats | None = None


class ZScore:
    """(x - median) / (1.4826 MAD) of each electrode, against a frozen baseline.

    median, mad: (electrodes,), from `baseline` over a calibration recording. Where an electrode's is NaN, or
    its MAD is 0, the electrode is dead: its rows are 0 and marked in extra["bad"].
    With neither given, the first collect_s of unmasked rows of each electrode are its baseline; until it has
    them its rows are 0 and marked. Once every electrode has its baseline, or after 2 collect_s,
    `state.frozen` is True; an electrode which by then has less than half of what it needs is dead.

    Input (rows, electrodes) log power at row_rate_hz; output float32, in SDs, with extra["bad"]. lag_s is 0.
    After a gap the baseline is kept and collecting goes on.
    """

    lag_s = 0.0

    def __init__(
        self,
        median: npt.ArrayLike | None = None,
        mad: npt.ArrayLike | None = None,
        collect_s: float = 60.0,
        row_rate_hz: float = ROW_RATE_HZ,
    ) -> None:
        if (median is None) != (mad is None):
            raise ValueError("a baseline is a median and a MAD: found one of them, give both or neither")
        self.median = None if median is None else np.asarray(median, np.float64)
        self.mad = None if mad is None else np.asarray(mad, np.float64)
        self.collect_rows = max(1, math.ceil(collect_s * row_rate_hz))

    def initial_state(self) -> ZScoreState:
        if self.median is None or self.mad is None:
            return ZScoreState()
        return ZScoreState(frozen=True, median=self.median.copy(), mad=self.mad.copy())

    def step(self, x: Block, state: ZScoreState) -> tuple[Block, ZScoreState]:
        bad = bad_samples(x)
        known = np.ones(x.data.shape, bool) if state.frozen else self._collect(x, bad, state)
        assert state.median is not None
        assert state.mad is not None
        alive = np.isfinite(state.median) & (state.mad > SMALLEST_MAD)  # a NaN MAD is not larger
        median, mad = np.where(alive, state.median, 0.0), np.where(alive, state.mad, 1.0)
        known &= alive
        z = np.where(known, (x.data - median) / (SD_PER_MAD * mad), 0.0).astype(np.float32)
        return Block(z, x.times.copy(), x.index, {**_rest(x), "bad": bad | ~known}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _collect(self, x: Block, bad: Mask, state: ZScoreState) -> Mask:
        """Take what the baselines still need from x. Returns where an electrode's baseline was known before the row."""
        need, electrodes = self.collect_rows, x.data.shape[1]
        if state.buffer is None or state.count is None or state.median is None or state.mad is None:
            state.buffer, state.count = np.zeros((need, electrodes), np.float32), np.zeros(electrodes, np.int64)
            state.median, state.mad = np.full(electrodes, np.nan), np.full(electrodes, np.nan)
        late = (state.seen + np.arange(len(x)) >= 2 * need)[:, None]
        good = ~bad & ~late
        before = state.count + np.cumsum(good, axis=0) - good  # collected of each electrode before each row
        row, electrode = np.nonzero(good & (before < need))
        state.buffer[before[row, electrode], electrode] = x.data[row, electrode]
        had = state.count
        state.count = np.minimum(had + np.count_nonzero(good, axis=0), need)
        state.seen += len(x)

        over = state.seen >= 2 * need
        enough = math.ceil(need / 2) if over else need
        new = np.flatnonzero((state.count >= enough) & (had < need))
        state.median[new], state.mad[new] = _median_mad([state.buffer[: state.count[c], c] for c in new])
        if over or bool(np.all(state.count >= need)):
            state.frozen = True
            state.buffer = np.zeros((0, electrodes), np.float32)
        known: Mask = (before >= need) | (late & (state.count >= enough))
        return known


def _median_mad(electrodes: list[Floats]) -> tuple[Values, Values]:
    median, mad = np.full(len(electrodes), np.nan), np.full(len(electrodes), np.nan)
    for i, values in enumerate(electrodes):
        if len(values):
            median[i] = np.median(values.astype(np.float64))
            mad[i] = np.median(np.abs(values - median[i]))
    return median, mad


def _rest(x: Block) -> dict[str, npt.NDArray[np.generic]]:
    return {name: array.copy() for name, array in x.extra.items() if name != "bad"}
