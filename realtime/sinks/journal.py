"""`Journal`: events as lines of JSON in a file, written by a thread of its own: who tells of one never waits."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

WAITING = 4096  # events; more at once are dropped and counted
END_S = 5.0


class Journal:
    """Appends to `path`; every line is flushed as it is written, so that a crash loses none that was told before.

    on_error: told once where the disk does not take it. dropped: events that could not be written.
    """

    def __init__(self, path: Path, on_error: Callable[[str], None]) -> None:
        self.dropped = 0
        self._path, self._on_error = path, on_error
        self._queue: queue.Queue[str | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def add(self, event: Mapping[str, Any]) -> None:
        """From any thread."""
        try:
            self._queue.put_nowait(json.dumps(event, default=plain))
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, for END_S at most."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=END_S)
        self._thread.join(END_S)

    def _write(self) -> None:
        told = False
        while (line := self._queue.get()) is not None:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                self.dropped += 1
                if not told:
                    told = True
                    self._on_error(f"{self._path} cannot be written ({error.strerror}): make room; the session goes on")


def plain(value: object) -> object:
    """NumPy's numbers and arrays, and paths, as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)
