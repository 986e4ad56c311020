"""Words over a picture that is not live, so that it cannot be taken for one."""

from __future__ import annotations

import math

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from realtime.monitor.view import View
from realtime.monitor.vitals import Vitals


class Frozen:
    """`widget`: `below` under a bar of words, there while what is drawn is paused or old."""

    def __init__(self, below: QWidget) -> None:
        self.widget = QWidget()
        self.label = QLabel()
        self.label.setObjectName("frozen")
        self.label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.label.hide()
        column = QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.label)
        column.addWidget(below, 1)

    def draw(self, view: View, vitals: Vitals, now_s: float) -> None:
        says = words(view, vitals, now_s)
        self.label.setVisible(bool(says))
        if says:
            self.label.setText(says)


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
