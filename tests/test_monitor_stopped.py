"""A window that hangs or dies, in a process of its own beside a real engine that streams to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from realtime.commands.session import open_session
from realtime.engine import Engine
from tests.rig import await_state, replaying, small_config, small_recording
from tests.test_supervisor import until

SECONDS = 20.0


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="a process is stopped by a signal")
def test_an_engine_does_not_notice_a_window_that_is_stopped_or_killed(tmp_path: Path) -> None:
    name = f"stopped{os.getpid()}"
    words = [sys.executable, "-m", "realtime.cli", "monitor", "--engine", name]
    with replaying(small_recording(SECONDS, name), tmp_path) as replay:
        engine = open_session(small_config(name, None, name)).engine
        window = subprocess.Popen(words, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"})
        try:
            until(lambda: engine.results.sound.have_consumers, "the window listens")
            engine.start()
            await_state(replay, "started")
            for signal_sent, seconds in ((signal.SIGSTOP, 3.0), (signal.SIGKILL, 8.0)):
                wanted = engine.sound.received + engine.sound.spec.rate_hz * seconds
                window.send_signal(signal_sent)
                until(partial(_received, engine, wanted), "rows go on")
            await_state(replay, "finished")
        finally:
            window.kill()
            window.wait()
            engine.stop()
    assert not engine.failed.is_set()
    for lane, rate_hz in (("sound", 22050.0), ("ecog", 1000.0)):
        samples = engine.samples()[lane]
        assert samples["lost"] == samples["skipped"] == 0
        assert samples["received"] > 0.9 * SECONDS * rate_hz


def _received(engine: Engine, rows: float) -> bool:
    return engine.sound.received > rows
