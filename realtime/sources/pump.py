"""From an inlet through the clock into a ring: the body of a lane's pulling thread."""

from __future__ import annotations

import bisect
import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from realtime.block import Block, Spec, Times
from realtime.clock import Clock, ClockState, Span
from realtime.ring import Ring

Event = dict[str, Any]
REST_S = 0.001  # after a pull of less than this: a source that pushes row by row must not cost a core
OFFSET_EVERY_S = 5.0
OFFSET_CHANGE_S = 1e-4  # smaller ones are within the measurement's own error
SILENT_S = 2.0
FLOOR_CREEP = 1e-3  # by which the least delay rises with time: more than any clock drifts
FLOOR_STANDS_S = 1.0  # before it counts: rows sent faster than sampled come ever earlier
FLOOR_FALL_S = 0.01


class Inlet(Protocol):
    """What `pump` needs of a source; `LslInlet` says what each does."""

    @property
    def spec(self) -> Spec: ...
    def open(self) -> None: ...
    def pull(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], Times]: ...
    def time_correction(self) -> float: ...
    def now(self) -> float: ...
    def close(self) -> None: ...


@dataclass
class Counts:
    """What became of a stream's rows, and how its clock runs.

    rate_ppm: by how much the source samples faster than it states. jitter_s: SD of its stamps about their line.
    offset_s: added to its stamps.
    """

    received: int = 0
    lost: int = 0
    resets: int = 0
    rate_ppm: float = field(default=0.0, compare=False)
    jitter_s: float = field(default=0.0, compare=False)
    offset_s: float = field(default=0.0, compare=False)


class Arrivals:
    """When rows arrived, on this machine's LSL clock: the last `capacity` chunks, in fixed memory."""

    def __init__(self, capacity: int = 4096):
        self._starts = np.zeros(capacity, np.int64)
        self._ends = np.zeros(capacity, np.int64)
        self._at = np.zeros(capacity)
        self._capacity = capacity
        self._count = 0
        self._lock = threading.Lock()

    def add(self, start: int, end: int, arrival_s: float) -> None:
        """Rows of stream index start to end - 1 arrived at arrival_s. Indices only ever grow."""
        with self._lock:
            slot = self._count % self._capacity
            self._starts[slot], self._ends[slot], self._at[slot] = start, end, arrival_s
            self._count += 1

    def newest_s(self) -> float:
        """When the newest row arrived; NaN before the first."""
        with self._lock:
            return float(self._at[(self._count - 1) % self._capacity]) if self._count else np.nan

    def lookup(self, index: int) -> float | None:
        """When the row of this stream index arrived; None if it never did or that is too long ago."""
        with self._lock:
            kept = range(max(0, self._count - self._capacity), self._count)
            place = bisect.bisect_right(kept, index, key=lambda i: int(self._ends[i % self._capacity]))
            if place == len(kept) or self._starts[kept[place] % self._capacity] > index:
                return None
            return float(self._at[kept[place] % self._capacity])


class Delay:
    """The least time from a row's stamp to its arrival: what tells a clock that was set from rows that were lost.

    Rows can come late by any amount, but never earlier than transport takes. A step of the stamps ahead, with the
    newest row earlier than ever before by more than half of that step, is the clock's: a loss would have made the
    rows come as much later as their stamps say. Reading late, after a stall longer than the step, hides it: a gap,
    as is any step ahead before the least delay has stood for a second.
    """

    def __init__(self) -> None:
        self._floor_s = self._since_s = np.inf  # the floor, and since when it has stood
        self._arrival_s = 0.0

    def add(self, newest_s: float, arrival_s: float) -> None:
        """A chunk whose newest row is stamped newest_s, offset added. All on this machine's clock."""
        late_s = arrival_s - newest_s
        if late_s < self._floor_s - FLOOR_FALL_S:
            self._since_s = arrival_s
        self._floor_s = min(late_s, self._floor_s + FLOOR_CREEP * (arrival_s - self._arrival_s))
        self._arrival_s = arrival_s

    def is_jump(self, newest_s: float, arrival_s: float, jump_s: float) -> bool:
        """Whether a chunk whose stamps step ahead by jump_s lost nothing there."""
        stands = self._arrival_s - self._since_s > FLOOR_STANDS_S
        return stands and arrival_s - newest_s < self._floor_s - jump_s / 2

    def restart(self) -> None:
        """The clock was set anew: nothing is known of its delays."""
        self._floor_s = self._since_s = np.inf


def pump(
    inlet: Inlet,
    clock: Clock,
    ring: Ring,
    on_event: Callable[[Event], None],
    stop: threading.Event,
    *,
    counts: Counts | None = None,
    arrivals: Arrivals | None = None,
) -> Counts:
    """Pull a connected inlet into a ring until `stop`: the body of a lane's pulling thread. Closes the ring.

    on_event gets dictionaries with `event`, `stream` and, by event:
    anchor (index, raw_s, offset_s): the first row; offset (index, offset_s): adopted from that index on;
    gap (index, lost, jump_s) and reset (index, jump_s): index of the first row after it. Stamps that step ahead are
    a gap where the rows came as much later, and a reset where they came when they were due (`Delay`);
    late (index, rows): so many rows that gaps told as lost came after all, before the row of that index;
    silent (after_s), resumed (silent_s): no row for 2 s, and again one; disconnected: it will not resume;
    clock_unknown: its clock did not answer, so its stamps are taken as they are.
    """
    counts = Counts() if counts is None else counts
    watch = _OffsetWatch(inlet, stop)
    tell = _Teller(inlet.spec.name, on_event)
    delay = Delay()
    state = clock.initial_state()
    if watch.newest is None:
        tell("clock_unknown")
    try:
        inlet.open()
        watch.start()
        last = time.monotonic()
        while not stop.is_set():
            data, raw = inlet.pull(0.1)
            arrival = inlet.now()
            if not len(raw):
                tell.silence(time.monotonic() - last)
                continue
            tell.resume()
            last = time.monotonic()
            offset = watch.newest
            _adopt(clock, state, offset, tell)
            newest_s = float(raw[-1]) + (state.offset_s if offset is None else offset)
            if not state.started:
                tell("anchor", index=0, raw_s=float(raw[0]), offset_s=offset or 0.0)
            spans, state = clock.stamp(raw, state, functools.partial(delay.is_jump, newest_s, arrival))
            if any(span.reset for span in spans):
                delay.restart()
                clock.forget_offsets(state.index)
            delay.add(newest_s, arrival)
            counts.received += len(raw)
            counts.rate_ppm, counts.jitter_s = state.rate_deviation_ppm, state.jitter_s
            counts.offset_s = state.offset_s
            _write(data, spans, ring, arrival, arrivals)
            _count(spans, counts, tell, watch)
            if len(raw) < REST_S * inlet.spec.rate_hz:
                stop.wait(REST_S)
    except ConnectionError:
        tell("disconnected")
    finally:
        ring.close()
        inlet.close()
    return counts


def _write(
    data: npt.NDArray[np.float32], spans: list[Span], ring: Ring, arrival_s: float, arrivals: Arrivals | None
) -> None:
    for span in spans:
        block = Block(data[span.start : span.start + len(span.times)], span.times, span.index)
        if arrivals is not None:
            arrivals.add(block.index, block.end, arrival_s)
        ring.write(block)


def _count(spans: list[Span], counts: Counts, tell: _Teller, watch: _OffsetWatch) -> None:
    for span in spans:
        if span.lost or span.reset:
            counts.lost += span.lost
            counts.resets += int(span.reset)
            watch.hurry.set()  # another clock may be behind it
        if span.reset:
            tell("reset", index=span.index, jump_s=span.jump_s)
        elif span.lost < 0:
            tell("late", index=span.index, rows=-span.lost)
        elif span.lost:
            tell("gap", index=span.index, lost=span.lost, jump_s=span.jump_s)


def _adopt(clock: Clock, state: ClockState, offset_s: float | None, tell: _Teller) -> None:
    """Let a newly measured clock offset count from the next row on."""
    if offset_s is None or (state.started and abs(offset_s - state.offset_s) < OFFSET_CHANGE_S):
        return
    clock.set_offset(state.index, offset_s)
    clock.forget_offsets(state.index)
    if state.started:
        tell("offset", index=state.index, offset_s=offset_s)


class _OffsetWatch:
    """Measures the source's clock every 5 s in a thread of its own, because that can block."""

    def __init__(self, inlet: Inlet, stop: threading.Event):
        self.newest: float | None = None
        self.hurry = threading.Event()
        self._inlet, self._stop = inlet, stop
        self._measure()

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"clock of {self._inlet.spec.name}", daemon=True).start()

    def _measure(self) -> None:
        try:
            self.newest = self._inlet.time_correction()
        except TimeoutError:
            return

    def _run(self) -> None:
        waited = 0.0
        while not self._stop.wait(0.25):
            waited += 0.25
            if waited >= OFFSET_EVERY_S or self.hurry.is_set():
                self.hurry.clear()
                waited = 0.0
                self._measure()


class _Teller:
    """Says what happened, with the stream's name, and silence only once."""

    def __init__(self, stream: str, on_event: Callable[[Event], None]):
        self._stream, self._on_event = stream, on_event
        self._silent_since: float | None = None

    def __call__(self, event: str, **values: Any) -> None:
        self._on_event({"event": event, "stream": self._stream, **values})

    def silence(self, after_s: float) -> None:
        if after_s > SILENT_S and self._silent_since is None:
            self._silent_since = time.monotonic() - after_s
            self("silent", after_s=round(after_s, 3))

    def resume(self) -> None:
        if self._silent_since is not None:
            self("resumed", silent_s=round(time.monotonic() - self._silent_since, 3))
            self._silent_since = None
