"""On the traces' axis of time: what the patient was doing, and the operators' markers, where they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg
from PySide6.QtWidgets import QGraphicsItem

from realtime.monitor.theme import Theme, font

Timed = Sequence[tuple[float, str]]  # when, on the engine's clock, and what
MOST_LABELS = 24
LETTERS = 16
TOP = 0.8  # above the first lane


def spans(states: Timed, start_s: float, stop_s: float) -> list[tuple[float, float, str]]:
    """(from, to, state) within start_s to stop_s; a state lasts until the next."""
    found = []
    ends = [*(at_s for at_s, _ in states[1:]), stop_s][: len(states)]
    for (begin_s, state), end_s in zip(states, ends, strict=True):
        if end_s > start_s and begin_s < stop_s:
            found.append((max(begin_s, start_s), min(end_s, stop_s), state))
    return found


class Timeline:
    """Bars of states along the top of a plot, and a line with a text for each marker."""

    def __init__(self, item: Any, theme: Theme) -> None:
        self._item = item
        self._theme = theme
        others = {"silence": theme.dim, "stimulation": theme.bad, "sham": theme.heads[3]}
        colours = {"listening": theme.good, "speaking": theme.heads[4], **others}
        self.bars = {state: pg.PlotCurveItem(pen=pg.mkPen(c, width=5), connect="pairs") for state, c in colours.items()}
        self.lines = pg.PlotCurveItem(pen=pg.mkPen(theme.text, width=1), connect="pairs")
        self.labels = [pg.TextItem("", color=theme.text, anchor=(0.0, 0.0)) for _ in range(MOST_LABELS)]
        for part in (*self.bars.values(), self.lines, *self.labels):
            item.addItem(part, ignoreBounds=True)
        for label in self.labels:
            label.setFont(font())
            label.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)
            label.hide()
        self._said: list[tuple[float, str]] = []

    def draw(
        self, states: Timed, markers: Timed, reference_s: float, start_s: float, stop_s: float, low: float
    ) -> None:
        """Of what lies between start_s and stop_s. low: bottom of the plot, to which markers' lines reach."""
        shown = [(at_s, text) for at_s, text in markers if start_s <= at_s <= stop_s]
        found = spans(states, start_s, stop_s) if states else []
        if not shown and not found and not self._said:
            return
        for state, bar in self.bars.items():
            ends = [
                end_s - reference_s for begin_s, until_s, what in found if what == state for end_s in (begin_s, until_s)
            ]
            bar.setData(ends, [TOP] * len(ends))
        at = [at_s - reference_s for at_s, _ in shown for _ in range(2)]
        self.lines.setData(at, [low, TOP] * len(shown))
        self._said = [(begin_s, state) for begin_s, _, state in found] + shown
        self._label(reference_s)

    def _label(self, reference_s: float) -> None:
        newest = self._said[-MOST_LABELS:]
        for label, (at_s, text) in zip(self.labels, newest, strict=False):
            short = text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
            if label.textItem.toPlainText() != short:
                label.setPlainText(short)
            label.setPos(at_s - reference_s, TOP)
            label.show()
        for label in self.labels[len(newest) :]:
            label.hide()
