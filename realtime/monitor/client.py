"""`Client`: a thread that finds an engine's outlets and keeps the newest rows of each. No Qt."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from realtime.block import Floats, Spec, Times
from realtime.lost import Lost
from realtime.monitor.history import Rows
from realtime.monitor.masked import Masked
from realtime.monitor.onsets import OnsetAverage, OnsetFinder, mel_level_db
from realtime.monitor.session import Session
from realtime.monitor.spectra import Spectra
from realtime.monitor.vitals import (
    OUTLETS,
    Event,
    Latency,
    Settings,
    Vitals,
    examine,
    main_outlet,
    measure_latency,
    read_counts,
    read_settings,
    read_timed,
)

POLL_S = 0.02
SEARCH_S = 0.25
EVENTS_KEPT = 500
TIMED_KEPT = 1000  # states and markers
SPECTRUM = "spectrum"  # beside OUTLETS, as no row of it is ever overdue
KEPT_S = {"predicted": 720.0, "observed": 720.0, "score": 14_400.0, "attention": 10.0, "sound": 15.0, "telemetry": 65.0}
ROW_HZ, SCORE_HZ = 50.0, 1.0  # of outlets that declare no rate


class Inlet(Protocol):
    """One stream that is there now: numbers, or text where `is_text`. ConnectionError from it: the stream is lost."""

    uid: str
    spec: Spec
    is_text: bool

    def pull(self) -> tuple[Any, Any]: ...  # never waits; array (rows, channels) or texts, and stamps (rows,)
    def time_correction(self, timeout_s: float) -> float: ...
    def close(self) -> None: ...


class Network(Protocol):
    """The streams of one name's beginning that can be seen now, newest first. Asking never waits."""

    def present(self) -> Sequence[tuple[str, str]]: ...  # (stream name, uid)
    def open(self, uid: str) -> Inlet: ...  # may wait a few seconds; ConnectionError if the stream has gone


class Outlet:
    """What the client knows of one of the engine's outlets."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.inlet: Inlet | None = None
        self.rows: Rows | None = None  # replaced, never changed, when the engine returns with others
        self.session: Session | None = None  # means over the whole session, of attention alone
        self.masked: Masked | None = None  # of observed alone
        self.spectra: Spectra | None = None  # of the spectrum, which has no rows
        self.arrived_s = np.nan  # when its newest row came, on this machine's clock

    def attach(self, inlet: Inlet) -> None:
        """Take rows from `inlet`; those held stay if the channels are the same, and as many a second."""
        self.inlet = inlet
        channels = inlet.spec.channels
        if inlet.is_text:
            return
        if self.what == SPECTRUM:
            self.spectra = Spectra(channels[1:])
            return
        rate_hz = inlet.spec.rate_hz or (SCORE_HZ if self.what == "score" else ROW_HZ)
        if self.rows is None or (self.rows.channels, self.rows.step_s) != (channels, 1 / rate_hz):
            dtype = np.float64 if self.what == "telemetry" else np.float32
            self.rows = Rows(channels, max(2, round(KEPT_S[self.what] * rate_hz)), dtype, 1 / rate_hz)
            if self.what == "attention":
                self.session = Session(len(channels))
            if self.what == "observed":
                self.masked = Masked(len(channels))

    def add(self, stamps: Times, values: Floats) -> None:
        """Keep rows that have come."""
        if self.spectra is not None:
            self.spectra.add(stamps, values)
        if self.rows is not None:
            self.rows.append(stamps, values)
        if self.session is not None:
            self.session.add(stamps, values)
        if self.masked is not None:
            self.masked.add(values)


class Client:
    """Finds the outlets of `engine`, pulls them, survives their loss and takes them up again.

    open_network(prefix) and clock() are of realtime.sources.lsl, and arguments for the tests' sake. Two threads
    run after `start`: one searches and connects, which may wait, and one pulls, which never does.
    """

    def __init__(self, engine: str, open_network: Callable[[str], Network], clock: Callable[[], float]) -> None:
        self.engine = engine
        self.outlets = {what: Outlet(what) for what in (*OUTLETS, SPECTRUM)}
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.noted = 0  # events ever; a change says that there is something new to show
        self.settings = Settings()
        self.states: deque[tuple[float, str]] = deque(maxlen=TIMED_KEPT)  # since when which, on the engine's clock
        self.markers: deque[tuple[float, str]] = deque(maxlen=TIMED_KEPT)  # of the operators
        self.onsets: OnsetAverage | None = None  # as soon as there are observed rows
        self._finder = OnsetFinder()
        self.offset_s = 0.0  # add to the engine's times for this machine's
        self.clock = clock
        self._open_network = open_network
        self._lost = Lost()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._search, self._pull)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End both threads and let the streams go."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5.0)
        for outlet in self.outlets.values():
            if outlet.inlet is not None:
                outlet.inlet.close()

    def now_s(self) -> float:
        """Now on the engine's clock, on which all its rows are stamped."""
        return self.clock() - self.offset_s

    def rows(self, what: str) -> Rows | None:
        """What is held of one outlet; None before it was first seen."""
        return self.outlets[what].rows

    def main_rows(self) -> Rows | None:
        """What names the electrodes: predicted, or observed where there is no model."""
        return self.rows(main_outlet({what for what, outlet in self.outlets.items() if outlet.rows is not None}))

    def masked_share(self, names: Sequence[str]) -> Floats:
        """(names,) of each electrode's rows so far, NaN where it is not known."""
        observed = self.outlets["observed"]
        if observed.masked is None or observed.rows is None or observed.rows.channels != tuple(names):
            return np.full(len(names), np.nan)
        return observed.masked.share

    def vitals(self) -> Vitals:
        """How the engine is, now."""
        now_s, local_s = self.now_s(), self.clock()
        telemetry, main = self.rows("telemetry"), self.main_rows()
        channels = telemetry.channels if telemetry is not None else ()
        return examine(
            self.engine,
            {what: self.outlets[what].inlet is not None for what in OUTLETS},
            {what: local_s - self.outlets[what].arrived_s for what in OUTLETS},
            self.settings,
            list(self.events),
            Latency() if telemetry is None else measure_latency(channels, telemetry.between(now_s - 60.0)[1]),
            {} if telemetry is None else read_counts(channels, telemetry.latest()),
            now_s,
            now_s - main.newest_s if main is not None and len(main) else 0.0,
        )

    def _search(self) -> None:
        network = self._open_network(f"{self.engine}.")
        while not self._stop.wait(SEARCH_S):
            for name, uid in network.present():
                outlet = self.outlets.get(name.removeprefix(f"{self.engine}."))
                # In this order: the pulling thread notes an inlet as lost before it lets go of it.
                if outlet is not None and outlet.inlet is None and uid not in self._lost:
                    self._connect(network, outlet, uid)
            self._measure_offset()

    def _connect(self, network: Network, outlet: Outlet, uid: str) -> None:
        try:
            inlet = network.open(uid)
        except ConnectionError:
            return  # tried again at the next search, for as long as it is seen
        if inlet.is_text:  # a new engine may not be as the last one said it was
            self.settings = Settings()
            self._add({"event": "connected", "time": self.now_s(), "message": f"engine {self.engine!r} seen"})
        outlet.attach(inlet)

    def _measure_offset(self) -> None:
        inlet = next((outlet.inlet for outlet in self.outlets.values() if outlet.inlet is not None), None)
        if inlet is not None:
            try:
                self.offset_s = inlet.time_correction(2.0)
            except (ConnectionError, TimeoutError):
                return  # the pulling thread meets the same loss and deals with it; a clock may answer the next time

    def _pull(self) -> None:
        while not self._stop.wait(POLL_S):
            for outlet in self.outlets.values():
                if outlet.inlet is not None:
                    self._take(outlet, outlet.inlet)

    def _take(self, outlet: Outlet, inlet: Inlet) -> None:
        try:
            values, stamps = inlet.pull()
        except ConnectionError:
            self._lost.add(inlet.uid)
            outlet.inlet = None
            return
        if len(stamps) == 0:
            return
        outlet.arrived_s = self.clock()
        if inlet.is_text:
            for text in values:
                self._note(text)
        else:
            outlet.add(stamps, values)
            self._follow_onsets(outlet, stamps, values)

    def _follow_onsets(self, outlet: Outlet, stamps: Times, values: Floats) -> None:
        """Onsets are found in the sound's rows and awaited in the observed ones."""
        if outlet.what == "sound" and self.onsets is not None:
            self.onsets.await_rows(self._finder.find(stamps, mel_level_db(values[:, 1:])))
        elif outlet.what == "observed" and outlet.rows is not None:
            rows = outlet.rows
            if self.onsets is None or (self.onsets.channels, self.onsets.step_s) != (rows.channels, rows.step_s):
                self.onsets = OnsetAverage(rows.channels, rows.step_s)
            self.onsets.take(outlet.rows)

    def _note(self, text: str) -> None:
        try:
            event = {"time": self.now_s(), **json.loads(text)}
            if event.get("event") == "settings":
                self.settings = read_settings(event)
                self._follow_state(event)
                return
            timed = read_timed(event)
            if timed is not None:
                (self.states if event["event"] == "state" else self.markers).append(timed)
        except (TypeError, ValueError):  # not JSON, not an object, or not as settings should be
            message = f"the engine's status is not understood: {text[:80]!r}"
            event = {"event": "warning", "time": self.now_s(), "message": message}
        self._add(event)

    def _follow_state(self, settings: Event) -> None:
        """The state that the settings tell, where the event of its beginning was before our time."""
        state, at_s = settings.get("state"), settings.get("time")
        if (
            isinstance(state, str)
            and isinstance(at_s, int | float)
            and (not self.states or self.states[-1][1] != state)
        ):
            self.states.append((float(at_s), state))

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self.noted += 1
