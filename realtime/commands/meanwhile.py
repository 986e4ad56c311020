"""Does something slow beside whatever else is to be done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
POLL_S = 0.2  # how soon Ctrl-C is heard


class Meanwhile(Generic[T]):
    """A call that begins at once in a thread of its own, which nobody waits for at the end of the program."""

    def __init__(self, call: Callable[[], T]):
        self._call = call
        self._found: list[T] = []
        self._error: Exception | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name="meanwhile", daemon=True).start()

    def _run(self) -> None:
        try:
            self._found.append(self._call())
        except Exception as error:
            self._error = error
        self._done.set()

    def result(self) -> T:
        """What the call gave; raises what it raised."""
        while not self._done.wait(POLL_S):
            continue
        if self._error is not None:
            raise self._error
        return self._found[0]
