"""The monitor: its numbers without Qt, then the window offscreen through real LSL outlets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.monitor.__main__ import main
from realtime.monitor.curves import choose, columns_by_time, grid_positions, lane_height, mean_weights, polyline
from realtime.monitor.history import Rows
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


def test_grid_is_near_square_and_each_place_is_taken_once() -> None:
    for count, width in ((1, 1), (10, 4), (64, 8), (256, 16)):
        places = grid_positions(count)
        assert len({tuple(place) for place in places.tolist()}) == count
        assert places[:, 0].max() == width - 1
        assert places[0].tolist() == [0, 0]


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
    assert check(settings=Settings(missing=("ecog",))).problems == ("not connected: ecog",)


def test_events_are_shown_until_over() -> None:
    silent = {"event": "silent", "time": 1.0, "stream": "ecog", "message": "ecog is silent"}
    assert check(events=[silent]).problems == ("ecog is silent",)
    assert check(events=[silent, {"event": "back", "time": 2.0, "stream": "ecog"}]).problems == ()
    assert check(events=[silent, {"event": "connected", "time": 2.0}]).problems == ()
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
    want = Settings("lstm attention", "base, layer 3, 100 ms blocks", "1 of 2", ("ecog",), True)
    assert read_settings(nested) == read_settings(flat) == want
    assert read_settings({}) == Settings()


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


# -- the window --------------------------------------------------------------------------------------------------------

pg = pytest.importorskip("pyqtgraph")


def wait_for(qtbot: Any, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    qtbot.waitUntil(condition, timeout=int(1000 * timeout_s))


@pytest.fixture
def name() -> str:
    return f"test{uuid.uuid4().hex[:8]}"


@pytest.fixture
def window(qtbot: Any, name: str) -> Iterator[Any]:
    from realtime.monitor.client import Client
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network, local_clock

    window = Window(Client(name, Network, local_clock))
    qtbot.addWidget(window)
    window.show()
    window.client.start()
    yield window
    window.close()
    window.client.close()


def segments(curve: Any) -> np.ndarray[Any, Any]:
    """What a curve draws: (segments, 4) as x, y of one end and of the other."""
    x, y = curve.getData()
    joined = np.flatnonzero(curve.opts["connect"][:-1])
    return np.stack([x[joined], y[joined], x[joined + 1], y[joined + 1]], axis=1)


def test_what_is_drawn_is_what_was_published(qtbot: Any, window: Any, name: str) -> None:
    from tests.fake_engine import FakeEngine

    assert window.health.banner.text() == f"waiting for engine '{name}'"
    engine = FakeEngine(name, electrodes=12, lead_s=0.3)
    assert engine.wait_for_monitor()
    wait_for(qtbot, lambda: all(outlet.inlet is not None for outlet in window.client.outlets.values()))
    engine.start_s = window.client.now_s() - 4.0
    rows = np.r_[0:100, 130:200]  # rows 100 to 129 are lost
    predicted, observed = engine.predicted(rows), engine.observed(rows)
    observed[20:40, :] = np.nan
    engine.push("predicted", predicted, engine.times(rows))
    engine.push("observed", observed, engine.times(rows))
    engine.push_score(200)
    wait_for(qtbot, lambda: window.client.rows("score").written == 1 and len(window.client.rows("observed")) == 170)
    window.draw()

    scores = window.scores()[1]
    best = sorted(range(12), key=lambda k: -scores[k])[:8]
    assert sorted(window.shown) == sorted(engine.electrodes[k] for k in best)
    for curve, values in ((window.traces.predicted, predicted), (window.traces.observed, observed)):
        want = []
        for lane, electrode in enumerate(window.shown):
            y = values[:, engine.electrodes.index(electrode)].astype(np.float32)
            for k in range(len(rows) - 1):
                if rows[k + 1] == rows[k] + 1 and np.isfinite(y[k : k + 2]).all():
                    times = engine.times(rows[k : k + 2]) - window.traces.drawn_s
                    height_sd = window.traces.height_sd
                    want.append((times[0], y[k] / height_sd - lane, times[1], y[k + 1] / height_sd - lane))
        drawn = segments(curve)
        assert len(drawn) == len(want)
        np.testing.assert_allclose(drawn, want, atol=1e-4)
    labels = [text for _, text in window.traces.widget.getPlotItem().getAxis("left")._tickLevels[0]]
    place = engine.electrodes.index
    assert labels == [f"{e}  r {scores[place(e)]:.2f}" for e in window.shown]


def test_maps_show_what_was_published(qtbot: Any, window: Any, name: str) -> None:
    from tests.fake_engine import FakeEngine

    engine = FakeEngine(name, electrodes=12, heads=3, lags=25)
    assert engine.wait_for_monitor()
    wait_for(qtbot, lambda: all(outlet.inlet is not None for outlet in window.client.outlets.values()))
    engine.start_s = window.client.now_s() - 3.0
    for first in range(0, 150, 5):
        engine.push_block(first)
    engine.push_score(200)
    engine.say_settings()
    wait_for(qtbot, lambda: len(window.client.rows("telemetry")) == 150 and window.client.settings.simulated)
    wait_for(qtbot, lambda: window.client.rows("score").written == 1 and len(window.client.rows("sound")) == 150)
    wait_for(qtbot, lambda: len(window.client.rows("attention")) == 150)
    window._frame = 0
    window.draw()

    rows = np.arange(150)
    weights = engine.attention(rows).mean(axis=0).reshape(3, 25)
    assert len(window.attention.curves) == 3
    for head, curve in enumerate(window.attention.curves):
        x, y = curve.getData()
        np.testing.assert_allclose(x, 20.0 * np.arange(25))
        np.testing.assert_allclose(y, weights[head], atol=1e-6)
    picture = window.sound.picture.image
    np.testing.assert_allclose(picture[-150:], engine.sound(rows)[:, 1:], atol=1e-5)
    assert (picture[:-150] == picture.min()).all()
    assert window.sound.bar.opts["y1"] == [pytest.approx(engine.sound(rows)[-1, 0], abs=1e-4)]
    scores = dict(zip(engine.electrodes, window.scores()[1], strict=True))
    for dot in window.electrodes.dots.points():
        assert (dot.size() > 0.8) == (scores[dot.data()] > 0.14)
    engine.say("silent", stream="ecog", message="ecog is silent")
    engine._outlets["status"].push_sample(["[not, json"])
    wait_for(qtbot, lambda: "not understood" in window.health.banner.text())
    assert "ecog is silent" in window.health.banner.text()
    assert window.health.simulated.isVisible()
    assert "2 of 2" in window.health.who.text()
    assert "0 lost, 0 skipped" in window.health.counts.text()
    assert f"{window.client.vitals().latency.now_ms:.0f} ms" in window.health.latency.text()

    worst = min(scores, key=lambda electrode: scores[electrode])
    assert worst not in window.shown
    dot = next(dot for dot in window.electrodes.dots.points() if dot.data() == worst)
    window.electrodes.dots.sigClicked.emit(window.electrodes.dots, [dot], None)
    window.draw()
    assert worst in window.shown
    assert len(window.shown) == 8


def start_engine(name: str, electrodes: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.fake_engine", "--engine", name, "--electrodes", str(electrodes)]
    folder = Path(__file__).parents[1]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_engine_killed_and_back(qtbot: Any, window: Any, name: str) -> None:
    process = start_engine(name, 16)
    try:
        wait_for(qtbot, lambda: "running" in window.health.state.text() and not window.health.banner.isVisible())
        process.send_signal(signal.SIGSTOP)  # alive but silent, then dead
        wait_for(qtbot, lambda: "no rows for" in window.health.banner.text())
        process.kill()
        wait_for(qtbot, lambda: "is gone: no rows for" in window.health.banner.text())
        assert window.health.banner.isVisible()
        process.wait()
        process = start_engine(name, 9)
        wait_for(qtbot, lambda: "running" in window.health.state.text() and not window.health.banner.isVisible())
        wait_for(qtbot, lambda: len(window.electrodes.dots.points()) == 9)
        x, _ = window.traces.predicted.getData()
        assert x.max() > -1.0
    finally:
        process.kill()
        process.wait()


def test_banner_comes_within_two_seconds_of_the_end(qtbot: Any, window: Any, name: str) -> None:
    process = start_engine(name, 4)
    try:
        wait_for(qtbot, lambda: "running" in window.health.state.text() and not window.health.banner.isVisible())
    finally:
        process.kill()
        process.wait()
    wait_for(qtbot, lambda: window.health.banner.isVisible())
    age_s = window.client.vitals().ages_s["predicted"]  # as the monitor itself counts, whatever else the machine does
    assert age_s < 2.0


def test_redraws_keep_none_alive(qtbot: Any, window: Any, name: str) -> None:
    """PySide6 versions that drop references to None abort the process after about a thousand redraws."""
    from tests.fake_engine import FakeEngine

    engine = FakeEngine(name, electrodes=16)
    assert engine.wait_for_monitor()
    engine.start_s = window.client.now_s() - 2.0
    for first in range(0, 100, 5):
        engine.push_block(first)
        engine.push_observed(first)
    wait_for(qtbot, lambda: window.client.rows("observed") is not None and len(window.client.rows("observed")) == 100)

    def redraw(times: int) -> None:
        for _ in range(times):
            window.draw()
            window.grab()

    redraw(5)
    before = sys.getrefcount(None)
    redraw(200)
    assert sys.getrefcount(None) > before - 100


def test_no_text_is_small_and_all_labels_fit(qtbot: Any, window: Any) -> None:
    from PySide6.QtWidgets import QLabel

    for width, height in ((1366, 768), (1600, 1000)):
        window.resize(width, height)
        qtbot.waitExposed(window)
        assert (window.width(), window.height()) == (width, height)
    assert all(label.fontInfo().pointSizeF() >= 10.9 for label in window.findChildren(QLabel))
    for plot in window.findChildren(pg.PlotWidget):
        for side in ("left", "bottom"):
            assert plot.getPlotItem().getAxis(side).style["tickFont"].pointSize() >= 11


# -- the command -------------------------------------------------------------------------------------------------------


def test_picture_from_the_command_line(name: str, tmp_path: Path) -> None:
    from PySide6.QtGui import QImage

    process = start_engine(name, 16)
    path = tmp_path / "monitor.png"
    command = [sys.executable, "-m", "realtime.monitor", "--engine", name, "--picture", str(path), "--after", "1"]
    try:
        done = subprocess.run([*command, "--size", "1366x768"], capture_output=True, text=True, timeout=100)
    finally:
        process.kill()
        process.wait()
    assert (done.returncode, done.stderr) == (0, "")
    image = QImage(str(path))
    assert (image.width(), image.height()) == (1366, 768)
    colours = {image.pixelColor(x, y).name() for x in range(0, 800, 2) for y in range(60, 700, 2)}
    assert {"#e69f00", "#56b4e9"} <= colours


def test_ctrl_c_closes(name: str) -> None:
    command = [sys.executable, "-m", "realtime.monitor", "--engine", name]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "Ctrl-C" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_mistakes_get_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", "big"]) == 2
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert main([]) == 2
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    for module in [m for m in sys.modules if m.split(".")[0] == "PySide6" or m.startswith("realtime.monitor.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "PySide6", None)
    assert main([]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "1600x1000" in lines[0]
    assert "no display" in lines[1]
    assert "corticast[monitor]" in lines[2]
