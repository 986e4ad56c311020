"""Lanes, scoring and the engine on toy chains: order, backlog, accounting, failures, and nobody waiting for anybody."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, regular
from realtime.engine import Engine, EngineSettings
from realtime.lane import Lane, Step
from realtime.messages import SENTENCES, with_message
from realtime.repair import Repair
from realtime.scoring import Scorer
from realtime.signals import ecog_chain
from realtime.stage import Chain
from tests.toys import PATIENCE_S, FakeInlet, FakeResults, Heard, Toy

# --- one lane --------------------------------------------------------------------------------------


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
    assert (one.lane.counts.received, one.lane.lost, one.lane.skipped) == (260, 150, 0)


def test_stop_works_off_what_has_arrived() -> None:
    with OneLane() as one:
        one.send_and_hold(10)
        one.inlet.send(10, 200)
        one.stop.set()
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


# --- scoring ---------------------------------------------------------------------------------------


def rows_50_hz(start: int, stop: int) -> Block:
    data = np.random.default_rng(start).normal(size=(stop - start, 2)).astype(np.float32)
    return regular(data, 50.0, start / 50.0, start)


def test_a_hanging_consumer_of_scores_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.scoring.QUEUE", 4)
    inside, go_on = threading.Event(), threading.Event()

    def hang(_block: Block) -> None:
        inside.set()
        assert go_on.wait(PATIENCE_S)

    scorer = Scorer(hang, lambda _score: None)
    scorer.start()
    scorer.add_observed(rows_50_hz(0, 10))
    scorer.add_predicted(rows_50_hz(0, 5))
    assert inside.wait(PATIENCE_S)
    for start in range(10, 60, 5):
        scorer.add_predicted(rows_50_hz(start, start + 5))
    assert scorer.dropped == 6 * 5, "four of ten blocks found room"
    scorer.finish(0.05)  # returns although nobody takes
    go_on.set()
    scorer._queue.put(None, timeout=PATIENCE_S)
    scorer._thread.join(PATIENCE_S)
    assert not scorer._thread.is_alive()
    assert scorer.error is None


def test_a_scorer_that_failed_says_so_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.scoring.QUEUE", 4)
    told: list[Exception] = []

    def fail(_block: Block) -> None:
        raise RuntimeError("no room to draw")

    scorer = Scorer(fail, lambda _score: None, on_error=told.append)
    scorer.start()
    scorer.add_observed(rows_50_hz(0, 10))
    scorer.add_predicted(rows_50_hz(0, 5))
    scorer._thread.join(PATIENCE_S)
    assert told == [scorer.error]
    for start in range(10, 60, 5):
        scorer.add_predicted(rows_50_hz(start, start + 5))
    scorer.finish(PATIENCE_S)
    assert scorer.dropped == 6 * 5


# --- the engine ------------------------------------------------------------------------------------


class Rig:
    """An engine on two fake inlets at 50 Hz, two electrodes; predicted and observed are the input itself."""

    def __init__(self, **given: Any):
        self.sound, self.ecog = FakeInlet("s", 2), FakeInlet("e", 2)
        self.toys = given.pop("toys", None) or (Toy(), Toy())
        self.aligned: list[Block] = []
        on_aligned = given.pop("on_aligned", self.aligned.append)
        model = given.pop("model", True)
        self.engine = Engine(
            EngineSettings("test", ("e0", "e1"), (1, 1) if model else None, {"whisper": {"name": "toy"}}, **given),
            (self.sound, self._chain(self.toys[0])),
            (self.ecog, self._chain(self.toys[1])),
            on_aligned=on_aligned,
        )
        self.heard: Heard = self.engine.results.heard  # type: ignore[attr-defined]

    @staticmethod
    def _chain(toy: Toy) -> Chain:
        return Chain([("repair", Repair(50.0, 0.5, hold=True)), ("model", toy)])

    def __enter__(self) -> Rig:
        self.engine.start()
        for toy in self.toys:
            toy.armed = True
        return self

    def __exit__(self, *_: object) -> None:
        for toy in self.toys:
            toy.go_on.set()
        self.engine.stop(PATIENCE_S)


@pytest.fixture(autouse=True)
def _no_outlets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("realtime.engine.Results", FakeResults)
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


def test_predicted_observed_and_telemetry_go_out_row_for_row() -> None:
    with Rig() as rig:
        for start in range(0, 100, 10):
            rig.ecog.send(start, start + 10)
            rig.sound.send(start, start + 10)
    for what in ("predicted", "telemetry", "observed"):
        assert rig.heard.rows(what) == list(range(100)), what
    assert sum(len(block) for block in rig.aligned) == 100
    for block in rig.aligned:
        np.testing.assert_allclose(block.data[:, :, 0], block.data[:, :, 1], atol=1e-3)
        assert not block.extra["bad"].any()
    numbers = np.concatenate([block.data for block in rig.heard.blocks("telemetry")])
    np.testing.assert_array_equal(numbers[:, 0], np.arange(100))
    assert np.all(np.diff(numbers[:, 1]) >= 0), "the newest sample used"
    assert rig.engine.latencies.compute.count == 100
    assert rig.engine.samples() == {
        "sound": {"received": 100, "lost": 0, "skipped": 0},
        "ecog": {"received": 100, "lost": 0, "skipped": 0},
    }


def test_a_score_comes_once_half_a_minute_is_there() -> None:
    with Rig() as rig:
        data = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
        turned = data * np.array([1.0, -1.0], np.float32)
        for start in range(0, 2000, 100):
            rig.ecog.send(start, start + 100, data[start : start + 100])
            rig.sound.send(start, start + 100, turned[start : start + 100])
            rig.heard.until(lambda upto=start + 100: rig.heard.rows("observed") == list(range(upto)))  # type: ignore[misc]
    scores = np.concatenate([block.data for block in rig.heard.blocks("score")])
    assert np.isnan(scores[0]).all()
    np.testing.assert_allclose(scores[-1], [1.0, -1.0], atol=1e-4)
    assert rig.engine.score is rig.heard.blocks("score")[-1]


@pytest.mark.parametrize("dead", ["silent", "held", "raises"])
def test_a_dead_ecog_lane_neither_delays_nor_stops_predictions(dead: str) -> None:
    toys = Toy(), Toy(raises_at=5 if dead == "raises" else None)
    with Rig(toys=toys) as rig:
        if dead == "held":
            toys[1].hold()
        if dead != "silent":
            rig.ecog.send(0, 10)
        for start in range(0, 500, 10):
            rig.sound.send(start, start + 10)
            rig.heard.until(lambda upto=start + 10: rig.heard.rows("predicted") == list(range(upto)))  # type: ignore[misc]
        rig.heard.until(lambda: len(rig.heard.rows("observed")) >= 240)  # those that waited for 5 s
        assert rig.engine.failed.is_set() == (dead == "raises")
        for block in rig.heard.blocks("observed"):
            assert np.isnan(block.data).all()
    assert [event["stream"] for event in rig.heard.events("failed")] == (["e"] if dead == "raises" else [])


def test_a_failed_sound_lane_leaves_the_observed_lane_alone() -> None:
    with Rig(toys=(Toy(raises_at=15), Toy())) as rig:
        rig.sound.send(0, 10)
        rig.sound.send(10, 20)
        assert rig.engine.failed.wait(PATIENCE_S)
        rig.ecog.send(0, 50)
    assert rig.engine.ecog.counts.received == 50
    assert rig.engine.ecog.error is None
    assert rig.engine.ecog._cursor.behind == 0, "it was worked off"
    assert "the toy broke" in rig.heard.events("failed")[0]["reason"]


def test_a_source_gone_for_good_is_a_failure() -> None:
    with Rig() as rig:
        rig.ecog.send(0, 10)
        rig.ecog.break_off(ConnectionError("gone"))
        assert rig.engine.failed.wait(PATIENCE_S)
        rig.sound.send(0, 10)
        rig.heard.until(lambda: rig.heard.rows("predicted") == list(range(10)))
    assert rig.heard.events("disconnected")[0]["stream"] == "e"


def test_a_slow_consumer_of_aligned_rows_never_blocks_predictions() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(_block: Block) -> None:
        inside.set()
        assert go_on.wait(PATIENCE_S)

    with Rig(on_aligned=slow) as rig:
        rig.ecog.send(0, 200)
        rig.sound.send(0, 10)
        assert inside.wait(PATIENCE_S)
        for start in range(10, 200, 10):
            rig.sound.send(start, start + 10)
        rig.heard.until(lambda: rig.heard.rows("predicted") == list(range(200)))
        go_on.set()
    assert rig.heard.rows("observed") == list(range(200)), "it caught up"


def test_latency_is_counted_from_the_newest_samples_arrival() -> None:
    toys = Toy(), Toy()
    with Rig(toys=toys) as rig:
        rig.sound.now_s = 0.2
        toys[0].hold()
        rig.sound.send(0, 10)  # the newest is stamped 0.18
        assert toys[0].inside.wait(PATIENCE_S)
        rig.sound.now_s = 0.207
        toys[0].go_on.set()
        rig.heard.until(lambda: bool(rig.heard.rows("telemetry")))
    found = rig.engine.latencies
    assert found.transport.max_ms == pytest.approx(20.0)
    assert found.compute.max_ms == pytest.approx(7.0)
    assert found.sound_to_prediction.max_ms == pytest.approx(27.0)
    assert found.wait.max_ms == pytest.approx(180.0), "of the block's first row"
    assert found.stages["model"].max_ms == pytest.approx(7.0)
    assert found.stages["publish"].max_ms == pytest.approx(0.0)


def test_status_says_what_a_replay_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.engine.SETTINGS_EVERY_S", 0.005)
    with Rig() as rig:
        rig.sound.offset = rig.ecog.offset = 0.0
        rig.sound.send(3, 10)
        rig.ecog.send(5, 10)
        rig.heard.until(lambda: any(len(e["anchors"]) == 2 for e in rig.heard.events("settings")))
    names = [event["event"] for kind, event in rig.heard.said if kind == "event"]
    assert names[:2] == ["started", "settings"]
    assert names[-1] == "stopped"
    settings_ = rig.heard.events("settings")[-1]
    assert {n: a["raw_s"] for n, a in settings_["anchors"].items()} == {"s": 3 / 50, "e": 5 / 50}
    assert settings_["whisper"] == {"name": "toy"}
    assert settings_["electrodes"] == ("e0", "e1")
    assert rig.heard.events("stopped")[0]["samples"]["sound"]["received"] == 7


def test_nan_is_masked_counted_and_never_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real ECoG chain, without a model: what is observed goes out as it is there."""
    monkeypatch.setattr("realtime.engine.SETTINGS_EVERY_S", 0.005)
    rate_hz, channels = 500.0, 4
    sound, ecog = FakeInlet("s"), FakeInlet("e", channels, rate_hz)
    data = (20 * np.random.default_rng(0).normal(size=(3000, channels))).astype(np.float32)
    clean = data.copy()
    data[1500:1550, 2] = np.nan
    data[1600, 2] = np.inf

    def chain() -> Chain:
        return ecog_chain(rate_hz, channels, baseline=(np.full(channels, 3.0), np.full(channels, 0.5)))

    engine = Engine(
        EngineSettings("test", ecog.spec.channels, None),
        (sound, Chain([("repair", Repair(50.0, 0.5, hold=False))])),
        (ecog, chain()),
    )
    heard: Heard = engine.results.heard  # type: ignore[attr-defined]
    engine.start()
    sound.send(0, 3, np.array([[0.5], [np.nan], [0.5]], np.float32))
    for start in range(0, 3000, 100):
        ecog.send(start, start + 100, data[start : start + 100])
    heard.until(lambda: {e["stream"]: e["count"] for e in heard.events("nan")} == {"s": 1, "e": 51})
    engine.stop(PATIENCE_S)
    observed = np.concatenate([block.data for block in heard.blocks("observed")])
    times = np.concatenate([block.times for block in heard.blocks("observed")])
    hit = (times > 3.02) & (times < 3.08)
    assert np.isnan(observed[hit, 2]).all()
    settled = (times > 1.0) & ((times < 2.9) | (times > 5.0))
    assert np.isfinite(observed[settled]).all(), "the mask ends"
    others = [0, 1, 3]
    assert np.isfinite(observed[times > 1.0][:, others]).all(), "it spread to another channel"
    expected = chain().layer(regular(clean, rate_hz))
    away = times < 2.9
    np.testing.assert_allclose(
        observed[away & (times > 1.0)][:, others], expected.data[away & (times > 1.0)][:, others], atol=1e-4
    )


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
