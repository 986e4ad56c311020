"""The window's past and layout, offscreen, through real LSL outlets: pause, scroll, zoom, measure, remember."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ELECTRODES = 12


@pytest.fixture
def engine(qtbot: Any) -> Iterator[tuple[Any, Any]]:
    """A window and an engine that has sent 60 s of rows, with a gap."""
    from realtime.monitor.client import Client
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network, local_clock
    from tests.fake_engine import FakeEngine

    name = f"test{uuid.uuid4().hex[:8]}"
    window = Window(Client(name, Network, local_clock), count=4)
    qtbot.addWidget(window)
    window.show()
    window.client.start()
    engine = FakeEngine(name, electrodes=ELECTRODES)
    assert engine.wait_for_monitor()
    qtbot.waitUntil(lambda: all(o.inlet is not None for o in window.client.outlets.values()), timeout=30_000)
    engine.start_s = window.client.now_s() - 60.0
    rows = np.r_[0:1000, 1050:3000]
    engine.push("predicted", engine.predicted(rows), engine.times(rows))
    engine.push("observed", engine.observed(rows), engine.times(rows))
    engine.push_score(3000)
    held: Any = window.client.rows
    qtbot.waitUntil(lambda: len(held("predicted")) == len(held("observed")) == len(rows), timeout=30_000)
    qtbot.waitUntil(lambda: held("score").written == 1, timeout=30_000)
    window._timer.stop()
    window.draw()
    yield window, engine
    window.close()
    window.client.close()


def test_paused_and_scrolled_back_the_past_is_drawn(qtbot: Any, engine: tuple[Any, Any]) -> None:
    from PySide6.QtCore import Qt

    window, fake = engine
    qtbot.keyClick(window, Qt.Key.Key_Space)
    window._frame = 0
    window.draw()
    drawn_s, label = window.traces.drawn_s, window.frozen.label
    assert label.isVisible()
    assert label.text().startswith("PAUSED")
    qtbot.keyClick(window, Qt.Key.Key_Minus)  # 20 s
    for _ in range(8):
        qtbot.keyClick(window, Qt.Key.Key_Left)
    window.draw()
    assert window.traces.drawn_s == pytest.approx(drawn_s - 40.0, abs=1e-6) or window.traces.drawn_s == pytest.approx(
        fake.start_s + 20.0, abs=0.05
    )
    x, y = window.traces.predicted.getData()
    inside = (x >= -20.0) & (x <= 0.0)
    times = x[: len(x) // 4] + window.traces.drawn_s
    rows = np.rint((times - fake.start_s) / 0.02).astype(int)
    best = fake.electrodes.index(window.shown[0])
    np.testing.assert_allclose(y[: len(rows)] * window.traces.height_sd, fake.predicted(rows)[:, best], atol=1e-4)
    assert inside.any()
    qtbot.keyClick(window, Qt.Key.Key_End)
    window._frame = 0
    window.draw()
    assert not label.text().startswith("PAUSED") or not label.isVisible()
    assert window.traces.drawn_s > drawn_s


def test_gap_stays_a_gap_when_zoomed_out(qtbot: Any, engine: tuple[Any, Any]) -> None:
    from PySide6.QtCore import Qt

    window, fake = engine
    for _ in range(3):
        qtbot.keyClick(window, Qt.Key.Key_Minus)
    window.draw()
    assert window.view.window_s == 60.0
    x, _ = window.traces.predicted.getData()
    joined = window.traces.predicted.opts["connect"]
    gap_s = fake.start_s + np.array([1000, 1049]) * 0.02 - window.traces.drawn_s
    ends = np.flatnonzero(joined[:-1])
    assert not ((x[ends] < gap_s[0]) & (x[ends + 1] > gap_s[1])).any()
    assert ((x[ends] < gap_s[0] - 1.0) & (x[ends] > gap_s[0] - 2.0)).any()


def test_cursor_measures_time_and_values(engine: tuple[Any, Any]) -> None:
    window, fake = engine
    window.view.pause(float(fake.start_s + 59.0))
    window.draw()
    pane, traces = window.traces.widget, window.traces
    pane.hovered.emit(-5.0, -1.0)
    pane.clicked.emit(-6.0, -1.0)
    window.draw()
    name = window.shown[1]
    column = fake.electrodes.index(name)
    rows = np.array([2700, 2650])  # 54.0 s and 53.0 s
    predicted, observed = (
        values[:, column].astype(np.float32) for values in (fake.predicted(rows), fake.observed(rows))
    )
    assert traces.cursor.says.splitlines() == [
        f"{name}  -5.00 s   Δt +1.000 s",
        f"predicted {predicted[0]:+.2f} SD   observed {observed[0]:+.2f} SD",
        f"Δ predicted {predicted[0] - predicted[1]:+.2f} SD   Δ observed {observed[0] - observed[1]:+.2f} SD",
    ]
    pane.left.emit()
    window.draw()
    assert not traces.cursor._text.isVisible()


def test_mouse_drags_the_past_into_view(qtbot: Any, engine: tuple[Any, Any]) -> None:
    from PySide6.QtCore import QPoint, Qt

    window, _ = engine
    viewport = window.traces.widget.viewport()
    before_s = window.client.now_s()
    qtbot.mousePress(viewport, Qt.MouseButton.LeftButton, pos=QPoint(400, 300))
    qtbot.mouseMove(viewport, QPoint(600, 300))
    qtbot.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=QPoint(600, 300))
    assert not window.view.live
    assert window.view.reference(0.0) < before_s


def test_each_electrode_its_own_scale_and_rows_of_the_grid(qtbot: Any, engine: tuple[Any, Any]) -> None:
    from PySide6.QtCore import Qt

    window, fake = engine
    qtbot.keyClick(window, Qt.Key.Key_S)
    window.draw()
    heights_sd = window.traces.heights_sd
    assert len(heights_sd) == 4
    _, y = window.traces.predicted.getData()
    rows = window.client.rows("predicted")
    first = rows.between(window.traces.drawn_s - 10.4, columns=[rows.columns[window.shown[3]]])[1][:, 0]
    np.testing.assert_allclose((y[-len(first) :] + 3) * heights_sd[3], first, atol=1e-4)
    qtbot.keyClick(window, Qt.Key.Key_R)
    window.draw()
    assert window.shown == fake.electrodes[:4]
    qtbot.keyClick(window, Qt.Key.Key_R)
    window.draw()
    assert window.shown == fake.electrodes[4:8]
    qtbot.keyClick(window, Qt.Key.Key_H)
    window.pin("LT9")
    window.draw()
    assert window.shown == ["LT9"]
    qtbot.keyClick(window, Qt.Key.Key_B)
    window.draw()
    assert len(window.shown) == 4
    assert "LT9" in window.shown


def test_heat_maps_hold_what_was_published(qtbot: Any, engine: tuple[Any, Any]) -> None:
    from PySide6.QtCore import Qt

    window, fake = engine
    window.view.pause(float(fake.start_s + 25.0))  # the gap, from 20 to 21 s, and masked electrodes are in it
    predicted, observed = window.client.rows("predicted"), window.client.rows("observed")
    for by_score in (True, False):
        window.draw()
        window.maps.draw(predicted, observed, window.client.now_s(), 0.5)
        order = [window.maps.names[k] for k in window.maps.order]
        scores = dict(zip(*window.scores()[:2], strict=True))
        assert order == (sorted(order, key=lambda name: -scores[name]) if by_score else fake.electrodes)
        columns = [fake.electrodes.index(name) for name in order]
        begin = round((window.maps.begin_s + 0.01 - fake.start_s) / 0.02)
        rows = np.arange(begin, begin + len(window.maps.images["predicted"].image))
        assert (begin, rows[-1] >= 1262) == (750, True)
        there = (rows < 1000) | (rows >= 1050)
        values = {"predicted": fake.predicted(rows), "observed": fake.observed(rows)}
        values["difference"] = values["observed"] - values["predicted"]
        for name, image in window.maps.images.items():
            want = np.where(there[:, None], values[name][:, columns], np.nan)
            limit = window.maps.limits_sd[name]
            numbers = image.image.astype(float)
            shown = np.where(numbers == 0, np.nan, (numbers - 128) / 127 * limit)
            np.testing.assert_allclose(shown, np.clip(want, -limit, limit), atol=limit / 127, equal_nan=True)
            assert np.isnan(shown).any()
        qtbot.keyClick(window, Qt.Key.Key_O)
    window.maps._items["observed"].getViewWidget().clicked.emit(-1.0, 2.5)
    assert window.choice.pinned == [fake.electrodes[2]]


def test_layout_is_remembered_where_told_and_nowhere_else(qtbot: Any, tmp_path: Path) -> None:
    from PySide6.QtCore import QSettings

    from realtime.monitor.client import Client
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network, local_clock

    def open_window(count: int | None = None) -> Any:
        settings = QSettings(str(tmp_path / "layout.ini"), QSettings.Format.IniFormat)
        window = Window(Client("nobody", Network, local_clock), count=count, settings=settings)
        qtbot.addWidget(window)
        return window

    first = open_window(5)
    first.resize(1234, 777)
    first.show()
    first._parts["right"].setSizes([100, 300, 200])
    sizes = first._parts["right"].sizes()
    first.view.zoom(2)
    first.switch_scale()
    first.switch_order()
    first.choose("row")
    first.close()
    second = open_window()
    second.show()
    assert (second.width(), second.height()) == (1234, 777)
    assert second._parts["right"].sizes() == sizes
    assert (second.view.window_s, second.choice.count, second.choice.mode) == (30.0, 5, "row")
    assert second.controls.count.value() == 5
    assert second.traces.each
    assert not second.maps.by_score
    (tmp_path / "layout.ini").write_text("[General]\nwindow_s=wide\ncount=-3\nmode=all\nwidth=7\n")
    third = open_window()
    assert (third.view.window_s, third.choice.count, third.choice.mode) == (10.0, 8, "best")
