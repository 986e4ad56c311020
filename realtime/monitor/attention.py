"""Panel: mean attention over lags, now and over the session."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from realtime.block import Floats
from realtime.monitor.curves import label_lags, mean_weights
from realtime.monitor.history import Rows
from realtime.monitor.picture import make_plot, side_by_side
from realtime.monitor.session import Session
from realtime.monitor.theme import Theme, font

STYLES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)
LAG_MS = 20.0
MEAN_S = 5.0


class Attention:
    """Left: weights averaged over the last MEAN_S seconds (thick, with the head's number) and over the session (thin),
    a curve per head; the weights of a head sum to one. Heads with one colour differ in the style of their lines.
    Right: the mean of the heads, lag by time, over the session."""

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
        self.labels: list[Any] = []
        self._label_lags: list[int] = []

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
                known = np.isfinite(head)  # none, where no row has come for MEAN_S
                curve.setData(lags_ms[known], head[known])
        both = np.concatenate([weights, over_all])
        top = float(np.nanmax(both)) if np.isfinite(both).any() else 1.0
        self._item.setXRange(0.0, max(lags_ms[-1], LAG_MS), padding=0.01)
        self._item.setYRange(0.0, 1.1 * top, padding=0)
        self._label(weights, lags_ms)

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
        for part in (*self.curves, *self.session_curves, *self.labels):
            self._item.removeItem(part)
        looks = [head_look(self._theme, head) for head in range(heads)]
        self.session_curves = [pg.PlotCurveItem(pen=pg.mkPen(c, width=1, style=style)) for c, style in looks]
        self.curves = [pg.PlotCurveItem(pen=pg.mkPen(c, width=3, style=style)) for c, style in looks]
        self.labels = [self._number(head, colour) for head, (colour, _) in enumerate(looks)]
        for part in (*self.session_curves, *self.curves, *self.labels):
            self._item.addItem(part)
        names = " ".join(f"<span style='color:{c}'><b>{k + 1}</b></span>" for k, (c, _) in enumerate(looks))
        self._heads = f"Head {names}: thick: last {MEAN_S:g} s, thin: session"

    def _number(self, head: int, colour: str) -> Any:
        """The head's number in a box on its curve."""
        theme = self._theme
        label = pg.TextItem(str(head + 1), theme.text, anchor=(0.5, 0.5), border=pg.mkPen(colour), fill=theme.panel)
        label.setFont(font(bold=True))
        return label

    def _label(self, weights: Floats, lags_ms: Floats) -> None:
        known = bool(np.isfinite(weights).all())
        if known:
            self._label_lags = label_lags(weights, self._label_lags)
        for head, label in enumerate(self.labels):
            label.setVisible(known)
            if known:
                label.setPos(lags_ms[self._label_lags[head]], weights[head, self._label_lags[head]])


def head_look(theme: Theme, head: int) -> tuple[str, Any]:
    """Colour and line style of a head: no two of the first twelve share both."""
    colours = theme.heads
    return colours[head % len(colours)], STYLES[head // len(colours) % len(STYLES)]
