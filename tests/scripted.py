"""A source whose rows, stamps and arrivals are written down before anything runs, faults included."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from realtime.block import Spec, Times

RATE_HZ = 500.0
Rows = npt.NDArray[np.float32]


@dataclass
class Script:
    """A source that has sent all it will: rows with their stamps and the time that each chunk arrived."""

    counter: npt.NDArray[np.int64]
    stamps: Times
    arrivals: Times  # of each row, if it came by itself
    chunk: int = 5
    spec: Spec = field(default_factory=lambda: Spec("s", RATE_HZ, ("count", "a")))
    signal: Rows | None = None  # (every row sampled, channels after the counter); without, the counter again
    stop: threading.Event = field(default_factory=threading.Event)
    at: int = 0
    now_s: float = 0.0

    def open(self) -> None: ...
    def close(self) -> None: ...

    def time_correction(self) -> float:
        return 0.0

    def now(self) -> float:
        return self.now_s

    def pull(self, _timeout_s: float) -> tuple[Rows, Times]:
        rows = slice(self.at, self.at + self.chunk)
        self.at = min(self.at + self.chunk, len(self.stamps))
        self.now_s = float(self.arrivals[self.at - 1])
        if self.at == len(self.stamps):
            self.stop.set()
        counter = self.counter[rows].astype(np.float32)[:, None]
        signal = counter if self.signal is None else self.signal[self.counter[rows]]
        return np.concatenate([counter, signal], axis=1), self.stamps[rows]


def sent(seconds: float, rate_hz: float = RATE_HZ, origin_s: float = 50.0) -> Script:
    """Rows that arrive 3 ms after they were sampled."""
    counter = np.arange(round(seconds * rate_hz))
    when = origin_s + counter / rate_hz
    return Script(counter, when, when + 0.003, spec=Spec("s", rate_hz, ("count", "a")))


def without(script: Script, start: int, stop: int) -> Script:
    kept = np.ones(len(script.counter), bool)
    kept[start:stop] = False
    return only(script, kept)


def only(script: Script, kept: npt.NDArray[np.bool_]) -> Script:
    script.counter, script.stamps, script.arrivals = script.counter[kept], script.stamps[kept], script.arrivals[kept]
    return script
