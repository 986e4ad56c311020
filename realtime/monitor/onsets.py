"""Onsets of sound, and the mean of observed rows around them, growing with every onset. No Qt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np

from realtime.block import Floats, Times
from realtime.monitor.history import Rows

STEP_S = 0.02  # of the sound's rows
MEMORY_ROWS = 500  # of 20 ms, from which quiet and loud are told
RELEARN_ROWS = 25
RISE_DB = 12.0
QUIET_ROWS = 15  # an onset follows at least so much quiet
BEFORE_S, AFTER_S, BASELINE_S = 0.4, 1.0, 0.3
WAITING = 100  # onsets whose rows are still to come


def mel_level_db(log_mel: Floats) -> Floats:
    """(rows,) level in dB of log-mel rows (rows, bands) as Whisper scales them, log10(power) / 4 + 1."""
    level: Floats = 10.0 * np.log10(np.maximum(np.mean(10.0 ** (4.0 * log_mel - 4.0), axis=1), 1e-20))
    return level


class OnsetFinder:
    """Tells, row by row, where sound begins: the level rises over a threshold after 0.3 s under it.

    The threshold lies half way between the quiet (5th percentile) and the loud (95th) of the last 10 s, and at least
    12 dB over the quiet, so that steady noise has no onsets.
    """

    def __init__(self) -> None:
        self._levels = np.zeros(MEMORY_ROWS)
        self._seen = 0
        self._quiet_rows = 0
        self._threshold_db = np.inf
        self._newest_s = -np.inf

    def find(self, times: Floats, levels_db: Floats) -> list[float]:
        """Times of the onsets among these rows, which follow those given before."""
        found = []
        for time_s, level_db in zip(times.tolist(), levels_db.tolist(), strict=True):
            if not STEP_S / 2 < time_s - self._newest_s < 2.5 * STEP_S:  # nothing is known of what came before
                self._quiet_rows = 0
            self._newest_s = time_s
            self._learn(level_db)
            if level_db <= self._threshold_db:
                self._quiet_rows += 1
            else:
                if self._quiet_rows >= QUIET_ROWS:
                    found.append(time_s)
                self._quiet_rows = 0
        return found

    def _learn(self, level_db: float) -> None:
        self._levels[self._seen % MEMORY_ROWS] = level_db
        self._seen += 1
        if self._seen % RELEARN_ROWS == 0:
            low, high = np.percentile(self._levels[: min(self._seen, MEMORY_ROWS)], [5.0, 95.0])
            self._threshold_db = float(low + max(RISE_DB, (high - low) / 2.0))


class OnsetAverage:
    """Mean of observed rows from 0.4 s before to 1 s after every onset, in SDs above the mean of the 0.3 s before it.

    One thread adds, any thread reads. Rows that are no numbers are left out. step_s: of the observed rows.
    """

    def __init__(self, channels: Sequence[str], step_s: float = STEP_S) -> None:
        self.channels = tuple(channels)
        self.step_s = step_s
        self.lags = np.arange(-round(BEFORE_S / step_s), round(AFTER_S / step_s) + 1)
        self.onsets = 0
        self._waiting: deque[float] = deque(maxlen=WAITING)
        self._sums = np.zeros((len(self.lags), len(self.channels)))
        self._counts = np.zeros((len(self.lags), len(self.channels)))
        self._lock = threading.Lock()

    @property
    def lags_s(self) -> Times:
        return np.asarray(self.lags * self.step_s, np.float64)

    def await_rows(self, onsets_s: Sequence[float]) -> None:
        """Onsets, whose observed rows may be still to come."""
        self._waiting.extend(onsets_s)

    def take(self, rows: Rows) -> None:
        """Add the onsets whose rows are all there."""
        newest_s = rows.newest_s
        while self._waiting and self._waiting[0] + AFTER_S + self.step_s <= newest_s:
            self._add(self._waiting.popleft(), rows)

    def _add(self, onset_s: float, rows: Rows) -> None:
        times, data = rows.between(onset_s - BEFORE_S - self.step_s, onset_s + AFTER_S + self.step_s)
        lag = np.rint((times - onset_s) / self.step_s).astype(np.intp) - self.lags[0]
        inside = (lag >= 0) & (lag < len(self.lags))
        epoch = np.full(self._sums.shape, np.nan)
        epoch[lag[inside]] = data[inside]
        before = (self.lags < 0) & (self.lags * self.step_s >= -BASELINE_S - 1e-9)
        known = np.isfinite(epoch)
        count = known[before].sum(axis=0)
        baseline = np.where(known[before], epoch[before], 0.0).sum(axis=0) / np.maximum(count, 1)
        used = known & (count > 0)
        if not used.any():
            return
        with self._lock:
            self._sums += np.where(used, epoch - baseline, 0.0)
            self._counts += used
            self.onsets += 1

    def mean(self) -> Floats:
        """(lags, channels), NaN where there is nothing yet."""
        with self._lock:
            mean: Floats = np.where(self._counts > 0, self._sums / np.maximum(self._counts, 1.0), np.nan)
            return mean
