"""`corticast streams` and `corticast run` as a user types them, against real LSL outlets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realtime.cli import main
from realtime.sources.recording import load_recording
from tests.rig import await_state, replaying, small_recording

RIG = """
[sound]
name = "{prefix} sound"
channel = "stimulus"
[ecog]
name = "{prefix} ecog"
exclude = ["AUX"]
[whisper]
model = "tiny.en"
layer = 1
[engine]
name = "{prefix}-engine"
wait_s = 90
"""


def run_command(*words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "realtime.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def test_streams_are_listed_with_rate_and_host(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    with replaying(small_recording(1.0, "listed"), tmp_path) as replay:
        await_state(replay, "ready")
        assert main(["streams", "--seconds", "2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "listed sound" in shown
    assert "2 x float32, 22050 Hz" in shown
    assert "7 x float32, 1000 Hz, microvolts" in shown


def test_run_without_a_model_records_and_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(RIG.format(prefix="timed"))
    with replaying(small_recording(25.0, "timed"), tmp_path):
        words = ("run", tmp_path / "rig.toml", "--seconds", "3", "--no-monitor", "--record", tmp_path / "timed.xdf")
        process = run_command(*words)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "0" in out
    recording = load_recording(tmp_path / "timed.xdf")
    assert {"timed sound", "timed ecog", "timed-engine.observed", "timed-engine.sound"} <= set(recording.streams)
    sound = recording.streams["timed-engine.sound"]
    assert sound.data.shape[1] == 81
    assert np.all(np.isfinite(sound.data))
    assert np.all(np.isnan(recording.streams["timed-engine.observed"].data)), "no baseline yet: nothing is observed"


def test_ctrl_c_ends_a_run_cleanly(tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text(RIG.format(prefix="stopped"))
    with replaying(small_recording(40.0, "stopped"), tmp_path) as replay:
        process = run_command("run", tmp_path / "rig.toml", "--no-monitor")
        try:
            await_state(replay, "started")
        finally:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            print(err)  # shown where the replay was never heard
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert "stopping" in err
    assert "sound" in out


def test_a_thread_that_computes_yet_does_not_abort_the_end() -> None:
    """As it would in the interpreter's end: a thread that is stopped there while it is in torch ends the process."""
    program = """
import sys, threading, time, torch
import realtime.cli
begun = threading.Event()
def compute():
    while True:
        begun.set()
        torch.zeros(4096)
for _ in range(8):
    threading.Thread(target=compute, daemon=True).start()
begun.wait()
sys.argv = ["corticast", "fit", "nowhere.toml"]
realtime.cli.program()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("corticast:") == 1
