"""`Window`: the panels laid out, and the timer that has them draw what the client holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QSplitter, QTabWidget, QVBoxLayout, QWidget

from realtime.block import Floats
from realtime.errors import UserError
from realtime.monitor.alarms import Alarms
from realtime.monitor.attention import Attention
from realtime.monitor.choice import MODES, Choice
from realtime.monitor.client import Client
from realtime.monitor.commands import Commander, open_outlet
from realtime.monitor.controls import Action, Controls
from realtime.monitor.electrodes import Electrodes
from realtime.monitor.events import Events
from realtime.monitor.frozen import Frozen
from realtime.monitor.health import Health
from realtime.monitor.layout import Places, grid_rows, places
from realtime.monitor.maps import Maps
from realtime.monitor.onset_grid import OnsetGrid
from realtime.monitor.picture import save_picture
from realtime.monitor.remember import recall, remember
from realtime.monitor.running import Running
from realtime.monitor.sound import Sound
from realtime.monitor.spectrum import Spectrum
from realtime.monitor.theme import DARK, Theme, font, style_sheet
from realtime.monitor.traces import Traces
from realtime.monitor.view import View

FRAME_MS = 33
SLOW_FRAMES = 3  # maps, every third frame: 10 a second
MASKED_S = 0.5
LAST_KNOWN_S = 60.0
NULL = "null_max_p95"
NO_COMMANDS = "the engine takes no commands (corticast run --accept-commands)"


class Window(QWidget):
    """Traces at the left, maps at the right, health above. Draws `client` on a timer and owns no numbers.

    settings: where the layout is kept between runs; None: nowhere.
    """

    def __init__(
        self, client: Client, theme: Theme = DARK, count: int | None = None, settings: QSettings | None = None
    ) -> None:
        super().__init__()
        self.client = client
        self.view = View()
        self.choice = Choice()
        self.shown: list[str] = []
        self._settings = settings
        self._frame = 0
        self._scores_drawn: object = None
        self._rows: list[list[str]] = []
        self._places: Places = np.zeros((0, 2))
        self._heard = 0
        self._masked_now: frozenset[str] = frozenset()
        self._marker_s: float | None = None
        self._says = ""
        self.setWindowTitle(f"corticast: {client.engine}")
        self.setFont(font())
        self.setStyleSheet(style_sheet(theme))
        self.alarms = Alarms()
        self.commander = Commander(lambda: open_outlet(client.engine), client.clock)
        self.health = Health(theme, client.engine, self.alarms.acknowledge)
        self.events = Events(theme)
        self.traces = Traces(theme, self.view)
        self.maps = Maps(theme, self.view, self.pin)
        self.electrodes = Electrodes(theme, self.pin)
        self.attention = Attention(theme)
        self.running = Running(theme)
        self.spectrum = Spectrum(theme)
        self.onsets = OnsetGrid(theme, self.pin)
        self.sound = Sound(theme)
        self.controls = Controls(self, self._actions())
        self._parts: dict[str, QWidget] = {}
        self._lay_out()
        if settings is not None:
            recall(settings, self, self._parts, self.view, self.choice, self.traces, self.maps)
        if count is not None:
            self.choice.count = count
        self._connect()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.draw)
        self._timer.start(FRAME_MS)
        self.draw()

    def _actions(self) -> tuple[Action, ...]:
        view, traces = self.view, self.traces
        return (
            Action("R", "", "show the next row of the grid", self.next_row),
            Action("G", "", "show the next region, where a montage tells them", self.next_region),
            Action("B", "", "show the best electrodes by score", lambda: self.choose("best")),
            Action("H", "", "show those chosen by hand, on the map", lambda: self.choose("hand")),
            Action("Space", "Pause", "pause, or go back to live", lambda: view.toggle(self.client.now_s())),
            Action("Left", "◀", "scroll back", lambda: self.scroll_by(-0.25 * view.window_s)),
            Action("Right", "▶", "scroll forward", lambda: self.scroll_by(0.25 * view.window_s)),
            Action("Home", "", "scroll to the oldest rows held", lambda: self.scroll_by(-np.inf)),
            Action("End", "", "back to live", view.resume),
            Action("+", "time +", "zoom in: show less time", lambda: view.zoom(-1)),
            Action("-", "time -", "zoom out: show more time, up to ten minutes", lambda: view.zoom(1)),
            Action("Up", "SD +", "larger amplitude", lambda: traces.rescale(steps=-1)),
            Action("Down", "SD -", "smaller amplitude", lambda: traces.rescale(steps=1)),
            Action("S", "scale", "one scale for all, or one for each electrode", self.switch_scale),
            Action("O", "order", "heat maps by score, or by the grid", self.switch_order),
            Action("A", "", "acknowledge: take the banner away", self.alarms.acknowledge),
            Action("M", "", "add a marker: type its text, then Enter", self.begin_marker),
            Action("Ctrl+R", "Record", "start or stop recording", self.switch_recording),
            Action("Ctrl+A", "Adapt", "switch the model's adaptation on or off", self.switch_adaptation),
            Action("P", "picture", "save a picture of the window", self.save_picture),
            Action("?", "?", "keys and mouse", lambda: self.controls.help()),
        )

    def _connect(self) -> None:
        controls = self.controls
        for pane in (self.traces.widget, *self.maps.panes):
            pane.dragged.connect(lambda x: self.scroll_by(-x))
            pane.zoomed.connect(self.view.zoom)
            pane.scaled.connect(lambda steps: self.traces.rescale(steps=steps))
        controls.marker.textEdited.connect(self._typed)
        controls.marker.returnPressed.connect(self.send_marker)
        controls.mode.setCurrentIndex(MODES.index(self.choice.mode))
        controls.count.setValue(self.choice.count)
        controls.mode.currentIndexChanged.connect(lambda k: self.choose(MODES[k]))
        controls.count.valueChanged.connect(self._set_count)

    def _lay_out(self) -> None:
        right = self._splitter("right", Qt.Orientation.Vertical, self.electrodes)
        self.tabs = QTabWidget()
        panels: dict[str, Any] = {"Attention": self.attention, "Running r": self.running, "Spectrum": self.spectrum}
        for words, panel in {**panels, "Onsets": self.onsets, "Events": self.events}.items():
            self.tabs.addTab(panel.widget, words)
        self._parts["tabs"] = self.tabs
        right.addWidget(self.tabs)
        right.addWidget(self.sound.widget)
        right.setSizes([370, 340, 290])
        across = QSplitter(Qt.Orientation.Horizontal)
        left = self._splitter("left", Qt.Orientation.Vertical, self.traces, self.maps)
        left.setSizes([620, 380])
        self.frozen = Frozen(left)
        across.addWidget(self.frozen.widget)
        across.addWidget(right)
        across.setSizes([640, 360])
        across.setStretchFactor(0, 64)
        across.setStretchFactor(1, 36)
        self._parts["across"] = across
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.health.widget)
        column.addWidget(self.controls.widget)
        column.addWidget(across, 1)
        column.addWidget(self.health.foot)
        self.resize(1600, 1000)
        self.setMinimumSize(1000, 600)

    def _splitter(self, name: str, way: Qt.Orientation, *panels: Any) -> QSplitter:
        splitter = QSplitter(way)
        for panel in panels:
            splitter.addWidget(panel.widget)
        self._parts[name] = splitter
        return splitter

    def choose(self, mode: str) -> None:
        """Which electrodes are drawn: one of MODES."""
        self.choice.mode = mode
        self.controls.mode.setCurrentIndex(MODES.index(mode))
        self._scores_drawn = None

    def next_row(self) -> None:
        """The next row of the grid, or the first where another mode was on."""
        self.choice.row = self.choice.row + 1 if self.choice.mode == "row" else 0
        self.choose("row")

    def next_region(self) -> None:
        """The next region, or the first where another mode was on."""
        self.choice.region = self.choice.region + 1 if self.choice.mode == "region" else 0
        self.choose("region")

    def _set_count(self, count: int) -> None:
        self.choice.count = count
        self._scores_drawn = None

    def pin(self, name: str) -> None:
        """Pin an electrode to the traces, or let it go."""
        self.choice.pin(name)
        self._scores_drawn = None

    def scroll_by(self, by_s: float) -> None:
        """Show an earlier (negative) or later stretch; pauses."""
        rows = self.client.main_rows()
        self.view.scroll(by_s, self.client.now_s(), rows.oldest_s if rows is not None else np.nan)

    def switch_scale(self) -> None:
        self.traces.rescale(each=not self.traces.each)

    def switch_order(self) -> None:
        self.maps.by_score = not self.maps.by_score
        self._scores_drawn = None

    def begin_marker(self) -> None:
        """The marker speaks of this moment, however long its text takes to type."""
        self._marker_s = self.client.clock()
        self.controls.marker.setFocus()

    def _typed(self, _text: str) -> None:
        if self._marker_s is None:
            self._marker_s = self.client.clock()

    def send_marker(self) -> None:
        text = self.controls.marker.text().strip()
        if text:
            self._command("marker", f"marker {text!r}", self._marker_s, text=text)
        self._marker_s = None
        self.controls.marker.clear()
        self.setFocus()

    def switch_recording(self) -> None:
        recording = self.client.settings.recording
        on = recording is None or not recording.on
        self._command("record", f"recording {'on' if on else 'off'}", on=on)

    def switch_adaptation(self) -> None:
        on = not self.client.settings.adaptation
        self._command("adapt", f"adaptation {'on' if on else 'off'}", on=on)

    def _command(self, name: str, words: str, at_s: float | None = None, **more: object) -> None:
        """Ask the engine, where it would obey."""
        self._says = "" if self.client.settings.accepts_commands else f"{words}: {NO_COMMANDS}"
        if self.client.settings.accepts_commands:
            self.commander.send(name, words, at_s, **more)

    def save_picture(self) -> None:
        """Into the folder that the monitor was started in."""
        path = Path(time.strftime("corticast-%Y%m%d-%H%M%S.png")).absolute()
        try:
            save_picture(self, path)
            self._says = f"saved {path}"
        except UserError as error:
            self._says = str(error)

    def _hear(self) -> None:
        """Answers to commands among the events that are new."""
        new = min(self.client.noted - self._heard, len(self.client.events))
        self._heard = self.client.noted
        for event in list(self.client.events)[-new:] if new else []:
            self.commander.hear(event)

    def scores(self) -> tuple[tuple[str, ...], Floats, float]:
        """Electrode names, running r of each (NaN: not yet known, or left out of claims) and r of the null's band.

        Silence is not scored: while it lasts, these are what was known last.
        """
        main, score = self.client.main_rows(), self.client.rows("score")
        names = main.channels if main is not None else ()
        newest = (
            dict(zip(score.channels, score.known(LAST_KNOWN_S, beside=NULL), strict=True)) if score is not None else {}
        )
        newest |= dict.fromkeys(self.client.settings.left_out, np.nan)
        return names, np.array([newest.get(name, np.nan) for name in names]), float(newest.get(NULL, np.nan))

    def draw(self) -> None:
        """One frame."""
        now_s = self.client.now_s()
        self._draw_scores()
        predicted, observed = self.client.rows("predicted"), self.client.rows("observed")
        self.traces.draw(predicted, observed, now_s, list(self.client.states), list(self.client.markers))
        if self._frame % SLOW_FRAMES == 1:  # not in the same frame as the others
            self.maps.draw(predicted, observed, now_s, self.traces.ahead_s)
        if self._frame % SLOW_FRAMES == 0:
            vitals = self.client.vitals()
            self.frozen.draw(self.view, vitals, now_s)
            self.controls.buttons["Pause"].setText("Pause" if self.view.live else "Live")
            if self._frame % (2 * SLOW_FRAMES) == 0:
                self.attention.draw(self.client.rows("attention"), self.client.outlets["attention"].session, now_s)
            self.running.draw(self.client.rows("score"), self.shown)
            self.spectrum.draw(self.client.outlets["spectrum"].spectra, self.shown)
            self.onsets.draw(self.client.onsets, self._places, self.shown)
            self.sound.draw(self.client.rows("sound"), now_s)
            self._hear()
            accepts = self.client.settings.accepts_commands
            self.commander.listen_for(accepts)
            self.controls.allow_commands(accepts)
            self.alarms.update(vitals.problems)
            self.events.draw(self.client, self.alarms)
            self.health.draw(vitals, self.alarms, self._says or self.commander.words())
        self._frame += 1

    def _draw_scores(self) -> None:
        """Only where something is new: a score, other electrodes or a pin."""
        score, main = self.client.rows("score"), self.client.main_rows()
        if self._frame % SLOW_FRAMES == 0:
            self._masked_now = self._masked()
        masked = self._masked_now
        settings = self.client.settings
        what_is_new = (main, score, score.written if score is not None else 0, masked, settings)
        if main is None or what_is_new == self._scores_drawn:
            return
        self._scores_drawn = what_is_new
        names, scores, null_r = self.scores()
        where = self._places = places(names, settings.positions, settings.groups)
        self._rows = grid_rows(names, where)
        self.choice.forget_unknown(names)
        self.shown = self.choice.select(names, scores, self._rows, self.shown, settings.regions)
        unfit = {**dict.fromkeys(masked, "masked"), **dict.fromkeys(settings.contaminated, "sound")}
        share = self.client.masked_share(names)
        self.electrodes.draw(names, where, scores, null_r, self.shown, self.choice.pinned, unfit, share)
        self.maps.show_electrodes(names, scores, self._rows)
        place = {name: k for k, name in enumerate(names)}
        self.traces.show_electrodes(self.shown, [float(scores[place[name]]) for name in self.shown], self.choice.said)

    def _masked(self) -> frozenset[str]:
        """Electrodes whose observed rows of the last MASKED_S seconds were all masked."""
        observed = self.client.rows("observed")
        if observed is None or not len(observed):
            return frozenset()
        masked = np.isnan(observed.between(observed.newest_s - MASKED_S)[1]).all(axis=0)
        return frozenset(observed.channels[k] for k in np.flatnonzero(masked))

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._settings is not None:
            remember(self._settings, self, self._parts, self.view, self.choice, self.traces, self.maps)
        self._timer.stop()
        super().closeEvent(event)
