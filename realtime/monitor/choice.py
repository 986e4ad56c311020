"""`Choice`: which electrodes are drawn: the best by score, those pinned by hand, a row of the grid or a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from realtime.block import Floats
from realtime.monitor.curves import choose

MODES = ("best", "hand", "row", "region")
MOST = 32


@dataclass
class Choice:
    """mode: of MODES. count: how many of the best. row: of the grid, from the top; region: of all by name; both go
    round. pinned: by hand, in that order. said: in words, what was selected last."""

    mode: str = "best"
    count: int = 8
    row: int = 0
    region: int = 0
    said: str = ""
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
        self,
        names: Sequence[str],
        scores: Floats,
        rows: Sequence[Sequence[str]],
        shown: Sequence[str],
        regions: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The electrodes to draw, top down. scores: (names,), NaN where not yet known. rows: of the grid. regions: of
        electrodes by name, where they are known."""
        if self.mode == "hand" and self.pinned:
            self.said = "by hand"
            return self.pinned[:MOST]
        if self.mode == "row" and rows:
            self.said = f"row {self.row % len(rows) + 1} of the grid"
            return list(rows[self.row % len(rows)])[:MOST]
        inside = sorted({regions[name] for name in names if name in regions}) if regions else []
        if self.mode == "region" and regions and inside:
            region = inside[self.region % len(inside)]
            self.said = region
            return [name for name in names if regions.get(name) == region][:MOST]
        self.said = "no regions known: the best" if self.mode == "region" else ""
        return choose(names, scores, self.pinned, shown, self.count)
