"""`Choice`: which electrodes are drawn as traces: the best by score, those pinned by hand, or one row of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from realtime.block import Floats
from realtime.monitor.curves import choose

MODES = ("best", "hand", "row")
MOST = 32


@dataclass
class Choice:
    """mode: of MODES. count: how many of the best. row: of the grid, from the top. pinned: by hand, in that order."""

    mode: str = "best"
    count: int = 8
    row: int = 0
    pinned: list[str] = field(default_factory=list)

    def pin(self, name: str) -> None:
        """Pin an electrode, or let it go."""
        if name in self.pinned:
            self.pinned.remove(name)
        else:
            self.pinned.append(name)

    def forget_unknown(self, names: Sequence[str]) -> None:
        self.pinned = [name for name in self.pinned if name in names]

    def select(
        self, names: Sequence[str], scores: Floats, rows: Sequence[Sequence[str]], shown: Sequence[str]
    ) -> list[str]:
        """The electrodes to draw, top down. scores: (names,), NaN where not yet known. rows: of the grid."""
        if self.mode == "hand" and self.pinned:
            return self.pinned[:MOST]
        if self.mode == "row" and rows:
            return list(rows[self.row % len(rows)])[:MOST]
        return choose(names, scores, self.pinned, shown, self.count)
