"""The measuring cursor of the traces: a line under the mouse, an anchor set by a click, and what lies between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg

from realtime.block import Floats, Times
from realtime.monitor.curves import value_at
from realtime.monitor.theme import Theme, font


class Cursor:
    """Positions are kept as times on the engine's clock where they belong to the data (the anchor), as seconds
    from the reference where they belong to the mouse."""

    def __init__(self, item: Any, theme: Theme) -> None:
        self._item = item
        self.at: tuple[float, float] | None = None  # x, y under the mouse
        self.anchor_s: float | None = None
        self.says = ""
        pen = pg.mkPen(theme.dim, width=1)
        self._line = pg.InfiniteLine(0.0, pen=pen)
        self._anchor = pg.InfiniteLine(0.0, pen=pg.mkPen(theme.good, width=1))
        self._text = pg.TextItem("", color=theme.text, fill=theme.background, border=theme.dim, anchor=(0.5, 1.0))
        self._text.setFont(font())
        self._text.setZValue(20)
        for part in (self._line, self._anchor, self._text):
            part.hide()
            item.addItem(part, ignoreBounds=True)

    def move(self, x: float, y: float) -> None:
        self.at = (x, y)

    def leave(self) -> None:
        self.at = None

    def click(self, x: float, reference_s: float) -> None:
        """Set the anchor there, or take it away where it is near."""
        time_s = reference_s + x
        near = self.anchor_s is not None and abs(time_s - self.anchor_s) < 0.05
        self.anchor_s = None if near else time_s

    def draw(
        self, names: list[str], rows: tuple[tuple[Times, Floats], tuple[Times, Floats]], reference_s: float
    ) -> None:
        """rows: times and data (rows, names) of predicted and of observed."""
        self._anchor.setVisible(self.anchor_s is not None)
        if self.anchor_s is not None:
            self._anchor.setPos(self.anchor_s - reference_s)
        inside = self.at is not None and -0.6 < -self.at[1] < len(names) - 0.4
        self._line.setVisible(self.at is not None)
        self._text.setVisible(inside)
        if self.at is None:
            return
        self._line.setPos(self.at[0])
        if inside:
            lane = int(np.clip(round(-self.at[1]), 0, len(names) - 1))
            self.says = self._words(names[lane], lane, rows, self.at[0], reference_s)
            self._text.setText(self.says)
            self._put_text()

    def _words(self, name: str, lane: int, rows: Any, x: float, reference_s: float) -> str:
        here = [value_at(times, data[:, lane], reference_s + x) for times, data in rows]
        lines = [f"{name}  {x:+.2f} s", f"predicted {_sd(here[0])}   observed {_sd(here[1])}"]
        if self.anchor_s is not None:
            there = [value_at(times, data[:, lane], self.anchor_s) for times, data in rows]
            lines[0] += f"   Δt {reference_s + x - self.anchor_s:+.3f} s"
            lines.append(f"Δ predicted {_sd(here[0] - there[0])}   Δ observed {_sd(here[1] - there[1])}")
        return "\n".join(lines)

    def _put_text(self) -> None:
        assert self.at is not None
        (left, right), (bottom, top) = self._item.viewRange()
        share = (self.at[0] - left) / (right - left)
        low = self.at[1] > bottom + 0.75 * (top - bottom)
        self._text.setAnchor((min(1.0, max(0.0, share)), -0.3 if low else 1.2))
        self._text.setPos(*self.at)


def _sd(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:+.2f} SD"
