"""A lane: a source, its ring and its chain. One thread pulls into the ring, one steps the chain."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from realtime.block import Block, regular
from realtime.carried import LaneState
from realtime.clock import Clock
from realtime.delay import Delay
from realtime.ring import Cursor, Ring
from realtime.sources.pump import Arrivals, Counts, Event, Inlet, pump
from realtime.stage import Chain

WARM_UP_S = 3.0
LONGEST_STEP_S, LONGEST_STEPS = 10.0, 2  # of warming up: the second finds all that the first left
ODD_STEPS_S = (0.05, 1.0, 12)  # as catching up has them: from, to, how many; they fill what libraries keep per size
LONGEST_AWAY_S = 3600.0  # after a longer time, or with another clock, nobody can say what was missed
KEEP_S = 0.1  # of the newest rows when a lane skips


@dataclass
class Step:
    """One step of a lane's chain, seen from outside. Times on LSL's clock, seconds.

    newest_index, newest_time_s: of the newest input row that was used, its device's delay taken off. arrival_s: when
    that row had arrived. taken_s: when the step began. done_s: when each stage's result was there. blocks: each result.
    """

    x: Block
    newest_index: int
    newest_time_s: float
    arrival_s: float
    taken_s: float
    done_s: dict[str, float] = field(default_factory=dict)
    blocks: dict[str, Block] = field(default_factory=dict)


Publish = Callable[[Block, Step], None]


class Lane:
    """Pulls a connected inlet, steps `chain` over it and hands each result to `publish`, in the stepping thread.

    A step takes step_s of rows or more, where they come: what a source sends sample by sample costs no more for it.
    Further than max_backlog_s behind, it skips to the newest rows, counts them in `skipped` and says so; the
    stages see a gap and restart. What goes wrong in the chain ends the lane and is kept in `error`.
    """

    def __init__(
        self,
        name: str,
        inlet: Inlet,
        chain: Chain,
        publish: Publish,
        on_event: Callable[[Event], None],
        *,
        ring_s: float = 30.0,
        max_backlog_s: float = 5.0,
        step_s: float = 0.0,
    ):
        spec = inlet.spec
        self.name, self.inlet, self.chain, self.spec = name, inlet, chain, spec
        self.counts, self.arrivals = Counts(), Arrivals()
        self.skipped = self.missed = 0
        self.newest_s = float("-inf")  # time of the newest row taken from the ring, its device's delay not taken off
        self._before: LaneState | None = None  # of the engine that this one took over from
        self._wanted, self._kept = threading.Event(), LaneState()
        self.state: tuple[Any, ...] = chain.initial_state()
        self.error: Exception | None = None
        self.publish = publish
        self._on_event: Callable[[Event], None] = lambda event: on_event({**event, "lane": name})
        self.ring = Ring(round(ring_s * spec.rate_hz), (len(spec.channels),))
        self._cursor: Cursor = self.ring.cursor()
        self._backlog_rows = round(max_backlog_s * spec.rate_hz)
        self._step_rows = max(1, round(step_s * spec.rate_hz))
        self._delay_s = sum(stage.delay_s for stage in chain.stages if isinstance(stage, Delay))
        self._threads: list[threading.Thread] = []
        self._warm, self._go = threading.Event(), threading.Event()

    @property
    def received(self) -> int:
        """Rows pulled and neither skipped nor overwritten: received + lost + skipped is what the source owed."""
        return self.counts.received - self.skipped - self._cursor.overrun

    @property
    def lost(self) -> int:
        """Rows that never arrived, were overwritten in the ring before they were read, or came while no engine ran."""
        return self.counts.lost + self._cursor.overrun + self.missed

    def take_over(self, before: LaneState) -> None:
        """Go on with the counts and baselines of an engine that died. Before `start`."""
        self._before = before
        self.counts = Counts(before.received, before.lost, before.resets)
        self.skipped = before.skipped
        self.state = before.into(self.chain.names, self.state)

    def keep(self) -> LaneState:
        """As it was after a recent step, and asks the next step for a newer one: it is taken between steps."""
        self._wanted.set()
        return self._kept

    def warm_up(self) -> None:
        """Step the chain over silence, so that the first real row meets no first call and memory no first largest step.

        In the thread that will step it live: allocator and torch keep for each thread what they have prepared.
        """
        if not self._threads:
            self._run("chain", self._warm_then_work)
        self._warm.wait()
        if self.error is not None:
            raise self.error

    def _step_over_silence(self) -> None:
        """In live-sized pieces, then as it would catch up from the longest backlog and from shorter ones."""
        rate_hz = self.spec.rate_hz
        piece, longest = max(1, self._rows(0.01)), min(self._backlog_rows, self._rows(LONGEST_STEP_S))
        state, index = self.chain.initial_state(), 0
        catching_up = [longest] * LONGEST_STEPS + [self._rows(seconds) for seconds in np.linspace(*ODD_STEPS_S)]
        for rows in [piece] * (self._rows(WARM_UP_S) // piece) + catching_up:
            quiet = np.zeros((rows, len(self.spec.channels)), np.float32)
            _, state = self.chain.step(regular(quiet, rate_hz, index / rate_hz, index), state)
            index += rows

    def _rows(self, seconds: float) -> int:
        return round(seconds * self.spec.rate_hz)

    def start(self, stop: threading.Event) -> None:
        """Start both threads; the lane ends when `stop` is set and the ring is read empty."""
        if not self._threads:
            self._run("chain", self._work)
        self._run("in", self._pull, stop)
        self._go.set()

    def join(self, timeout_s: float) -> None:
        if not self._go.is_set():  # warm, and never started
            self.ring.close()
            self._go.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, what: str, body: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=body, args=arguments, name=f"{self.name} {what}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _pull(self, stop: threading.Event) -> None:
        try:
            clock = Clock(self.spec.rate_hz)
            pump(self.inlet, clock, self.ring, self._on_event, stop, counts=self.counts, arrivals=self.arrivals)
        except Exception as error:
            self._fail(error)

    def _warm_then_work(self) -> None:
        try:
            self._step_over_silence()
        except Exception as error:
            self.error = error
        self._warm.set()
        self._go.wait()
        self._work()

    def _work(self) -> None:
        try:
            while self._cursor.wait(0.2, self._step_rows) or not self.ring.closed:
                if self._cursor.behind:
                    self._step()
        except Exception as error:
            self._fail(error)

    def _step(self) -> None:
        self._skip_if_late()
        x = self._cursor.read()
        if not len(x):
            return
        if self._before is not None:
            self._count_missed(x, self._before)
        now = self.inlet.now
        arrival = self.arrivals.lookup(x.end - 1)
        taken = now()
        self.newest_s = float(x.times[-1])
        newest_s = self.newest_s - self._delay_s  # when it was heard, not when the device stamped it
        step = Step(x, x.end - 1, newest_s, taken if arrival is None else arrival, taken)

        def done(name: str, result: Block) -> None:
            step.done_s[name] = now()
            step.blocks[name] = result

        y, self.state = self.chain.step(x, self.state, done)
        self.publish(y, step)
        if self._wanted.is_set():
            self._wanted.clear()
            self._kept = self._snapshot(step.newest_time_s)

    def _count_missed(self, x: Block, before: LaneState) -> None:
        self._before = None
        away_s = float(x.times[0]) - self._delay_s - before.newest_time_s
        if 0 < away_s < LONGEST_AWAY_S:
            self.missed = max(0, round(away_s * self.spec.rate_hz) - 1)
        self._on_event({"event": "took_over", "stream": self.spec.name, "missed": self.missed, "away_s": away_s})

    def _snapshot(self, newest_time_s: float) -> LaneState:
        states = dict(zip(self.chain.names, self.state, strict=True))
        kept = {name: deepcopy(states[name]) for name in ("repair", "z_score") if name in states}
        counts = self.counts
        pulled = counts.received - self._cursor.overrun  # what was overwritten is among the lost
        return LaneState(pulled, self.lost, self.skipped, counts.resets, newest_time_s, **kept)

    def _skip_if_late(self) -> None:
        if self._cursor.behind <= self._backlog_rows:
            return
        skipped = self._cursor.skip_to(min(self._backlog_rows, max(1, round(KEEP_S * self.spec.rate_hz))))
        self.skipped += skipped
        self._on_event({"event": "skip", "stream": self.spec.name, "rows": skipped})

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.ring.close()  # so that a chain that waits for rows ends too
        self._on_event({"event": "failed", "stream": self.spec.name, "reason": f"{type(error).__name__}: {error}"})


def marked(block: Block, bad: np.ndarray[Any, Any]) -> Block:
    """The block with NaN in its data where `bad`."""
    return replace(block, data=np.where(bad, np.float32(np.nan), block.data).astype(np.float32))
