"""`Timeline`: what the patient was doing when, from markers; only `listening` is learnt from and scored."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import numpy as np

from realtime.block import Mask, Times

State = Literal["listening", "speaking", "silence", "stimulation", "sham"]
STATES: tuple[str, ...] = get_args(State)
LISTENING: State = "listening"
SHAM: State = "sham"
MOST = 100_000  # changes kept: a marker a second for a day


class Timeline:
    """States over time, from changes that may come out of order: a marker's own time decides.

    start: the state before the first change. guard_s: so long after a change a row still depends on sound and activity
    of the state before, and belongs to none. Safe from several threads.
    """

    def __init__(self, start: State = LISTENING, guard_s: float = 0.5) -> None:
        self.start, self.guard_s = start, guard_s
        self._times: list[float] = []
        self._states: list[State] = []
        self._lock = threading.Lock()

    def add(self, time_s: float, state: State) -> bool:
        """The state from time_s on; False where it was that state already.

        Kept even then: a change between the two may be on its way.
        """
        with self._lock:
            place = bisect.bisect_right(self._times, time_s)
            before = self._states[place - 1] if place else self.start
            if len(self._times) < MOST:
                self._times.insert(place, time_s)
                self._states.insert(place, state)
            return before != state

    def at(self, time_s: float) -> State:
        """The state at one time."""
        with self._lock:
            place = bisect.bisect_right(self._times, time_s)
            return self._states[place - 1] if place else self.start

    def during(self, times: Times, state: State) -> Mask:
        """(rows,) whether `state` held at each time and had for guard_s."""
        with self._lock:
            edges = np.array(self._times, np.float64)
            is_state = np.array([self.start, *self._states]) == state
        since = np.concatenate([[-np.inf], edges])
        place = np.searchsorted(edges, times, side="right")
        # told twice in a row, a state holds since the first
        for i in range(1, len(since)):
            if is_state[i] and is_state[i - 1]:
                since[i] = since[i - 1]
        inside: Mask = is_state[place] & (times - since[place] >= self.guard_s)
        return inside

    def changes(self) -> list[tuple[float, State]]:
        """(time, state from then on), in order."""
        with self._lock:
            told = list(zip(self._times, self._states, strict=True))
        before = [self.start, *(state for _, state in told)]
        return [change for change, state in zip(told, before, strict=False) if change[1] != state]


def state_of(marker: str, names: Mapping[str, State]) -> State | None:
    """The state that a marker means: as mapped, else its own name; None for a marker that means none.

    A number may be written as 1 or 1.0.
    """
    text = marker.strip()
    if text.endswith(".0"):
        text = text[:-2]
    if text in names:
        return names[text]
    return text if text in STATES else None  # type: ignore[return-value]


def timeline_of(
    markers: Iterable[tuple[float, str]], names: Mapping[str, State], start: State = LISTENING, guard_s: float = 0.5
) -> Timeline:
    """The timeline that recorded markers, (seconds, text), give: as they gave it live, once all had come."""
    timeline = Timeline(start, guard_s)
    for time_s, text in sorted(markers, key=lambda marker: marker[0]):
        state = state_of(text, names)
        if state is not None:
            timeline.add(time_s, state)
    return timeline


def seconds_in(timeline: Timeline, begin_s: float, end_s: float) -> dict[str, float]:
    """How long each state held between two times, guards not taken off."""
    found: dict[str, float] = {}
    edges = [(begin_s, timeline.at(begin_s)), *(c for c in timeline.changes() if begin_s < c[0] < end_s)]
    for i, (since_s, state) in enumerate(edges):
        until_s = edges[i + 1][0] if i + 1 < len(edges) else end_s
        found[state] = found.get(state, 0.0) + max(0.0, until_s - since_s)
    return {state: round(seconds, 3) for state, seconds in found.items()}
