"""Latencies and leads in fixed memory: counts in bins, as HdrHistogram has them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

SMALLEST_MS = 1e-3
GROWTH = 1.01  # a percentile is known to 1 %
BINS = 2000  # up to about 400,000 ms
LOG_GROWTH = math.log(GROWTH)
LEAD_BIN_MS = 0.5
LEAD_MS = 10_000.0  # leads beyond this count in the last bin


class Histogram:
    """Milliseconds. Percentiles are right to 1 %; count and max are exact. Negative values count as 0."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self.count = 0
        self.max_ms = float("nan")

    def add(self, values_ms: npt.ArrayLike, times: npt.ArrayLike = 1) -> None:
        """Count each value, as often as `times` says."""
        values = np.maximum(np.atleast_1d(np.asarray(values_ms, np.float64)), 0.0)
        often = np.broadcast_to(np.asarray(times, np.int64), values.shape)
        values, often = values[often > 0], often[often > 0]
        if not len(values):
            return
        places = np.log(np.maximum(values, SMALLEST_MS) / SMALLEST_MS) / LOG_GROWTH
        np.add.at(self._counts, np.minimum(places.astype(np.int64), BINS - 1), often)
        largest = float(values.max())
        self.max_ms = max(self.max_ms, largest) if self.count else largest
        self.count += int(often.sum())

    def percentile(self, share: float) -> float:
        """The value that `share` (0 to 1) of all are at or under; NaN where there is none."""
        if not self.count:
            return float("nan")
        place = _place(self._counts, self.count, share)
        return float(min(SMALLEST_MS * GROWTH ** (place + 0.5), self.max_ms))

    def summary(self) -> dict[str, float]:
        """p50, p95, p99, p999 and max, milliseconds."""
        shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "p999": 0.999}
        return {**{name: self.percentile(share) for name, share in shares.items()}, "max": self.max_ms}


class LeadHistogram:
    """Milliseconds of either sign: how long before something a prediction was out. Percentiles are right to 0.5 ms."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(2 * LEAD_MS / LEAD_BIN_MS), np.int64)
        self.count = 0
        self.min_ms = float("nan")

    def add(self, values_ms: npt.NDArray[np.float64]) -> None:
        """Count each of the values (n,)."""
        if not len(values_ms):
            return
        places = np.floor((values_ms + LEAD_MS) / LEAD_BIN_MS).astype(np.int64)
        np.add.at(self._counts, np.clip(places, 0, len(self._counts) - 1), 1)
        smallest = float(values_ms.min())
        self.min_ms = min(self.min_ms, smallest) if self.count else smallest
        self.count += len(values_ms)

    def percentile(self, share: float) -> float:
        """The value that `share` (0 to 1) of all are at or under; NaN where there is none."""
        if not self.count:
            return float("nan")
        return float((_place(self._counts, self.count, share) + 0.5) * LEAD_BIN_MS - LEAD_MS)

    def summary(self) -> dict[str, float]:
        """min, p1, p5, p50 and p95, milliseconds: of a lead the small values are the bad ones."""
        shares = {"p1": 0.01, "p5": 0.05, "p50": 0.50, "p95": 0.95}
        return {"min": self.min_ms, **{name: self.percentile(share) for name, share in shares.items()}}


def _place(counts: np.ndarray[tuple[int], np.dtype[np.int64]], count: int, share: float) -> int:
    """The bin that holds the value of this share of all."""
    return int(np.searchsorted(np.cumsum(counts), max(1, math.ceil(share * count))))
