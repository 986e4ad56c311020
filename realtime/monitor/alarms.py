"""`Alarms`: what was wrong stays until somebody has acknowledged it. No Qt."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST = 30
LOG = 200
PASSING = ("waiting for engine", "has sent no")  # said only while it is so: nothing has gone wrong


@dataclass
class Alarm:
    """text: in plain words, as last heard. began_s, ended_s: wall clock; ended_s None: still so."""

    text: str
    began_s: float
    ended_s: float | None = None
    acknowledged: bool = False


class Alarms:
    """Fed with the problems of the moment. Two texts that differ in numbers alone are one problem."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._alarms: dict[str, Alarm] = {}
        self._passing: list[str] = []
        self.log: deque[tuple[float, str]] = deque(maxlen=LOG)  # wall clock, words; oldest first
        self.logged = 0

    def update(self, problems: Sequence[str]) -> None:
        """The problems that there are now."""
        now_s = self._wall_clock()
        self._passing = [text for text in problems if any(words in text for words in PASSING)]
        present = {_key(text): text for text in problems if text not in self._passing}
        for key, text in present.items():
            alarm = self._alarms.get(key)
            if alarm is None and len(self._alarms) < MOST:
                self._alarms[key] = Alarm(text, now_s)
                self._note(now_s, text)
            elif alarm is not None:
                alarm.text, alarm.ended_s = text, None
        for key, alarm in list(self._alarms.items()):
            if key not in present and alarm.ended_s is None:
                alarm.ended_s = now_s
                self._note(now_s, f"over: {alarm.text}")
            if alarm.ended_s is not None and alarm.acknowledged:
                del self._alarms[key]

    def acknowledge(self) -> None:
        """Somebody has seen them all."""
        if any(not alarm.acknowledged for alarm in self._alarms.values()):
            self._note(self._wall_clock(), "acknowledged")
        for key, alarm in list(self._alarms.items()):
            alarm.acknowledged = True
            if alarm.ended_s is not None:
                del self._alarms[key]

    def banner(self, most: int = 3) -> str:
        """What nobody has acknowledged, what is still so first; empty where there is none."""
        waiting = [alarm for alarm in self._alarms.values() if not alarm.acknowledged]
        waiting.sort(key=lambda alarm: alarm.ended_s is not None)
        texts = self._passing + [a.text if a.ended_s is None else f"{a.text} ({_until(a)})" for a in waiting]
        more = [f"and {len(texts) - most} more"] if len(texts) > most else []
        return "   ·   ".join(texts[:most] + more)

    def to_acknowledge(self) -> bool:
        return any(not alarm.acknowledged for alarm in self._alarms.values())

    def quiet(self) -> str:
        """What is still so, though acknowledged."""
        return "   ·   ".join(a.text for a in self._alarms.values() if a.acknowledged and a.ended_s is None)

    def _note(self, now_s: float, text: str) -> None:
        self.log.append((now_s, text))
        self.logged += 1


def _key(text: str) -> str:
    return re.sub(r"\d[\d.,]*", "#", text)


def _until(alarm: Alarm) -> str:
    assert alarm.ended_s is not None
    return f"over since {clock_words(alarm.ended_s)}"


def clock_words(wall_s: float) -> str:
    """HH:MM:SS on this machine's clock."""
    return time.strftime("%H:%M:%S", time.localtime(wall_s))
