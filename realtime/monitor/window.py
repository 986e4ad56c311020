"""`Window`: the panels laid out, and the timer that has them draw what the client holds."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from realtime.block import Floats
from realtime.monitor.attention import Attention
from realtime.monitor.client import Client
from realtime.monitor.curves import choose
from realtime.monitor.electrodes import Electrodes
from realtime.monitor.health import Health
from realtime.monitor.sound import Sound
from realtime.monitor.theme import DARK, Theme, font, style_sheet
from realtime.monitor.traces import Traces

FRAME_MS = 33
SLOW_FRAMES = 3  # maps, every third frame: 10 a second
NULL = "null_max_p95"


class Window(QWidget):
    """Traces at the left, maps at the right, health above. Draws `client` on a timer and owns no numbers."""

    def __init__(self, client: Client, theme: Theme = DARK, count: int = 8) -> None:
        super().__init__()
        self.client = client
        self.count = count
        self.shown: list[str] = []
        self.pinned: list[str] = []
        self._frame = 0
        self._scores_drawn: object = None
        self.setWindowTitle(f"corticast: {client.engine}")
        self.setFont(font())
        self.setStyleSheet(style_sheet(theme))
        self.health = Health(theme, client.engine)
        self.traces = Traces(theme)
        self.electrodes = Electrodes(theme, self.pin)
        self.attention = Attention(theme)
        self.sound = Sound(theme)
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.draw)
        self._timer.start(FRAME_MS)
        self.draw()

    def _lay_out(self) -> None:
        right = QSplitter(Qt.Orientation.Vertical)
        for panel, share in ((self.electrodes, 42), (self.attention, 28), (self.sound, 30)):
            right.addWidget(panel.widget)
            right.setStretchFactor(right.count() - 1, share)
        right.setSizes([420, 280, 300])
        across = QSplitter(Qt.Orientation.Horizontal)
        across.addWidget(self.traces.widget)
        across.addWidget(right)
        across.setSizes([640, 360])
        across.setStretchFactor(0, 64)
        across.setStretchFactor(1, 36)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.health.widget)
        column.addWidget(across, 1)
        column.addWidget(self.health.foot)
        self.resize(1600, 1000)
        self.setMinimumSize(1000, 600)

    def pin(self, name: str) -> None:
        """Pin an electrode to the traces, or let it go."""
        if name in self.pinned:
            self.pinned.remove(name)
        else:
            self.pinned.append(name)
        self._scores_drawn = None

    def scores(self) -> tuple[tuple[str, ...], Floats, float]:
        """Electrode names, running r of each (NaN: not yet known) and r of the null's band."""
        main, score = self.client.main_rows(), self.client.rows("score")
        names = main.channels if main is not None else ()
        newest = dict(zip(score.channels, score.latest(), strict=True)) if score is not None else {}
        return names, np.array([newest.get(name, np.nan) for name in names]), float(newest.get(NULL, np.nan))

    def draw(self) -> None:
        """One frame."""
        now_s = self.client.now_s()
        self._draw_scores()
        self.traces.draw(self.client.rows("predicted"), self.client.rows("observed"), self.shown, now_s)
        if self._frame % SLOW_FRAMES == 0:
            self.attention.draw(self.client.rows("attention"), now_s)
            self.sound.draw(self.client.rows("sound"), now_s)
            self.health.draw(self.client.vitals())
        self._frame += 1

    def _draw_scores(self) -> None:
        """Only where something is new: a score, other electrodes or a pin."""
        score, main = self.client.rows("score"), self.client.main_rows()
        what_is_new = (main, score, score.written if score is not None else 0)
        if main is None or what_is_new == self._scores_drawn:
            return
        self._scores_drawn = what_is_new
        names, scores, null_r = self.scores()
        self.pinned = [name for name in self.pinned if name in names]
        self.shown = choose(names, scores, self.pinned, self.shown, self.count)
        self.electrodes.draw(names, scores, null_r, self.shown, self.pinned)
        place = {name: k for k, name in enumerate(names)}
        self.traces.show_electrodes(self.shown, [float(scores[place[name]]) for name in self.shown])
