"""Panel: the power spectrum of every channel's raw signal: hum, dead and noisy ones, before there is any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg

from realtime.block import Floats
from realtime.monitor.curves import polyline
from realtime.monitor.picture import make_plot, side_by_side
from realtime.monitor.spectra import Spectra, verdict_words, verdicts
from realtime.monitor.theme import Theme

MOST_BELOW_DB = 50.0  # the median: a dead channel, which is named, must not flatten the others


class Spectrum:
    """Left: a curve for each channel, those shown as traces bright, those that something is wrong with in the colour
    of warnings. Right: the same as a picture, a row for each channel. `wrong`: verdicts by name."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self.wrong: dict[str, str] = {}
        curves = make_plot(theme, "", "frequency (Hz)", "power (dB)")
        self._item = curves.getPlotItem()
        self._item.getAxis("left").setWidth(62)
        self._item.setXRange(0.0, 250.0, padding=0.01)
        faint = pg.mkColor(theme.dim)
        faint.setAlpha(90)
        self.all = pg.PlotCurveItem(pen=pg.mkPen(faint, width=1))
        self.unwell = pg.PlotCurveItem(pen=pg.mkPen(theme.bad, width=1))
        self.shown = pg.PlotCurveItem(pen=pg.mkPen(theme.observed, width=1))
        for curve in (self.all, self.shown, self.unwell):
            self._item.addItem(curve)
        image = make_plot(theme, "", "frequency (Hz)", "channel")
        self._image_item = image.getPlotItem()
        self._image_item.getAxis("left").setWidth(58)
        self._image_item.invertY(True)
        self.picture = pg.ImageItem(axisOrder="col-major", lut=pg.colormap.get("viridis").getLookupTable(nPts=256))
        self._image_item.addItem(self.picture)
        self.widget, self.says = side_by_side(theme, "Raw power: none received", curves, image, (62, 38))
        self._drawn: object = None

    def draw(self, spectra: Spectra | None, shown: Sequence[str]) -> None:
        """Where there is a new spectrum."""
        if spectra is None or not spectra.written or not self.widget.isVisible():
            return
        new = (spectra, spectra.written, tuple(shown))
        if new == self._drawn:
            return
        self._drawn = new
        bins_hz, powers = spectra.latest()
        self.wrong = verdicts(spectra.names, bins_hz, powers)
        places = {name: k for k, name in enumerate(spectra.names)}
        for curve, names in (
            (self.all, spectra.names),
            (self.unwell, [name for name, verdict in self.wrong.items() if "hum" not in verdict]),
            (self.shown, [name for name in shown if name in places]),
        ):
            _lines(curve, bins_hz, powers[:, [places[name] for name in names]])
        known = powers[np.isfinite(powers)]
        low, high = np.percentile(known, [1.0, 99.5]) if len(known) else (0.0, 1.0)
        low = max(low, float(np.median(known)) - MOST_BELOW_DB) if len(known) else low
        self._item.setXRange(0.0, float(bins_hz[-1]), padding=0.01)
        self._item.setYRange(float(low) - 5.0, float(high) + 5.0, padding=0)
        self._draw_picture(bins_hz, powers, float(low), float(high))
        said = verdict_words(self.wrong, len(spectra.names))
        words = f"<span style='color:{self._theme.bad}'><b>{said}</b></span>" if said else "nothing stands out"
        self.says.setText(f"Raw power: {words}")
        self.says.setToolTip(said)

    def _draw_picture(self, bins_hz: Floats, powers: Floats, low: float, high: float) -> None:
        step_hz = float(bins_hz[1] - bins_hz[0]) if len(bins_hz) > 1 else 1.0
        channels = powers.shape[1]
        self.picture.setImage(np.nan_to_num(powers, nan=low), levels=(low, max(high, low + 1.0)), autoLevels=False)
        self.picture.setRect(float(bins_hz[0]) - step_hz / 2, 0.5, len(bins_hz) * step_hz, channels)
        self._image_item.setXRange(0.0, float(bins_hz[-1]), padding=0)
        self._image_item.setYRange(0.5, channels + 0.5, padding=0)


def _lines(curve: Any, bins_hz: Floats, powers: Floats) -> None:
    if not powers.shape[1]:
        curve.setData([], [])
        return
    x = np.asarray(bins_hz, np.float64)
    _, y, joined = polyline(x, powers + np.arange(powers.shape[1]), 1.0, np.inf)  # lanes taken off again
    curve.setData(np.tile(x, powers.shape[1]), y, connect=joined)
