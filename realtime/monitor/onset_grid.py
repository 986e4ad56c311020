"""Panel: high gamma averaged around the onsets of sound, every electrode at its place, growing with every onset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg

from realtime.block import Floats
from realtime.monitor.curves import lane_height
from realtime.monitor.layout import Places
from realtime.monitor.onsets import AFTER_S, BEFORE_S, OnsetAverage
from realtime.monitor.pane import Pane
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme

WIDE, HIGH = 0.86, 0.84  # of an electrode's place, in steps of the grid


class OnsetGrid:
    """A small curve for each electrode, all on one scale; a line marks the onset. A click calls `on_click(name)`."""

    def __init__(self, theme: Theme, on_click: Callable[[str], None]) -> None:
        self._theme = theme
        self._on_click = on_click
        self.widget = make_plot(theme, "Sound onsets: none yet", "", "", Pane)
        self._item = self.widget.getPlotItem()
        self._item.hideAxis("left")
        self._item.hideAxis("bottom")
        self._item.layout.setContentsMargins(6, 2, 8, 8)
        self.frames = pg.PlotCurveItem(pen=pg.mkPen(theme.faint, width=1), connect="pairs")
        self.others = pg.PlotCurveItem(pen=pg.mkPen(theme.text, width=1))
        self.shown = pg.PlotCurveItem(pen=pg.mkPen(theme.observed, width=1))
        for curve in (self.frames, self.others, self.shown):
            self._item.addItem(curve)
        self.widget.hovered.connect(self._hovered)
        self.widget.left.connect(lambda: self._title(None))
        self.widget.clicked.connect(self._clicked)
        self.height_sd = 1.0
        self._names: tuple[str, ...] = ()
        self._places: Places = np.zeros((0, 2))
        self._mean: Floats = np.zeros((0, 0))
        self._lags_s = np.zeros(0)
        self._onsets = 0
        self._drawn: object = None

    def draw(self, average: OnsetAverage | None, places: Places, shown: Sequence[str]) -> None:
        """places: (electrodes, 2), of the average's channels."""
        if average is None or not self.widget.isVisible() or len(places) != len(average.channels):
            return
        new = (average, average.onsets, tuple(shown), places.tobytes())
        if new == self._drawn:
            return
        self._drawn = new
        self._names, self._places, self._onsets = average.channels, places, average.onsets
        self._mean, self._lags_s = average.mean(), average.lags_s
        self.height_sd = lane_height([4.0 * self._mean]) / 8.0  # of half a lane
        (left, bottom), (right, top) = places.min(axis=0), places.max(axis=0)
        self._item.setRange(xRange=(left - 0.55, right + 0.55), yRange=(bottom - 0.55, top + 0.55), padding=0)
        bright = np.isin(self._names, list(shown))
        self._draw_frames()
        for curve, which in ((self.others, ~bright), (self.shown, bright)):
            x, y, joined = self._curves(np.flatnonzero(which))
            curve.setData(x, y, connect=joined)
        self._title(None)

    def _x(self, lags_s: Floats) -> Floats:
        """Seconds from the onset, within a place."""
        middle_s = (AFTER_S - BEFORE_S) / 2
        x: Floats = (lags_s - middle_s) * WIDE / (AFTER_S + BEFORE_S)
        return x

    def _curves(self, which: npt.NDArray[np.intp]) -> tuple[Floats, Floats, npt.NDArray[np.int32]]:
        """x, y and, per point, 1 where it joins the next one."""
        where = self._places[which]
        x = where[:, :1] + self._x(self._lags_s)
        y = where[:, 1:] + 0.5 * HIGH * np.clip(self._mean[:, which].T / self.height_sd, -1.0, 1.0)
        finite = np.isfinite(y)
        joined = np.zeros(y.shape, np.int32)
        joined[:, :-1] = finite[:, :-1] & finite[:, 1:]
        return x.ravel(), np.where(finite, y, 0.0).ravel(), joined.ravel()

    def _draw_frames(self) -> None:
        """A line of zero and the onset's moment at each place."""
        x, y = self._places[:, 0], self._places[:, 1]
        onset = x + self._x(np.zeros(1))
        ends = [(x - WIDE / 2, y), (x + WIDE / 2, y), (onset, y - HIGH / 2), (onset, y + HIGH / 2)]
        points = np.stack([np.stack(end, axis=1) for end in ends], axis=1).reshape(-1, 2)
        self.frames.setData(points[:, 0], points[:, 1])

    def _title(self, name: str | None) -> None:
        if not self._onsets:
            set_title(self._item, self._theme, "Sound onsets: none yet")
            return
        said = f"Mean of {self._onsets} onsets: {-BEFORE_S:g} to {AFTER_S:g} s, ±{self.height_sd:.2g} SD"
        if name is not None:
            mean = self._mean[:, self._names.index(name)]
            peak = int(np.nanargmax(np.abs(mean))) if np.isfinite(mean).any() else -1
            value = f"peak {mean[peak]:+.2f} SD at {1e3 * self._lags_s[peak]:.0f} ms" if peak >= 0 else "no rows yet"
            said = f"{name}: {value}, {self._onsets} onsets"
        set_title(self._item, self._theme, said)

    def _near(self, x: float, y: float) -> str | None:
        """Whose place this is."""
        if not len(self._places):
            return None
        away = np.abs(self._places - (x, y)).max(axis=1)
        nearest = int(np.argmin(away))
        return self._names[nearest] if away[nearest] <= 0.5 else None

    def _hovered(self, x: float, y: float) -> None:
        self._title(self._near(x, y))

    def _clicked(self, x: float, y: float) -> None:
        name = self._near(x, y)
        if name is not None:
            self._on_click(name)
