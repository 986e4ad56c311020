"""A lane on a toy chain: order, backlog, and every row accounted for; a clock that the test sets, no waiting."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block
from realtime.lane import Lane, Step
from realtime.messages import SENTENCES, with_message
from realtime.ring import Cursor
from realtime.stage import Chain
from tests.toys import PATIENCE_S, FakeInlet, Heard, Toy


class OneLane:
    """A running lane of one toy at 100 Hz, and what came out of it."""

    def __init__(self, toy: Toy | None = None, **limits: float):
        self.inlet, self.toy, self.heard = FakeInlet("s", rate_hz=100.0), toy or Toy(), Heard()
        self.steps: list[Step] = []
        self.stop = threading.Event()
        chain = Chain([("toy", self.toy)])
        self.lane = Lane("s", self.inlet, chain, self._publish, lambda e: self.heard.add("event", e), **limits)
        self.toy.armed = True

    def _publish(self, y: Block, step: Step) -> None:
        self.steps.append(step)
        self.heard.add("out", y)

    def __enter__(self) -> OneLane:
        self.lane.start(self.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self.toy.go_on.set()
        self.stop.set()
        self.lane.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self.lane._threads)

    def send_and_hold(self, stop: int) -> None:
        """Rows 0 to stop - 1, whose step then does not end."""
        self.toy.hold()
        self.inlet.send(0, stop)
        assert self.toy.inside.wait(PATIENCE_S)


def test_rows_come_out_in_order_with_their_times() -> None:
    with OneLane() as one:
        for start, stop in ((0, 7), (7, 8), (8, 30)):
            one.inlet.send(start, stop)
    assert one.heard.rows("out") == list(range(30))
    for block in one.heard.blocks("out"):
        np.testing.assert_array_equal(block.data[:, 0], np.arange(block.index, block.end))
        np.testing.assert_allclose(block.times, np.arange(block.index, block.end) / 100, atol=1e-9)
    assert one.lane.counts.received == 30
    assert (one.lane.lost, one.lane.skipped) == (0, 0)


def test_a_step_knows_its_newest_row_and_when_that_arrived() -> None:
    with OneLane() as one:
        one.inlet.now_s = 1001.0
        one.send_and_hold(10)
        one.inlet.now_s = 1002.0
        one.inlet.send(10, 15)
        one.inlet.now_s = 1003.0
        one.inlet.send(15, 20)
        one.inlet.now_s = 1004.0
        one.toy.go_on.set()
        one.heard.until(lambda: one.heard.rows("out") == list(range(20)))
    first, second = one.steps
    assert (first.newest_index, first.arrival_s, first.taken_s, first.done_s) == (9, 1001.0, 1001.0, {"toy": 1004.0})
    assert (second.newest_index, second.arrival_s, second.taken_s) == (19, 1003.0, 1004.0)
    assert second.newest_time_s == pytest.approx(0.19)
    assert second.blocks["toy"].end == 20


def test_a_lane_behind_catches_up_in_one_larger_step() -> None:
    with OneLane(max_backlog_s=1.0) as one:
        one.send_and_hold(10)
        for start in range(10, 110, 20):
            one.inlet.send(start, start + 20)
        one.toy.go_on.set()
    assert [len(block) for block in one.heard.blocks("out")] == [10, 100], "as much as max_backlog_s is not skipped"
    assert (one.lane.lost, one.lane.skipped) == (0, 0)
    assert one.heard.events("skip") == []


def test_a_lane_too_far_behind_skips_to_now_and_says_so() -> None:
    with OneLane(max_backlog_s=1.0) as one:
        one.send_and_hold(10)
        one.inlet.send(10, 60)
        one.inlet.send(60, 111)
        one.toy.go_on.set()
    assert one.heard.rows("out") == [*range(10), *range(101, 111)], "a tenth of a second is kept"
    assert one.lane.skipped == 91
    (event,) = one.heard.events("skip")
    assert (event["stream"], event["rows"]) == ("s", 91)
    assert "91 samples skipped" in with_message(event)["message"]


@settings(max_examples=15, deadline=None)
@given(
    chunks=st.lists(st.tuples(st.sampled_from([0, 0, 10, 40]), st.integers(1, 60)), min_size=1, max_size=8),
    held=st.booleans(),
    max_backlog_s=st.sampled_from([0.05, 0.5, 1.0]),
)
def test_every_row_is_processed_lost_or_skipped(
    chunks: list[tuple[int, int]], held: bool, max_backlog_s: float
) -> None:
    """Chunks of rows with gaps before them, while the chain is held or not."""
    with OneLane(max_backlog_s=max_backlog_s) as one:
        if held:
            one.send_and_hold(5)
        else:
            one.inlet.send(0, 5)
        end, sent = 5, list(range(5))
        for gap, rows in chunks:
            one.inlet.send(end + gap, end + gap + rows)
            sent += range(end + gap, end + gap + rows)
            end += gap + rows
    processed = one.heard.rows("out")
    assert one.lane.counts.received == len(sent)
    assert one.lane.received == len(processed)
    assert one.lane.lost == sum(gap for gap, _ in chunks) == end - len(sent)
    assert one.lane.skipped == len(sent) - len(processed)
    assert one.lane.skipped == sum(event["rows"] for event in one.heard.events("skip"))
    assert all(event["rows"] > 0 for event in one.heard.events("skip"))
    assert set(processed) <= set(sent)
    assert processed == sorted(set(processed))
    assert processed[-1] == sent[-1], "the newest row is never skipped"


def test_rows_that_the_ring_could_not_hold_count_as_lost() -> None:
    with OneLane(ring_s=1.0, max_backlog_s=5.0) as one:
        one.send_and_hold(10)
        for start in range(10, 260, 50):
            one.inlet.send(start, start + 50)
        one.toy.go_on.set()
    assert one.heard.rows("out") == [*range(10), *range(160, 260)]
    assert (one.lane.received, one.lane.lost, one.lane.skipped) == (110, 150, 0)


def test_stop_works_off_what_has_arrived() -> None:
    with OneLane() as one:
        one.send_and_hold(10)
        one.inlet.send(10, 200)
        one.stop.set()
        one.lane._threads[1].join(PATIENCE_S)  # pulling has ended: all that is left to do is in the ring
        one.toy.go_on.set()
    assert one.heard.rows("out") == list(range(200))


def test_a_chain_that_raises_ends_its_lane_and_says_so() -> None:
    with OneLane(Toy(raises_at=15)) as one:
        one.inlet.send(0, 10)
        one.heard.until(lambda: one.heard.rows("out") == list(range(10)))
        one.inlet.send(10, 20)
        one.heard.until(lambda: bool(one.heard.events("failed")))
    (event,) = one.heard.events("failed")
    assert event["reason"] == "RuntimeError: the toy broke"
    assert isinstance(one.lane.error, RuntimeError)
    assert one.heard.rows("out") == list(range(10))


def test_a_step_waits_for_its_rows_and_the_end_takes_what_is_left() -> None:
    with OneLane(step_s=0.05) as one:
        one.lane._cursor.wait = partial(_without_timeout, one.lane._cursor)  # type: ignore[method-assign]
        one.inlet.send(0, 10)
        one.heard.until(lambda: bool(one.heard.rows("out")))
        for start in range(10, 15):
            one.inlet.send(start, start + 1)
        one.heard.until(lambda: len(one.heard.rows("out")) == 15)
        for start in range(15, 23):
            one.inlet.send(start, start + 1)
    assert one.heard.rows("out") == list(range(23))
    sizes = [len(block) for block in one.heard.blocks("out")]
    assert sizes[1] == 5
    assert min(sizes[1:-1]) >= 5


def _without_timeout(cursor: Cursor, _timeout_s: float, rows: int) -> bool:
    return Cursor.wait(cursor, PATIENCE_S, rows)


def test_warm_it_goes_on_in_the_same_thread_as_if_it_had_met_nothing() -> None:
    seen: list[int] = []
    one = OneLane()
    step = one.toy.step

    def noting(x: Block, state: None) -> tuple[Block, None]:
        seen.append(threading.get_ident())
        return step(x, state)

    one.toy.step, one.toy.armed = noting, False  # type: ignore[method-assign]
    one.lane.warm_up()
    warmed = len(seen)
    one.toy.armed = True
    with one:
        one.inlet.send(0, 20)
    assert one.heard.rows("out") == list(range(20))
    assert 10 < warmed < len(seen)
    assert len(set(seen)) == 1
    assert threading.get_ident() not in seen


def test_a_chain_that_raises_in_warming_up_is_told_to_whoever_asked() -> None:
    one = OneLane(Toy(raises_at=15))
    with pytest.raises(RuntimeError, match="the toy broke"):
        one.lane.warm_up()
    one.lane.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in one.lane._threads)


@pytest.mark.parametrize("where", ["clock", "pull"])
def test_a_source_that_raises_ends_its_lane_and_says_so(where: str) -> None:
    one = OneLane()
    if where == "clock":
        one.inlet.offset = ValueError("no such clock")
    with one:
        if where == "pull":
            one.inlet.send(0, 10)
            one.inlet.break_off(ValueError("no such clock"))
        for thread in one.lane._threads:  # both end without a stop
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    assert [e["reason"] for e in one.heard.events("failed")] == ["ValueError: no such clock"]
    assert one.heard.rows("out") == list(range(10 if where == "pull" else 0))


def test_every_event_that_is_told_has_its_sentence() -> None:
    with OneLane(max_backlog_s=0.2) as one:
        one.send_and_hold(10)
        one.inlet.send(100, 200)
        one.toy.go_on.set()
    for event in (value for kind, value in one.heard.said if kind == "event"):
        message = with_message(event)["message"]
        assert "'s'" in message
        assert "{" not in message
    assert set(SENTENCES) >= {value["event"] for kind, value in one.heard.said if kind == "event"}
    assert with_message({"event": "settings"}) == {"event": "settings"}
    assert with_message({"event": "gap", "message": "mine"})["message"] == "mine"
