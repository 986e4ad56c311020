"""`Rows`: the last rows of one outlet in fixed memory, read by time."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from realtime.block import Floats, Times


class Rows:
    """The newest `capacity` rows with their times. One thread writes, any thread reads copies.

    channels: labels of the columns. step_s: from row to row, as the outlet declares. Times are seconds on the engine's
    clock and increase; rows that begin earlier than the newest row held (a restarted source, a new clock) clear what
    was there.
    """

    def __init__(self, channels: Sequence[str], capacity: int, dtype: npt.DTypeLike = np.float32, step_s: float = 0.02):
        if capacity < 1:
            raise ValueError(f"a history needs room for at least one row, found {capacity}")
        self.channels = tuple(channels)
        self.columns = {name: i for i, name in enumerate(self.channels)}
        self.capacity = capacity
        self.step_s = step_s
        self._data = np.full((capacity, len(self.channels)), np.nan, dtype)
        self._times = np.zeros(capacity)
        self._first = 0  # position of the oldest row held; positions count rows since the start
        self._written = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._written - self._first

    @property
    def written(self) -> int:
        """Rows ever written; a change says that there is something new to draw."""
        return self._written

    @property
    def newest_s(self) -> float:
        """Time of the newest row, NaN where there is none."""
        with self._lock:
            return float(self._times[(self._written - 1) % self.capacity]) if len(self) else np.nan

    @property
    def oldest_s(self) -> float:
        """Time of the oldest row held, NaN where there is none."""
        with self._lock:
            return float(self._times[self._first % self.capacity]) if len(self) else np.nan

    def append(self, times: Times, data: Floats) -> None:
        """Add rows: times (rows,), data (rows, channels)."""
        times, data = times[-self.capacity :], data[-self.capacity :]
        if not len(times):
            return
        with self._lock:
            if len(self) and times[0] <= self._times[(self._written - 1) % self.capacity]:
                self._first = self._written
            at = np.arange(self._written, self._written + len(times)) % self.capacity
            self._times[at], self._data[at] = times, data
            self._written += len(times)
            self._first = max(self._first, self._written - self.capacity)

    def between(
        self, start_s: float, stop_s: float = np.inf, columns: Sequence[int] | None = None
    ) -> tuple[Times, Floats]:
        """Copies of the rows with start_s <= time < stop_s: times (rows,), data (rows, columns)."""
        with self._lock:
            at = np.arange(self._position(start_s), self._position(stop_s)) % self.capacity
            data = self._data[at] if columns is None else self._data[np.ix_(at, np.asarray(columns, np.intp))]
            return self._times[at], data

    def latest(self) -> Floats:
        """Copy of the newest row, (channels,), NaN where there is none."""
        with self._lock:
            if not len(self):
                return np.full(len(self.channels), np.nan, self._data.dtype)
            return np.array(self._data[(self._written - 1) % self.capacity])

    def known(self, within_s: float, beside: str = "") -> Floats:
        """Copy of the newest row of the last within_s that has a number in it, the column `beside` not counted; of the
        newest where none has."""
        _, data = self.between(self.newest_s - within_s)
        counted = [k for name, k in self.columns.items() if name != beside]
        rows = np.flatnonzero(np.isfinite(data[:, counted]).any(axis=1)).tolist()
        return data[rows[-1]] if len(rows) else self.latest()

    def _position(self, time_s: float) -> int:
        held = range(self._first, self._written)
        return self._first + bisect.bisect_left(held, time_s, key=lambda p: float(self._times[p % self.capacity]))
