"""What the window remembers between runs: sizes, zoom, and which electrodes are shown."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QByteArray, QSettings
from PySide6.QtWidgets import QSplitter, QTabWidget, QWidget

from realtime.monitor.choice import MODES, MOST, Choice
from realtime.monitor.maps import Maps
from realtime.monitor.traces import Traces
from realtime.monitor.view import LONGEST_S, SHORTEST_S, View


def user_settings() -> QSettings:
    """This user's own."""
    return QSettings("corticast", "monitor")


def remember(
    settings: QSettings,
    window: QWidget,
    parts: Mapping[str, QWidget],
    view: View,
    choice: Choice,
    traces: Traces,
    maps: Maps,
) -> None:
    """Write the layout. parts: splitters and tabs by name."""
    settings.setValue("width", window.width())
    settings.setValue("height", window.height())
    for name, part in parts.items():
        if isinstance(part, QSplitter):
            settings.setValue(f"split/{name}", part.saveState())
        elif isinstance(part, QTabWidget):
            settings.setValue(f"tab/{name}", part.currentIndex())
    settings.setValue("window_s", view.window_s)
    settings.setValue("by_score", int(maps.by_score))
    settings.setValue("mode", choice.mode)
    settings.setValue("count", choice.count)
    settings.setValue("pinned", ",".join(choice.pinned))
    settings.setValue("each", int(traces.each))
    settings.setValue("scale_steps", traces.scale_steps)
    settings.sync()


def recall(
    settings: QSettings,
    window: QWidget,
    parts: Mapping[str, QWidget],
    view: View,
    choice: Choice,
    traces: Traces,
    maps: Maps,
) -> None:
    """Take up what was written; what is missing or makes no sense stays as it is."""
    width, height = (_number(settings, key, 0, 100, 20_000) for key in ("width", "height"))
    if width and height:
        window.resize(int(width), int(height))
    for name, part in parts.items():
        state = settings.value(f"split/{name}")
        if isinstance(part, QSplitter) and isinstance(state, QByteArray):
            part.restoreState(state)
        elif isinstance(part, QTabWidget):
            part.setCurrentIndex(int(_number(settings, f"tab/{name}", 0, 0, part.count() - 1)))
    view.window_s = _number(settings, "window_s", view.window_s, SHORTEST_S, LONGEST_S)
    maps.by_score = bool(_number(settings, "by_score", 1, 0, 1))
    mode = settings.value("mode")
    choice.mode = str(mode) if mode in MODES else choice.mode
    choice.count = int(_number(settings, "count", choice.count, 1, MOST))
    choice.pinned = [name for name in str(settings.value("pinned") or "").split(",") if name]
    traces.rescale(bool(_number(settings, "each", 0, 0, 1)), steps=int(_number(settings, "scale_steps", 0, -6, 6)))


def _number(settings: QSettings, key: str, otherwise: float, least: float, most: float) -> float:
    try:
        value = float(str(settings.value(key, otherwise)))
    except ValueError:
        return otherwise
    return value if least <= value <= most else otherwise
