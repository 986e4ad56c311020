"""An operator's commands through the window, real LSL and a real engine, into a recording."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realtime.commands import wiring
from realtime.commands.obey import obeying
from realtime.engine import Engine, EngineSettings
from realtime.monitor.commands import Commander, open_outlet
from realtime.repair import Repair
from realtime.sinks.recorder import Recorder
from realtime.sinks.recording_status import read_status
from realtime.sources.lsl import StreamQuery, local_clock
from realtime.sources.recording import load_recording
from realtime.stage import Chain
from tests.rig import await_state, replaying, small_config, small_model, small_recording
from tests.test_supervisor import PATIENCE_S as LONG_S
from tests.test_supervisor import Reading, children, lengthened, until
from tests.toys import PATIENCE_S, FakeInlet, Toy


def toy_engine(name: str) -> Engine:
    """With outlets on LSL and sources in the test's hands, no model."""
    sound, ecog = FakeInlet("s", 2), FakeInlet("e", 2)
    sound.now = ecog.now = local_clock  # type: ignore[method-assign]
    chains = [Chain([("repair", Repair(50.0, 0.5, hold=True)), ("model", Toy())]) for _ in range(2)]
    return Engine(EngineSettings(name, ("e0", "e1"), None), (sound, chains[0]), (ecog, chains[1]))


@pytest.fixture
def pair(qtbot: Any) -> Iterator[tuple[Any, Engine]]:
    from realtime.monitor.client import Client
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network

    engine = toy_engine(f"test{uuid.uuid4().hex[:8]}")
    window = Window(Client(engine.settings.name, Network, local_clock))
    qtbot.addWidget(window)
    window.show()
    window.client.start()
    qtbot.waitUntil(lambda: window.client.outlets["status"].inlet is not None, timeout=30_000)
    with obeying(engine, None, True):
        engine.start()
        qtbot.waitUntil(lambda: window.commander.heard, timeout=30_000)
        yield window, engine
        engine.stop(PATIENCE_S)
    window.close()
    window.client.close()


def test_a_marker_goes_round_into_the_recording(qtbot: Any, pair: tuple[Any, Engine], tmp_path: Path) -> None:
    import pyxdf
    from PySide6.QtCore import Qt

    window, engine = pair
    recorder = Recorder(tmp_path / "a.xdf", [StreamQuery(name=f"{engine.settings.name}.markers")])
    recorder.start()
    before_s = local_clock()
    qtbot.keyClick(window, Qt.Key.Key_M)
    after_s = local_clock()
    qtbot.keyClicks(window.controls.marker, "stim on")
    qtbot.keyClick(window.controls.marker, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.health.says.text() == "marker 'stim on': confirmed", timeout=30_000)
    qtbot.waitUntil(lambda: [text for _, text in window.client.markers] == ["stim on"], timeout=30_000)
    recorder.stop()
    (stream,), _ = pyxdf.load_xdf(str(tmp_path / "a.xdf"), dejitter_timestamps=False)
    assert [row[0] for row in stream["time_series"]] == ["stim on"]
    assert before_s - 1e-3 <= stream["time_stamps"][0] <= after_s + 1e-3, "the moment of the key, not of Enter"


def test_what_cannot_be_done_is_told(qtbot: Any, pair: tuple[Any, Engine]) -> None:
    window, _ = pair
    window.controls.buttons["Record"].click()
    says = "recording on: not done: this session cannot be recorded"
    qtbot.waitUntil(lambda: window.health.says.text() == says, timeout=30_000)
    window.controls.buttons["Adapt"].click()
    says = "adaptation on: not done: adaptation needs a fitted model"
    qtbot.waitUntil(lambda: window.health.says.text().startswith(says), timeout=30_000)


def test_without_leave_nothing_listens() -> None:
    engine = toy_engine(f"test{uuid.uuid4().hex[:8]}")
    with obeying(engine, None, False):
        assert engine.facts_now["accepts_commands"] is False


def _bytes(folder: Path) -> bytes:
    """Of the one recording there."""
    (path,) = folder.glob("obey-engine-*.xdf")
    return path.read_bytes()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="finds the engine in /proc")
def test_a_recording_that_an_operator_began_outlives_the_engine(tmp_path: Path) -> None:
    source = lengthened(small_recording(20.0, "obey"), 15)
    model = small_model(tmp_path, source, wiring.embedding_of(small_config("obey", None, "obey-engine").whisper))
    (tmp_path / "rig.toml").write_text(
        f'[sound]\nname = "obey sound"\nchannel = "stimulus"\n[ecog]\nname = "obey ecog"\n[model]\nfile = "{model}"\n'
        '[engine]\nname = "obey-engine"\nwait_s = 30\n'
    )
    commander = Commander(lambda: open_outlet("obey-engine"), local_clock)
    commander.listen_for(True)
    words = [sys.executable, "-m", "realtime.cli", "run", "rig.toml", "--accept-commands", "--no-monitor"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with replaying(source, tmp_path) as replay:
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
        try:
            said = Reading(process)
            await_state(replay, "started")
            until(lambda: commander.heard, "the engine listens")
            commander.send("record", "recording on", on=True)
            said.until("recording into ")
            commander.send("marker", "marker", text="one")
            said.until("marker: one")
            until(lambda: b"\x01\x03one" in _bytes(tmp_path), "the marker is on the disk")  # its length, then itself
            (recording,) = tmp_path.glob("obey-engine-*.xdf")
            status = read_status(recording)
            assert status is not None
            for pid in (status.pid, status.recorder_pid):
                assert os.sched_getscheduler(pid) == os.SCHED_OTHER, "only the engine runs before all others"
            engine, *_standing_by = children(process.pid)
            os.kill(engine, signal.SIGKILL)
            said.until("the recording obey-engine-")
            said.until("goes on after the engine's death")
            until(lambda: commander.heard, "the next engine listens")
            commander.send("marker", "marker", text="two")
            said.until("marker: two")
            commander.send("record", "recording off", on=False)
            said.until("recorded ")
            process.send_signal(signal.SIGINT)
            assert process.wait(LONG_S) == 0
        finally:
            process.kill()
            process.wait(LONG_S)
    (path,) = tmp_path.glob("obey-engine-*.xdf")
    recorded = load_recording(path)
    assert [text for _, text in recorded.markers["obey-engine.markers"]] == ["one", "two"]
    assert len(recorded.streams["obey-engine.predicted"].data) > 100
    assert not list(tmp_path.glob("*.recorder.json"))
