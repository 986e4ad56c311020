"""Panel: predicted over observed for a few electrodes, in seconds ago."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg

from realtime.monitor.curves import lane_height, polyline
from realtime.monitor.history import Rows
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme, font

STEP_S = 0.02
RESCALE_S = 2.0
LABEL_LETTERS = 9


class Traces:
    """Two curves, one per outlet, each holding every trace: one lane per electrode, gaps left open."""

    def __init__(self, theme: Theme, window_s: float = 10.0) -> None:
        self._theme = theme
        self._window_s = window_s
        self._height_sd = 4.0
        self._rescaled_s = -np.inf
        self._ahead_s = 0.5
        self.drawn_s = np.nan  # when, on the engine's clock, the curves were last drawn
        self.widget = make_plot(theme, "", "seconds ago (left of now) and ahead (right of it)", "electrode, running r")
        self._item = self.widget.getPlotItem()
        self._item.getAxis("left").setWidth(125)
        self._item.getAxis("left").setTicks([[]])
        self._zeros = pg.PlotCurveItem(pen=pg.mkPen(theme.faint, width=1), connect="pairs")
        self.observed = pg.PlotCurveItem(pen=pg.mkPen(theme.observed, width=1))
        self.predicted = pg.PlotCurveItem(pen=pg.mkPen(theme.predicted, width=1))
        # Qt takes five times as long over a pen two pixels wide as over two lines one pixel apart.
        self._thicker = pg.PlotCurveItem(pen=pg.mkPen(theme.predicted, width=1))
        now = pg.InfiniteLine(
            0.0, pen=pg.mkPen(theme.text, width=1, style=pg.QtCore.Qt.PenStyle.DashLine), label="now",
            labelOpts={"position": 0.985, "color": theme.text, "anchors": [(1.1, 0), (1.1, 0)]},
        )  # fmt: skip
        now.label.setFont(font())
        for part in (self._zeros, self.observed, self._thicker, self.predicted, now):
            self._item.addItem(part)
        self._title()

    def show_electrodes(self, names: Sequence[str], scores: Sequence[float]) -> None:
        """Label the lanes, top down: names and running r (NaN: not yet known)."""
        labels = [
            f"{_short(name)}  {'r  -' if np.isnan(r) else f'r {r:.2f}'}" for name, r in zip(names, scores, strict=True)
        ]
        self._item.getAxis("left").setTicks([[(-k, label) for k, label in enumerate(labels)]])
        self._item.setYRange(-len(names) + 0.4, 0.85, padding=0)
        lanes = np.repeat(-np.arange(len(names), dtype=np.float64), 2)
        self._zeros.setData(np.tile([-self._window_s, 60.0], len(names)), lanes)

    def draw(self, predicted: Rows | None, observed: Rows | None, names: Sequence[str], now_s: float) -> None:
        """Draw the last rows of `names` from both histories."""
        self.drawn_s = now_s
        start_s = now_s - self._window_s - 1.0
        found = []
        for rows in (observed, predicted):
            if rows is None or any(name not in rows.columns for name in names):
                found.append((np.zeros(0), np.zeros((0, len(names)), np.float32)))
            else:
                found.append(rows.between(start_s, columns=[rows.columns[name] for name in names]))
        self._rescale([data for _, data in found])
        for curve, (times, data) in zip((self.observed, self.predicted), found, strict=True):
            x, y, joined = polyline(times - now_s, data, self._height_sd, STEP_S)
            curve.setData(x, y, connect=joined)
        self._thicker.setData(x, y, connect=joined)
        self._thicker.setPos(0.0, self._item.getViewBox().viewPixelSize()[1])
        newest_s = max((times[-1] for times, _ in found if len(times)), default=now_s)
        ahead_s = 0.5 * max(1, int(np.ceil((newest_s - now_s) / 0.5)))
        if ahead_s > self._ahead_s or self._item.viewRange()[0][0] != -self._window_s - 0.1:
            self._ahead_s = min(ahead_s, 10.0)
            self._item.setXRange(-self._window_s - 0.1, self._ahead_s, padding=0)

    @property
    def height_sd(self) -> float:
        """Height of one lane, in SD."""
        return self._height_sd

    def _rescale(self, data: Sequence[np.ndarray]) -> None:  # type: ignore[type-arg]
        if time.monotonic() - self._rescaled_s > RESCALE_S and any(len(d) for d in data):
            self._rescaled_s = time.monotonic()
            height_sd = lane_height(data)
            if height_sd != self._height_sd:
                self._height_sd = height_sd
                self._title()

    def _title(self) -> None:
        theme = self._theme
        set_title(
            self._item,
            theme,
            f"High-gamma activity: <span style='color:{theme.predicted}'><b>━ predicted</b></span> over "
            f"<span style='color:{theme.observed}'><b>━ observed</b></span>; z-score, "
            f"one lane is {self._height_sd:g} SD",
        )


def _short(name: str) -> str:
    return name if len(name) <= LABEL_LETTERS else f"{name[: LABEL_LETTERS - 1]}…"
