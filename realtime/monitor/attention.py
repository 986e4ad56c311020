"""Panel: mean attention over lags, now and over the session."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg

from realtime.monitor.curves import mean_weights
from realtime.monitor.history import Rows
from realtime.monitor.picture import make_plot, side_by_side
from realtime.monitor.session import Session
from realtime.monitor.theme import Theme

LAG_MS = 20.0
MEAN_S = 5.0


class Attention:
    """Left: weights averaged over the last MEAN_S seconds (bright) and over the session (dashed), a curve per head; the
    weights of a head sum to one. Right: the mean of the heads, lag by time, over the session."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self._heads = ""
        now = make_plot(theme, "", "lag (ms)", "weight")
        self._item = now.getPlotItem()
        self._item.getAxis("left").setWidth(62)
        self._item.setXRange(0.0, 1000.0, padding=0.01)
        self._item.setYRange(0.0, 0.2, padding=0)
        session = make_plot(theme, "", "minutes from now", "lag (ms)")
        self._session_item = session.getPlotItem()
        self._session_item.getAxis("left").setWidth(58)
        self._session_item.getAxis("bottom").setTickDensity(0.5)
        self.picture = pg.ImageItem(axisOrder="col-major", lut=pg.colormap.get("viridis").getLookupTable(nPts=256))
        self._session_item.addItem(self.picture)
        self.widget, self.says = side_by_side(theme, "Attention: none received", now, session, (58, 42))
        self.curves: list[Any] = []
        self.session_curves: list[Any] = []

    def draw(self, rows: Rows | None, session: Session | None, now_s: float) -> None:
        if rows is None or not len(rows) or not self.widget.isVisible():
            return
        weights = mean_weights(rows.channels, rows.between(now_s - MEAN_S)[1])  # (heads, lags)
        lags_ms = LAG_MS * np.arange(weights.shape[1])
        if len(self.curves) != len(weights):
            self._make_curves(len(weights))
        over_all = np.full_like(weights, np.nan)
        if session is not None:
            over_all = mean_weights(rows.channels, session.mean()[None])
            self._draw_session(rows.channels, session, now_s)
        for curves, values in ((self.curves, weights), (self.session_curves, over_all)):
            for curve, head in zip(curves, values, strict=True):
                curve.setData(lags_ms, np.nan_to_num(head), connect="finite")
        both = np.concatenate([weights, over_all])
        top = float(np.nanmax(both)) if np.isfinite(both).any() else 1.0
        self._item.setXRange(0.0, max(lags_ms[-1], LAG_MS), padding=0.01)
        self._item.setYRange(0.0, 1.1 * top, padding=0)

    def _draw_session(self, channels: Any, session: Session, now_s: float) -> None:
        begin_s, span_s, means = session.means()
        if not len(means):
            return
        lags = 1 + max(int(name.split("_lag")[1]) for name in channels)
        order = np.argsort([int(name.split("_lag")[1]) for name in channels], kind="stable")
        picture = means[:, order].reshape(len(means), lags, -1).mean(axis=2)  # (spans, lags), over heads
        top = float(np.nanmax(picture))
        self.says.setText(f"{self._heads}. Right: mean, 0 to {top:.2g}")
        self.picture.setImage(np.nan_to_num(picture), levels=(0.0, top or 1.0), autoLevels=False)
        minutes = (begin_s - now_s) / 60.0
        self.picture.setRect(minutes, -0.5 * LAG_MS, len(means) * span_s / 60.0, lags * LAG_MS)
        self._session_item.setXRange(min(-0.5, minutes), 0.0, padding=0)
        self._session_item.setYRange(-0.5 * LAG_MS, (lags - 0.5) * LAG_MS, padding=0)

    def _make_curves(self, heads: int) -> None:
        for curve in (*self.curves, *self.session_curves):
            self._item.removeItem(curve)
        colours = [self._theme.heads[head % len(self._theme.heads)] for head in range(heads)]
        dashed = pg.QtCore.Qt.PenStyle.DashLine
        self.session_curves = [pg.PlotCurveItem(pen=pg.mkPen(c, width=1, style=dashed)) for c in colours]
        self.curves = [pg.PlotCurveItem(pen=pg.mkPen(c, width=2)) for c in colours]
        for curve in (*self.session_curves, *self.curves):
            self._item.addItem(curve)
        names = " ".join(f"<span style='color:{c}'><b>{k + 1}</b></span>" for k, c in enumerate(colours))
        self._heads = f"Head {names}: ━ last {MEAN_S:g} s, ╍ session"
