"""Rows a second as the outlets declare them: what the window keeps, and where it breaks a line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime.block import Spec
from realtime.monitor.client import KEPT_S, Client, Outlet
from realtime.monitor.history import Rows
from tests.toys import PATIENCE_S


@dataclass
class There:
    """An inlet that is only there."""

    spec: Spec
    uid: str = "1"
    is_text: bool = False

    def pull(self) -> tuple[Any, Any]:
        return np.zeros((0, 2)), np.zeros(0)

    def time_correction(self, timeout_s: float) -> float:
        return min(0.0, timeout_s)

    def close(self) -> None: ...


class Breaks(There):
    """Its first pull finds the connection broken; its clock does not answer."""

    pulls = 0

    def pull(self) -> tuple[Any, Any]:
        self.pulls += 1
        if self.pulls == 1:
            raise ConnectionError("the stream is lost")
        return np.ones((1, 2), np.float32), np.array([1.0])

    def time_correction(self, timeout_s: float) -> float:
        raise TimeoutError(f"no answer in {timeout_s} s")


def test_an_outlet_whose_connection_broke_and_whose_clock_is_silent_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.lost.AGAIN_S", 0.0)
    inlet = Breaks(Spec("e.predicted", 50.0, ("a", "b")))
    network = SimpleNamespace(present=lambda: [("e.predicted", "1")], open=lambda _uid: inlet)
    client = Client("e", lambda _: network, lambda: 0.0)
    client.start()
    end_s = time.monotonic() + PATIENCE_S
    while not (rows := client.rows("predicted")) or not rows.written:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    client.close()


def test_histories_are_in_seconds_and_begin_anew_with_another_rate() -> None:
    outlet = Outlet("predicted")
    outlet.attach(There(Spec("e.predicted", 50.0, ("a", "b"))))
    first = outlet.rows
    assert first is not None
    assert first.capacity * first.step_s == pytest.approx(KEPT_S["predicted"])
    outlet.attach(There(Spec("e.predicted", 50.0, ("a", "b"))))
    assert outlet.rows is first, "the engine came back as it was"
    outlet.attach(There(Spec("e.predicted", 200.0, ("a", "b"))))
    assert outlet.rows is not None
    assert outlet.rows.step_s == 0.005
    assert outlet.rows.capacity * outlet.rows.step_s == pytest.approx(KEPT_S["predicted"])
    undeclared = Outlet("telemetry")
    undeclared.attach(There(Spec("e.telemetry", 0.0, ("a",))))
    assert undeclared.rows is not None
    assert undeclared.rows.step_s == 0.02


@pytest.mark.parametrize("step_s", [0.02, 0.01, 0.005])
def test_one_lost_row_breaks_the_line(qtbot: Any, step_s: float) -> None:
    from realtime.monitor.theme import DARK
    from realtime.monitor.traces import Traces
    from realtime.monitor.view import View

    times = 100.0 + step_s * np.arange(200)
    there = np.arange(200) != 120
    rows = Rows(("a",), 1000, step_s=step_s)
    rows.append(times[there], np.sin(times[there])[:, None].astype(np.float32))
    traces = Traces(DARK, View())
    qtbot.addWidget(traces.widget)
    traces.show_electrodes(["a"], [0.5])
    traces.draw(rows, None, float(times[-1]))
    joined = traces.predicted.opts["connect"]
    assert np.flatnonzero(joined == 0).tolist() == [119, 198]
