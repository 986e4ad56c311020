"""`Commander`: what the window asks of the engine, and what became of it. No Qt.

A command is one JSON text of the LSL marker stream `{engine}.commands`, stamped with the moment it speaks of:
{"command": "marker" | "record" | "adapt", "id": ..., "text": ... | "on": true | false}. The engine answers in its
status with {"event": "command", "id": the same, "done": true | false, "message": why not}.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from realtime.block import Spec
from realtime.monitor.vitals import Event
from realtime.sinks.lsl import Outlet

NO_ANSWER_S = 3.0


class Sender(Protocol):
    @property
    def have_consumers(self) -> bool: ...
    def push_text(self, text: str, time_s: float) -> None: ...


@dataclass
class Command:
    """The last command given. done: None until the engine has answered."""

    id: str
    words: str
    sent_s: float
    done: bool | None = None
    message: str = ""


class Commander:
    """open_sender makes the stream, when the engine first says that it accepts commands."""

    def __init__(self, open_sender: Callable[[], Sender], clock: Callable[[], float]) -> None:
        self._open_sender = open_sender
        self._clock = clock
        self._sender: Sender | None = None
        self.last: Command | None = None

    def listen_for(self, accepts: bool) -> None:
        """Have the stream ready, so that the engine finds it before the first command."""
        if accepts and self._sender is None:
            self._sender = self._open_sender()

    @property
    def heard(self) -> bool:
        """Somebody listens to the stream."""
        return self._sender is not None and self._sender.have_consumers

    def send(self, command: str, words: str, at_s: float | None = None, **more: object) -> None:
        """Give a command. words: as the person reads it. at_s: the moment it speaks of, on this machine's LSL clock."""
        now_s = self._clock()
        self.last = Command(uuid.uuid4().hex[:8], words, now_s)
        if self._sender is None or not self.heard:
            self.last.done, self.last.message = False, "the engine does not listen to this monitor"
            return
        text = json.dumps({"command": command, "id": self.last.id, **more})
        self._sender.push_text(text, now_s if at_s is None else at_s)

    def hear(self, event: Event) -> None:
        """One event of the engine's status."""
        if event.get("event") == "command" and self.last is not None and event.get("id") == self.last.id:
            self.last.done = bool(event.get("done"))
            self.last.message = str(event.get("message") or "")

    def words(self) -> str:
        """What became of the last command; empty before the first."""
        last = self.last
        if last is None:
            return ""
        if last.done is not None:
            why = f": {last.message}" if last.message else ""
            return f"{last.words}: {'confirmed' if last.done else 'not done'}{why}"
        late = self._clock() - last.sent_s > NO_ANSWER_S
        return f"{last.words}: {'no answer from the engine' if late else 'sent'}"


def open_outlet(engine: str) -> Outlet:
    """The stream `{engine}.commands` of this monitor; each monitor has its own."""
    name = f"{engine}.commands"
    return Outlet(Spec(name, 0.0, ("command",)), "Markers", f"{name}.{uuid.uuid4().hex}", text=True)
