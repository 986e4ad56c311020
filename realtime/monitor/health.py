"""Panel: the health strip, always visible, and the banner over everything that is wrong."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from realtime.monitor.alarms import Alarms, clock_words
from realtime.monitor.theme import Theme
from realtime.monitor.vitals import Recording, Settings, Vitals


class Health:
    """Labels above (`widget`, with the banner) and below (`foot`) the panels, filled from `Vitals`."""

    def __init__(self, theme: Theme, engine: str, on_acknowledge: Callable[[], object]) -> None:
        self._theme = theme
        self._engine = engine
        self._fitted: dict[QLabel, tuple[str, int]] = {}  # text and width that a label has its height for
        self.widget = QWidget()
        self.state, self.latency, self.counts = _label(), _label(), _label()
        self.who, self.ages = _label(), _label()
        self.simulated = _label("simulated", "SIMULATED PATIENT")
        self.voices = _label("voices", "RECORDING VOICES")
        self.banner, self.quiet = _label("banner"), _label("quiet")
        self.banner.setAlignment(Qt.AlignmentFlag.AlignCenter)
        for label in (self.simulated, self.voices):
            label.hide()
        self.clock, self.says = _label(), _label()
        for label in (self.banner, self.quiet, self.who, self.says):
            label.setWordWrap(True)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for label in (self.banner, self.quiet, self.says):
            label.setTextFormat(Qt.TextFormat.PlainText)  # words of others
        self.acknowledge = QPushButton("Acknowledge")
        self.acknowledge.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.acknowledge.setToolTip("seen: take the banner away (A)")
        self.acknowledge.clicked.connect(on_acknowledge)
        column = QVBoxLayout(self.widget)
        column.setContentsMargins(8, 4, 8, 2)
        column.setSpacing(2)
        column.addLayout(_row(self.state, self.simulated, self.voices, self.latency))
        about = _row(self.who, self.counts, wide=self.who)
        about.setAlignment(self.counts, Qt.AlignmentFlag.AlignTop)
        column.addLayout(about)
        column.addWidget(self.quiet)
        over = QHBoxLayout()
        over.addWidget(self.banner, 1)
        over.addWidget(self.acknowledge)
        column.addLayout(over)
        self.foot = QWidget()
        below = _row(self.clock, self.says, self.ages, wide=self.says)
        below.setContentsMargins(8, 0, 8, 4)
        self.foot.setLayout(below)

    def draw(self, vitals: Vitals, alarms: Alarms, says: str) -> None:
        theme, settings = self._theme, vitals.settings
        colour = {"running": theme.good, "waiting": theme.dim}.get(vitals.state, theme.bad)
        state = {"late": "no rows", "stopped": "gone"}.get(vitals.state, vitals.state)
        self.state.setText(f"<span style='color:{colour}; font-size:15pt'><b>● {self._engine}: {state}</b></span>")
        self.simulated.setVisible(settings.simulated)
        self.voices.setVisible(settings.recording is not None and settings.recording.voices)
        latency = vitals.latency
        self.latency.setText(
            self._pair("latency now", _milliseconds(latency.now_ms))
            + self._pair("p99 of the last minute", _milliseconds(latency.p99_ms))
        )
        self.counts.setText("".join(self._count(lane, vitals) for lane in ("sound", "ecog")))
        self.who.setText(
            self._pair("streams", vitals.streams or "not yet known")
            + self._switches(settings)
            + "".join(
                self._pair(name, value or "not yet known")
                for name, value in (
                    ("model", settings.model),
                    ("whisper", settings.whisper),
                    ("delay", settings.delays),
                )
            )
        )
        ages = "".join(self._pair(what, _seconds(age)) for what, age in vitals.ages_s.items())
        self.ages.setText(self._pair("seconds since the last row:", "") + ages)
        self.clock.setText(f"<b>{clock_words(time.time())}</b>")  # stands still where the window does
        self.says.setText(says)
        self.acknowledge.setVisible(alarms.to_acknowledge())
        for label, words in ((self.banner, alarms.banner()), (self.quiet, alarms.quiet())):
            label.setText(words)
            label.setVisible(bool(words))
        self._give_room()

    def _give_room(self) -> None:
        """Texts that may be longer than a line get the height that they need: Qt's layouts are late with it."""
        room = self.widget.width() - 16
        beside = self.acknowledge.sizeHint().width() + 8 if self.acknowledge.isVisible() else 0
        self._fit(self.banner, room - beside)
        self._fit(self.quiet, room)
        self._fit(self.who, room - self.counts.sizeHint().width() - 16)
        self._fit(self.says, room - self.clock.sizeHint().width() - self.ages.sizeHint().width() - 32)

    def _fit(self, label: QLabel, width: int) -> None:
        if self._fitted.get(label) == (label.text(), width):
            return
        self._fitted[label] = label.text(), width
        label.setMinimumHeight(0)  # of which Qt gives no less
        label.setFixedHeight(max(0, label.heightForWidth(max(width, 100))))

    def _switches(self, settings: Settings) -> str:
        """Recording and adaptation, where the engine says how they stand."""
        said = ""
        if settings.recording is not None:
            said += self._pair("recording", _recording(settings.recording))
        if settings.adaptation is not None:
            said += self._pair("adaptation", "on" if settings.adaptation else "off")
        return said

    def _count(self, lane: str, vitals: Vitals) -> str:
        lost, skipped = vitals.counts.get(f"{lane}_lost"), vitals.counts.get(f"{lane}_skipped")
        if lost is None and skipped is None:
            return ""
        wrong = bool(lost or skipped)
        value = f"{lost or 0:,} lost, {skipped or 0:,} skipped"
        name = "ECoG" if lane == "ecog" else lane
        return self._pair(name, f"<span style='color:{self._theme.bad}'>{value}</span>" if wrong else value)

    def _pair(self, name: str, value: str) -> str:
        """Which stays on one line."""
        inside = f"<span style='color:{self._theme.dim}'>{name}</span> <b>{value}</b>&nbsp;"
        return re.sub(r" (?![^<]*>)", "&nbsp;", inside) + " "


def _label(name: str = "", text: str = "") -> QLabel:
    label = QLabel(text)
    label.setObjectName(name)
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
    return label


def _row(*labels: QLabel, wide: QLabel | None = None) -> QHBoxLayout:
    """wide: takes the room that is left; without it there is a gap before the last one."""
    row = QHBoxLayout()
    row.setSpacing(16)
    for label in labels:
        if wide is None and label is labels[-1]:
            row.addStretch(1)
        row.addWidget(label, int(label is wide))
    return row


def _recording(recording: Recording) -> str:
    if not recording.on:
        return "off"
    parts = ["on"]
    if recording.size is not None:
        parts.append(f"{recording.size / 1e6:.1f} MB")
    if recording.disk_left is not None:
        parts.append(f"{recording.disk_left / 1e9:.0f} GB left")
    return ", ".join(parts)


def _milliseconds(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f} ms"


def _seconds(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}" if value < 99.5 else f"{value:.0f}"
