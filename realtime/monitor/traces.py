"""Panel: predicted over observed for a few electrodes, in seconds before the time shown."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from realtime.block import Floats, Times
from realtime.monitor.cursor import Cursor
from realtime.monitor.curves import LANE_HEIGHTS_SD, lane_height, lane_heights, polyline, thin
from realtime.monitor.history import Rows
from realtime.monitor.pane import Pane
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme, font
from realtime.monitor.timeline import Timed, Timeline
from realtime.monitor.view import View

RESCALE_S = 2.0
LABEL_LETTERS = 9
MOST_POINTS = 1500  # of one trace: more cannot be told apart
MOST_AHEAD_S = 10.0
HEAD_PX, ROW_PX = 7.0, 19.0  # above the lanes, for states and the word now, and once more for markers
LABEL_PX = 14.0
THICK_TRACES = 12  # with more of them thin lines tell them better apart, and cost less


class Traces:
    """Two curves, one per outlet, each holding every trace: one lane per electrode, gaps left open.

    each: every lane has a scale of its own. scale_steps: lanes larger (positive) or smaller than what holds the data.
    """

    def __init__(self, theme: Theme, view: View) -> None:
        self._theme = theme
        self.view = view
        self.each = False
        self.scale_steps = 0
        self.names: list[str] = []
        self.heights_sd: Floats = np.array([4.0])  # of all lanes, or of each
        self._scores: list[float] = []
        self._about = ""
        self._top = 0.9  # of the plot, in lanes
        self._every = 1  # how many lanes share a label: that of the first
        self._rescaled_s = -np.inf
        self.ahead_s = 0.5  # time after now that is shown
        self._range: object = None
        self.drawn_s = np.nan  # the time drawn as zero, on the engine's clock
        self.widget = make_plot(theme, "", "seconds from now: past at the left, ahead at the right", "", Pane)
        self._item = self.widget.getPlotItem()
        self._item.getAxis("left").setTicks([[]])
        self._zeros = pg.PlotCurveItem(pen=pg.mkPen(theme.faint, width=1), connect="pairs")
        self.observed = pg.PlotCurveItem(pen=pg.mkPen(theme.observed, width=1))
        self.predicted = pg.PlotCurveItem(pen=pg.mkPen(theme.predicted, width=1))
        # Qt takes five times as long over a pen two pixels wide as over two lines one pixel apart.
        self._thicker = pg.PlotCurveItem(pen=pg.mkPen(theme.predicted, width=1))
        for curve in (self.observed, self.predicted, self._thicker):
            curve.setSegmentedLineMode("on")  # lines one by one cost less than the same lines as a path
        self._now = pg.InfiniteLine(
            0.0, pen=pg.mkPen(theme.text, width=1, style=Qt.PenStyle.DashLine), label="now",
            labelOpts={"position": 0.985, "color": theme.text, "anchors": [(1.1, 0), (1.1, 0)], "fill": theme.panel},
        )  # fmt: skip
        self._now.setZValue(10)  # over the markers' texts
        self._now.label.setFont(font())
        for part in (self._zeros, self.observed, self._thicker, self.predicted, self._now):
            self._item.addItem(part)
        self.timeline = Timeline(self._item, theme)
        self.cursor = Cursor(self._item, theme)
        self.widget.hovered.connect(self.cursor.move)
        self.widget.left.connect(self.cursor.leave)
        self.widget.clicked.connect(lambda x, _y: self.cursor.click(x, self.drawn_s))
        self._describe()

    @property
    def height_sd(self) -> float:
        """Height of one lane, in SD; of the first where each has its own."""
        return float(self.heights_sd[0])

    def show_electrodes(self, names: Sequence[str], scores: Sequence[float], about: str = "") -> None:
        """Label the lanes, top down: names and running r (NaN: not yet known). about: what they have in common."""
        self._about = about
        if list(names) != self.names:
            self._rescaled_s = -np.inf
        self.names, self._scores = list(names), list(scores)
        self._thicker.setVisible(len(names) <= THICK_TRACES)
        lanes = np.repeat(-np.arange(len(names), dtype=np.float64), 2)
        self._zeros.setData(np.tile([-660.0, 60.0], len(names)), lanes)
        self._describe()

    def rescale(self, each: bool | None = None, steps: int = 0) -> None:
        """Choose one scale for all or one for each, and make lanes larger or smaller by `steps`."""
        self.each = self.each if each is None else each
        self.scale_steps = max(-6, min(6, self.scale_steps + steps))
        self._rescaled_s = -np.inf

    def draw(
        self,
        predicted: Rows | None,
        observed: Rows | None,
        now_s: float,
        states: Timed = (),
        markers: Timed = (),
    ) -> None:
        """Draw what both histories hold of the electrodes shown, and the states and markers of that time."""
        self.drawn_s = self.view.reference(now_s)
        zero = "now" if self.view.live else "then"
        if self._now.label.format != zero:
            self._now.label.setFormat(zero)
        found = self._found(predicted), self._found(observed)
        self._rescale([data for _, data in found])
        outlets = ((predicted, (self.predicted, self._thicker)), (observed, (self.observed,)))
        for (rows, curves), held in zip(outlets, found, strict=True):
            times, data, step_s = thin(*held, rows.step_s if rows is not None else 0.0, MOST_POINTS)
            x, y, joined = polyline(times - self.drawn_s, data, self._heights(), step_s)
            for curve in curves:
                if curve.isVisible():
                    curve.setData(x, y, connect=joined)
        self._set_range(found, 2 if markers else 1)
        self._thicker.setPos(0.0, self._item.getViewBox().viewPixelSize()[1])
        begin_s = self.drawn_s - 1.01 * self.view.window_s
        self.timeline.draw(states, markers, self.drawn_s, begin_s, self.drawn_s, self._top)
        self.cursor.draw(self.names, found, self.drawn_s)

    def _found(self, rows: Rows | None) -> tuple[Times, Floats]:
        if rows is None or any(name not in rows.columns for name in self.names):
            return np.zeros(0), np.zeros((0, len(self.names)), np.float32)
        start_s, stop_s = self.drawn_s - 1.02 * self.view.window_s - 0.2, self.drawn_s + MOST_AHEAD_S
        return rows.between(start_s, stop_s, columns=[rows.columns[name] for name in self.names])

    def _set_range(self, found: Sequence[tuple[Times, Floats]], head_rows: int) -> None:
        newest_s = max((times[-1] for times, _ in found if len(times)), default=self.drawn_s)
        ahead_s = min(MOST_AHEAD_S, 0.5 * max(1, int(np.ceil((newest_s - self.drawn_s) / 0.5))))
        self.ahead_s = max(self.ahead_s, ahead_s) if self.view.live else self.ahead_s
        height_px = self._item.getViewBox().height()
        wanted = (self.view.window_s, self.ahead_s, len(self.names), height_px, head_rows)
        if wanted != self._range:
            self._range = wanted
            self._item.setXRange(-1.01 * self.view.window_s, self.ahead_s, padding=0)
            self._share_height(height_px, HEAD_PX + ROW_PX * head_rows)

    def _share_height(self, height_px: float, head_px: float) -> None:
        """Between the head and the lanes, and say as many names as there is room for."""
        lanes, lanes_px = len(self.names) + 0.1, max(height_px - head_px, 1.0)
        self._top = 0.5 + lanes * head_px / lanes_px
        self._item.setYRange(0.4 - len(self.names), self._top, padding=0)
        every = max(1, math.ceil(LABEL_PX * lanes / lanes_px))
        if every != self._every:
            self._every = every
            self._describe()

    def _heights(self) -> Any:
        return self.heights_sd if self.each and len(self.heights_sd) == len(self.names) else self.height_sd

    def _rescale(self, data: Sequence[Floats]) -> None:
        if time.monotonic() - self._rescaled_s > RESCALE_S and any(len(d) for d in data):
            self._rescaled_s = time.monotonic()
            fitting = lane_heights(data, len(self.names)) if self.each else np.array([lane_height(data)])
            rungs = np.searchsorted(LANE_HEIGHTS_SD, fitting) + self.scale_steps
            heights_sd = np.array(LANE_HEIGHTS_SD)[np.clip(rungs, 0, len(LANE_HEIGHTS_SD) - 1)]
            if not np.array_equal(heights_sd, self.heights_sd):
                self.heights_sd = heights_sd
                self._describe()

    def _describe(self) -> None:
        """Title and labels of the lanes."""
        theme = self._theme
        each = self.each and len(self.heights_sd) == len(self.names)
        scale = "each lane has its own scale" if each else f"one lane is {self.height_sd:g} SD"
        about = f"; {self._about}" if self._about else ""
        set_title(
            self._item,
            theme,
            f"High gamma: <span style='color:{theme.predicted}'><b>━ predicted</b></span> over "
            f"<span style='color:{theme.observed}'><b>━ observed</b></span>; {scale}{about}",
        )
        labels = [
            f"{_short(name)}  {'r  -' if np.isnan(r) else f'r {r:.2f}'}"
            for name, r in zip(self.names, self._scores, strict=True)
        ]
        if each:
            labels = [f"{label}  {sd:g} SD" for label, sd in zip(labels, self.heights_sd, strict=True)]
        axis = self._item.getAxis("left")
        axis.setWidth(165 if each else 125)
        axis.setTicks([[(-k, label) for k, label in enumerate(labels) if k % self._every == 0]])


def _short(name: str) -> str:
    return name if len(name) <= LABEL_LETTERS else f"{name[: LABEL_LETTERS - 1]}…"
