"""States: a marker's time decides, not its arrival; live and from a recording they mask the very same rows."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, Spec, bad_samples, regular
from realtime.commands.ecog_plan import EcogPlan
from realtime.commands.material import Calibration, prepare
from realtime.commands.recorded_states import recorded_timeline, tell_unread
from realtime.commands.session_report import scored
from realtime.config import StatesTable
from realtime.errors import UserError
from realtime.score import Score
from realtime.scoring import Scorer
from realtime.sources.markers import Markers
from realtime.sources.recording import RecordedStream, Recording
from realtime.states import STATES, Timeline, seconds_in, state_of, timeline_of

MAP: dict[str, Any] = {"block": "listening", "2": "speaking"}
CHANGES = st.lists(st.tuples(st.integers(0, 40).map(lambda i: i / 4), st.sampled_from(STATES)), max_size=8)


def slow_during(changes: list[tuple[float, str]], times: np.ndarray, state: str, guard_s: float) -> list[bool]:
    """Row by row: the last change before it, and how far back the state reaches."""
    ordered = [(-np.inf, "listening"), *changes]
    found = []
    for time_s in times:
        until = [c for c in ordered if c[0] <= time_s]
        since = until[-1][0]
        for when, what in reversed(until):
            if what != until[-1][1]:
                break
            since = when
        found.append(until[-1][1] == state and time_s - since >= guard_s)
    return found


@settings(max_examples=60, deadline=None)
@given(CHANGES, st.sampled_from(STATES), st.sampled_from([0.0, 0.3, 1.0]), st.randoms(use_true_random=False))
def test_rows_of_a_state_whatever_the_order_of_arrival(
    changes: list[tuple[float, Any]], state: Any, guard_s: float, shuffled: Any
) -> None:
    changes = list({time_s: (time_s, what) for time_s, what in changes}.values())
    times = np.arange(0, 10, 0.1) + 0.01
    expected = slow_during(sorted(changes, key=lambda c: c[0]), times, state, guard_s)
    in_order = timeline_of(changes, {}, guard_s=guard_s)
    assert in_order.during(times, state).tolist() == expected
    late = Timeline(guard_s=guard_s)
    arrival = list(changes)
    shuffled.shuffle(arrival)
    for time_s, what in arrival:
        late.add(time_s, what)
    assert late.during(times, state).tolist() == expected
    assert late.changes() == in_order.changes()


def test_names_and_numbers_mean_states() -> None:
    assert state_of(" block ", MAP) == "listening"
    assert state_of("2.0", MAP) == state_of("2", MAP) == "speaking"
    assert state_of("sham", MAP) == "sham"
    assert state_of("trial 7", MAP) is None


def test_seconds_in_each_state() -> None:
    timeline = timeline_of([(2.0, "speaking"), (5.0, "listening"), (20.0, "sham")], {})
    assert seconds_in(timeline, 0.0, 10.0) == {"listening": 7.0, "speaking": 3.0}


class Stream:
    """A marker stream that is there, of text, or of numbers of that type."""

    spec = Spec("Markers", 0.0, ("marker",))

    def __init__(self, stop: threading.Event, rows: list[tuple[float, str]], dtype: str) -> None:
        self.rows, self.stop, self.dtype, self.is_text = rows, stop, dtype, dtype == "text"

    def time_correction(self, _timeout_s: float) -> float:
        return 100.0

    def pull(self) -> tuple[Any, np.ndarray]:
        if not self.rows:
            self.stop.set()
        rows = [self.rows.pop(0)] if self.rows else []
        values = [text for _, text in rows]
        numbers = None if self.is_text else np.array([float(text) for text in values]).astype(self.dtype)[:, None]
        return values if numbers is None else numbers, np.array([time_s for time_s, _ in rows])

    def close(self) -> None:
        return None

    def present(self) -> list[tuple[str, str]]:
        return [("Markers 2", "other"), ("Markers", "id")]

    def open(self, uid: str) -> Stream:
        assert uid == "id"
        return self


@pytest.mark.parametrize(
    ("dtype", "other", "block"),
    [("text", "trial 7", "block"), ("int16", "7", "1"), ("int32", "-7", "1"), ("float32", "7.5", "1")],
)
def test_markers_become_events_on_the_engines_clock(dtype: str, other: str, block: str) -> None:
    stop, events, timeline = threading.Event(), [], Timeline()  # type: ignore[var-annotated]
    stream = Stream(stop, [(1.0, "2"), (2.0, other), (3.0, "2"), (4.0, block)], dtype)
    Markers("Markers", "e", {**MAP, "1": "listening"}, timeline, events.append, lambda _: stream, lambda: 104.5).run(
        stop
    )
    assert events == [
        {"event": "state", "state": "listening", "time_s": 104.5},
        {"event": "state", "state": "speaking", "time_s": 101.0, "late_s": 3.5},
        {"event": "marker", "text": other, "at_s": 102.0},
        {"event": "state", "state": "listening", "time_s": 104.0, "late_s": 0.5},
    ]
    assert timeline.changes() == [(101.0, "speaking"), (104.0, "listening")]


# --- live and offline ------------------------------------------------------------------------------


def following(seconds: float, seed: int = 0) -> tuple[Block, Block]:
    """Predicted and observed rows, 3 electrodes at 50 Hz, r of about 0.7."""
    rng = np.random.default_rng(seed)
    predicted = rng.normal(size=(round(seconds * 50), 3)).astype(np.float32)
    observed = (predicted + rng.normal(size=predicted.shape)).astype(np.float32)
    return regular(predicted, 50.0), Block(
        observed, regular(observed, 50.0).times, 0, {"bad": np.zeros((len(observed), 3), bool)}
    )


def test_the_live_score_of_listening_and_sham_is_the_offline_one() -> None:
    predicted, observed = following(240.0)
    broken = observed.data.copy()
    broken[50 * 60 : 50 * 90] = -5 * predicted.data[50 * 60 : 50 * 90]  # speaking: must count for nothing
    broken[50 * 150 : 50 * 240] = np.random.default_rng(9).normal(size=(50 * 90, 3))  # sham: nothing follows
    observed = Block(broken, observed.times, 0, observed.extra)
    markers = [(60.0, "speaking"), (90.0, "listening"), (150.0, "sham")]
    timeline = Timeline(guard_s=0.0)
    aligned: list[Block] = []
    live = Scorer(aligned.append, lambda _: None, timeline=timeline)
    for time_s, state in markers:
        timeline.add(time_s, state)  # type: ignore[arg-type]
    live.start()
    for start in range(0, len(predicted), 37):
        live.add_predicted(predicted.rows(start, start + 37))
        live.add_observed(observed.rows(start, start + 37))
    live.finish(30.0)
    assert live.error is None
    offline = scored(Score(), aligned, timeline_of(markers, {}, guard_s=0.0))
    for name in ("listening", "sham"):
        found, expected = (Score().overall(states[name]) for states in (live.states, offline))
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[3] == expected[3]
    counts = np.r_[0 : 50 * 60, 50 * 90 : 50 * 150]
    by_hand = [np.corrcoef(predicted.data[counts, e], observed.data[counts, e])[0, 1] for e in range(3)]
    r, enough, seconds, null = Score().overall(live.states["listening"])
    np.testing.assert_allclose(r, by_hand, atol=1e-5)
    assert enough.all()
    assert seconds.tolist() == [120.0] * 3
    assert np.all(r > 3 * null)
    sham_r, _, sham_s, sham_null = Score().overall(live.states["sham"])
    assert sham_s.tolist() == [90.0] * 3
    assert np.all(np.abs(sham_r) < 0.1)
    assert np.isfinite(sham_null)
    assert all(block.extra["listening"].shape == (len(block), 1) for block in aligned)


def test_a_fit_learns_from_what_was_listened_to_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real ECoG chain; the embeddings, which know nothing of states, stand in."""
    rng = np.random.default_rng(0)
    stamps = np.arange(30_000) / 1000.0
    ecog = RecordedStream(Spec("amp", 1000.0, ("G1", "G2", "G3")), rng.normal(0, 20, (30_000, 3)), stamps)
    frames = regular(np.zeros((1500, 4), np.float32), 50.0)
    monkeypatch.setattr("realtime.commands.material.embedded", lambda *_: [frames])
    monkeypatch.setattr("realtime.commands.material.with_sound", lambda _calibrations, embeddings, *_: embeddings)
    timeline = timeline_of([(8.0, "speaking"), (12.0, "listening"), (20.0, "sham")], {})
    sound = RecordedStream(Spec("voice", 16_000.0, ("s",)), np.zeros((16, 1)), np.arange(16) / 16_000)
    ours: Any = None  # no Whisper
    (observed,) = prepare([Calibration(sound, ecog, timeline=timeline)], ours, EcogPlan()).observed[0]
    learnt = ~bad_samples(observed)
    heard = (observed.times < 8.0) | ((observed.times >= 12.5) & (observed.times < 20.0))
    assert not learnt[~heard].any()
    assert learnt[heard & (observed.times > 1.0)].mean() > 0.95


def recorded(markers: dict[str, list[tuple[float, str]]], numbers: bool = False) -> Recording:
    streams = {}
    if numbers:
        data = np.array([[2], [1]], np.float32)
        streams["Triggers"] = RecordedStream(Spec("Triggers", 0.0, ("t",)), data, np.array([5.0, 8.0]), ((0, 1.0),))
    return Recording(streams, markers)


def test_markers_that_nobody_reads_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    status = [(9.0, json.dumps({"event": "settings"}))]
    state = [(9.0, json.dumps({"event": "state", "state": "silence", "time_s": 7.0}))]
    read = StatesTable(stream="Markers")

    def told(markers: dict[str, list[tuple[float, str]]], table: StatesTable | None) -> bool:
        tell_unread("one.xdf", recorded(markers), table)
        return "one.xdf has markers (Markers) that are not read" in capsys.readouterr().err

    assert told({"Markers": [(1.0, "2")]}, None)
    assert told({"Markers": [(1.0, "2")], "e.status": status}, StatesTable())
    assert not told({"Markers": [(1.0, "2")]}, read)
    assert not told({"Markers": [(1.0, "2")], "e.status": state}, None)
    assert not told({"Markers": [], "e.status": status}, None)


def test_states_of_a_recording() -> None:
    status = [(9.0, json.dumps({"event": "state", "state": "silence", "time_s": 7.0})), (9.5, "no json")]
    recording = recorded({"Markers": [(3.0, "2"), (4.0, "x"), (6.0, "block")], "e.status": status}, numbers=True)
    assert recorded_timeline(recording).changes() == [(7.0, "silence")]
    table = StatesTable(stream="Markers", map=MAP)
    assert recorded_timeline(recording, table).changes() == [(3.0, "speaking"), (6.0, "listening")]
    numbered = StatesTable(stream="Triggers", map={"1": "listening", "2": "speaking"})
    assert recorded_timeline(recording, numbered).changes() == [(6.0, "speaking"), (9.0, "listening")]
    assert recorded_timeline(recording, StatesTable(stream="gone")).changes() == [(7.0, "silence")]
    with pytest.raises(UserError, match="no marker stream 'Marker', did you mean 'Markers'"):
        recorded_timeline(recorded({"Markers": []}), StatesTable(stream="Marker"))
