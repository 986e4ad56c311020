"""Commands to a running engine: who is heard, what is confirmed, what is refused. Without LSL."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from realtime.control import Command, Control, read_command
from realtime.errors import UserError
from realtime.sources.pump import Event
from tests.toys import PATIENCE_S, Heard

NOW_S = 5000.0


class Line:
    """A monitor's stream in the test's hands. Its clock is offset_s behind the engine's; None: it does not answer."""

    is_text = True

    def __init__(self, uid: str, offset_s: float | None = 0.0):
        self.uid, self.offset_s = uid, offset_s
        self._waiting: deque[tuple[str, float]] = deque()
        self.gone = self.gone_after_pull = self.closed = False

    def send(self, at_s: float, **content: object) -> None:
        self._waiting.append((json.dumps(content), at_s))

    def pull(self) -> tuple[list[str], list[float]]:
        if self.gone:
            raise ConnectionError("gone")
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self.gone = bool(taken) and self.gone_after_pull
        return [text for text, _ in taken], [at_s for _, at_s in taken]

    def time_correction(self, _timeout_s: float) -> float:
        if self.gone:
            raise ConnectionError("gone")
        if self.offset_s is None:
            raise TimeoutError("its clock did not answer")
        return self.offset_s

    def close(self) -> None:
        self.closed = True


class Net:
    """What can be seen: the lines, for as long as they are there, and for a while after."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.others: list[tuple[str, str]] = [("e.commands.old", "x")]  # another stream of the same beginning

    def present(self) -> list[tuple[str, str]]:
        return [*self.others, *(("e.commands", uid) for uid in self.lines)]

    def open(self, uid: str) -> Line:
        return self.lines[uid]

    def add(self, line: Line) -> Line:
        self.lines = {**self.lines, line.uid: line}
        return line


class Rig:
    def __init__(self) -> None:
        self.net, self.heard = Net(), Heard()
        self.obeyed: list[Command] = []
        self.inside, self.go_on = threading.Event(), threading.Event()
        obey = {"marker": self.marker, "record": self.record, "adapt": self.adapt, "broken": self.broken}
        self.control = Control("e", lambda _: self.net, lambda: NOW_S, self.tell, obey, slow=("record",))

    def tell(self, event: Event) -> None:
        self.heard.add("event", event)

    def marker(self, command: Command) -> str:
        self.obeyed.append(command)
        return "said"

    def record(self, _command: Command) -> str:
        self.inside.set()
        assert self.go_on.wait(PATIENCE_S)
        return "recorded"

    def adapt(self, _command: Command) -> str:
        raise UserError("adaptation is not available in this engine")

    def broken(self, _command: Command) -> str:
        raise RuntimeError("a fault of ours")

    def answer(self, id: str) -> Event:
        def there() -> list[Event]:
            return [event for event in self.heard.events("command") if event["id"] == id]

        self.heard.until(lambda: bool(there()))
        return there()[0]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.control.start()
    yield rig
    rig.go_on.set()
    rig.control.close()


def test_a_command_is_obeyed_at_its_own_moment_and_confirmed(rig: Rig) -> None:
    line = rig.net.add(Line("a", offset_s=3000.0))
    line.send(NOW_S - 3000.0 - 2.5, command="marker", id="1", text="stim on")
    assert rig.answer("1") == {"event": "command", "id": "1", "command": "marker", "done": True, "message": "said"}
    assert rig.obeyed == [Command("marker", "1", NOW_S - 2.5, "stim on")]


@pytest.mark.parametrize("at_s", [0.0, NOW_S - 1e4, NOW_S + 5.0])
def test_a_moment_that_cannot_be_is_the_arrival(rig: Rig, at_s: float) -> None:
    rig.net.add(Line("a")).send(at_s, command="marker", id="1", text="x")
    rig.answer("1")
    assert rig.obeyed[0].at_s == NOW_S


def test_what_is_not_done_is_told_with_its_reason(rig: Rig) -> None:
    line = rig.net.add(Line("a"))
    for id, name in enumerate(("adapt", "broken", "explode")):
        line.send(NOW_S, command=name, id=str(id), on=True)
    line._waiting.append(("{not JSON", NOW_S))
    line.send(NOW_S, command="marker", id="3", text="still heard")
    assert rig.answer("0")["message"] == "adaptation is not available in this engine"
    assert rig.answer("1")["message"] == "RuntimeError: a fault of ours"
    assert "found command 'explode', expected one of adapt, broken, marker, record" in rig.answer("2")["message"]
    assert [rig.answer(id)["done"] for id in "0123"] == [False, False, False, True]
    assert "not understood" in rig.heard.events("warning")[0]["message"]


def test_markers_do_not_wait_for_a_recording_and_a_second_one_is_refused(rig: Rig) -> None:
    line = rig.net.add(Line("a"))
    line.send(NOW_S, command="record", id="1", on=True)
    assert rig.inside.wait(PATIENCE_S)
    line.send(NOW_S, command="marker", id="2", text="meanwhile")
    line.send(NOW_S, command="record", id="3", on=False)
    assert rig.answer("2")["done"]
    assert not rig.answer("3")["done"]
    assert not [event for event in rig.heard.events("command") if event["id"] == "1"]
    rig.go_on.set()
    assert rig.answer("1")["message"] == "recorded"


def test_monitors_come_and_go_and_several_are_heard(rig: Rig) -> None:
    first, second = rig.net.add(Line("a")), rig.net.add(Line("b"))
    first.send(NOW_S, command="marker", id="1", text="x")
    second.send(NOW_S, command="marker", id="2", text="y")
    assert rig.answer("1")["done"]
    assert rig.answer("2")["done"]
    first.gone = True  # and still to be seen for a while
    back = rig.net.add(Line("c"))
    back.send(NOW_S, command="marker", id="3", text="z")
    assert rig.answer("3")["done"]
    second.send(NOW_S, command="marker", id="4", text="y")
    assert rig.answer("4")["done"]
    rig.control.close()
    assert second.closed
    assert back.closed


def test_a_clock_that_never_answers_gives_the_arrival_and_one_that_stops_its_last(rig: Rig) -> None:
    rig.net.add(Line("a", offset_s=None)).send(NOW_S - 2.5, command="marker", id="1", text="x")
    assert rig.answer("1")["done"]
    assert rig.obeyed[0].at_s == NOW_S
    assert "a monitor's clock did not answer" in rig.heard.events("warning")[0]["message"]
    line = rig.net.add(Line("b", offset_s=3000.0))
    line.send(NOW_S - 3000.0, command="marker", id="2", text="x")
    assert rig.answer("2")["done"]
    line.offset_s = None
    line.send(NOW_S - 3000.0 - 2.5, command="marker", id="3", text="y")
    assert rig.answer("3")["done"]
    assert [command.at_s for command in rig.obeyed[1:]] == [NOW_S, NOW_S - 2.5]
    assert len(rig.heard.events("warning")) == 1


def test_what_came_before_a_break_is_heard_and_the_connection_made_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.lost.AGAIN_S", 0.0)
    line = rig.net.add(Line("a"))
    line.send(NOW_S, command="marker", id="1", text="x")
    rig.answer("1")
    line.gone_after_pull = True
    line.send(NOW_S, command="marker", id="2", text="y")
    assert rig.answer("2")["done"]
    line.gone = line.gone_after_pull = False
    line.send(NOW_S, command="marker", id="3", text="z")
    assert rig.answer("3")["done"], "the same id is still seen: its program lives"


def test_what_is_no_command_is_none() -> None:
    good: dict[str, Any] = {"command": "marker", "id": 7, "text": "x" * 3000}
    assert read_command(json.dumps(good), 1.0) == Command("marker", "7", 1.0, "x" * 1000)
    for bad in (
        "",
        "3",
        "[]",
        "null",
        '{"id": 1}',
        '{"command": 5}',
        '{"command": "m", "on": 1}',
        '{"command": "m", "text": 3}',
    ):
        assert read_command(bad, 1.0) is None
