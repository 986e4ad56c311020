"""For tests of the engine's parts: a source in the test's hands, a clock that it sets, stages it can hold."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from realtime.block import Block, Spec, Times
from realtime.sources.pump import Event

PATIENCE_S = 30.0  # before a test gives up; what it awaits comes at once
Rows = np.ndarray[Any, np.dtype[np.float32]]


class FakeInlet:
    """Row i of its stream is stamped i / rate and holds i in each channel. `now_s` is the clock, which stands still."""

    def __init__(self, name: str, channels: int = 1, rate_hz: float = 50.0):
        self._spec = Spec(name, rate_hz, tuple(f"{name}{i}" for i in range(channels)))
        self._waiting: deque[tuple[Rows, Times] | Exception] = deque()
        self._changed = threading.Condition()
        self._taken = False
        self._sent = self._settled = 0
        self.now_s = 1000.0
        self.offset: float | Exception = 0.0

    @property
    def spec(self) -> Spec:
        return self._spec

    def open(self) -> None: ...

    def close(self) -> None: ...

    def now(self) -> float:
        return self.now_s

    def time_correction(self) -> float:
        if isinstance(self.offset, Exception):
            raise self.offset
        return self.offset

    def pull(self, timeout_s: float) -> tuple[Rows, Times]:
        with self._changed:
            if self._taken:  # who comes back has put what it got before into the ring
                self._taken, self._settled = False, self._settled + 1
                self._changed.notify_all()
            if not self._changed.wait_for(lambda: bool(self._waiting), timeout_s):
                return np.zeros((0, len(self._spec.channels)), np.float32), np.zeros(0)
            found, self._taken = self._waiting.popleft(), True
        if isinstance(found, Exception):
            raise found
        return found

    def send(self, start: int, stop: int, data: Rows | None = None) -> None:
        """Rows start to stop - 1; returns when they are in the lane's ring."""
        number = np.arange(start, stop)
        rows = np.repeat(number[:, None], len(self._spec.channels), axis=1).astype(np.float32)
        with self._changed:
            self._waiting.append((rows if data is None else data, number / self._spec.rate_hz))
            self._sent += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._settled == self._sent, PATIENCE_S), "the lane pulls no more"

    def break_off(self, error: Exception) -> None:
        """The next pull raises this."""
        with self._changed:
            self._waiting.append(error)
            self._changed.notify_all()


class Toy:
    """A stage that gives what it gets, holds where the test wants it to, or raises at a row."""

    lag_s = 0.0

    def __init__(self, raises_at: int | None = None):
        self.raises_at = raises_at
        self.armed = False  # not while the lane warms up
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def hold(self) -> None:
        self.inside.clear()
        self.go_on.clear()

    def initial_state(self) -> None:
        return None

    def step(self, x: Block, state: None) -> tuple[Block, None]:
        if self.armed:
            self.inside.set()
            assert self.go_on.wait(PATIENCE_S)
            if self.raises_at is not None and x.end > self.raises_at:
                raise RuntimeError("the toy broke")
        extra = {name: array.copy() for name, array in x.extra.items()}
        return Block(x.data.copy(), x.times.copy(), x.index, extra), state

    def layer(self, x: Block) -> Block:
        return self.step(x, None)[0]


class Heard:
    """What was published and told, in order, from any thread; `until` awaits it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self._changed = threading.Condition()

    def add(self, what: str, value: Any) -> None:
        with self._changed:
            self.said.append((what, value))
            self._changed.notify_all()

    def blocks(self, what: str) -> list[Block]:
        return [value for kind, value in list(self.said) if kind == what]

    def rows(self, what: str) -> list[int]:
        """Stream indices of all rows published."""
        return [row for block in self.blocks(what) for row in range(block.index, block.end)]

    def events(self, name: str) -> list[Event]:
        return [value for kind, value in list(self.said) if kind == "event" and value["event"] == name]

    def until(self, there: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(there, PATIENCE_S), "it never came"


class FakeResults:
    """Stands where the LSL outlets would."""

    heard: Heard

    def __init__(
        self, engine: str, electrodes: tuple[str, ...], attention: tuple[int, int] | None, row_rate_hz: float = 50.0
    ):
        self.engine, self.electrodes, self.has_model = engine, electrodes, attention is not None
        self.row_rate_hz = row_rate_hz
        self.heard = Heard()
        for what in ("predicted", "observed", "attention", "telemetry"):
            setattr(self, what, _Sink(what, self.heard))

    def tell(self, event: Event, time_s: float) -> None:
        self.heard.add("event", {**event, "time": time_s})

    def push_score(self, score: Block) -> None:
        self.heard.add("score", score)

    def push_sound(self, level_db: float, mel: Block) -> None:
        self.heard.add("sound", (level_db, mel))


class _Sink:
    def __init__(self, what: str, heard: Heard):
        self._what, self._heard = what, heard

    def push(self, block: Block) -> None:
        self._heard.add(self._what, block)
