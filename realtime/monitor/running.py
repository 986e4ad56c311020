"""Panel: the running r of every electrode over the session, with the band that chance alone would fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg

from realtime.monitor.curves import polyline
from realtime.monitor.history import Rows
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme

NULL = "null_max_p95"
MOST_POINTS = 400
SCORE_S = 1.0


class Running:
    """All electrodes as faint lines, those shown as traces as bright ones, the null's maximum (95 %) as a band."""

    def __init__(self, theme: Theme) -> None:
        self.widget = make_plot(theme, "", "minutes from now", "running r")
        self._item = self.widget.getPlotItem()
        self._item.getAxis("left").setWidth(62)
        self._item.setYRange(-0.3, 1.0, padding=0)
        faint = pg.mkColor(theme.dim)
        faint.setAlpha(90)
        band = pg.mkColor(theme.dim)
        band.setAlpha(70)
        self.band = pg.PlotCurveItem(pen=None, brush=band, fillLevel=-1.0)
        self.all = pg.PlotCurveItem(pen=pg.mkPen(faint, width=1))
        self.shown = pg.PlotCurveItem(pen=pg.mkPen(theme.observed, width=2))
        for part in (self.band, self.all, self.shown):
            self._item.addItem(part)
        set_title(
            self._item,
            theme,
            f"Running r: <span style='color:{theme.observed}'><b>━ shown</b></span>, "
            f"<span style='color:{theme.dim}'>━ others, ■ chance</span>",
        )
        self._drawn: object = None

    def draw(self, rows: Rows | None, shown: Sequence[str]) -> None:
        """rows: of the score. Once a second, as there is a score."""
        if rows is None or not len(rows) or not self.widget.isVisible():
            return
        new = (rows, rows.written, tuple(shown))
        if new == self._drawn:
            return
        self._drawn = new
        times, data = rows.between(-np.inf)
        every = -(-len(times) // MOST_POINTS)
        times, data = times[::-every][::-1], data[::-every][::-1]  # the newest is always among them
        minutes = (times - times[-1]) / 60.0
        step = every * SCORE_S * 2 / 60.0  # a score that is a little late is no gap
        others = [k for name, k in rows.columns.items() if name != NULL]
        self._lines(self.all, minutes, data[:, others], step)
        self._lines(self.shown, minutes, data[:, [rows.columns[name] for name in shown if name in rows.columns]], step)
        null = data[:, rows.columns[NULL]] if NULL in rows.columns else np.full(len(times), np.nan)
        known = np.isfinite(null)
        self.band.setData(minutes[known], null[known])
        self._item.setXRange(min(-1.0, minutes[0]), 0.0, padding=0.01)
        self._item.setYRange(*_range(data), padding=0)

    def _lines(self, curve: Any, minutes: Any, data: Any, step: float) -> None:
        x, y, joined = polyline(minutes, data + np.arange(data.shape[1]), 1.0, step)  # lanes taken off again
        curve.setData(x, y, connect=joined)


def _range(data: Any) -> tuple[float, float]:
    """In tenths, and what 99.9 % of the values stay in, at least 0 to 0.5."""
    known = data[np.isfinite(data)]
    low, high = np.quantile(known, [0.001, 0.999]) if len(known) else (0.0, 0.5)
    return min(-0.1, np.floor(low * 10) / 10), max(0.5, np.ceil(high * 10) / 10)
