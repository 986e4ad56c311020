"""What the engine says in the terminal, which may take no lines for a while: nobody waits for it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from realtime.commands.speaker import WAITING, Speaker
from realtime.engine import Engine, EngineSettings
from realtime.repair import Repair
from realtime.stage import Chain
from tests.toys import PATIENCE_S, FakeInlet, FakeResults, Heard, Toy


class Terminal:
    """Takes lines while it is not held, as one does after Ctrl-Q."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.inside, self.taking = threading.Event(), threading.Event()

    def say(self, line: str) -> None:
        self.inside.set()
        assert self.taking.wait(PATIENCE_S)
        self.lines.append(line)


@pytest.fixture
def _no_outlets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("realtime.engine.Results", FakeResults)
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_no_outlets")
def test_predictions_go_on_while_the_terminal_takes_nothing() -> None:
    """A loss is told by the pulling thread: neither it nor the one that predicts may wait to have it said."""
    terminal = Terminal()
    speaker = Speaker(terminal.say)
    sound, ecog = FakeInlet("s"), FakeInlet("e")
    chains = [Chain([("repair", Repair(50.0, 0.5, hold=True)), ("model", Toy())]) for _ in range(2)]
    engine = Engine(
        EngineSettings("test", ("e0",), (1, 1)), (sound, chains[0]), (ecog, chains[1]), on_event=speaker.event
    )
    heard: Heard = engine.results.heard  # type: ignore[attr-defined]
    engine.start()
    sound.send(0, 10)
    sound.send(100, 110)  # 90 rows lost
    assert terminal.inside.wait(PATIENCE_S)
    for start in range(110, 310, 10):
        ecog.send(start, start + 10)
        sound.send(start, start + 10)
        heard.until(lambda upto=start + 9: upto in heard.rows("predicted"))  # type: ignore[misc]
    assert not terminal.lines
    engine.stop(PATIENCE_S)
    terminal.taking.set()
    speaker.close()
    assert any("90 samples lost" in line for line in terminal.lines)


def test_all_is_said_in_order_and_what_was_too_much_is_counted() -> None:
    terminal = Terminal()
    speaker = Speaker(terminal.say)

    def warn(number: int) -> dict[str, Any]:
        return {"event": "warning", "message": str(number)}

    speaker.event(warn(0))
    assert terminal.inside.wait(PATIENCE_S)
    for number in range(1, WAITING + 11):
        speaker.event(warn(number))
    speaker.event({"event": "settings", "message": "not for the terminal"})
    speaker.event({"event": "contamination", "contaminated": []})  # nothing new
    terminal.taking.set()
    speaker.close()
    assert terminal.lines[0] == "0"
    assert "10 messages are not shown" in terminal.lines[1]
    assert terminal.lines[2:] == [str(number) for number in range(11, WAITING + 11)]


def test_what_was_said_right_before_the_end_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where its thread only begins once the end has been told."""
    said, started = list[str](), list[threading.Thread]()
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    speaker = Speaker(said.append)
    speaker.event({"event": "warning", "message": "the last words"})
    monkeypatch.setattr(threading.Thread, "join", lambda *_: None)
    speaker.close()
    monkeypatch.undo()
    start(started[0])
    started[0].join(30.0)
    assert said == ["the last words"]
