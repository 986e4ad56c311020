"""The monitor's numbers, without Qt: history, what is drawn, health."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.monitor.curves import choose, columns_by_time, lane_height, mean_weights, polyline
from realtime.monitor.frozen import words
from realtime.monitor.history import Rows
from realtime.monitor.view import View
from realtime.monitor.vitals import Latency, Settings, examine, measure_latency, read_counts, read_settings

ALL_THERE = {"predicted": True, "observed": True, "score": True, "sound": True, "telemetry": True, "status": True}
FRESH = {"predicted": 0.1, "observed": 0.2, "score": 0.5, "sound": 0.1}


# -- history -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(0, 14), max_size=8), st.floats(-1, 60), st.floats(0, 30))
def test_history_holds_what_a_list_would(capacity: int, chunks: list[int], start_s: float, span_s: float) -> None:
    rows, n = Rows("ab", capacity), 0
    plain: list[tuple[float, list[int]]] = []
    for count in chunks:
        new = [(float(k), [k, -k]) for k in range(n, n + count)]
        rows.append(np.array([t for t, _ in new]), np.array([v for _, v in new], np.float32).reshape(count, 2))
        plain, n = [*plain, *new][-capacity:], n + count
    want = [(t, v) for t, v in plain if start_s <= t < start_s + span_s]
    times, data = rows.between(start_s, start_s + span_s)
    assert times.tolist() == [t for t, _ in want]
    assert data.tolist() == [v for _, v in want]
    assert rows.between(start_s, start_s + span_s, [1])[1].tolist() == [[v[1]] for _, v in want]
    assert len(rows) == len(plain)
    assert np.array_equal(rows.latest(), plain[-1][1] if plain else [np.nan, np.nan], equal_nan=True)


def test_history_starts_anew_where_time_runs_backward() -> None:
    rows = Rows("a", 10)
    rows.append(np.array([100.0, 101.0]), np.ones((2, 1)))
    rows.append(np.array([5.0]), np.full((1, 1), 2.0))
    times, data = rows.between(-np.inf)
    assert times.tolist() == [5.0]
    assert data.tolist() == [[2.0]]
    assert rows.oldest_s == rows.newest_s == 5.0


# -- what is drawn -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 30), st.integers(1, 4), st.integers(0, 10_000))
def test_polyline_joins_only_neighbouring_rows_of_one_trace(rows: int, traces: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.choice([0.02, 0.02, 0.02, 0.5], rows))
    data = random.standard_normal((rows, traces))
    data[random.random((rows, traces)) < 0.2] = np.nan
    x, y, joined = polyline(times, data, 4.0, 0.02)
    drawn = {(x[k], y[k], x[k + 1], y[k + 1]) for k in range(len(x)) if joined[k]}
    want = set()
    for trace in range(traces):
        for k in range(rows - 1):
            pair = data[k, trace], data[k + 1, trace]
            if not np.isnan(pair).any() and times[k + 1] - times[k] < 0.03:
                want.add((times[k], pair[0] / 4.0 - trace, times[k + 1], pair[1] / 4.0 - trace))
    assert drawn == want


def test_the_best_are_shown_and_stay_in_place_until_clearly_beaten() -> None:
    names = list("abcde")
    assert choose(names, np.array([0.1, 0.5, np.nan, 0.4, 0.2]), [], [], 2) == ["b", "d"]
    assert choose(names, np.array([0.1, 0.5, np.nan, 0.4, 0.42]), [], ["b", "d"], 2) == ["b", "d"]
    assert choose(names, np.array([0.1, 0.5, np.nan, 0.4, 0.9]), [], ["d", "b"], 2) == ["e", "b"]
    assert choose(names, np.array([0.1, 0.5, np.nan, 0.4, 0.9]), ["c"], ["d", "b"], 2) == ["c", "e"]
    assert choose(names, np.full(5, np.nan), [], [], 3) == ["a", "b", "c"]
    assert choose(names, np.full(5, 0.5), ["a", "c", "e"], [], 2) == ["a", "c", "e"]


def test_lane_holds_nearly_all_values_and_no_artefact() -> None:
    values = np.random.default_rng(0).standard_normal((1000, 3))
    values[0] = 500.0
    assert lane_height([values, np.full((3, 3), np.nan)]) == 6.0
    assert lane_height([np.zeros((0, 3))]) == 2.0


def test_mean_attention_of_each_head_and_lag() -> None:
    names = ["head1_lag0", "head0_lag1", "head0_lag0", "head1_lag1"]
    data = np.array([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0], [np.nan, 9.0, 9.0, 9.0]])
    assert mean_weights(names, data).tolist() == [[4.0, 3.0], [2.0, 5.0]]
    assert np.isnan(mean_weights(names, data[:0])).all()


def test_missing_rows_leave_empty_columns() -> None:
    times = 10.0 + np.array([0.0, 0.02, 0.08])
    picture = columns_by_time(times, np.array([[1.0], [2.0], [3.0]]), 10.08, 6, 0.02)
    assert np.array_equal(picture[:, 0], [np.nan, 1.0, 2.0, np.nan, np.nan, 3.0], equal_nan=True)


# -- health ------------------------------------------------------------------------------------------------------------


def check(**change: Any) -> Any:
    given: dict[str, Any] = {
        "engine": "e", "connected": ALL_THERE, "ages_s": FRESH, "settings": Settings(), "events": [],
        "latency": Latency(), "counts": {}, "now_s": 100.0,
    }  # fmt: skip
    return examine(**{**given, **change})


def test_states_and_plain_words() -> None:
    nothing = dict.fromkeys(ALL_THERE, False)
    assert (check().state, check().problems) == ("running", ())
    waiting = check(connected=nothing, ages_s={"predicted": np.nan})
    assert (waiting.state, waiting.problems) == ("waiting", ("waiting for engine 'e'",))
    gone = check(connected=nothing, ages_s={**FRESH, "predicted": 2.31})
    assert (gone.state, gone.problems) == ("stopped", ("engine 'e' is gone: no rows for 2.3 s",))
    late = check(ages_s={**FRESH, "predicted": 1.74})
    assert late.state == "late"
    assert late.problems[0].startswith("no rows for 1.7 s")
    old = check(ages_s={**FRESH, "predicted": 1.74}, latency=Latency(80.0, 90.0)).latency
    assert np.isnan(old.now_ms)
    assert old.p99_ms == 90.0
    assert check(ages_s={**FRESH, "observed": 4.0}).problems == ("no observed rows for 4.0 s",)
    assert check(settings=Settings(expected=("sound", "ecog"), connected=("sound",))).problems == (
        "not connected: ecog",
    )


def test_rows_that_come_but_speak_of_long_ago_are_not_live() -> None:
    assert check(behind_s=3.0).problems == ()
    behind = check(behind_s=12.34)
    assert behind.problems == ("what comes in speaks of 12.3 s ago: the engine is behind",)
    assert words(View(), behind, 100.0) == "NOT LIVE: 12.3 s behind"
    assert words(View(), check(), 100.0) == ""
    assert words(View(held_s=30.0), check(), 100.0) == "PAUSED: 1 min 10 s ago. Space: back to live"
    assert words(View(), check(ages_s={**FRESH, "predicted": 3.0}), 100.0) == "NOT LIVE: no rows for 3.0 s"


def test_events_are_shown_until_over() -> None:
    silent = {"event": "silent", "time": 1.0, "stream": "ecog", "message": "ecog is silent"}
    assert check(events=[silent]).problems == ("ecog is silent",)
    assert check(events=[silent, {"event": "back", "time": 2.0, "stream": "ecog"}]).problems == ()
    assert check(events=[silent, {"event": "connected", "time": 2.0}]).problems == ()
    two = Settings(expected=("sound", "ecog"), connected=("sound", "ecog"))
    assert check(events=[silent], settings=two).streams == "1 of 2"
    assert check(events=[silent, {"event": "resumed", "time": 2.0, "stream": "ecog"}], settings=two).streams == "2 of 2"
    nan = {"event": "nan", "time": 80.0, "stream": "ecog", "count": 3, "message": "3 so far"}
    assert check(events=[{**nan, "time": 95.0}]).problems == ("3 so far",)
    assert check(events=[nan, {**nan, "time": 95.0}]).problems == ()
    skips = [{"event": "skip", "time": t, "message": f"skipped at {t:g}"} for t in (50.0, 95.0, 99.0)]
    assert check(events=skips).problems == ("skipped at 99", "skipped at 95")


def test_settings_are_read_nested_or_flat() -> None:
    nested = {
        "model": {"kind": "lstm_attention"}, "whisper": {"model": "base", "layer": 3, "block_ms": 100},
        "streams": {"expected": ["sound", "ecog"], "connected": ["sound"]}, "simulated": True,
    }  # fmt: skip
    flat = {
        "model_kind": "lstm_attention", "whisper_model": "base", "whisper_layer": 3, "whisper_block_ms": 100.0,
        "streams_expected": ["sound", "ecog"], "streams_connected": ["sound"], "simulated": True,
    }  # fmt: skip
    want = Settings("lstm attention", "base, layer 3, 100 ms blocks", ("sound", "ecog"), ("sound",), True)
    assert read_settings(nested) == read_settings(flat) == want
    assert read_settings({}) == Settings()
    bare = {"model": None, "whisper": {"name": "tiny.en", "layer": 2}, "streams_expected": ["a"], "warning": "no model"}
    assert read_settings(bare) == Settings("none", "tiny.en, layer 2", ("a",), ("a",), False, "no model")


def test_without_a_model_the_observed_rows_tell_of_life() -> None:
    there = {"predicted": False, "observed": True, "sound": True, "status": True}
    fresh = {"predicted": np.nan, "observed": 0.2, "sound": 0.1}
    bare = Settings(warning="no model: nothing is predicted")
    assert check(connected=there, ages_s=fresh).state == "running"
    assert check(connected=there, ages_s=fresh, settings=bare).problems == ("no model: nothing is predicted",)
    assert check(connected=there, ages_s={**fresh, "observed": 2.6}).problems[0].startswith("no rows for 2.6 s")


def test_latency_and_counts() -> None:
    channels = ("newest_sample_time", "published_time", "sound_lost", "ecog_skipped")
    published = 1000.0 + 0.1 * np.arange(100)
    took_ms = np.where(published > published[-1] - 1.0, 150.0, 80.0)
    took_ms[3] = 900.0
    rows = np.stack([published - took_ms / 1e3, published, np.zeros(100), np.full(100, 7.0)], axis=1)
    latency = measure_latency(channels, rows)
    assert latency.now_ms == pytest.approx(150.0)
    assert latency.p99_ms == pytest.approx(np.percentile(took_ms, 99), abs=1e-6)
    assert read_counts(channels, rows[-1]) == {"sound_lost": 0, "ecog_skipped": 7}
    assert np.isnan(measure_latency(("other",), rows[:, :1]).p99_ms)
