"""Panel: the sound that the engine hears, as log-mel bands and a level."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QHBoxLayout, QWidget

from realtime.monitor.curves import columns_by_time
from realtime.monitor.history import Rows
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme

STEP_S = 0.02
WINDOW_S = 10.0
LOG_MEL = (-1.0, 1.5)
FLOOR_DB = -80.0
QUIET_DB, CLIPPING_DB = -60.0, -1.0


class Sound:
    """A picture, time by band, and beside it a bar of the newest level."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self.widget = QWidget()
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        mel = make_plot(theme, "Sound: none received", "seconds ago", "mel band")
        self._mel = mel.getPlotItem()
        self._mel.getAxis("left").setWidth(62)
        self.picture = pg.ImageItem(axisOrder="col-major", lut=pg.colormap.get("magma").getLookupTable(nPts=256))
        self._mel.addItem(self.picture)
        self._mel.setXRange(-WINDOW_S, 0.0, padding=0)
        self._mel.setYRange(0.0, 80.0, padding=0)
        level = make_plot(theme, " ", " ", "level (dBFS)")
        level.setFixedWidth(105)
        self._level = level.getPlotItem()
        self._level.getAxis("bottom").setTicks([[]])
        self._level.setXRange(0.0, 1.0, padding=0)
        self._level.setYRange(FLOOR_DB, 0.0, padding=0)
        self.bar = pg.BarGraphItem(x0=[0.1], x1=[0.9], y0=[FLOOR_DB], y1=[FLOOR_DB], pen=None, brush=theme.good)
        self._level.addItem(self.bar)
        row.addWidget(mel, 1)
        row.addWidget(level)
        self._said = ""

    def draw(self, rows: Rows | None, now_s: float) -> None:
        if rows is None or not len(rows):
            return
        times, data = rows.between(now_s - WINDOW_S - 1.0)
        stop_s = float(times[-1]) if len(times) else now_s
        bands = data[:, 1:]
        picture = columns_by_time(times, bands, stop_s, round(WINDOW_S / STEP_S), STEP_S)
        self.picture.setImage(picture, levels=LOG_MEL, autoLevels=False)  # no row, no colour
        self.picture.setRect(stop_s - now_s - WINDOW_S, 0.0, WINDOW_S, bands.shape[1])
        self._mel.setYRange(0.0, bands.shape[1], padding=0)
        level_db = float(data[-1, 0]) if len(times) and times[-1] > now_s - 1.0 else np.nan
        self._show_level(level_db)

    def _show_level(self, level_db: float) -> None:
        says, colour = "", self._theme.good
        if np.isnan(level_db):
            says = "no rows"
        elif level_db < QUIET_DB:
            says, colour = "silence", self._theme.dim
        elif level_db > CLIPPING_DB:
            says, colour = "clipping", self._theme.bad
        top = FLOOR_DB if np.isnan(level_db) else float(np.clip(level_db, FLOOR_DB, 0.0))
        self.bar.setOpts(y1=[top], brush=colour)
        title = f"Sound heard, log-mel{f': <b>{says}</b>' if says else ''}"
        if title != self._said:
            self._said = title
            set_title(self._mel, self._theme, title)
