"""An engine that dies is started again, goes on with its state, and its recording never noticed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.commands import wiring
from realtime.commands.supervisor import Supervisor
from realtime.sinks.recording_status import MODULE, NOTE, Status, write_status
from realtime.sources.recording import Recording, load_recording
from tests.rig import await_state, replaying, small_config, small_model, small_recording

PATIENCE_S = 120.0


def options(**values: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{
            "config": Path("c"),
            "name": None,
            "record": None,
            "session": None,
            "seconds": None,
            "adapt": False,
            "accept_commands": False,
        },
        **values,
    )


class Scripted(Supervisor):
    """Its engines are small programs, one after the other."""

    def __init__(self, folder: Path, *programs: str):
        super().__init__(options(no_monitor=True), folder)
        self.programs, self.started = list(programs), 0

    def _command(self) -> list[str]:
        self.started += 1
        ready = f"import os, pathlib; pathlib.Path({str(self._ready)!r}).write_text('e');"
        return [sys.executable, "-c", ready + self.programs[self.started - 1]]


DIES, CRASHES = "os.kill(os.getpid(), 9)", "raise RuntimeError"


@pytest.mark.parametrize("status", [0, 2, 130])
def test_an_end_that_is_meant_is_no_death(status: int, tmp_path: Path) -> None:
    one = Scripted(tmp_path, f"os._exit({status})")
    assert (one.run(), one.started) == (status, 1)


@pytest.mark.parametrize("death", [DIES, CRASHES])
def test_an_engine_that_dies_is_started_again(death: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = Scripted(tmp_path, death, "os._exit(0)")
    assert (one.run(), one.started) == (0, 2)
    assert "the engine died (" in capfd.readouterr().err


def test_the_next_engine_stands_by_and_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.commands.supervisor.STANDBY_S", 0.0)
    standing, word = tmp_path / "standing", tmp_path / "word"
    dies = f"\nimport time\nwhile not pathlib.Path({str(standing)!r}).exists(): time.sleep(0.01)\n{DIES}"
    stands = f"""
import sys
pathlib.Path({str(standing)!r}).write_text(' '.join(sys.argv[1:]))
pathlib.Path({str(word)!r}).write_text(sys.stdin.readline())
os._exit(0)"""
    waits = "import sys; sys.stdin.readline()"
    one = Scripted(tmp_path, dies, stands, waits)
    assert one.run() == 0
    assert (standing.read_text(), word.read_text()) == ("--standby", '{"seconds": null}\n')


class AwaitedStandby(Scripted):
    """What stands by is awaited to its end before anything takes over."""

    def _begin(self, words: list[str], stdin: int | None = None) -> subprocess.Popen[bytes]:
        process = super()._begin(words, stdin)
        if words == ["--standby"]:
            process.wait(PATIENCE_S)
        return process


def test_one_that_stood_by_and_died_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    dies = f"\nimport time\nwhile not pathlib.Path({str(gone)!r}).exists(): time.sleep(0.01)\n{DIES}"
    monkeypatch.setattr("realtime.commands.supervisor.STANDBY_S", 0.0)
    stands = f"pathlib.Path({str(gone)!r}).touch(); os._exit(1)"
    one = AwaitedStandby(tmp_path, dies, stands, "os._exit(0)", "os._exit(0)")
    assert one.run() == 0
    assert one.started in (3, 4), "the engine, what stood by, the next one, and perhaps what stood by for that"


def test_one_that_dies_again_and_again_is_given_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = Scripted(tmp_path, DIES, DIES, DIES)
    assert (one.run(), one.started) == (1, 3)
    assert "the engine died 3 times in a row: given up" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="finds the recorder in /proc")
@pytest.mark.parametrize("ends", ["os._exit(2)", "os._exit(0)"])
def test_a_recording_that_no_engine_ended_is_told_of(
    ends: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second engine waits for its streams in vain, and a recording of the first goes on."""
    file = tmp_path / "a.xdf"
    keeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", MODULE])
    try:
        write_status(file, Status("recording", str(file), "e", (), keeper.pid))
        note = f"pathlib.Path({str(tmp_path / NOTE)!r}).write_text"
        one = Scripted(tmp_path, f"{note}({str(file)!r}); {DIES}", f"{note}('');{ends}" if "0" in ends else ends)
        one.run()
    finally:
        keeper.kill()
        keeper.wait()
    said = capfd.readouterr().err
    assert (f"end it with corticast record {file} --stop" in said) == ("2" in ends)


def test_one_that_never_ran_is_not_started_again(tmp_path: Path) -> None:
    one = Scripted(tmp_path, f"os.remove({str(tmp_path / 'ready')!r}); os._exit(1)")
    assert (one.run(), one.started) == (1, 1)


def test_the_supervisor_loads_neither_torch_nor_lsl() -> None:
    code = "import sys, realtime.cli, realtime.commands.run; print({'torch', 'pylsl', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [int(child) for child in found]


def until(there: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def lengthened(recording: Recording, times: int) -> Recording:
    """The same rows again and again."""
    streams = {}
    for name, stream in recording.streams.items():
        data = np.tile(stream.data, (times, 1))
        streams[name] = replace(stream, data=data, stamps=np.arange(len(data)) / stream.spec.rate_hz)
    return Recording(streams)


class Reading:
    """What a process writes on stderr, line by line."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process, self.lines = process, list[str]()

    def until(self, words: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(f"{time.monotonic():.2f} {line}")
            if words in line:
                return
        raise AssertionError(f"{words!r} was not said:\n{''.join(self.lines)}")


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="finds the engine in /proc")
def test_a_killed_engine_goes_on_and_is_recorded_on(tmp_path: Path) -> None:
    source = lengthened(small_recording(20.0, "kill"), 15)  # it ends with the test, however slow the machine is
    config = small_config("kill", None, "kill-engine")
    model = small_model(tmp_path, source, wiring.embedding_of(config.whisper))
    (tmp_path / "rig.toml").write_text(
        f'[sound]\nname = "kill sound"\nchannel = "stimulus"\n[ecog]\nname = "kill ecog"\n[model]\nfile = "{model}"\n'
        '[engine]\nname = "kill-engine"\nwait_s = 30\n'
    )
    path = tmp_path / "kill.xdf"
    command = [sys.executable, "-m", "realtime.cli", "run", str(tmp_path / "rig.toml"), f"--record={path}"]
    with replaying(source, tmp_path) as replay:
        process = subprocess.Popen([*command, "--no-monitor"], stderr=subprocess.PIPE, text=True)
        try:
            said = Reading(process)
            await_state(replay, "started")
            said.until("10 s | ")
            engine, _standing_by = children(process.pid)
            os.kill(engine, signal.SIGKILL)
            killed_s = time.monotonic()
            said.until("the engine died (killed by SIGKILL): starting it again")
            said.until("goes on after the engine's death")
            said.until("goes on after the engine's death")
            print(f"\na killed engine goes on after {time.monotonic() - killed_s:.1f} s")
            said.until("10 s | ")
            process.send_signal(signal.SIGINT)
            said.until("recorded")
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    check_recorded(path)


def check_recorded(path: Path) -> None:
    recorded = load_recording(path)
    predicted = recorded.streams["kill-engine.predicted"]
    steps = np.diff(predicted.stamps)
    assert np.count_nonzero(steps > 1.0) == 1, "one break"
    away = int(np.argmax(steps))
    assert len(steps) - away > 200, "it was recorded on"
    status = [json.loads(text) for _, text in recorded.markers["kill-engine.status"]]
    assert [event["event"] for event in status].count("started") == 2
    taken = {event["lane"]: event for event in status if event["event"] == "took_over"}
    anchors = [event for event in status if event["event"] == "anchor"]
    assert len(anchors) == 4
    for lane in ("sound", "ecog"):
        stream = recorded.streams[f"kill {lane}"]
        first = next(event["raw_s"] for event in anchors if event["lane"] == lane)
        used = np.count_nonzero((stream.stamps >= first - 1e-6) & (stream.stamps < status[-1]["time"]))
        counts = status[-1]["samples"][lane]
        assert counts["lost"] == taken[lane]["missed"] > 0.5 * stream.spec.rate_hz
        assert sum(counts.values()) == pytest.approx(used, abs=0.3 * stream.spec.rate_hz)
