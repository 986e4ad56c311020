"""Streams beside the lanes: the watched sound's level, markers' clocks, and what may be recorded."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime.block import Spec
from realtime.commands import check, companions
from realtime.commands.companions import companion_queries, require_private, require_watched_apart
from realtime.config import Config
from realtime.engine import Engine
from realtime.errors import UserError
from realtime.lost import Lost
from realtime.sources import markers
from realtime.sources.formats.xdf import _markers
from realtime.sources.markers import Markers, Watched
from realtime.states import Timeline
from tests.toys import PATIENCE_S


def config(**tables: Any) -> Config:
    return Config.model_validate({"sound": {"name": "mic"}, "ecog": {"name": "amp"}, **tables})


def inlet(name: str, source_id: str = "") -> Any:
    return SimpleNamespace(found=SimpleNamespace(name=name, source_id=source_id))


class Sound:
    """A stream of two channels: the second is at a tenth of full scale. Its connection breaks `fails` times, and its
    program goes on: the id is the same. Its clock is read from `offsets_s`."""

    is_text = False
    spec = Spec("Room", 16000.0, ("left", "right"))

    def __init__(self, stop: threading.Event, fails: int, *offsets_s: float | Exception) -> None:
        self.stop, self.fails, self.pulls, self.offsets_s = stop, fails, 0, list(offsets_s)

    def present(self) -> list[tuple[str, str]]:
        return [("Room", "id")]

    def open(self, _uid: str) -> Sound:
        return self

    def time_correction(self, _timeout_s: float) -> float:
        offset_s = self.offsets_s.pop(0) if self.offsets_s else 0.0
        if isinstance(offset_s, Exception):
            raise offset_s
        return offset_s

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


@pytest.mark.parametrize("fails", [0, 1, 3])
def test_the_level_of_one_channel_is_watched_and_a_broken_connection_made_again(
    fails: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.lost.AGAIN_S", 0.0)
    monkeypatch.setattr("realtime.sources.markers.SEARCH_S", 0.0)
    stop, events = threading.Event(), []  # type: ignore[var-annotated]
    stream = Sound(stop, fails)
    watched = Watched("Room", "e", "right", events.append, lambda _: stream)
    body = threading.Thread(target=watched.run, args=(stop,), daemon=True)
    body.start()
    body.join(PATIENCE_S)
    stop.set()
    assert watched.level_db == pytest.approx(-20.0, abs=0.2)
    assert len(events) == (fails > 0), "told once"
    assert all("is gone; it is looked for" in event["message"] for event in events)


def test_a_lost_stream_that_is_still_seen_after_some_seconds_is_alive() -> None:
    now_s = 100.0
    lost = Lost(lambda: now_s)
    assert "a" not in lost
    lost.add("a")
    now_s = 103.1  # liblsl has forgotten one that ended
    assert "a" in lost
    lost.add("b")
    now_s = 105.1
    assert ("a" in lost, "b" in lost) == (False, True)
    lost.add("b")
    assert set(lost._at_s) == {"b"}


class Clocked(Watched):
    """Keeps the times that rows were given."""

    def take(self, _reader: Any, _values: Any, times: Any) -> None:
        self.first_s: list[float] = [*getattr(self, "first_s", []), float(times[0])]


SILENT_CLOCK = TimeoutError("the clock of stream 'Room' did not answer")


@pytest.mark.parametrize(
    ("offsets_s", "first_s", "told"),
    [
        ([SILENT_CLOCK, SILENT_CLOCK], [0.0, 0.0], "are taken as they are"),
        ([SILENT_CLOCK, 7.0], [0.0, 7.0], "are taken as they are"),
        ([7.0, SILENT_CLOCK], [7.0, 7.0], "with the offset known last, 7.000 s"),
    ],
)
def test_a_clock_that_does_not_answer_keeps_no_row_away(
    offsets_s: list[Any], first_s: list[float], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.sources.markers.OFFSET_EVERY_S", 0.0)
    stop, events = threading.Event(), []  # type: ignore[var-annotated]
    watched = Clocked("Room", "e", "right", events.append, lambda _: Sound(stop, 0, *offsets_s))
    watched.run(stop)
    assert watched.first_s == first_s
    assert len(events) == 1
    assert told in events[0]["message"]


def test_a_channel_that_is_not_there_is_told() -> None:
    stop, events = threading.Event(), []  # type: ignore[var-annotated]
    Watched("Room", "e", "middle", events.append, lambda _: Sound(stop, 0)).run(stop)
    assert "has no channel 'middle'" in events[0]["message"]


class Nothing:
    """A network without the stream: it ends what searches it after so many searches."""

    def __init__(self, stop: threading.Event, searches: int) -> None:
        self.stop, self.left = stop, searches

    def present(self) -> list[tuple[str, str]]:
        self.left -= 1
        if not self.left:
            self.stop.set()
        return [("Markers 2", "other")]

    def open(self, _uid: str) -> Any:
        raise AssertionError("there is none")


@pytest.mark.parametrize(("searches", "times"), [(markers.SEARCHES - 1, 0), (3 * markers.SEARCHES, 1)])
def test_a_stream_that_is_not_there_is_told_once(searches: int, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers, "SEARCH_S", 0.0)
    monkeypatch.setattr(markers, "stream_names", lambda engine: ["Markers", "Room"] if engine == "e" else [])
    events: list[dict[str, Any]] = []
    for make in (
        lambda stop: Markers("Markres", "e", {}, Timeline("silence"), events.append, lambda _: Nothing(stop, searches)),
        lambda stop: Watched("Rom", "e", 0, events.append, lambda _: Nothing(stop, searches)),
    ):
        stop = threading.Event()
        make(stop).run(stop)
    expected = [
        "[states] stream 'Markres' is not there, did you mean 'Markers'?; there are: Markers, Room; start its program "
        "or correct the name; until it is there every row counts as silence",
        "[watch] stream 'Rom' is not there, did you mean 'Room'?; there are: Markers, Room; start its program or "
        "correct the name; until it is there no level is shown",
    ]
    assert [event["message"] for event in events if event["event"] == "warning"] == expected[: 2 * times]


def test_check_looks_for_the_streams_beside_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "stream_names", lambda _engine: ["Markers", "Room"])

    def findings(states: str | None, watch: str | None, level_db: float | None = None) -> list[tuple[Any, ...]]:
        session: Any = SimpleNamespace(engine=SimpleNamespace(facts_now={"watch": {"level_db": level_db}}))
        found = check.beside(config(states={"stream": states}, watch={"stream": watch}), session)
        return [(one.what, one.found, one.good) for one in found]

    assert findings(None, None) == []
    assert findings("Markers", "Room", -23.4) == [
        ("[states] stream Markers", "there", True),
        ("[watch] stream Room", "there, -23 dBFS", True),
    ]
    assert findings("Markres", "Room") == [
        ("[states] stream Markres", "not there, did you mean 'Markers'?; there are: Markers, Room", False),
        ("[watch] stream Room", "there, no sound from it", False),
    ]


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
    there = ["Room", "other"]
    monkeypatch.setattr(companions, "stream_names", lambda _engine: there)
    tables = {"watch": {"stream": "Room"}, "states": {"stream": "Markers"}}
    assert [query.name for query in companion_queries(config(**tables))] == ["Room"]
    assert "'Markers' is not there: it will not be in the recording" in capsys.readouterr().err
    there.append("Markers")
    private = companion_queries(config(**tables, record={"sound": False}))
    assert [query.name for query in private] == ["Markers"], "a watched microphone holds voices"
    assert companion_queries(config()) == []
