"""`Pane`: a plot on which the mouse measures, scrolls and zooms time."""

from __future__ import annotations

from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QMouseEvent, QWheelEvent

DRAG_PX = 4


class Pane(pg.PlotWidget):  # type: ignore[misc]
    """Signals speak in the plot's own units."""

    hovered = Signal(float, float)  # x, y under the mouse
    left = Signal()  # the mouse has gone
    clicked = Signal(float, float)
    dragged = Signal(float)  # x by which the contents were pulled to the right
    zoomed = Signal(int)  # steps of time, positive: show more
    scaled = Signal(int)  # steps of amplitude, with Ctrl, positive: larger lanes

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.setMouseTracking(True)
        self._pressed: QPointF | None = None
        self._dragging = False

    def _place(self, point: QPointF) -> tuple[float, float]:
        view = self.getPlotItem().getViewBox().mapSceneToView(self.mapToScene(point.toPoint()))
        return view.x(), view.y()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed, self._dragging = event.position(), False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self.hovered.emit(*self._place(event.position()))
        if self._pressed is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        if self._dragging or abs(event.position().x() - self._pressed.x()) >= DRAG_PX:
            self._dragging = True
            self.dragged.emit(self._place(event.position())[0] - self._place(self._pressed)[0])
            self._pressed = event.position()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._pressed is not None and not self._dragging:
            self.clicked.emit(*self._place(event.position()))
        self._pressed = None

    def wheelEvent(self, event: QWheelEvent) -> None:
        steps = -1 if event.angleDelta().y() > 0 else 1
        with_ctrl = event.modifiers() & Qt.KeyboardModifier.ControlModifier
        (self.scaled if with_ctrl else self.zoomed).emit(steps)

    def leaveEvent(self, event: QEvent) -> None:
        self.left.emit()
        super().leaveEvent(event)
