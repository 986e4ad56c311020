"""On the traces' axis of time: what the patient was doing, and the operators' markers, where they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg
from PySide6.QtWidgets import QGraphicsItem

from realtime.monitor.theme import Theme, font

Timed = Sequence[tuple[float, str]]  # when, on the engine's clock, and what
STATES = ("listening", "speaking", "silence", "stimulation", "sham")
MOST_LABELS = 24
LETTERS = 16
LETTER_PX = 9.0  # at most, on average
ROW_PX = 19.0


def spans(states: Timed, start_s: float, stop_s: float) -> list[tuple[float, float, str]]:
    """(from, to, state) within start_s to stop_s; a state lasts until the next."""
    found = []
    ends = [*(at_s for at_s, _ in states[1:]), stop_s][: len(states)]
    for (begin_s, state), end_s in zip(states, ends, strict=True):
        if end_s > start_s and begin_s < stop_s:
            found.append((max(begin_s, start_s), min(end_s, stop_s), state))
    return found


def fitting(texts: Timed, letter: float) -> list[tuple[float, str]]:
    """Texts that begin at their x, cut so that each ends before the next one begins; none where too little fits.

    letter: how wide one is.
    """
    found = []
    for k, (x, text) in enumerate(texts):
        room = LETTERS if k + 1 == len(texts) else min(LETTERS, int((texts[k + 1][0] - x) / letter))
        if len(text) <= room:
            found.append((x, text))
        elif room > 2:
            found.append((x, f"{text[: room - 1]}…"))
    return found


class Timeline:
    """Along the top of a plot: bars of states, under them their names, under these the markers' texts, with lines."""

    def __init__(self, item: Any, theme: Theme) -> None:
        self._item = item
        self._theme = theme
        colours = dict(zip(STATES, theme.states, strict=True))
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
        self, states: Timed, markers: Timed, reference_s: float, start_s: float, stop_s: float, top: float
    ) -> None:
        """Of what lies between start_s and stop_s. top: of the plot."""
        shown = [(at_s, text) for at_s, text in markers if start_s <= at_s <= stop_s]
        found = spans(states, start_s, stop_s) if states else []
        if not shown and not found and not self._said:
            return
        for state, bar in self.bars.items():
            ends = [
                end_s - reference_s for begin_s, until_s, what in found if what == state for end_s in (begin_s, until_s)
            ]
            bar.setData(ends, [top] * len(ends))
        at = [at_s - reference_s for at_s, _ in shown for _ in range(2)]
        low = self._item.viewRange()[1][0]
        self.lines.setData(at, [low, top] * len(shown))
        self._said = [(begin_s, state) for begin_s, _, state in found] + shown
        second_px, lane_px = self._item.getViewBox().viewPixelSize()
        rows = [(begin_s - reference_s, state) for begin_s, _, state in found], [(s - reference_s, t) for s, t in shown]
        said = [
            (x, top - row * ROW_PX * lane_px, text)
            for row, texts in enumerate(rows)
            for x, text in fitting(texts, LETTER_PX * second_px)
        ]
        self._label(said[-MOST_LABELS:])

    def _label(self, said: Sequence[tuple[float, float, str]]) -> None:
        for label, (x, y, text) in zip(self.labels, said, strict=False):
            if label.textItem.toPlainText() != text:
                label.setPlainText(text)
            label.setPos(x, y)
            label.show()
        for label in self.labels[len(said) :]:
            label.hide()
