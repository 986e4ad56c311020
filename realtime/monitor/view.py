"""`View`: which stretch of time the panels show: live, or paused and scrolled back. No Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHORTEST_S, LONGEST_S = 1.0, 600.0
WINDOWS_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass
class View:
    """window_s: how many seconds before `reference` are shown. held_s: the moment that is shown as now while paused,
    on the engine's clock; None: live."""

    window_s: float = 10.0
    held_s: float | None = None

    @property
    def live(self) -> bool:
        return self.held_s is None

    def reference(self, now_s: float) -> float:
        """The time shown as zero: now, or the moment held."""
        return now_s if self.held_s is None else self.held_s

    def pause(self, now_s: float) -> None:
        if self.held_s is None:
            self.held_s = now_s

    def resume(self) -> None:
        self.held_s = None

    def toggle(self, now_s: float) -> None:
        """Pause, or go back to live."""
        self.held_s = now_s if self.held_s is None else None

    def scroll(self, by_s: float, now_s: float, oldest_s: float) -> None:
        """Move by `by_s` (negative: back), between the oldest row held and now; reaching now does not unpause."""
        first = now_s if math.isnan(oldest_s) else min(now_s, oldest_s + self.window_s)
        self.held_s = min(now_s, max(first, self.reference(now_s) + by_s))

    def zoom(self, steps: int) -> None:
        """Show more (positive) or less (negative) time, in steps of WINDOWS_S."""
        nearest = min(range(len(WINDOWS_S)), key=lambda k: abs(math.log(WINDOWS_S[k] / self.window_s)))
        self.window_s = WINDOWS_S[min(len(WINDOWS_S) - 1, max(0, nearest + steps))]

    def behind_s(self, now_s: float) -> float:
        """How far what is shown is behind now."""
        return max(0.0, now_s - self.reference(now_s))
