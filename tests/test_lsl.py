"""LSL in and out, through real outlets and inlets on this machine."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pylsl
import pytest
from pylsl.util import LostError
from pylsl.util import TimeoutError as LslTimeoutError

from realtime.block import Block, Spec, Times, concat, regular
from realtime.clock import Clock
from realtime.errors import UserError
from realtime.ring import Ring
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import (
    Arrivals,
    Counts,
    Event,
    LslInlet,
    Reader,
    StreamQuery,
    find_streams,
    keep_forever,
    local_clock,
    pump,
)
from tests.lsl_streams import pull, unique

CHANNELS = ("count", "LA1", "LA 2 é")


def raw_outlet(name: str, format_: int, rate_hz: float = 500.0, source_id: str | None = None) -> pylsl.StreamOutlet:
    info = pylsl.StreamInfo(name, "ECoG", 2, rate_hz, format_, name if source_id is None else source_id)
    return pylsl.StreamOutlet(info)


class Lane:
    """A pump in a thread, its ring and what it said."""

    def __init__(self, inlet: LslInlet, rate_hz: float):
        self.ring = Ring(60_000, (len(inlet.spec.channels),))
        self.cursor = self.ring.cursor()
        self.counts, self.arrivals = Counts(), Arrivals()
        self.events: list[Event] = []
        self.told = threading.Condition()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(inlet, Clock(rate_hz)), daemon=True)
        self.thread.start()

    def _run(self, inlet: LslInlet, clock: Clock) -> None:
        pump(inlet, clock, self.ring, self._on_event, self.stop, counts=self.counts, arrivals=self.arrivals)

    def _on_event(self, event: Event) -> None:
        with self.told:
            self.events.append(event)
            self.told.notify_all()

    def await_event(self, name: str) -> Event:
        with self.told:
            assert self.told.wait_for(lambda: any(e["event"] == name for e in self.events), 20), f"no {name} event"
            return next(e for e in self.events if e["event"] == name)

    def read(self, rows: int) -> list[Block]:
        """The next rows, as copies, split where the ring has gaps."""
        blocks: list[Block] = []
        while sum(map(len, blocks)) < rows and self.cursor.wait(20):
            block = self.cursor.read()
            blocks.append(Block(block.data.copy(), block.times.copy(), block.index))
        return blocks

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture(scope="module")
def outlet() -> Iterator[Outlet]:
    spec = Spec(unique("ecog"), 500.0, CHANNELS, "uV")
    one = Outlet(spec, "ECoG", source_id=spec.name + "-id", meta={"montage": "grid"})
    yield one
    one.close()


def counter(rows: int, first: int = 0) -> npt.NDArray[np.float32]:
    count = np.arange(first, first + rows, dtype=np.float32)
    return np.stack([count, -count, count / 3], axis=1)


def test_description_round_trips(outlet: Outlet) -> None:
    query = StreamQuery(name=outlet.spec.name, source_id=outlet.spec.name + "-id")
    inlet = LslInlet(query, 10).connect()
    assert inlet.spec == outlet.spec
    assert inlet.warnings == []
    found = next(s for s in find_streams(1.0, offsets=True) if s.name == outlet.spec.name)
    assert (found.channels, found.unit, found.type, found.format) == (CHANNELS, "uV", "ECoG", "float32")
    assert found.source_id == outlet.spec.name + "-id"
    assert found.clock_offset_s == pytest.approx(0.0, abs=5e-3)
    assert found.host


def test_every_row_is_received_or_counted_as_lost(outlet: Outlet) -> None:
    inlet = LslInlet(StreamQuery(name=outlet.spec.name), 10).connect()
    lane = Lane(inlet, 500.0)
    assert outlet.wait_for_consumers(20)
    sent, dropped, start = 3000, slice(1400, 1650), local_clock()
    block = regular(counter(sent), 500.0, start)
    for first in range(0, sent, 50):
        if not dropped.start <= first < dropped.stop:
            outlet.push(block.rows(first, first + 50))
    blocks = lane.read(sent - 250)
    gap, anchor = lane.await_event("gap"), lane.await_event("anchor")
    lane.end()
    assert lane.counts == Counts(received=sent - 250, lost=250, resets=0)
    assert (gap["index"], gap["lost"], gap["stream"]) == (1650, 250, outlet.spec.name)
    assert anchor["index"] == 0
    assert anchor["raw_s"] == start
    for part in blocks:  # the counter in channel 0 is the stream's index
        np.testing.assert_array_equal(part.data, counter(len(part), part.index))
        np.testing.assert_allclose(part.times, start + anchor["offset_s"] + part.data[:, 0] / 500, atol=5e-4)
    assert concat([b for b in blocks if b.end <= 1400]).end == 1400
    arrival = lane.arrivals.lookup(1700)
    assert arrival is not None
    assert start < arrival < local_clock()
    assert lane.arrivals.lookup(1500) is None
    assert lane.ring.closed


def test_a_silent_stream_is_told_of_and_comes_back(outlet: Outlet) -> None:
    inlet = LslInlet(StreamQuery(name=outlet.spec.name), 10).connect()
    lane = Lane(inlet, 500.0)
    assert outlet.wait_for_consumers(20)
    outlet.push(regular(counter(10), 500.0, local_clock()))
    lane.read(10)
    assert lane.await_event("silent")["after_s"] > 2.0
    outlet.push(regular(counter(10), 500.0, local_clock()))
    assert lane.await_event("resumed")["silent_s"] > 2.0
    assert lane.await_event("gap")["lost"] > 900
    lane.end()


def test_a_stream_that_never_appears_lists_what_is_there(outlet: Outlet) -> None:
    with pytest.raises(UserError, match=r"within 0.5 s; found: ") as caught:
        LslInlet(StreamQuery(name="no such stream", type="ECoG"), 0.5).connect()
    assert "name 'no such stream', type 'ECoG'" in str(caught.value)
    assert outlet.spec.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format_", [pylsl.cf_int16, pylsl.cf_int32, pylsl.cf_double64])
def test_other_number_formats_become_float32(format_: int) -> None:
    name = unique("integers")
    source = raw_outlet(name, format_)
    inlet = LslInlet(StreamQuery(source_id=name), 10).connect()
    assert inlet.spec.channels == (f"{name}_0", f"{name}_1")
    inlet.open()
    assert source.wait_for_consumers(20)
    source.push_chunk(np.array([[-32768, 1], [2, 32767]]), [5.0, 5.002])
    data, raw = pull(inlet, 2)
    assert data.dtype == np.float32
    np.testing.assert_array_equal(data, [[-32768, 1], [2, 32767]])
    np.testing.assert_array_equal(raw, [5.0, 5.002])
    inlet.close()


def test_what_cannot_be_used_is_refused_in_one_line() -> None:
    text, irregular = unique("text"), unique("irregular")
    sources = raw_outlet(text, pylsl.cf_string), raw_outlet(irregular, pylsl.cf_float32, 0.0)
    with pytest.raises(UserError, match=r"has text channels; numbers are needed"):
        LslInlet(StreamQuery(name=text), 10).connect()
    with pytest.raises(UserError, match=r"no regular rate"):
        LslInlet(StreamQuery(name=irregular), 10).connect()
    with pytest.raises(UserError, match=r"at least one"):
        LslInlet(StreamQuery(), 10).connect()
    del sources


def test_two_streams_of_one_name_are_not_guessed_between() -> None:
    name = unique("twin")
    sources = raw_outlet(name, pylsl.cf_float32, source_id="first"), raw_outlet(name, pylsl.cf_float32, source_id="2nd")
    assert len(pylsl.resolve_byprop("name", name, 2, 10)) == 2
    with pytest.raises(UserError, match=r"more than one .*(first|2nd).*give a source_id"):
        LslInlet(StreamQuery(name=name), 10).connect()
    assert LslInlet(StreamQuery(name=name, source_id="2nd"), 10).connect().found.source_id == "2nd"
    del sources


def test_a_missing_source_id_is_warned_of_and_its_end_is_told() -> None:
    name = unique("it's anonymous")
    source = raw_outlet(name, pylsl.cf_float32, source_id="")
    inlet = LslInlet(StreamQuery(name=name), 10).connect()
    assert len(inlet.warnings) == 1
    assert "no source_id" in inlet.warnings[0]
    lane = Lane(inlet, 500.0)
    assert source.wait_for_consumers(20)
    source.push_chunk(np.ones((5, 2), np.float32), local_clock())
    lane.read(5)
    del source
    assert lane.await_event("disconnected")["stream"] == name
    lane.thread.join(20)
    assert lane.ring.closed


def test_rows_keep_their_own_stamps_and_wide_rows_are_flattened() -> None:
    spec = Spec(unique("attention"), 50.0, tuple(f"h{h}l{lag}" for h in range(2) for lag in range(3)))
    sink = Outlet(spec, "Attention", spec.name)
    inlet = LslInlet(StreamQuery(name=spec.name), 10).connect()
    inlet.open()
    assert sink.wait_for_consumers(20)
    data = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    times = np.array([7.0, 7.1, 9.25, 9.26])  # not regular: nothing may be deduced
    sink.push(Block(data[:0], times[:0]))
    sink.push(Block(data[:1], times[:1]))
    sink.push(Block(data[1:], times[1:], 1))
    rows, raw = pull(inlet, 4)
    np.testing.assert_array_equal(rows, data.reshape(4, 6))
    np.testing.assert_array_equal(raw, times)
    with pytest.raises(ValueError, match="6 channels"):
        sink.push(regular(np.zeros((1, 5), np.float32), 50.0))
    with pytest.raises(ValueError, match="carries numbers"):
        sink.push_text("{}", 1.0)
    inlet.close()
    sink.close()


def test_text_goes_out_with_its_time() -> None:
    name = unique("engine.status")
    sink = Outlet(Spec(name, 0.0, ("status",)), "Markers", name, text=True, meta={"version": "1"})
    info = pylsl.resolve_byprop("name", name, 1, 10)[0]
    reader = pylsl.StreamInlet(info)
    keep_forever(reader)
    reader.open_stream(10)
    assert reader.info(10).desc().child_value("version") == "1"
    assert sink.wait_for_consumers(20)
    sink.push_text('{"é": 1}', 123.5)
    assert reader.pull_sample(10) == (['{"é": 1}'], 123.5)
    with pytest.raises(ValueError, match="push_text"):
        sink.push(regular(np.zeros((1, 1), np.float32), 1.0))


def test_an_inlet_is_not_destroyed_at_the_end_of_the_process() -> None:
    """Destroying one aborts now and then, and a session's program would end with an error."""
    program = """
import os, pylsl
from realtime.sources.lsl import keep_forever
pylsl.StreamInlet.__del__ = lambda self: os.write(1, b"destroyed")
inlet = pylsl.StreamInlet(pylsl.StreamInfo("nowhere", source_id="nowhere"))
keep_forever(inlet)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""


def test_pushing_never_waits_for_a_consumer_that_stalls() -> None:
    spec = Spec(unique("busy"), 50.0, ("a",))
    sink = Outlet(spec, "Predicted", spec.name)
    inlet = LslInlet(StreamQuery(name=spec.name), 10, buffer_s=1).connect()
    inlet.open()
    assert sink.wait_for_consumers(20)
    done = threading.Event()

    def push() -> None:
        for i in range(200):  # far more than all buffers hold
            sink.push(regular(np.zeros((100, 1), np.float32), 50.0, float(2 * i + 1)))
        done.set()

    threading.Thread(target=push, daemon=True).start()
    assert done.wait(20)


def test_arrivals_keep_the_newest_in_fixed_memory() -> None:
    arrivals = Arrivals(capacity=4)
    assert arrivals.lookup(0) is None
    for chunk in range(10):
        start = 10 * chunk + (5 if chunk == 8 else 0)
        arrivals.add(start, 10 * chunk + 10, float(chunk))
    expected = {59: None, 60: 6.0, 69: 6.0, 70: 7.0, 84: None, 85: 8.0, 99: 9.0, 100: None}
    assert {index: arrivals.lookup(index) for index in expected} == expected


class Remote:
    """An inlet whose source's clock is 1000 s behind, then is replaced by one 3 s behind."""

    def __init__(self, stop: threading.Event):
        self.spec = Spec("remote", 100.0, ("a",))
        self.correction, self.pulled, self.stop = 1000.0, 0, stop
        self.measured = threading.Event()

    def open(self) -> None: ...
    def close(self) -> None: ...
    def now(self) -> float:
        return 1050.02 + self.pulled / 100

    def time_correction(self) -> float:
        if self.pulled:
            self.correction = 3.0
            self.measured.set()
        return self.correction

    def pull(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], Times]:
        rows = np.arange(self.pulled, self.pulled + 10)
        self.pulled += 10
        if self.pulled == 220:
            assert self.measured.wait(20 + timeout_s)  # the reset before must have hurried it
        if self.pulled == 300:
            self.stop.set()
        return np.zeros((10, 1), np.float32), rows / 100 + np.where(rows < 200, 50.0, 1047.0)


def test_another_machine_takes_over_and_its_clock_is_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.sources.pump.OFFSET_EVERY_S", np.inf)
    stop, events = threading.Event(), list[Event]()
    ring = Ring(1000, (1,))
    cursor = ring.cursor()
    remote = Remote(stop)
    counts = pump(remote, Clock(100.0), ring, events.append, stop)
    assert [e["event"] for e in events[:2]] == ["anchor", "reset"], "its rows came when due: none was lost"
    assert events[0]["offset_s"] == 1000.0
    assert counts.received == 300
    adopted = next(e for e in events if e["event"] == "offset")
    assert adopted["offset_s"] == 3.0
    assert (counts.resets, counts.lost) == (2, 0)
    first = cursor.read()
    np.testing.assert_allclose(first.times, 1050 + np.arange(200) / 100, atol=1e-9)


@pytest.mark.parametrize(("error", "raised"), [(LslTimeoutError, TimeoutError), (LostError, ConnectionError)])
def test_a_reader_tells_a_silent_clock_from_a_lost_stream(error: Any, raised: Any) -> None:
    def time_correction(_timeout_s: float) -> float:
        raise error("said by liblsl")

    reader = Reader.__new__(Reader)
    reader.spec = Spec("a", 100.0, ("x",))
    reader._inlet = SimpleNamespace(time_correction=time_correction)
    with pytest.raises(raised):
        reader.time_correction()
