"""What a monitor may ask of an engine that was started with --accept-commands, and what is then done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from realtime.commands.recordings import Recordings
from realtime.control import Command, Control
from realtime.engine import Engine
from realtime.errors import UserError
from realtime.sources.lsl import Network, local_clock

ADAPTS_S, POLL_S = 2.0, 0.05  # it begins, or ends, with the next aligned rows


@contextlib.contextmanager
def obeying(engine: Engine, recordings: Recordings | None, accepts: bool) -> Iterator[None]:
    """Take commands from monitors meanwhile, where they are accepted. recordings: None where none can be made."""
    engine.facts_now["accepts_commands"] = accepts
    if not accepts:
        yield
        return
    orders = _Orders(engine, recordings)
    obey = {"marker": orders.marker, "record": orders.record, "adapt": orders.adapt}
    control = Control(engine.settings.name, Network, local_clock, engine.tell, obey, slow=("record", "adapt"))
    control.start()
    try:
        yield
    finally:
        control.close()


class _Orders:
    def __init__(self, engine: Engine, recordings: Recordings | None):
        self._engine, self._recordings = engine, recordings

    def marker(self, command: Command) -> str:
        """Into the marker stream, stamped with the moment at which the operator pressed."""
        if not command.text.strip():
            raise UserError("found a marker without text, expected one with: type it and press Enter")
        self._engine.results.mark(command.text, command.at_s)
        self._engine.tell({"event": "marker", "text": command.text, "at_s": command.at_s})
        return ""

    def record(self, command: Command) -> str:
        if self._recordings is None:
            raise UserError("this session cannot be recorded")
        return self._recordings.switch(command.on)

    def adapt(self, command: Command) -> str:
        self._engine.adapt(command.on)
        until = time.monotonic() + ADAPTS_S
        while self._engine.adapter is not None and self._engine.adapter.on != command.on and time.monotonic() < until:
            time.sleep(POLL_S)
        self._engine.tell_settings()
        return ""
