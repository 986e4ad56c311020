"""Faults of sources over real LSL streams: received + lost + skipped = sent, by a counter in channel 0."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pylsl
import pytest

from encoders.whisper import FRAME_S
from realtime.block import Block, Times, regular
from realtime.lane import Lane, Step
from realtime.offline import run_blocks
from realtime.repair import Repair
from realtime.sources.lsl import LslInlet, StreamQuery, local_clock
from realtime.stage import Chain
from tests.lsl_streams import unique
from tests.test_settling import FILL_S, MEMORY_S, TOLERANCE_SD, rig
from tests.toys import PATIENCE_S, Heard

RATE_HZ = 500.0
Rows = npt.NDArray[np.float32]


class Watched:
    """A lane of `chain` on an inlet, what came out of it and what it said."""

    def __init__(self, inlet: LslInlet, chain: Chain | None = None):
        self.heard = Heard()
        self.stop = threading.Event()
        chain = chain or Chain([("repair", Repair(inlet.spec.rate_hz, 0.1, hold=True))])
        self.lane = Lane("s", inlet, chain, self._publish, lambda e: self.heard.add("event", e))
        self.lane.start(self.stop)

    def _publish(self, _y: Block, step: Step) -> None:
        self.heard.add("rows", step.x)

    @property
    def counter(self) -> list[int]:
        return [int(n) for block in self.heard.blocks("rows") for n in block.data[:, 0]]

    def until_row(self, number: int) -> None:
        self.heard.until(lambda: any(b.data[-1, 0] >= number for b in self.heard.blocks("rows")[-1:]))

    def until_told(self, name: str, times: int = 1) -> None:
        self.heard.until(lambda: len(self.heard.events(name)) >= times)

    def end(self) -> list[int]:
        """The counter as received; every row from the first to the last received, lost or skipped."""
        self.stop.set()
        self.lane.join(PATIENCE_S)
        counter = self.counter
        lane = self.lane
        assert counter == sorted(set(counter))
        assert lane.error is None
        assert len(counter) == lane.counts.received - lane.skipped - lane._cursor.overrun
        assert lane.counts.received + lane.counts.lost == counter[-1] - counter[0] + 1
        for block in self.heard.blocks("rows"):
            np.testing.assert_array_equal(block.data[:, 0], counter[0] + np.arange(block.index, block.end))
        return counter


@contextmanager
def source(name: str, origin_s: float, rate_hz: float = RATE_HZ) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.counting_source", name, str(rate_hz), str(origin_s)]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def connected(name: str, **options: int) -> LslInlet:
    return LslInlet(StreamQuery(name=name), 30, **options).connect()


def outlet(name: str, source_id: str, channels: int = 2, format_: int = pylsl.cf_float32) -> pylsl.StreamOutlet:
    return pylsl.StreamOutlet(pylsl.StreamInfo(name, "ECoG", channels, RATE_HZ, format_, source_id))


def push(sink: pylsl.StreamOutlet, counter: Sequence[int], origin_s: float, sign: int = 1) -> None:
    rows = np.asarray(counter)
    sink.push_chunk(sign * np.stack([rows, rows], axis=1).astype(np.float32), (origin_s + rows / RATE_HZ).tolist())


def due(origin_s: float) -> int:
    return int((local_clock() - origin_s) * RATE_HZ)


def test_a_source_killed_and_restarted_comes_back_with_its_loss_counted() -> None:
    """Beside a second stream of the same name, which never gets in; then it is stopped for 3 s and continued."""
    name, origin = unique("killed"), local_clock()
    with source(name, origin):
        watched = Watched(connected(name))
        watched.heard.until(lambda: len(watched.counter) > 100)
        twin = outlet(name, "another one")
    push(twin, range(1000), origin, sign=-1)
    with source(name, origin) as again:
        watched.until_told("gap")
        back = due(origin)
        watched.until_row(back)
        again.send_signal(signal.SIGSTOP)
        watched.until_told("resumed" if watched.heard.events("resumed") else "silent")
        silent = len(watched.heard.events("silent"))
        watched.until_told("silent", silent)
        again.send_signal(signal.SIGCONT)
        watched.until_told("gap", 2)
        watched.until_row(due(origin))
    counter = watched.end()
    assert min(counter) >= 0, "rows of the second stream"
    steps = np.diff(counter)
    assert [event["lost"] for event in watched.heard.events("gap")] == (steps[steps > 1] - 1).tolist()
    assert watched.lane.counts.resets == 0
    del twin


@pytest.mark.long
def test_after_a_source_was_killed_embeddings_are_again_those_of_an_unbroken_run() -> None:
    """Real Whisper's, to float tolerance. The source counts samples; sample n of the speech stands for number n."""
    name, origin, one = unique("speech"), local_clock(), rig("sound")
    with source(name, origin, one.rate_hz):
        watched = Watched(connected(name))
        watched.heard.until(lambda: len(watched.heard.blocks("rows")) > 50)
    with source(name, origin, one.rate_hz):
        watched.until_told("gap")
        again = watched.heard.blocks("rows")[-1].data[0, 0]
        watched.until_row(int(again + 5.0 * one.rate_hz))
    numbers = np.array(watched.end())
    (gap,) = watched.heard.events("gap")
    assert gap["lost"] > FILL_S * one.rate_hz
    speech = np.resize(one.signal, (numbers[-1] + 1, 1))
    tone = 3 * np.abs(speech).max() * np.sin(2 * np.pi * 1000 / one.rate_hz * np.arange(1600))
    before_loss = int(watched.heard.blocks("rows")[20].data[0, 0])
    speech[before_loss : before_loss + 1600, 0] = tone  # so loud that the floor is the same afterwards
    blocks = [replace(b, data=speech[b.data[:, 0].astype(int)]) for b in watched.heard.blocks("rows")]
    found = run_blocks(blocks, one.chain, one.rate_hz)[-1]
    whole = one.chain.layer(regular(speech[numbers[0] :], one.rate_hz))
    begin = found.index + round(MEMORY_S / FRAME_S)
    settled = found.rows(begin - found.index, len(found))
    expected = whole.rows(begin, settled.end)
    assert len(settled) > 50
    apart = np.abs(settled.data - expected.data) / whole.data.std(axis=0)
    assert apart.max() < TOLERANCE_SD


@pytest.mark.long
def test_a_source_that_returns_in_a_wrong_format_stays_out() -> None:
    name, origin = unique("format"), local_clock()
    sink = outlet(name, name)
    watched = Watched(connected(name))
    assert sink.wait_for_consumers(PATIENCE_S)
    push(sink, range(0, 50), origin)
    watched.until_row(49)
    del sink
    wrong = outlet(name, name, channels=3, format_=pylsl.cf_int16)
    watched.until_told("silent")
    assert not wrong.have_consumers()
    del wrong
    sink = outlet(name, name)
    assert sink.wait_for_consumers(PATIENCE_S)
    push(sink, range(3000, 3050), origin)
    watched.until_row(3049)
    assert watched.end() == [*range(50), *range(3000, 3050)]


class Stalling(LslInlet):
    """An inlet that is not read while `held`."""

    def __init__(self, *args: object, **options: int):
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.go_on, self.waiting = threading.Event(), threading.Event()
        self.go_on.set()

    def pull(self, timeout_s: float) -> tuple[Rows, Times]:
        if not self.go_on.is_set():
            self.waiting.set()
            assert self.go_on.wait(PATIENCE_S)
        return super().pull(timeout_s)


def test_a_reader_stalled_for_longer_than_the_buffer_counts_what_it_lost() -> None:
    name, origin = unique("stalled"), local_clock() - 20.0
    sink = outlet(name, name)
    inlet = Stalling(StreamQuery(name=name), 30, buffer_s=1)
    watched = Watched(inlet.connect())
    assert sink.wait_for_consumers(PATIENCE_S)
    push(sink, range(0, 50), origin)
    watched.until_row(49)
    inlet.go_on.clear()
    assert inlet.waiting.wait(PATIENCE_S)
    for start in range(50, 8050, 100):
        push(sink, range(start, start + 100), origin)
    fence = LslInlet(StreamQuery(name=name), 30).connect()  # what it sees, the stalled one has been sent before
    fence.open()
    until_there(sink, fence, origin, inlet.go_on.set)
    watched.until_row(8199)
    counter = watched.end()
    assert watched.lane.counts.lost > 5000
    assert counter[-1] == 8199


def until_there(sink: pylsl.StreamOutlet, fence: LslInlet, origin: float, then: Callable[[], None]) -> None:
    push(sink, range(8050, 8150), origin)
    while len(fence.pull(PATIENCE_S)[1]) == 0:
        pass
    then()
    push(sink, range(8150, 8200), origin)
