"""The recordings of a session: one from before the first row where it was asked for, others as the operator asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.commands.companions import companion_queries, require_private
from realtime.commands.console import say, working
from realtime.config import Config
from realtime.errors import UserError
from realtime.sinks.keeper import start_recording
from realtime.sinks.recording_status import (
    NOTE,
    Status,
    goes_on_for,
    is_alive,
    read_status,
    stop_recording,
    trouble,
)
from realtime.sources.lsl import StreamQuery

if TYPE_CHECKING:
    from realtime.commands.session import Session  # which loads torch

RECORDER_BACK_S = 5.0


class Recordings:
    """path: of the recording that goes on; None: none does. The recorder is no child of this process: it outlives a
    crash, and the engine that takes over finds it recording.

    folder: the supervisor's, where it is noted what is recorded.
    """

    def __init__(self, config: Config, session: Session, folder: Path | None = None):
        self.path: Path | None = None
        self._config, self._session = config, session
        self._note = None if folder is None else folder / NOTE
        self._said = ""
        session.engine.facts_now["recording"] = {"on": False}

    def begin(self) -> None:
        """Before the first row: begin what the configuration asks for, or go on with what is being recorded."""
        path = planned_file(self._config, self._note.parent if self._note else None)
        if path is None:
            if self._note is not None and self._note.exists() and self._note.read_text(encoding="utf-8"):
                ended = self._note.read_text(encoding="utf-8")
                self._session.engine.tell({"event": "warning", "message": f"the recorder of {ended} has ended too"})
            return
        if goes_on_for(path, self._config.engine.name):
            say(f"the recording {path} goes on")
            # or its first rows and anchors would be missing
            self._session.engine.results.wait_for_consumers(_outlets(self._config, self._session), RECORDER_BACK_S)
            self._noted(path)
        else:
            with working(f"starting the recording {path}"):
                self._start(path)

    def switch(self, on: bool) -> str:
        """Begin a recording, or end the one that goes on; gives what there is to say of it. Takes seconds."""
        if on and self.path is not None:
            raise UserError(f"{self.path} is being recorded already: stop that first")
        if not on and self.path is None:
            raise UserError("nothing is being recorded")
        if on:
            path = _next_file(self._config)
            self._start(path)
            said = f"recording into {path.absolute()}"
        else:
            said = _recorded_words(self._end())
        say(said)
        self.look()
        self._session.engine.tell_settings()
        return said

    def end(self) -> None:
        """With the session."""
        if self.path is not None:
            say(_recorded_words(self._end()))

    def look(self) -> None:
        """Have the settings tell how the recording stands, and the operator, once each, what is wrong with it."""
        facts, path = self._session.engine.facts_now, self.path
        facts["recording_voices"] = path is not None and self._config.record.sound
        if path is None:
            facts["recording"] = {"on": False}
            return
        message, status = trouble(path), read_status(path)
        if status is not None:
            known = {"file": str(path), "bytes": status.size_bytes, "free_bytes": status.free_bytes}
            facts["recording"] = {"on": is_alive(status), "sound": self._config.record.sound, **known}
        kind = message.split("(")[0].rstrip("0123456789")
        if message and kind != self._said and self.path == path:
            self._session.engine.tell({"event": "warning", "message": message})
        self._said = kind

    def _start(self, path: Path) -> None:
        if self._config.record.sound:
            say("voices are recorded: [record] sound = false keeps sound out of the file")
        else:
            require_private(self._config, *self._session.inlets)
        start_recording(path, _queries(self._config, self._session), self._config.engine.name)
        self._noted(path)

    def _end(self) -> Status:
        path = self.path
        assert path is not None
        self._noted(None)
        return stop_recording(path)

    def _noted(self, path: Path | None) -> None:
        self.path = path
        if self._note is not None:
            self._note.write_text("" if path is None else str(path), encoding="utf-8")


@contextlib.contextmanager
def recording(
    config: Config, session: Session, goes_on: Callable[[], bool] = lambda: False, folder: Path | None = None
) -> Iterator[Recordings]:
    """The session's recordings, the first begun. goes_on: asked at the end, whether one is to go on for another
    engine."""
    recordings = Recordings(config, session, folder)
    recordings.begin()
    try:
        yield recordings
    finally:
        if not goes_on():
            recordings.end()


def planned_file(config: Config, folder: Path | None) -> Path | None:
    """What is to be recorded when the engine begins: what the configuration says, or, after a crash, what is still
    being recorded."""
    note = None if folder is None else folder / NOTE
    if note is None or not note.exists():
        return config.record.file
    path = Path(note.read_text(encoding="utf-8") or ".")
    return path if goes_on_for(path, config.engine.name) else None


def _queries(config: Config, session: Session) -> list[StreamQuery]:
    sound, ecog = session.inlets
    sources = ([sound] if config.record.sound else []) + [ecog]
    queries = [StreamQuery(i.found.name, i.found.type or None, i.found.source_id or None) for i in sources]
    results = [StreamQuery(name=name) for name in _outlets(config, session)]
    return list(dict.fromkeys([*queries, *companion_queries(config), *results]))


def _outlets(config: Config, session: Session) -> list[str]:
    """Those of the engine that are recorded. Spectra can be computed again from the ECoG."""
    left_out = (".spectrum",) if config.record.sound else (".spectrum", ".sound")
    return [name for name in session.engine.results.names() if not name.endswith(left_out)]


def _next_file(config: Config) -> Path:
    """Beside the file that the configuration names, or in the folder that the engine was started in."""
    asked = config.record.file or Path(f"{config.engine.name}.xdf")
    return asked.with_name(f"{asked.stem}-{time.strftime('%Y%m%d-%H%M%S')}{asked.suffix}")


def _recorded_words(status: Status) -> str:
    return f"recorded {status.size_bytes / 1e6:.1f} MB into {status.file}"
