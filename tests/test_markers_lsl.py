"""Markers through real LSL, of text and of whole numbers, become states."""

from __future__ import annotations

import threading
from typing import Any

import pylsl
import pytest

from realtime.sources.lsl import local_clock
from realtime.sources.markers import Markers
from realtime.states import Timeline
from tests.lsl_streams import unique

PATIENCE_S = 30.0


@pytest.mark.parametrize(
    ("format_", "sent"),
    [(pylsl.cf_string, ["talk", "trial 7", "go"]), (pylsl.cf_int32, [2, 7, 1]), (pylsl.cf_int16, [2, 7, 1])],
)
def test_markers_of_a_live_stream_set_the_state(format_: int, sent: list[Any]) -> None:
    name = unique("markers")
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo(name, "Markers", 1, pylsl.IRREGULAR_RATE, format_, name))
    stop, told, events, timeline = threading.Event(), threading.Event(), [], Timeline()  # type: ignore[var-annotated]

    def tell(event: dict[str, Any]) -> None:
        events.append(event)
        if len(events) == 4:
            told.set()

    names: Any = {"2": "speaking", "1": "listening", "talk": "speaking", "go": "listening"}
    body = threading.Thread(target=Markers(name, "e", names, timeline, tell).run, args=(stop,), daemon=True)
    body.start()
    assert outlet.wait_for_consumers(PATIENCE_S)
    now_s = local_clock()
    for i, value in enumerate(sent):
        outlet.push_sample([value], now_s + i)
    assert told.wait(PATIENCE_S), events
    stop.set()
    body.join(PATIENCE_S)
    assert [(e["event"], e.get("state", e.get("text"))) for e in events[1:]] == [
        ("state", "speaking"),
        ("marker", str(sent[1])),
        ("state", "listening"),
    ]
    assert [round(time_s - now_s, 3) for time_s, _ in timeline.changes()] == [0.0, 2.0]
