"""`Markers`: a marker stream, text or numbers, as changes of state. `Watched`: a sound whose level is shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from realtime.audio import sound_level_db
from realtime.errors import UserError, nearest
from realtime.lost import Lost
from realtime.pick import channel_number
from realtime.sources.lsl import Network, Reader, local_clock, stream_names
from realtime.sources.pump import Event
from realtime.states import State, Timeline, state_of

POLL_S = 0.01
SEARCH_S = 0.5
SEARCHES = 10  # in vain, after which it is told that the stream is not there
OFFSET_EVERY_S = 5.0
FIRST_OFFSET_S, OFFSET_S = 2.0, 0.1  # to wait for it: liblsl goes on measuring, and no marker is to wait
LATE_S = 0.2  # markers that come later than this after their own time are told of


class _Streams(Protocol):
    def present(self) -> Any: ...
    def open(self, uid: str) -> Any: ...


class Companion:
    """A stream beside the lanes, found when it is there and again when it returns. The body of a thread.

    engine: whose own streams are none of those that could be meant. table: of the configuration, which names it.
    meanwhile: what it means that it is missing.
    """

    table: str
    meanwhile: str

    def __init__(
        self, name: str, engine: str, tell: Callable[[Event], None], network: Callable[[str], _Streams] = Network
    ) -> None:
        self.name, self.engine = name, engine
        self.tell = tell
        self._network = network
        self._lost, self._told_lost = Lost(), False
        self._offset_s, self._told_clock = 0.0, False

    def run(self, stop: threading.Event) -> None:
        network, searches, seen = self._network(self.name), 0, False
        while not stop.wait(SEARCH_S):
            uid = next((u for n, u in network.present() if n == self.name and u not in self._lost), None)
            if uid is None:
                searches += 1
                if searches == SEARCHES and not seen:
                    self._warn(self._missing())
                continue
            seen = True
            try:
                reader = network.open(uid)
                self._read(reader, stop)
                reader.close()
                return
            except ConnectionError:
                self._lost.add(uid)
                self._tell_lost()
            except UserError as error:
                self._warn(str(error))
                return

    def _read(self, reader: Reader, stop: threading.Event) -> None:
        self._measure_offset(reader, FIRST_OFFSET_S)
        waited_s = 0.0
        while not stop.wait(POLL_S):
            values, stamps = reader.pull()
            self._told_lost = False
            if len(stamps):
                self.take(reader, values, stamps + self._offset_s)
            waited_s += POLL_S
            if waited_s >= OFFSET_EVERY_S:
                self._measure_offset(reader, OFFSET_S)
                waited_s = 0.0

    def _measure_offset(self, reader: Reader, timeout_s: float) -> None:
        """The newest that is known, as in the lanes: a clock that does not answer keeps no row away."""
        try:
            self._offset_s = reader.time_correction(timeout_s)
        except TimeoutError:
            if not self._told_clock:
                self._told_clock = True
                self._warn(
                    f"the clock of stream {self.name!r} did not answer: its stamps are taken "
                    f"{f'with the offset known last, {self._offset_s:.3f} s' if self._offset_s else 'as they are'}; "
                    "let UDP through the firewall"
                )

    def _tell_lost(self) -> None:
        """Once, until it has been read again."""
        if not self._told_lost:
            self._told_lost = True
            self._warn(f"stream {self.name!r} is gone; it is looked for")

    def _warn(self, message: str) -> None:
        self.tell({"event": "warning", "message": message})

    def _missing(self) -> str:
        found, advice = missing(self.name, stream_names(self.engine))
        return f"[{self.table}] stream {self.name!r} is {found}; {advice}; until it is there {self.meanwhile}"

    def take(self, reader: Reader, values: Any, times: Any) -> None:
        raise NotImplementedError


def missing(name: str, there: list[str]) -> tuple[str, str]:
    """(what was found, what to do) of a stream that is not among those that are there."""
    found = f"not there{nearest(name, there)}; there are: {', '.join(there) or 'none at all'}"
    return found, "start its program or correct the name"


class Markers(Companion):
    """Adds each change to the timeline and tells of it; a marker that means no state is told as `marker`."""

    table = "states"

    def __init__(
        self,
        name: str,
        engine: str,
        names: Mapping[str, State],
        timeline: Timeline,
        tell: Callable[[Event], None],
        network: Callable[[str], _Streams] = Network,
        now: Callable[[], float] = local_clock,
    ) -> None:
        super().__init__(name, engine, tell, network)
        self.names, self.timeline, self.now = names, timeline, now
        self.meanwhile = f"every row counts as {timeline.start}"

    def run(self, stop: threading.Event) -> None:
        """Tells the first state too: a recording without a configuration needs it."""
        self.tell({"event": "state", "state": self.timeline.start, "time_s": self.now()})
        super().run(stop)

    def take(self, reader: Reader, values: Any, times: Any) -> None:
        for value, time_s in zip(values, times.tolist(), strict=True):
            text = str(value if reader.is_text else np.ravel(value)[0].item())
            state = state_of(text, self.names)
            if state is None:
                self.tell({"event": "marker", "text": text[:200], "at_s": time_s})
            elif self.timeline.add(time_s, state):
                late_s = self.now() - time_s
                late = {"late_s": round(late_s, 3)} if late_s > LATE_S else {}
                self.tell({"event": "state", "state": state, "time_s": time_s, **late})


class Watched(Companion):
    """Keeps the level of one channel of a sound stream that is only watched, such as a microphone in the room."""

    table = "watch"
    meanwhile = "no level is shown"

    def __init__(
        self,
        name: str,
        engine: str,
        channel: str | int,
        tell: Callable[[Event], None],
        network: Callable[[str], _Streams] = Network,
    ) -> None:
        super().__init__(name, engine, tell, network)
        self.channel = channel
        self.level_db: float | None = None

    def take(self, reader: Reader, values: Any, _times: Any) -> None:
        if reader.is_text:
            raise UserError(f"[watch] stream {self.name!r} carries text, expected sound: choose another stream")
        column = np.asarray(values, np.float32)[:, [channel_number(reader.spec, self.channel)]]
        self.level_db = round(float(sound_level_db(column)), 1)
