"""Panel: every electrode at its place, coloured by running r, dim below the null band."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg

from realtime.block import Floats
from realtime.monitor.layout import Places
from realtime.monitor.picture import make_plot, set_title
from realtime.monitor.theme import Theme, font

SIGNS = {"masked": "x masked", "sound": "△ hears the sound"}
SYMBOLS = {"masked": "x", "sound": "t"}
BRIGHT, DIM = 0.86, 0.5  # diameters, in grid steps


class Electrodes:
    """A dot per electrode; a click on one calls `on_click(name)`."""

    def __init__(self, theme: Theme, on_click: Callable[[str], None]) -> None:
        self._theme = theme
        self._on_click = on_click
        self._laid_out: object = None
        self._colours = pg.colormap.get("viridis")
        self.widget = make_plot(theme, "Running r: none received", "", "")
        self._item = self.widget.getPlotItem()
        self._item.hideAxis("left")
        self._item.hideAxis("bottom")
        self._item.layout.setContentsMargins(6, 2, 8, 14)
        self._item.setAspectLocked(True)
        self.dots = pg.ScatterPlotItem(pxMode=False, hoverable=True, tip=None)
        self.dots.sigClicked.connect(self._clicked)
        self.dots.sigHovered.connect(self._hovered)
        self._item.addItem(self.dots)
        self._bar = pg.ColorBarItem(values=(0.0, 0.5), colorMap=self._colours, interactive=False, width=14)
        self._bar.getAxis("right").setStyle(tickFont=font())
        self._bar.getAxis("right").setTextPen(theme.text)
        self._bar.getAxis("right").setWidth(34)
        self._item.layout.addItem(self._bar, 2, 5)
        title = self._item.titleLabel  # over the bar too, which a long one would push out of the picture
        self._item.layout.removeItem(title)
        self._item.layout.addItem(title, 0, 0, 1, 6)
        self._scores: dict[str, float] = {}
        self._unfit: dict[str, str] = {}
        self._masked: dict[str, float] = {}
        self._note, self._said = "", ""

    def draw(
        self,
        names: Sequence[str],
        places: Places,
        scores: Floats,
        null_r: float,
        shown: Sequence[str],
        pinned: Sequence[str],
        unfit: Mapping[str, str],
        masked: Floats,
    ) -> None:
        """Colour by `scores` (names,), at `places` (names, 2); those not above `null_r` are drawn dim. Rings: shown;
        thick: pinned. unfit: "masked" (drawn as a cross) or "sound" (picks up the sound itself: a triangle) by name.
        masked: (names,) share of all rows so far."""
        self._scores = dict(zip(names, (float(r) for r in scores), strict=True))
        if (tuple(names), places.tobytes()) != self._laid_out:
            self._laid_out = tuple(names), places.tobytes()
            (left, bottom), (right, top) = places.min(axis=0), places.max(axis=0)
            self._item.setRange(xRange=(left - 0.6, right + 0.6), yRange=(bottom - 0.6, top + 0.6), padding=0)
        known = scores[np.isfinite(scores)]
        top_r = max(0.5, float(np.ceil(10 * known.max()) / 10)) if len(known) else 0.5
        self._bar.setLevels((0.0, top_r))
        limit_r = 0.0 if np.isnan(null_r) else null_r
        self.dots.setData(
            [
                self._dot(name, place, colour, bool(r > limit_r), name in shown, name in pinned)
                | self._sign(unfit.get(name))
                for name, place, r, colour in zip(names, places, scores, self._brushes(scores, top_r), strict=True)
            ]
        )
        known_null = "" if np.isnan(null_r) else f"; small: chance (below {null_r:.2f})"
        kinds = set(unfit.values()) if unfit else set()
        signs = "".join(f"; {sign}" for kind, sign in SIGNS.items() if kind in kinds)
        self._unfit = dict(unfit)
        self._masked = dict(zip(names, masked.tolist(), strict=True))
        self._note = f"Running r{known_null}{signs}"
        self._title()

    def _title(self, name: str | None = None) -> None:
        title = self._note
        if name is not None:
            r = self._scores.get(name, np.nan)
            why = f", {SIGNS[self._unfit[name]]}" if name in self._unfit else ""
            share = self._masked.get(name, np.nan)
            masked = "" if np.isnan(share) else f", masked {100 * share:.1f} % so far"
            title = f"{name}: running r {'not yet known' if np.isnan(r) else f'{r:.2f}'}{why}{masked}"
        if title != self._said:
            self._said = title
            set_title(self._item, self._theme, title)

    def _sign(self, unfit: str | None) -> dict[str, Any]:
        """What marks an electrode that is not to be trusted now, by its shape, as colour says r."""
        if unfit is None:
            return {"symbol": "o"}
        colour = self._theme.bad if unfit == "masked" else self._theme.text
        return {"symbol": SYMBOLS[unfit], "size": BRIGHT, "pen": pg.mkPen(colour, width=1)}

    def _brushes(self, scores: Floats, top_r: float) -> list[Any]:
        """Red, green and blue of each score, None where there is none."""
        colours = self._colours.map(np.clip(np.nan_to_num(scores) / top_r, 0.0, 1.0), mode="byte").tolist()
        return [None if np.isnan(r) else colour[:3] for r, colour in zip(scores, colours, strict=True)]

    def _dot(self, name: str, place: Floats, colour: Any, above: bool, shown: bool, pinned: bool) -> dict[str, Any]:
        theme = self._theme
        brush = pg.mkBrush(None if colour is None else (*colour, 255 if above else 110))
        edge = theme.predicted if pinned else theme.text if shown else theme.faint
        pen = pg.mkPen(edge, width=3 if pinned else 2 if shown else 1)
        return {"pos": tuple(place), "size": BRIGHT if above else DIM, "brush": brush, "pen": pen, "data": name}

    def _clicked(self, _dots: Any, points: Sequence[Any]) -> None:
        if len(points):
            self._on_click(points[0].data())

    def _hovered(self, _dots: Any, points: Sequence[Any]) -> None:
        if self._note:
            self._title(points[0].data() if len(points) else None)
