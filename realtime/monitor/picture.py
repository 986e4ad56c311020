"""Plots in the window's style, and the window as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyqtgraph as pg
from PySide6.QtWidgets import QGraphicsItem, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from realtime.errors import UserError
from realtime.monitor.theme import SMALLEST_PT, Theme, font


def make_plot(theme: Theme, title: str, bottom: str, left: str, kind: Any = pg.PlotWidget) -> Any:
    """A plot with styled axes, fixed ranges and no mouse handling of its own. kind: the widget's class."""
    plot = kind(background=theme.panel)
    item = plot.getPlotItem()
    item.hideButtons()
    item.layout.setContentsMargins(6, 2, 14, 8)
    item.setMenuEnabled(False)
    item.setMouseEnabled(False, False)
    item.disableAutoRange()
    for side, label in (("bottom", bottom), ("left", left)):
        axis = item.getAxis(side)
        axis.setStyle(tickFont=font(), tickTextOffset=5)
        axis.setStyle(hideOverlappingLabels=False)
        axis.setTextPen(theme.text)
        axis.setPen(theme.dim)
        if label:
            axis.setLabel(label, **{"color": theme.text, "font-size": f"{SMALLEST_PT}pt"})
        axis.enableAutoSIPrefix(False)
    item.getAxis("bottom").setHeight(46)
    for part in (item.getAxis("bottom"), item.getAxis("left"), item.titleLabel):
        # Kept as pixels: most of what a plot costs is its text, drawn again with every change of a curve.
        part.setCacheMode(QGraphicsItem.CacheMode.DeviceCoordinateCache)
    set_title(item, theme, title)
    return plot


def set_title(item: Any, theme: Theme, title: str) -> None:
    """A title at the left of a plot item; may hold HTML."""
    item.setTitle(title, color=theme.text, size=f"{SMALLEST_PT}pt", justify="left")


def side_by_side(theme: Theme, title: str, left: QWidget, right: QWidget, shares: tuple[int, int]) -> Any:
    """Two plots under one title: the widget, and the label of the title, which may hold HTML."""
    widget, says = QWidget(), QLabel(title)
    says.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    says.setContentsMargins(8, 4, 8, 0)
    says.setStyleSheet(f"background: {theme.panel}")
    row = QHBoxLayout()
    row.setSpacing(0)
    for plot, share in zip((left, right), shares, strict=True):
        plot.getPlotItem().setTitle(None)  # type: ignore[attr-defined]
        row.addWidget(plot, share)
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(0)
    column.addWidget(says)
    column.addLayout(row, 1)
    return widget, says


def save_picture(window: QWidget, path: Path) -> None:
    """What the window shows now, as a PNG. Raises UserError where the file cannot be written."""
    if not window.grab().save(str(path), "PNG"):  # type: ignore[call-overload]
        raise UserError(f"cannot write the picture {str(path)!r}: give a file in a folder that exists, ending in .png")


def save_panels(window: Any, folder: Path) -> None:
    """Pictures of the window and of each panel, monitor-*.png, as docs/monitor.md shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("attention", "running", "spectrum", "onsets", "events")
    tabs = {name: getattr(window, name) for name in names}
    panels = {"traces": window.traces, "maps": window.maps, "electrodes": window.electrodes, "sound": window.sound}
    _redraw(window)
    save_picture(window, folder / "monitor-window.png")
    save_picture(window.health.widget, folder / "monitor-health.png")
    save_picture(window.controls.widget, folder / "monitor-buttons.png")
    for name, panel in panels.items():
        save_picture(panel.widget, folder / f"monitor-{name}.png")
    for name, panel in tabs.items():
        window.tabs.setCurrentWidget(panel.widget)
        _redraw(window)
        save_picture(window.tabs, folder / f"monitor-{name}.png")
    window.tabs.setCurrentIndex(0)
    window.scroll_by(-0.5 * window.view.window_s)
    (left, right), (low, high) = window.traces.widget.getPlotItem().viewRange()
    window.traces.cursor.click(left + 0.3 * (right - left), window.view.reference(0.0))
    window.traces.cursor.move(left + 0.45 * (right - left), low + 0.6 * (high - low))
    _redraw(window)
    save_picture(window.frozen.widget, folder / "monitor-paused.png")
    window.view.resume()


def _redraw(window: Any) -> None:
    """As many frames as it takes for every panel to have been drawn."""
    for _ in range(6):
        window.draw()
