"""The window on a small laptop, offscreen, with all that it may have to say: nothing is cut, small or out of reach."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pyqtgraph as pg
import pytest
from PySide6.QtCore import QRectF
from PySide6.QtGui import QPainter, QPicture
from PySide6.QtWidgets import QAbstractSpinBox, QComboBox, QGraphicsTextItem, QLabel, QPushButton, QTabBar, QWidget

from realtime.monitor.alarms import Alarms

SMALLEST_PT = 11
ROUNDING_PX = 1.5
LONG = (
    "ecog 'NeuralAmp' is silent: no samples for 3.2 s. Check the amplifier, its battery and the cable to this machine"
)


@pytest.fixture(scope="module")
def laptops() -> Iterator[list[Any]]:
    """A window of each theme at 1366 x 768, of one engine that is recording, delayed, masked and unwell."""
    pg.mkQApp()
    from realtime.monitor.client import Client
    from realtime.monitor.theme import THEMES
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network, local_clock
    from tests.fake_engine import FakeEngine

    client = Client(f"test{uuid.uuid4().hex[:8]}", Network, local_clock)
    windows = [Window(client, theme, count=8) for theme in THEMES.values()]
    for window in windows:
        window._timer.stop()
        window.resize(1366, 768)
        window.show()
    client.start()
    engine = FakeEngine(client.engine, electrodes=64)
    assert engine.wait_for_monitor()
    engine.start_s = client.now_s() - 20.0
    rows = np.arange(1000)
    engine.push("predicted", engine.predicted(rows), engine.times(rows))
    engine.push("observed", engine.observed(rows), engine.times(rows))
    engine.push("sound", engine.sound(rows), engine.times(rows))
    engine.push("attention", engine.attention(rows), engine.times(rows))
    for row in range(0, 1000, 50):
        engine.push_score(row)
    engine.push_block(995)
    engine.push_spectrum(900)
    engine.facts = {
        "recording": {"on": True, "file": "a.xdf", "bytes": 12_345_678_901, "free_bytes": 987e9, "sound": True},
        "adaptation": True,
        "delays": {"sound": 0.0123, "ecog": 0.0045},
        "contaminated": ["LT5"],
    }
    engine.say_settings()
    engine.say("state", state="speaking", time_s=engine.start_s + 14.0)
    engine.say("silent", stream="sound", message="sound is silent")
    pg.Qt.QtTest.QTest.qWait(300)
    for window in windows:  # what is said grows while it is shown
        draw(window)
    engine.say("silent", stream="ecog", message=LONG)
    for _ in range(300):
        pg.Qt.QtTest.QTest.qWait(50)
        spectra = client.outlets["spectrum"].spectra
        if client.events and client.events[-1].get("message") == LONG and spectra is not None and spectra.written:
            break
    assert client.events[-1]["message"] == LONG
    yield windows
    for window in windows:
        window.close()
    client.close()


def draw(window: Any) -> None:
    for _ in range(6):
        window.draw()
    pg.Qt.QtTest.QTest.qWait(50)


@pytest.fixture(params=["dark", "light"])
def laptop(request: pytest.FixtureRequest, laptops: list[Any]) -> Any:
    window = laptops[request.param == "light"]
    draw(window)
    assert (window.width(), window.height()) == (1366, 768)
    return window


def visible(window: Any, kind: Any) -> list[Any]:
    return [widget for widget in window.findChildren(QWidget) if isinstance(widget, kind) and widget.isVisible()]


def test_no_widget_is_cut_and_every_control_is_reached(laptop: Any) -> None:
    assert "Check the amplifier" in laptop.health.banner.text()
    assert laptop.health.voices.isVisible()
    labels = visible(laptop, QLabel)
    for label in labels:
        if label.wordWrap():
            assert label.height() >= label.heightForWidth(label.width()), label.text()
        elif label.text() and label is not laptop.attention.says:
            assert label.width() >= label.sizeHint().width(), label.text()
    assert {laptop.health.who, laptop.health.counts, laptop.health.ages, laptop.health.latency} <= set(labels)
    controls = [*visible(laptop, (QPushButton, QComboBox, QAbstractSpinBox)), laptop.controls.marker]
    assert set(laptop.controls.buttons.values()) | {laptop.health.acknowledge} <= set(controls)
    for control in controls:
        hint = control.minimumSizeHint()
        assert control.width() >= hint.width(), control.toolTip()
        assert control.height() >= hint.height(), control.toolTip()
        middle = control.mapTo(laptop, control.rect().center())
        assert laptop.childAt(middle) in (control, *control.findChildren(QWidget)), control.toolTip()
    for widget in (*labels, *controls):
        corners = [widget.mapTo(laptop, corner) for corner in (widget.rect().topLeft(), widget.rect().bottomRight())]
        assert all(laptop.rect().contains(corner) for corner in corners), widget
        assert widget.parentWidget().rect().contains(widget.geometry()), widget
    bar = laptop.tabs.tabBar()
    assert not any(button.isVisible() for button in bar.findChildren(QWidget)), "tabs have to be scrolled for"
    assert bar.tabRect(bar.count() - 1).right() <= laptop.tabs.width()


def test_a_banner_takes_the_lines_that_it_needs_and_gives_them_back(laptop: Any) -> None:
    health, vitals = laptop.health, laptop.client.vitals()
    heights = []
    for problems in ((LONG, "no rows"), ("no rows",), (LONG, LONG.replace("ecog", "sound"), "no rows")):
        alarms = Alarms()
        alarms.update(problems)
        health.draw(vitals, alarms, "")
        pg.Qt.QtTest.QTest.qWait(50)
        assert health.banner.height() >= health.banner.heightForWidth(health.banner.width())
        heights.append(health.banner.height())
    assert heights[1] < heights[0] < heights[2]


def test_no_font_is_small(laptop: Any) -> None:
    for widget in visible(laptop, (QLabel, QPushButton, QComboBox, QAbstractSpinBox, QTabBar)):
        assert widget.fontInfo().pointSizeF() >= SMALLEST_PT - 0.1, widget
    for tab in range(laptop.tabs.count()):
        laptop.tabs.setCurrentIndex(tab)
        for plot in visible(laptop, pg.PlotWidget):
            for axis in axes(plot):
                assert axis.style["tickFont"].pointSizeF() >= SMALLEST_PT
            for item in texts(plot):
                assert all(size >= SMALLEST_PT for size in sizes_pt(item)), item.toPlainText()


def test_no_text_of_a_plot_is_cut_and_ticks_do_not_overlap(laptop: Any) -> None:
    checked = set()
    laptop.controls.count.setValue(24)
    for tab in range(laptop.tabs.count()):
        laptop.tabs.setCurrentIndex(tab)
        draw(laptop)
        for plot in visible(laptop, pg.PlotWidget):
            picture = plot.mapToScene(plot.viewport().rect()).boundingRect()
            picture.adjust(-ROUNDING_PX, -ROUNDING_PX, ROUNDING_PX, ROUNDING_PX)
            for item in texts(plot):
                margin = item.document().documentMargin()
                ink = item.boundingRect().adjusted(margin, margin, -margin, -margin)
                assert picture.contains(item.mapRectToScene(ink)), item.toPlainText()
                checked.add(item.toPlainText().strip())
            for axis in axes(plot):
                ticks = tick_texts(axis)
                for where, text in ticks:
                    assert picture.contains(axis.mapRectToScene(where)), f"{text} of {axis.labelText}"
                for (one, left), (other, right) in combinations(ticks, 2):
                    shared = one.intersected(other)
                    assert min(shared.width(), shared.height()) <= ROUNDING_PX, f"{left}, {right} of {axis.labelText}"
    assert len(laptop.shown) == 24
    assert {"lag (ms)", "running r", "power (dB)", "level (dBFS)", "mel band", "seconds ago"} <= checked


def axes(plot: Any) -> list[Any]:
    """Those that write values."""
    items = [item for item in plot.scene().items() if isinstance(item, pg.AxisItem) and item.isVisible()]
    return [item for item in items if item.style["showValues"]]


def texts(plot: Any) -> list[Any]:
    """Titles, labels and texts that are shown and not empty."""
    items = [item for item in plot.scene().items() if isinstance(item, QGraphicsTextItem)]
    return [item for item in items if item.isVisible() and item.toPlainText().strip()]


def sizes_pt(item: Any) -> list[float]:
    """Of every stretch of a text that has its own size, else of its font."""
    found, block = [], item.document().begin()
    while block.isValid():
        stretches = block.begin()
        while not stretches.atEnd():
            font = stretches.fragment().charFormat().font()
            found.append(font.pointSizeF() if font.pointSizeF() > 0 else item.font().pointSizeF())
            stretches += 1
        block = block.next()
    return found


def tick_texts(axis: Any) -> list[tuple[QRectF, str]]:
    """Where the axis writes which text, in its own coordinates."""
    picture = QPicture()
    painter = QPainter(picture)
    painter.setFont(axis.style["tickFont"])
    specs = axis.generateDrawSpecs(painter)
    painter.end()
    return [(rect, text) for rect, _flags, text in specs[2]] if specs else []
