"""Streams beside the lanes: the watched sound's level, markers' clocks, and what may be recorded."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime.block import Spec
from realtime.commands import companions
from realtime.commands.companions import companion_queries, require_private, require_watched_apart
from realtime.config import Config
from realtime.engine import Engine
from realtime.errors import UserError
from realtime.sources.formats.xdf import _markers
from realtime.sources.markers import Watched
from realtime.states import Timeline


def config(**tables: Any) -> Config:
    return Config.model_validate({"sound": {"name": "mic"}, "ecog": {"name": "amp"}, **tables})


def inlet(name: str, source_id: str = "") -> Any:
    return SimpleNamespace(found=SimpleNamespace(name=name, source_id=source_id))


class Sound:
    """A stream of two channels: the second is at a tenth of full scale."""

    is_text = False
    spec = Spec("Room", 16000.0, ("left", "right"))

    def __init__(self, stop: threading.Event, fails: int) -> None:
        self.stop, self.fails, self.pulls = stop, fails, 0

    def present(self) -> list[tuple[str, str]]:
        return [("Room", f"id{self.fails}")]

    def open(self, _uid: str) -> Sound:
        return self

    def time_correction(self) -> float:
        return 0.0

    def pull(self) -> tuple[np.ndarray, np.ndarray]:
        self.pulls += 1
        if self.fails and self.pulls == 1:
            self.fails, self.pulls = self.fails - 1, 0
            raise ConnectionError("the stream is lost")
        if self.pulls > 2:
            self.stop.set()
            return np.zeros((0, 2)), np.zeros(0)
        loud = 0.1 * np.sqrt(2) * np.sin(np.arange(1600) * 0.3)
        return np.stack([np.zeros(1600), loud], axis=1), np.arange(1600) / 16000

    def close(self) -> None:
        return None


@pytest.mark.parametrize("fails", [0, 1])
def test_the_level_of_one_channel_is_watched_and_a_lost_stream_found_again(fails: int) -> None:
    stop, events = threading.Event(), []  # type: ignore[var-annotated]
    stream = Sound(stop, fails)
    watched = Watched("Room", "right", events.append, lambda _: stream)
    watched.run(stop)
    assert watched.level_db == pytest.approx(-20.0, abs=0.2)
    assert len(events) == fails
    assert all("is gone; it is looked for" in event["message"] for event in events)


def test_a_channel_that_is_not_there_is_told() -> None:
    stop, events = threading.Event(), []  # type: ignore[var-annotated]
    Watched("Room", "middle", events.append, lambda _: Sound(stop, 0)).run(stop)
    assert "has no channel 'middle'" in events[0]["message"]


@pytest.mark.parametrize(("newest_s", "late"), [(-np.inf, {}), (9.0, {}), (10.5, {"scored_rows": 25})])
def test_rows_scored_before_a_late_marker_are_counted(newest_s: float, late: dict[str, int]) -> None:
    scorer, settings = SimpleNamespace(newest_s=newest_s), SimpleNamespace(row_rate_hz=50.0)
    engine: Any = SimpleNamespace(facts_now={}, timeline=Timeline(), scorer=scorer, settings=settings)
    event = {"event": "state", "state": "listening", "time_s": 10.0}
    assert Engine._with_state(engine, event) == {**event, **late}
    assert engine.facts_now["state"] == "listening"


def test_recorded_markers_are_on_the_recorders_clock() -> None:
    one = {
        "time_stamps": [1.0, 6.0, 12.0],
        "time_series": [["a"], ["b"], ["c"]],
        "clock_times": [5.0, 10.0],
        "clock_values": [100.0, 100.5],
    }
    assert _markers(one) == [(101.0, "a"), (106.0, "b"), (112.5, "c")]
    assert _markers({**one, "clock_times": [], "clock_values": []})[0] == (1.0, "a")


def test_sound_that_cannot_be_kept_out_is_refused() -> None:
    silent = config(record={"sound": False})
    with pytest.raises(UserError, match="is a channel of the ECoG stream 'amp'"):
        require_private(silent, inlet("amp", "1"), inlet("amp", "1"))
    require_private(silent, inlet("mic"), inlet("amp"))
    require_private(config(), inlet("amp", "1"), inlet("amp", "1"))


def test_what_goes_to_the_model_is_not_watched_too() -> None:
    with pytest.raises(UserError, match="name another one, or none"):
        require_watched_apart(config(watch={"stream": "mic"}), inlet("mic"))
    require_watched_apart(config(watch={"stream": "Room"}), inlet("mic"))


def test_what_is_recorded_beside_the_lanes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    there = [SimpleNamespace(name="Room"), SimpleNamespace(name="other")]
    monkeypatch.setattr(companions, "find_streams", lambda _s: there)
    tables = {"watch": {"stream": "Room"}, "states": {"stream": "Markers"}}
    assert [query.name for query in companion_queries(config(**tables))] == ["Room"]
    assert "'Markers' is not there: it will not be in the recording" in capsys.readouterr().err
    there.append(SimpleNamespace(name="Markers"))
    private = companion_queries(config(**tables, record={"sound": False}))
    assert [query.name for query in private] == ["Markers"], "a watched microphone holds voices"
    assert companion_queries(config()) == []
