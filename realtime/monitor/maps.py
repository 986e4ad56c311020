"""Panel: every electrode over time as colour: predicted, observed and their difference."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QHBoxLayout, QWidget

from realtime.block import Floats
from realtime.monitor.heat import (
    COLOURS,
    Numbers,
    Order,
    binned,
    colour_numbers,
    column_span,
    first_column,
    limit_for,
    order_by_grid,
    order_by_score,
)
from realtime.monitor.history import Rows
from realtime.monitor.pane import Pane
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme, font
from realtime.monitor.view import View

STEP_S = 0.02  # before there is any row
RESCALE_S = 2.0
MOST_COLUMNS = 600
LABEL_PX = 18
NAMES = ("predicted", "observed", "difference")
TITLES = ("Predicted", "Observed", "Observed - predicted")


class Maps:
    """Three images on one scale of time, a row for each electrode. by_score: the best at the top; else by the grid."""

    def __init__(self, theme: Theme, view: View, on_click: Callable[[str], None]) -> None:
        self._theme = theme
        self.view = view
        self._on_click = on_click
        self.by_score = True
        self.order: Order = np.zeros(0, np.intp)
        self.names: tuple[str, ...] = ()
        self.limits_sd = dict.fromkeys(NAMES, 4.0)
        self.begin_s, self.column_s = np.nan, STEP_S
        self._rescaled_s = -np.inf
        self._drawn: object = None
        self._range: object = None
        self._labels: object = None
        self.widget = QWidget()
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        self._items: dict[str, Any] = {}
        self.images: dict[str, Any] = {}
        self._bars: dict[str, Any] = {}
        for name, share in zip(NAMES, (38, 35, 37), strict=True):
            row.addWidget(self._make(name), share)
        self._describe()

    def _make(self, name: str) -> Any:
        theme = self._theme
        plot = make_plot(theme, "", "seconds from now", "", Pane)
        item = plot.getPlotItem()
        item.invertY(True)
        item.getAxis("left").setTicks([[]])
        item.getAxis("left").setWidth(72 if name == "predicted" else 8)
        colours = _colours(theme)
        table = np.vstack([pg.mkColor(theme.faint).getRgb()[:3], colours.getLookupTable(nPts=COLOURS - 1, alpha=False)])
        self.images[name] = pg.ImageItem(axisOrder="col-major", levels=(0, COLOURS - 1), lut=table.astype(np.uint8))
        self._now = pg.InfiniteLine(0.0, pen=pg.mkPen(theme.text, width=1, style=pg.QtCore.Qt.PenStyle.DashLine))
        item.addItem(self.images[name])
        item.addItem(self._now)
        if name != "predicted":  # which has the same scale as observed
            bar = pg.ColorBarItem(values=(-4.0, 4.0), colorMap=colours, interactive=False, width=12)
            bar.getAxis("right").setStyle(tickFont=font())
            bar.getAxis("right").setTextPen(theme.text)
            bar.getAxis("right").setWidth(34)
            item.layout.addItem(bar, 2, 5)
            self._bars[name] = bar
        plot.clicked.connect(self._clicked)
        self._items[name] = item
        return plot

    @property
    def panes(self) -> list[Any]:
        """The three plots, for what the mouse does on them."""
        return [item.getViewWidget() for item in self._items.values()]

    def show_electrodes(self, names: Sequence[str], scores: Floats, rows: Sequence[Sequence[str]]) -> None:
        """Order by running r (NaN: not yet known) or by rows of the grid."""
        self.names = tuple(names)
        self.order = order_by_score(scores) if self.by_score else order_by_grid(names, rows)
        self._drawn = None
        for item in self._items.values():
            item.setYRange(0, max(1, len(names)), padding=0)

    def draw(self, predicted: Rows | None, observed: Rows | None, now_s: float, ahead_s: float) -> None:
        """Draw what both hold. ahead_s: how much of the time after now is shown."""
        if not len(self.order) or not self.widget.isVisible():
            return
        reference_s, window_s = self.view.reference(now_s), self.view.window_s
        held = [rows for rows in (predicted, observed) if rows is not None and len(rows)]
        step_s = min((rows.step_s for rows in held), default=STEP_S)
        self.column_s = column_span(window_s + ahead_s, step_s, MOST_COLUMNS)
        newest_s = max((rows.newest_s for rows in held), default=np.nan)
        self.begin_s = first_column(reference_s - window_s, self.column_s, step_s, newest_s)
        self._place(reference_s, window_s, ahead_s)
        new = (self.begin_s, newest_s if self.view.live else 0.0)
        if new == self._drawn:
            return
        self._drawn = new
        count = int(np.ceil((window_s + ahead_s) / self.column_s)) + 1
        pictures = [self._picture(rows, count) for rows in (predicted, observed)]
        pictures.append(pictures[1] - pictures[0])
        self._rescale(pictures)
        for name, picture in zip(NAMES, pictures, strict=True):
            numbers: Numbers = colour_numbers(picture, self.limits_sd[name])
            self.images[name].setImage(numbers, autoLevels=False, levels=(0, COLOURS - 1))
            self.images[name].setRect(self.begin_s - reference_s, 0.0, count * self.column_s, len(self.order))

    def _picture(self, rows: Rows | None, count: int) -> Floats:
        if rows is None or rows.channels != self.names:
            return np.full((count, len(self.order)), np.nan, np.float32)
        times, data = rows.between(self.begin_s, self.begin_s + count * self.column_s)
        return binned(times, data, self.begin_s, count, self.column_s)[:, self.order]

    def _place(self, reference_s: float, window_s: float, ahead_s: float) -> None:
        """Move the images with time, even where nothing in them is new."""
        for image in self.images.values():
            if image.image is not None and image.image.shape[1] == len(self.order):
                image.setRect(self.begin_s - reference_s, 0.0, len(image.image) * self.column_s, len(self.order))
        if (window_s, ahead_s) != self._range:
            self._range = (window_s, ahead_s)
            for item in self._items.values():
                item.setXRange(-window_s, ahead_s, padding=0)
        self._label()

    def _label(self) -> None:
        """As many names as there is room for."""
        item = self._items["predicted"]
        room = max(1, int(item.getViewBox().height() / LABEL_PX))
        every = -(-len(self.order) // room)
        wanted = (every, self.order.tobytes())
        if wanted != self._labels:
            self._labels = wanted
            ticks = [(k + 0.5, self.names[self.order[k]][:8]) for k in range(0, len(self.order), every)]
            item.getAxis("left").setTicks([ticks])

    def _rescale(self, pictures: Sequence[Floats]) -> None:
        if time.monotonic() - self._rescaled_s < RESCALE_S:
            return
        self._rescaled_s = time.monotonic()
        both = limit_for(np.concatenate(pictures[:2]))
        limits_sd = {"predicted": both, "observed": both, "difference": limit_for(pictures[2])}
        if limits_sd != self.limits_sd:
            self.limits_sd = limits_sd
            self._describe()

    def _describe(self) -> None:
        for name, title in zip(NAMES, TITLES, strict=True):
            set_title(self._items[name], self._theme, f"{title} (SD)")
            if name in self._bars:
                self._bars[name].setLevels((-self.limits_sd[name], self.limits_sd[name]))

    def _clicked(self, _x: float, y: float) -> None:
        if 0 <= y < len(self.order):
            self._on_click(self.names[self.order[int(y)]])


def _colours(theme: Theme) -> Any:
    """From observed's blue through the panel's own colour to predicted's orange: apart for the colour-blind."""
    stops = ["#cfe9ff", theme.observed, theme.panel, theme.predicted, "#fff0b8"]
    if theme.panel == "#ffffff":
        stops = ["#00304d", theme.observed, theme.panel, theme.predicted, "#4d1c00"]
    return pg.ColorMap([0.0, 0.3, 0.5, 0.7, 1.0], [pg.mkColor(stop) for stop in stops])
