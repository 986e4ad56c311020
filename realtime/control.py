"""What operators ask of a running engine: taken from every monitor that is there, confirmed in `status`.

A command is one JSON text of an LSL marker stream `{engine}.commands`, stamped with the moment it speaks of:
{"command": NAME, "id": ..., "text": ... | "on": true | false}. The answer is a status event
{"event": "command", "id": the same, "command": NAME, "done": true | false, "message": ...}.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from realtime.errors import UserError
from realtime.lost import Lost
from realtime.sources.pump import Event

POLL_S = 0.02
SEARCH_S = 0.25
OFFSET_S = 0.1  # to wait for a clock that has been asked before: liblsl goes on measuring
OLDEST_S = 600.0  # a moment longer ago than this, or ahead of now, is a clock's mistake
AHEAD_S = 1.0
LONGEST_TEXT = 1000


class Reader(Protocol):
    """One monitor's stream. ConnectionError: it is gone."""

    uid: str
    is_text: bool

    def pull(self) -> tuple[Any, Any]: ...  # never waits: texts and their stamps
    def time_correction(self, timeout_s: float) -> float: ...  # TimeoutError: its clock does not answer
    def close(self) -> None: ...


class Network(Protocol):
    """The streams of one name's beginning, as `realtime.sources.lsl.Network` sees them."""

    def present(self) -> Sequence[tuple[str, str]]: ...  # (stream name, uid)
    def open(self, uid: str) -> Reader: ...


@dataclass(frozen=True)
class Command:
    """at_s: the moment that it speaks of, on this machine's LSL clock. text: of a marker. on: of a switch."""

    name: str
    id: str
    at_s: float
    text: str = ""
    on: bool = False


Obey = Callable[[Command], str]  # what there is to say of it, or nothing; UserError: not done, and why


class Control:
    """Follows the monitors that come and go, in a thread of its own, and has their commands obeyed one after another.

    obey: what each name of a command does. slow: names of those that take seconds; they are done in one more thread, so
    that a marker never waits for them, and refused while another is being done.
    """

    def __init__(
        self,
        engine: str,
        open_network: Callable[[str], Network],
        now: Callable[[], float],
        tell: Callable[[Event], None],
        obey: Mapping[str, Obey],
        slow: Collection[str] = (),
    ):
        self._stream = f"{engine}.commands"
        self._open_network, self._now, self._tell = open_network, now, tell
        self._obey, self._slow = dict(obey), frozenset(slow)
        self._readers: dict[str, Reader] = {}
        self._offsets_s: dict[str, float] = {}  # of the readers' clocks; NaN where one never answered
        self._lost = Lost()
        self._textless: set[str] = set()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="slow command")
        self._doing: Future[None] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 20.0) -> None:
        """Take no more commands; one that is being carried out is waited for."""
        self._stop.set()
        self._thread.join(timeout_s)
        self._worker.shutdown(wait=True)
        for reader in self._readers.values():
            reader.close()

    def _run(self) -> None:
        network = self._open_network(self._stream)
        waited_s = SEARCH_S
        while not self._stop.wait(POLL_S):
            waited_s += POLL_S
            if waited_s >= SEARCH_S:
                waited_s = 0.0
                self._find(network)
            for reader in list(self._readers.values()):
                self._take(reader)

    def _find(self, network: Network) -> None:
        for name, uid in network.present():
            if name != self._stream or uid in self._readers or uid in self._lost or uid in self._textless:
                continue
            try:
                reader = network.open(uid)
                if not reader.is_text:
                    self._textless.add(uid)
                    continue
                self._measure_offset(reader, 2.0)  # the first takes a second, which no command is to wait for
            except ConnectionError:
                self._lost.add(uid)
                continue
            self._readers[uid] = reader
            if np.isnan(self._offsets_s[uid]):
                message = "a monitor's clock did not answer: its markers count from when they come; let UDP through"
                self._tell({"event": "warning", "message": message})

    def _measure_offset(self, reader: Reader, timeout_s: float) -> None:
        try:
            self._offsets_s[reader.uid] = reader.time_correction(timeout_s)
        except TimeoutError:
            self._offsets_s.setdefault(reader.uid, np.nan)

    def _take(self, reader: Reader) -> None:
        try:
            texts, stamps = reader.pull()
        except ConnectionError:
            self._let_go(reader)
            return
        if not len(stamps):
            return
        with contextlib.suppress(ConnectionError):  # met again at the next pull; what came is heard
            self._measure_offset(reader, OFFSET_S)
        for text, stamp_s in zip(texts, stamps, strict=True):
            self._hear(text, float(stamp_s) + self._offsets_s[reader.uid])

    def _let_go(self, reader: Reader) -> None:
        self._lost.add(reader.uid)
        del self._readers[reader.uid], self._offsets_s[reader.uid]

    def _hear(self, text: str, at_s: float) -> None:
        command = read_command(text, self._moment(at_s))
        if command is None:
            self._tell({"event": "warning", "message": f"a command is not understood: {text[:80]!r}"})
        elif command.name not in self._obey:
            known = ", ".join(sorted(self._obey))
            self._answer(command, False, f"found command {command.name!r}, expected one of {known}")
        elif command.name not in self._slow:
            self._carry_out(command)
        elif self._doing is not None and not self._doing.done():
            self._answer(command, False, "the command before is still being carried out: ask again in a moment")
        else:
            self._doing = self._worker.submit(self._carry_out, command)

    def _moment(self, at_s: float) -> float:
        """Now, where at_s cannot be or is NaN."""
        now_s = self._now()
        return at_s if now_s - OLDEST_S < at_s < now_s + AHEAD_S else now_s

    def _carry_out(self, command: Command) -> None:
        try:
            message = self._obey[command.name](command)
        except UserError as error:
            self._answer(command, False, str(error))
        except Exception as error:  # what an operator asks must not end this thread, nor go unanswered
            self._answer(command, False, f"{type(error).__name__}: {error}")
        else:
            self._answer(command, True, message)

    def _answer(self, command: Command, done: bool, message: str) -> None:
        self._tell({"event": "command", "id": command.id, "command": command.name, "done": done, "message": message})


def read_command(text: str, at_s: float) -> Command | None:
    """A command from its JSON text; None where it makes no sense."""
    try:
        content = json.loads(text)
        name, id = content["command"], content.get("id", "")
        words, on = content.get("text", ""), content.get("on", False)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not (isinstance(name, str) and isinstance(words, str) and isinstance(on, bool)):
        return None
    return Command(name, str(id), at_s, words[:LONGEST_TEXT], on)
