"""Latencies in fixed memory: counts in bins that grow by a fixed share, as HdrHistogram has them."""

from __future__ import annotations

import numpy as np

SMALLEST_MS = 1e-3
GROWTH = 1.01  # a percentile is known to 1 %
BINS = 2000  # up to about 400,000 ms


class Histogram:
    """Milliseconds. Percentiles are right to 1 %; count and max are exact. Negative values count as 0."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self.count = 0
        self.max_ms = float("nan")

    def add(self, value_ms: float) -> None:
        value_ms = max(value_ms, 0.0)
        place = int(np.log(max(value_ms, SMALLEST_MS) / SMALLEST_MS) / np.log(GROWTH))
        self._counts[min(place, BINS - 1)] += 1
        self.count += 1
        self.max_ms = value_ms if self.count == 1 else max(self.max_ms, value_ms)

    def percentile(self, share: float) -> float:
        """The value that `share` (0 to 1) of all are at or under; NaN where there is none."""
        if not self.count:
            return float("nan")
        rank = max(1, int(np.ceil(share * self.count)))
        place = int(np.searchsorted(np.cumsum(self._counts), rank))
        return float(min(SMALLEST_MS * GROWTH ** (place + 0.5), self.max_ms))

    def summary(self) -> dict[str, float]:
        """p50, p95, p99 and max, milliseconds."""
        return {
            "p50": self.percentile(0.50),
            "p95": self.percentile(0.95),
            "p99": self.percentile(0.99),
            "max": self.max_ms,
        }
