"""Panel: mean attention over lags, one curve per head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg

from realtime.monitor.curves import mean_weights
from realtime.monitor.history import Rows
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme

LAG_MS = 20.0
MEAN_S = 5.0


class Attention:
    """Weights averaged over the last MEAN_S seconds; the weights of a head sum to one."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self.widget = make_plot(
            theme, "Attention: none received", "lag: how long before the newest sound (ms)", "mean weight"
        )
        self._item = self.widget.getPlotItem()
        self._item.getAxis("left").setWidth(62)
        self._item.setXRange(0.0, 1000.0, padding=0.01)
        self._item.setYRange(0.0, 0.2, padding=0)
        self.curves: list[Any] = []

    def draw(self, rows: Rows | None, now_s: float) -> None:
        if rows is None or not len(rows):
            return
        weights = mean_weights(rows.channels, rows.between(now_s - MEAN_S)[1])  # (heads, lags)
        lags_ms = LAG_MS * np.arange(weights.shape[1])
        if len(self.curves) != len(weights):
            self._make_curves(len(weights))
        for curve, head in zip(self.curves, weights, strict=True):
            curve.setData(lags_ms, np.nan_to_num(head), connect="finite")
        top = float(np.nanmax(weights)) if np.isfinite(weights).any() else 1.0
        self._item.setXRange(0.0, max(lags_ms[-1], LAG_MS), padding=0.01)
        self._item.setYRange(0.0, 1.1 * top, padding=0)

    def _make_curves(self, heads: int) -> None:
        for curve in self.curves:
            self._item.removeItem(curve)
        colours = [self._theme.heads[head % len(self._theme.heads)] for head in range(heads)]
        self.curves = [pg.PlotCurveItem(pen=pg.mkPen(colour, width=2)) for colour in colours]
        for curve in self.curves:
            self._item.addItem(curve)
        names = " ".join(f"<span style='color:{c}'><b>━ {k + 1}</b></span>" for k, c in enumerate(colours))
        set_title(self._item, self._theme, f"Attention, last {MEAN_S:g} s; head {names}")
