"""How long before the cortex, and before its observed row, a prediction was out: for every row, in fixed memory."""

from __future__ import annotations

import threading

import numpy as np

from realtime.block import Block, Times
from realtime.latency import LeadHistogram

COUNTED_AT_ONCE = 64  # blocks
KEPT = 4096  # predicted rows, and observed blocks, that are remembered: 20 s or more of either


class Leads:
    """physical: the time that a row speaks of minus its publication; positive where it was out before the cortex did
    it, up to device delays. display: when the observed row was available minus that publication; it includes the
    slowness of our own filters.

    `predicted` and `observed` are called by the lanes' threads, `aligned` by the thread that scores.
    """

    def __init__(self) -> None:
        self.display = LeadHistogram()
        self._physical = LeadHistogram()
        self._noted_s: list[tuple[Times, float]] = []  # of rows whose physical lead is not counted yet
        self._published_s = np.full(KEPT, np.nan)
        self._rows = np.full(KEPT, -1)
        self._newest_s = np.full(KEPT, -np.inf)
        self._available_s = np.full(KEPT, np.nan)
        self._blocks = 0
        self._lock = threading.Lock()

    def predicted(self, block: Block, published_s: float) -> None:
        """Rows that were published at published_s, on the clock of their times."""
        rows = np.arange(block.index, block.end)
        places = rows % KEPT
        with self._lock:
            self._published_s[places] = published_s
            self._rows[places] = rows
            self._noted_s.append((block.times, published_s))
            if len(self._noted_s) >= COUNTED_AT_ONCE:
                self._count()

    @property
    def physical(self) -> LeadHistogram:
        with self._lock:
            self._count()
        return self._physical

    def _count(self) -> None:
        """With the lock held."""
        noted, self._noted_s = self._noted_s, []
        if noted:
            self._physical.add(1e3 * np.concatenate([times - published_s for times, published_s in noted]))

    def observed(self, block: Block, available_s: float) -> None:
        """Observed rows, any number but none, that are there since available_s."""
        newest_s = float(block.times[-1])
        with self._lock:
            if newest_s < self._newest_s[(self._blocks - 1) % KEPT]:  # the clock was set back: begin anew
                self._newest_s[:] = -np.inf
            slot = self._blocks % KEPT
            self._newest_s[slot], self._available_s[slot] = newest_s, available_s
            self._blocks += 1

    def aligned(self, block: Block) -> Times:
        """Predicted rows, by index and times, whose observed rows are there as well. Returns since when both are,
        NaN where that is not known."""
        rows = np.arange(block.index, block.end)
        with self._lock:
            published = np.where(self._rows[rows % KEPT] == rows, self._published_s[rows % KEPT], np.nan)
            oldest = -(self._blocks % KEPT)
            newest, available = np.roll(self._newest_s, oldest), np.roll(self._available_s, oldest)
        place = np.searchsorted(newest, block.times)  # the first block that reached as far
        there = np.append(available, np.nan)[place]
        leads_ms = (there - published) * 1e3
        self.display.add(leads_ms[np.isfinite(leads_ms) & ~np.all(block.extra["bad"], axis=1)])
        both: Times = np.maximum(there, published)
        return both
