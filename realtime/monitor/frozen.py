"""Words over a picture that is not live, so that it cannot be taken for one."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from realtime.monitor.view import View
from realtime.monitor.vitals import Vitals


class Frozen:
    """A label at the top of `over`, there while what is drawn is paused or old."""

    def __init__(self, over: QWidget) -> None:
        self._over = over
        self.label = QLabel(over)
        self.label.setObjectName("frozen")
        self.label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.label.hide()

    def draw(self, view: View, vitals: Vitals, now_s: float) -> None:
        says = words(view, vitals, now_s)
        self.label.setVisible(bool(says))
        if says:
            self.label.setText(says)
            self.label.adjustSize()
            self.label.move(max(0, (self._over.width() - self.label.width()) // 2), 34)


def words(view: View, vitals: Vitals, now_s: float) -> str:
    """Why what is drawn is not what happens now; empty where it is."""
    if not view.live:
        return f"PAUSED: {_span(view.behind_s(now_s))} ago. Space: back to live"
    if vitals.state in ("late", "stopped"):
        age_s = max((age for age in (vitals.ages_s.get(vitals.main, math.nan),) if not math.isnan(age)), default=0.0)
        return f"NOT LIVE: no rows for {_span(age_s)}"
    if vitals.behind_s:
        return f"NOT LIVE: {_span(vitals.behind_s)} behind"
    return ""


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:02.0f} s"
