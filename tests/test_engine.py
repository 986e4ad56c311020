"""The engine on toy chains: what goes out when, failures, and nobody waiting for anybody."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from realtime.block import Block, regular
from realtime.commands.closing import above_chance, as_text, closing_report
from realtime.commands.health import best_electrodes
from realtime.contamination import ContaminationResult
from realtime.engine import Engine, EngineSettings
from realtime.errors import UserError
from realtime.repair import Repair
from realtime.signals import ecog_chain
from realtime.stage import Chain
from realtime.subframes import Unfold
from tests.toys import PATIENCE_S, FakeInlet, FakeResults, Heard, Toy


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
    assert rig.engine.telemetry.sound.compute.count == 100
    assert rig.engine.samples() == {
        "sound": {"received": 100, "lost": 0, "skipped": 0},
        "ecog": {"received": 100, "lost": 0, "skipped": 0},
    }


def test_rows_within_a_frame_go_out_with_it_and_count_as_the_models_rate() -> None:
    """Two rows a frame: the sound lane's chain unfolds them, the ECoG lane has as many."""
    rng = np.random.default_rng(0)
    side_by_side = rng.normal(size=(1700, 4)).astype(np.float32)
    rows = side_by_side.reshape(3400, 2)
    sound, ecog = FakeInlet("s", 4), FakeInlet("e", 2, 100.0)
    unfolding = Chain([("repair", Repair(50.0, 0.5, hold=True)), ("model", Toy()), ("unfold", Unfold(100.0))])
    aligned: list[Block] = []
    engine = Engine(
        EngineSettings("test", ("e0", "e1"), (1, 1), row_rate_hz=100.0),
        (sound, unfolding),
        (ecog, Chain([("repair", Repair(100.0, 0.5, hold=True))])),
        on_aligned=aligned.append,
    )
    heard: Heard = engine.results.heard  # type: ignore[attr-defined]
    assert engine.results.row_rate_hz == 100.0  # type: ignore[attr-defined]
    engine.start()
    for start in range(0, 1700, 100):
        ecog.send(2 * start, 2 * start + 200, rows[2 * start : 2 * start + 200])
        sound.send(start, start + 100, side_by_side[start : start + 100])
        # the last row may wait for the next one, where its time is a rounding later than the observed row's
        heard.until(lambda upto=2 * start + 199: len(heard.rows("observed")) >= upto)  # type: ignore[misc]
    engine.stop(PATIENCE_S)
    for what in ("predicted", "telemetry", "observed"):
        assert heard.rows(what) == list(range(3400)), what
    np.testing.assert_array_equal(np.concatenate([b.data for b in heard.blocks("predicted")]), rows)
    np.testing.assert_allclose(np.concatenate([b.times for b in aligned]), np.arange(3400) / 100, atol=1e-3)
    scores = heard.blocks("score")
    assert sum(len(block) for block in scores) == 34, "once a second"
    np.testing.assert_allclose(scores[-1].data, 1.0, atol=1e-3)
    assert engine.telemetry.sound.compute.count == 3400
    with pytest.raises(UserError, match="adaptation needs a model of 50 rows a second, found one of 100"):
        engine.adapt(True)


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
        rig.heard.until(lambda: len(rig.heard.rows("observed")) >= 190)  # those that waited for the longest backlog
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


def test_garbage_goes_while_the_sound_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No prediction goes out, after which it would be collected, and Python's own collector is off."""
    monkeypatch.setattr("realtime.engine.STATE_EVERY_S", 0.01)
    monkeypatch.setattr("realtime.manners.COLLECT_AT_LAST_S", 0.0)
    with Rig() as rig:
        knot: Any = type("Knot", (), {})()
        knot.me = knot
        gone = weakref.ref(knot)
        del knot
        rig.ecog.send(0, 50)
        until = time.monotonic() + PATIENCE_S
        while gone() is not None:
            assert time.monotonic() < until
            time.sleep(0.01)


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
    found = rig.engine.telemetry.sound
    assert found.transport.max_ms == pytest.approx(20.0)
    assert found.compute.max_ms == pytest.approx(7.0)
    assert found.to_publication.max_ms == pytest.approx(27.0)
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
    assert {n: a["raw_s"] for n, a in settings_["anchors"].items()} == {"sound": 3 / 50, "ecog": 5 / 50}
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
        EngineSettings("test", ecog.spec.channels, None, max_backlog_s=20.0),  # however slow this machine is
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


NO = np.zeros((1, 1), np.bool_)
SCORES = Block(
    np.array([[0.9, 0.2]], np.float32), np.array([60.0]), 60, {"enough": np.ones((1, 2), bool), "silent": NO}
)


def found(*flagged: bool) -> ContaminationResult:
    r, seconds = np.where(flagged, 0.5, 0.0), np.full(2, 60.0)
    return ContaminationResult(r, 40 * r, np.array(flagged), seconds, np.zeros(2), np.zeros((3, 2)), np.arange(3.0))


def test_electrodes_that_record_the_sound_are_marked_and_left_out_of_claims() -> None:
    with Rig(contaminated=("e0",)) as rig:
        engine = rig.engine
        engine.score = SCORES
        assert engine.left_out == ("e0",)  # the model told
        assert best_electrodes(engine) == "e1 0.20"
        engine.rig._found(found(False, True))
        assert list(engine.left_out) == ["e0", "e1"]  # and the minute that was heard since
        assert best_electrodes(engine).startswith("running r")
        claimed = engine.scorer.score.claimed
        assert claimed is not None
        assert claimed.tolist() == [False, False]
    assert rig.heard.events("settings")[0]["left_out"] == ("e0",)
    report = closing_report(engine, 1.0)
    assert report["left_out"] == ["e0", "e1"]
    assert "left out of all claims: e0, e1" in as_text({**report, "reference": "none"})


def test_they_can_be_kept_in() -> None:
    with Rig(contaminated=("e0",), keep_contaminated=True) as rig:
        rig.engine.score = SCORES
        assert rig.engine.left_out == ()
        assert best_electrodes(rig.engine) == "e0 0.90  e1 0.20"
        assert rig.engine.scorer.score.claimed is None
    report = closing_report(rig.engine, 1.0)
    assert report["rig"]["contaminated"] == ["e0"]
    assert "kept in the claims" in as_text({**report, "reference": "none"})
    scores = {"null_max_p95": 0.1, "electrodes": {"e0": 0.9, "e1": 0.2}}
    assert above_chance(scores) == ["e0", "e1"]
    assert above_chance(scores, ["e0"]) == ["e1"]
