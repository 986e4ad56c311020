"""Panels of the whole session and the electrode map's signs, read back from the window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from realtime.monitor.history import Rows
from realtime.monitor.session import Session
from realtime.monitor.theme import DARK


@pytest.fixture
def shown(qtbot: Any) -> Any:
    """Show a panel's widget and give it back."""

    def show(panel: Any) -> Any:
        qtbot.addWidget(panel.widget)
        panel.widget.resize(600, 300)
        panel.widget.show()
        return panel

    return show


def test_running_r_of_all_of_those_shown_and_of_chance(shown: Any) -> None:
    from realtime.monitor.running import Running

    panel = shown(Running(DARK))
    rows = Rows(("a", "b", "c", "null_max_p95"), 100)
    scores = np.random.default_rng(0).uniform(-0.2, 0.8, (90, 4))
    scores[:30] = np.nan
    times = 50.0 + np.arange(90.0)
    times[60:] += 30.0  # a gap
    rows.append(times, scores)
    panel.draw(rows, ["c"])
    minutes = (times - times[-1]) / 60
    x, y = panel.shown.getData()
    np.testing.assert_allclose(x, minutes)
    np.testing.assert_allclose(y[30:], scores[30:, 2].astype(np.float32), atol=1e-6)
    joined = panel.shown.opts["connect"]
    assert joined.tolist() == [0] * 30 + [1] * 29 + [0] + [1] * 29 + [0]
    _, y = panel.all.getData()
    np.testing.assert_allclose(y.reshape(3, 90)[:, 30:], scores[30:, :3].T.astype(np.float32), atol=1e-6)
    x, y = panel.band.getData()
    np.testing.assert_allclose(x, minutes[30:])
    np.testing.assert_allclose(y, scores[30:, 3].astype(np.float32), atol=1e-6)


def test_a_long_session_is_drawn_with_fewer_points_to_its_end(shown: Any) -> None:
    from realtime.monitor.running import MOST_POINTS, Running

    panel = shown(Running(DARK))
    rows = Rows(("a", "null_max_p95"), 5000)
    rows.append(np.arange(5000.0), np.linspace(0, 1, 10_000).reshape(5000, 2))
    panel.draw(rows, ["a"])
    x, y = panel.shown.getData()
    assert len(x) <= MOST_POINTS
    assert (x[-1], y[-1]) == (0.0, pytest.approx(rows.latest()[0]))
    assert panel.shown.opts["connect"][:-1].all()


def test_attention_over_the_session(shown: Any) -> None:
    from realtime.monitor.attention import Attention

    panel = shown(Attention(DARK))
    names = [f"head{head}_lag{lag}" for head in range(2) for lag in range(3)]
    rows, session = Rows(names, 500), Session(6)
    weights = np.random.default_rng(0).uniform(size=(2000, 6))
    times = np.asarray(10.0 + 0.02 * np.arange(2000), np.float64)
    rows.append(times, weights)
    session.add(times, weights)
    panel.draw(rows, session, 50.0)
    for head, (now, over_all) in enumerate(zip(panel.curves, panel.session_curves, strict=True)):
        columns = slice(3 * head, 3 * head + 3)
        np.testing.assert_allclose(now.getData()[1], weights[times >= 45.0][:, columns].mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(over_all.getData()[1], weights[:, columns].mean(axis=0), atol=1e-6)
        label = panel.labels[head]
        assert label.toPlainText() == str(head + 1)
        lag = round(label.pos().x() / 20.0)
        assert label.pos().y() == pytest.approx(now.getData()[1][lag])
    panel.draw(rows, session, 90.0)
    assert not any(len(curve.getData()[0]) for curve in panel.curves), "no rows are not weights of 0"
    assert not any(label.isVisible() for label in panel.labels)
    picture = panel.picture.image  # (seconds, lags)
    want = weights.reshape(40, 50, 2, 3).mean(axis=(1, 2))
    np.testing.assert_allclose(picture, want, atol=2e-2)  # a row at the edge of a second may fall to either side
    assert picture.shape == (40, 3)


def test_signs_of_what_is_not_to_be_trusted(qtbot: Any) -> None:
    from realtime.monitor.electrodes import Electrodes
    from realtime.monitor.layout import places

    clicked: list[str] = []
    panel = Electrodes(DARK, clicked.append)
    qtbot.addWidget(panel.widget)
    names = ["G1", "G2", "G3", "G4"]
    panel.draw(
        names,
        places(names),
        np.array([0.5, 0.1, np.nan, 0.4]),
        0.2,
        ["G1"],
        [],
        {"G1": "masked", "G4": "sound"},
        np.array([0.125, 0.0, np.nan, 0.0]),
    )
    dots = {dot.data(): dot for dot in panel.dots.points()}
    assert {name: dot.symbol() for name, dot in dots.items()} == {"G1": "x", "G2": "o", "G3": "o", "G4": "t"}
    title = panel._item.titleLabel.text
    assert "x masked" in title
    assert "hears the sound" in title
    panel.dots.sigClicked.emit(panel.dots, [dots["G4"]], None)
    assert clicked == ["G4"]
    panel.dots.sigHovered.emit(panel.dots, [dots["G1"]], None)
    assert panel._item.titleLabel.text == "G1: running r 0.50, x masked, masked 12.5 % so far"
