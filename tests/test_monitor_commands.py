"""What stays to be acknowledged, and what the monitor asks of the engine: without Qt, then in the window."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime.monitor.alarms import Alarms, clock_words
from realtime.monitor.commands import Commander
from realtime.monitor.vitals import Recording, read_settings

# -- alarms ------------------------------------------------------------------------------------------------------------


def test_a_problem_stays_until_acknowledged() -> None:
    now = [1000.0]
    alarms = Alarms(lambda: now[0])
    alarms.update(["no rows for 1.6 s"])
    alarms.update(["no rows for 1.9 s"])
    assert (alarms.banner(), alarms.to_acknowledge()) == ("no rows for 1.9 s", True)
    now[0] = 1003.0
    alarms.update([])
    assert alarms.banner() == f"no rows for 1.9 s (over since {clock_words(1003.0)})"
    alarms.acknowledge()
    assert (alarms.banner(), alarms.quiet(), alarms.to_acknowledge()) == ("", "", False)
    alarms.update(["no rows for 1.6 s"])
    assert alarms.banner() == "no rows for 1.6 s"
    assert [text for _, text in alarms.log] == [
        "no rows for 1.6 s",
        "over: no rows for 1.9 s",
        "acknowledged",
        "no rows for 1.6 s",
    ]


def test_acknowledged_and_still_so_is_said_quietly_until_over() -> None:
    alarms = Alarms()
    alarms.update(["ecog is silent", "no model"])
    alarms.acknowledge()
    alarms.update(["ecog is silent", "no model", "sound is silent"])
    assert alarms.banner() == "sound is silent"
    assert alarms.quiet() == "ecog is silent   ·   no model"
    alarms.update(["no model", "sound is silent"])
    assert alarms.quiet() == "no model"
    alarms.update(["no model", "sound is silent", "ecog is silent"])  # again: a new one
    assert "ecog is silent" in alarms.banner()


def test_waiting_is_no_alarm_and_many_are_counted() -> None:
    alarms = Alarms()
    alarms.update(["waiting for engine 'a'"])
    assert (alarms.banner(), alarms.to_acknowledge()) == ("waiting for engine 'a'", False)
    alarms.update([])
    assert alarms.banner() == ""
    alarms.update([f"stream {name}" for name in "abcdef"])
    assert alarms.banner() == "stream a   ·   stream b   ·   stream c   ·   and 3 more"
    for k in range(1000):
        alarms.update([f"problem {'x' * (k % 100)}"])
    assert len(alarms._alarms) <= 30


# -- commands ----------------------------------------------------------------------------------------------------------


class Line:
    def __init__(self, consumers: bool) -> None:
        self.have_consumers = consumers
        self.sent: list[tuple[dict[str, Any], float]] = []

    def push_text(self, text: str, time_s: float) -> None:
        self.sent.append((json.loads(text), time_s))


def test_a_command_is_sent_confirmed_refused_or_unanswered() -> None:
    line, now = Line(True), [50.0]
    commander = Commander(lambda: line, lambda: now[0])
    commander.listen_for(False)
    commander.send("marker", "marker 'a'", text="a")
    assert commander.words() == "marker 'a': not done: the engine does not listen to this monitor"
    commander.listen_for(True)
    commander.send("marker", "marker 'b'", 48.5, text="b")
    sent, stamp = line.sent[-1]
    assert (sent["command"], sent["text"], stamp) == ("marker", "b", 48.5)
    assert commander.words() == "marker 'b': sent"
    commander.hear({"event": "command", "id": "another", "done": True})
    now[0] = 53.5
    assert commander.words() == "marker 'b': no answer from the engine"
    commander.hear({"event": "command", "id": sent["id"], "done": True})
    assert commander.words() == "marker 'b': confirmed"
    commander.send("adapt", "adaptation on", on=True)
    assert line.sent[-1][1] == 53.5
    commander.hear({"event": "command", "id": line.sent[-1][0]["id"], "done": False, "message": "no"})
    assert commander.words() == "adaptation on: not done: no"
    line.have_consumers = False
    commander.send("record", "recording on", on=True)
    assert "does not listen" in commander.words()
    assert len(line.sent) == 2


def test_switches_are_read_from_the_settings() -> None:
    assert read_settings({}).accepts_commands is False
    told = read_settings({"accepts_commands": True, "adaptation": "on", "recording": {"file": "a.xdf", "bytes": 5}})
    assert (told.accepts_commands, told.adaptation) == (True, True)
    assert told.recording == Recording(True, "a.xdf", 5, None)
    assert read_settings({"adaptation": False, "recording": False}).recording == Recording(False)


# -- in the window -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(qtbot: Any) -> Iterator[tuple[Any, Any]]:
    from realtime.monitor.client import Client
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network, local_clock
    from tests.fake_engine import FakeEngine

    name = f"test{uuid.uuid4().hex[:8]}"
    window = Window(Client(name, Network, local_clock))
    qtbot.addWidget(window)
    window.show()
    window.client.start()
    engine = FakeEngine(name, electrodes=4)
    assert engine.wait_for_monitor()
    qtbot.waitUntil(lambda: all(o.inlet is not None for o in window.client.outlets.values()), timeout=30_000)
    yield window, engine
    window.close()
    window.client.close()


def listening(qtbot: Any, window: Any, engine: Any) -> None:
    """The engine accepts commands, and each has the other's stream."""
    engine.accepts = True
    engine.say_settings()
    qtbot.waitUntil(lambda: window.controls.marker.isEnabled(), timeout=30_000)
    assert engine.accept_commands()
    qtbot.waitUntil(lambda: window.commander.heard, timeout=30_000)


def test_a_marker_travels_into_the_recording(qtbot: Any, pair: tuple[Any, Any], tmp_path: Path) -> None:
    import pyxdf
    from PySide6.QtCore import Qt

    from realtime.sinks.recorder import Recorder
    from realtime.sources.lsl import StreamQuery

    window, engine = pair
    assert not window.controls.marker.isEnabled()
    assert "--accept-commands" in window.controls.buttons["Record"].toolTip()
    listening(qtbot, window, engine)
    recorder = Recorder(tmp_path / "session.xdf", [StreamQuery(name=f"{engine.name}.commands")])
    recorder.start()
    before_s = window.client.clock()
    qtbot.keyClick(window, Qt.Key.Key_M)
    after_s = window.client.clock()
    qtbot.keyClicks(window.controls.marker, "stim on, B3")  # letters that are keys of the window too
    qtbot.keyClick(window.controls.marker, Qt.Key.Key_Return)
    command, stamp = engine.obey()
    assert (command["command"], command["text"]) == ("marker", "stim on, B3")
    assert before_s <= stamp <= after_s
    qtbot.waitUntil(lambda: window.health.says.text() == "marker 'stim on, B3': confirmed", timeout=30_000)
    assert window.view.live
    recorder.stop()
    streams, _ = pyxdf.load_xdf(str(tmp_path / "session.xdf"), dejitter_timestamps=False)
    assert [json.loads(text[0])["text"] for text in streams[0]["time_series"]] == ["stim on, B3"]
    assert streams[0]["time_stamps"][0] == pytest.approx(stamp, abs=1e-3)


def test_switches_ask_and_show_the_answer(qtbot: Any, pair: tuple[Any, Any]) -> None:
    window, engine = pair
    window.switch_recording()  # the key, while commands are not accepted
    assert window.commander.words() == ""
    listening(qtbot, window, engine)
    window.controls.buttons["Record"].click()
    command, _ = engine.obey()
    assert (command["command"], command["on"]) == ("record", True)
    qtbot.waitUntil(lambda: window.health.says.text() == "recording on: confirmed", timeout=30_000)
    engine.facts = {"recording": {"on": True, "bytes": 12_300_000, "free_bytes": 45e9}, "adaptation": True}
    engine.say_settings()
    qtbot.waitUntil(
        lambda: "on, 12.3 MB, 45 GB left" in window.health.who.text().replace("&nbsp;", " "), timeout=30_000
    )
    window.controls.buttons["Record"].click()
    assert engine.obey()[0]["on"] is False
    window.controls.buttons["Adapt"].click()
    assert engine.obey()[0]["on"] is False
    says = "adaptation off: not done: this model does not adapt"
    qtbot.waitUntil(lambda: window.health.says.text() == says, timeout=30_000)


def test_banner_waits_for_somebody_and_the_list_keeps_it(qtbot: Any, pair: tuple[Any, Any]) -> None:
    from PySide6.QtCore import Qt

    window, engine = pair
    engine.say("silent", stream="ecog", message="ecog is silent")
    qtbot.waitUntil(lambda: "ecog is silent" in window.health.banner.text(), timeout=30_000)
    engine.say("offset", stream="ecog", message="clock offset 0.1 s")  # for replay, not for people
    engine.say("resumed", stream="ecog", message="ecog is back")
    qtbot.waitUntil(lambda: "over since" in window.health.banner.text(), timeout=30_000)
    qtbot.keyClick(window, Qt.Key.Key_A)
    qtbot.waitUntil(lambda: "ecog" not in window.health.banner.text(), timeout=30_000)
    window.tabs.setCurrentWidget(window.events.widget)
    qtbot.waitUntil(lambda: "ecog is back" in window.events.widget.toPlainText(), timeout=30_000)
    lines = window.events.widget.toPlainText().splitlines()
    assert not any("offset" in line for line in lines)
    texts = [line.split("  ", 1)[1] for line in lines]
    assert texts.index("ecog is back") < texts.index("ecog is silent")
    assert all(len(line.split("  ")[0]) == 8 for line in lines)


def test_a_picture_is_saved_where_it_is_said(
    pair: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, _ = pair
    monkeypatch.chdir(tmp_path)
    window.controls.buttons["picture"].click()
    (path,) = tmp_path.glob("corticast-*.png")
    assert window._says == f"saved {path}"
    assert path.read_bytes().startswith(b"\x89PNG")
