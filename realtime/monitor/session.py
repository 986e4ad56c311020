"""`Session`: means over the whole session in fixed memory, for what is too much to keep row by row. No Qt."""

from __future__ import annotations

import threading

import numpy as np

from realtime.block import Floats, Times


class Session:
    """Means of rows in spans of equal length. When all `most` spans are in use, neighbours are joined two by two and
    a span is twice as long from then on. One thread adds, any thread reads copies."""

    def __init__(self, columns: int, span_s: float = 1.0, most: int = 512) -> None:
        if most < 2 or most % 2:
            raise ValueError(f"spans are joined two by two: an even number of them is needed, found {most}")
        self.span_s = span_s
        self.most = most
        self._sums = np.zeros((most, columns))
        self._counts = np.zeros(most)
        self._begin_s = np.nan
        self._lock = threading.Lock()

    def add(self, times: Times, data: Floats) -> None:
        """Rows in order of time: data (rows, columns). Rows with a number missing are left out."""
        complete = np.isfinite(data).all(axis=1)
        times, data = times[complete], data[complete]
        if not len(times):
            return
        with self._lock:
            if np.isnan(self._begin_s) or times[0] < self._begin_s:  # the first, or a clock that begins anew
                self._sums[:], self._counts[:], self._begin_s = 0.0, 0.0, float(times[0])
            while (times[-1] - self._begin_s) / self.span_s >= self.most:
                self._join()
            at = ((times - self._begin_s) / self.span_s).astype(np.intp)
            np.add.at(self._sums, at, data)
            np.add.at(self._counts, at, 1.0)

    def _join(self) -> None:
        half = self.most // 2
        self._sums[:half] = self._sums[0::2] + self._sums[1::2]
        self._counts[:half] = self._counts[0::2] + self._counts[1::2]
        self._sums[half:], self._counts[half:] = 0.0, 0.0
        self.span_s *= 2

    def means(self) -> tuple[float, float, Floats]:
        """When the first span begins, the length of one, and their means (spans, columns), NaN where nothing was."""
        with self._lock:
            used = int(np.flatnonzero(self._counts).max(initial=-1)) + 1
            counts = self._counts[:used, None]
            return self._begin_s, self.span_s, np.where(counts > 0, self._sums[:used] / np.maximum(counts, 1.0), np.nan)

    def mean(self) -> Floats:
        """Over all rows: (columns,), NaN before the first."""
        with self._lock:
            count = self._counts.sum()
            return self._sums.sum(axis=0) / count if count else np.full(self._sums.shape[1], np.nan)
