"""The monitor's window, offscreen, through real LSL outlets."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyqtgraph as pg
import pytest

from realtime.monitor.__main__ import main


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
    wait_for(qtbot, lambda: window.client.rows("score").written == 1)
    wait_for(qtbot, lambda: all(len(window.client.rows(what)) == 170 for what in ("predicted", "observed")))
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
    assert np.isnan(picture[:-150]).all(), "no row is no silence"
    assert window.sound.bar.opts["y1"] == [pytest.approx(engine.sound(rows)[-1, 0], abs=1e-4)]
    scores = dict(zip(engine.electrodes, window.scores()[1], strict=True))
    for dot in window.electrodes.dots.points():
        assert (dot.size() > 0.8) == (scores[dot.data()] > 0.14)
    engine.say("silent", stream="ecog", message="ecog is silent")
    engine._outlets["status"].push_sample(["[not, json"])
    wait_for(qtbot, lambda: "not understood" in window.health.banner.text())
    assert "ecog is silent" in window.health.banner.text()
    assert window.health.simulated.isVisible()
    assert "1&nbsp;of&nbsp;2" in window.health.who.text()
    assert "0 lost, 0 skipped" in window.health.counts.text().replace("&nbsp;", " ")
    assert f"{window.client.vitals().latency.now_ms:.0f}&nbsp;ms" in window.health.latency.text()

    worst = min(scores, key=lambda electrode: scores[electrode])
    assert worst not in window.shown
    dot = next(dot for dot in window.electrodes.dots.points() if dot.data() == worst)
    window.electrodes.dots.sigClicked.emit(window.electrodes.dots, [dot], None)
    window.draw()
    assert worst in window.shown
    assert len(window.shown) == 8


def test_silence_keeps_the_score_known_last() -> None:
    from realtime.monitor.history import Rows

    rows = Rows(("a", "b", "null"), 10)
    assert np.isnan(rows.known(60.0)).all()
    rows.append(np.array([10.0, 11.0, 12.0]), np.array([[0.1, 0.2, 0.1], [0.3, np.nan, 0.1], [np.nan, np.nan, 0.1]]))
    np.testing.assert_array_equal(rows.known(60.0, "null"), np.array([0.3, np.nan, 0.1], np.float32))
    assert np.isnan(rows.known(60.0)[:2]).all()
    rows.append(np.array([100.0]), np.array([[np.nan, np.nan, 0.1]]))
    assert np.isnan(rows.known(60.0, "null")[:2]).all(), "too long ago"


def test_a_missing_library_of_qt_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    for variable in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda _name: None)
    assert main([]) == 2
    assert "apt install libxcb-cursor0" in capsys.readouterr().err


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
        assert window.frozen.label.text().startswith("NOT LIVE")
        assert window.health.banner.isVisible()
        process.wait()
        process = start_engine(name, 9)
        wait_for(qtbot, lambda: "running" in window.health.state.text())
        wait_for(qtbot, lambda: "over since" in window.health.banner.text())  # until somebody has seen it
        window.health.acknowledge.click()
        wait_for(qtbot, lambda: not window.health.banner.isVisible() and not window.health.acknowledge.isVisible())
        wait_for(qtbot, lambda: not window.frozen.label.isVisible())
        window.tabs.setCurrentWidget(window.events.widget)
        wait_for(qtbot, lambda: "is gone: no rows for" in window.events.widget.toPlainText())
        wait_for(qtbot, lambda: len(window.electrodes.dots.points()) == 9)
        x, _ = window.traces.predicted.getData()
        assert x.max() > -1.0
    finally:
        process.kill()
        process.wait()


def test_banner_comes_within_two_seconds(qtbot: Any, window: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that the test moves, so that a slow machine changes nothing."""
    from realtime.monitor.window import FRAME_MS, SLOW_FRAMES
    from tests.fake_engine import FakeEngine

    engine = FakeEngine(name, electrodes=4)
    assert engine.wait_for_monitor()
    engine.push_block(0)
    wait_for(qtbot, lambda: window.client.main_rows() is not None and len(window.client.main_rows()) == 5)
    window._timer.stop()
    last_s = window.client.outlets["predicted"].arrived_s
    for late_s, shown in ((1.4, False), (2.0 - 2 * SLOW_FRAMES * FRAME_MS / 1000, True)):
        monkeypatch.setattr(window.client, "clock", lambda late_s=late_s: last_s + late_s)
        window._frame = 0
        window.draw()
        assert ("no rows for" in window.health.banner.text()) == shown


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

    def references_after(redraws: int) -> int:
        for _ in range(redraws):
            window.draw()
            window.grab()
        gc.collect()  # what other tests left behind holds references too
        return sys.getrefcount(None)

    before = references_after(5)
    assert references_after(200) > before - 400  # the bad versions lose some 20 a redraw


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
    command += ["--pictures", str(tmp_path / "panels")]
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
    shown = re.findall(r"\((monitor.*?\.png)\)", (Path(__file__).parents[1] / "docs" / "monitor.md").read_text())
    assert {path.name for path in (tmp_path / "panels").iterdir()} == set(shown)


def test_ctrl_c_closes(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "realtime.monitor", "--engine", name]
    # The layout that the window writes at its end goes there, not to the user's own.
    where = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment = {**os.environ, **where, "QT_QPA_PLATFORM": "offscreen", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "Ctrl-C" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "window_s=10" in (tmp_path / "corticast" / "monitor.conf").read_text()


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


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_thousand_redraws_keep_memory(qtbot: Any, window: Any, name: str) -> None:
    """With every panel, rows coming in all the while."""
    memory = Path("/proc/self/statm")
    if not memory.exists():
        pytest.skip("memory is read from /proc")
    from tests.fake_engine import FakeEngine

    def resident_bytes() -> int:
        gc.collect()
        return int(memory.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    engine = FakeEngine(name, electrodes=256)
    assert engine.wait_for_monitor()
    window._timer.stop()
    window.choice.count = 24
    engine.start_s = window.client.now_s() - 20.0
    row = 0

    def feed(count: int) -> None:
        nonlocal row
        for first in range(row, row + count, 5):
            engine.push_block(first)
            engine.push_observed(first)
        engine.push_score(row)
        engine.push_spectrum(row)
        row += count

    feed(1000)
    qtbot.waitUntil(lambda: window.client.rows("observed") and window.client.rows("observed").written == row)
    for k in range(500):
        window.tabs.setCurrentIndex(k // 3 % window.tabs.count())
        window.draw()
        window.grab()
    before = resident_bytes()
    for k in range(10_000):
        if k % 20 == 0:
            feed(5)
        window.tabs.setCurrentIndex(k // 30 % window.tabs.count())
        window.draw()
        window.grab()
    assert resident_bytes() - before < 20e6


def test_an_electrode_that_records_the_sound_is_marked_and_is_not_among_the_best(
    qtbot: Any, window: Any, name: str
) -> None:
    from tests.fake_engine import FakeEngine

    engine = FakeEngine(name, electrodes=12)
    assert engine.wait_for_monitor()
    wait_for(qtbot, lambda: all(outlet.inlet is not None for outlet in window.client.outlets.values()))
    rows = np.arange(200)
    engine.start_s = window.client.now_s() - 4.0
    engine.say_settings()
    engine.push("predicted", engine.predicted(rows), engine.times(rows))
    engine.push_score(200)
    wait_for(qtbot, lambda: window.client.rows("score").written == 1)
    wait_for(qtbot, lambda: len(window.client.rows("predicted") or ()) == 200)
    names, scores, _ = window.scores()
    best = names[int(np.nanargmax(scores))]
    window.choice.count = 4
    window.draw()
    assert best in window.shown
    assert window.maps.order[0] == names.index(best)
    engine.facts["contaminated"] = [best]
    for shown, left_out in ((False, (best,)), (True, ())):
        engine.facts["left_out"] = list(left_out)
        engine.say_settings()
        wait_for(qtbot, lambda: bool(window.client.settings.contaminated))
        wait_for(qtbot, lambda: window.client.settings.left_out == left_out)  # noqa: B023 (awaited here)
        window.draw()
        assert window.client.settings.contaminated == (best,)
        assert (best in window.shown) is shown
        assert bool(window.maps.order[0] == names.index(best)) is shown
        assert bool(np.isnan(window.scores()[1][names.index(best)])) is not shown
        assert "hears the sound" in window.electrodes._note
