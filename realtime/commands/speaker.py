"""`Speaker`: says events in the terminal from a thread of its own. A terminal that takes no lines stops nobody else."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable

from realtime.commands.console import say
from realtime.messages import with_message
from realtime.sources.pump import Event

SAID = (
    "gap",
    "late",
    "reset",
    "silent",
    "resumed",
    "disconnected",
    "clock_unknown",
    "skip",
    "failed",
    "nan",
    "warning",
    "took_over",
    "contamination",
    "contamination_failed",
    "score_failed",
    "adaptation",
    "adaptation_failed",
    "state",
    "marker",
)
WAITING = 200  # lines, of which the oldest go
END_S = 2.0


class Speaker:
    """Says what an operator is to read at once. All events are in the session's folder and in `status` as well."""

    def __init__(self, say_line: Callable[[str], None] = say) -> None:
        self._say = say_line
        self._waiting: deque[tuple[int, str]] = deque(maxlen=WAITING)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._wake, self._ending = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        """From any thread, which never waits."""
        message = with_message(event).get("message") if event["event"] in SAID else None
        if message is not None:
            with self._lock:  # which nobody holds while he says something
                self._waiting.append((next(self._numbers), str(message)))
            self._wake.set()

    def close(self) -> None:
        """Say what waits, for END_S at most."""
        self._ending = True
        self._wake.set()
        self._thread.join(END_S)

    def _run(self) -> None:
        due, ending = 0, False
        while not ending:
            self._wake.wait()
            self._wake.clear()
            ending = self._ending  # before the last look at what waits, so that no line is left
            while self._waiting:
                number, line = self._waiting.popleft()
                if number > due:
                    self._say(
                        f"{number - due} messages are not shown: the terminal took none; the session log has them"
                    )
                self._say(line)
                due = number + 1
