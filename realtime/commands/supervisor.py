"""Starts the engine and starts it again when it dies. Loads neither torch nor LSL: it must not die of them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from realtime.commands.console import say
from realtime.commands.window import open_monitor
from realtime.sinks.recording_status import noted

POLL_S = 0.1
APART = os.name == "posix"  # elsewhere Ctrl-C reaches the engine by itself
MEANT = (0, 2, 130)  # ends that are no accident: done, a user's mistake, Ctrl-C
SHORT_S = 30.0  # an engine that ran for less than this has died at once
SHORT_LIVES = 3  # in a row, before it is given up
STANDBY_S = 5.0  # after an engine has begun, when the next one is loaded: not while it starts itself


class Supervisor:
    """One engine at a time, until it ends as meant, is stopped, or dies at once again and again.

    Beside it another process waits that has loaded all libraries, so that a death costs their 3 s no more.
    Its folder lives as long as the session: the engine keeps its state there, and says in `ready` that it runs.
    """

    def __init__(self, options: argparse.Namespace, folder: Path):
        self._options, self._folder = options, folder
        self._engine: subprocess.Popen[bytes] | None = None
        self._standby: subprocess.Popen[bytes] | None = None
        self._window: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._began_s = 0.0

    def run(self) -> int:
        """The exit status of the last engine; 1 where a signal ended it."""
        short = 0
        try:
            while True:
                started_s = time.monotonic()
                status = self._one()
                if self._stopping or status in MEANT or not self._ready.exists() or self._seconds_left() == 0:
                    return status if status >= 0 else 1
                short = short + 1 if time.monotonic() - started_s < SHORT_S else 1
                if short >= SHORT_LIVES:
                    say(f"the engine died {short} times in a row: given up")
                    return status if status > 0 else 1
                say(f"the engine died ({_why(status)}): starting it again")
        finally:
            for process in (self._window, self._standby):
                if process is not None:
                    process.terminate()
            self._tell_of_a_recording()

    def stop(self, *_: object) -> None:
        """Ask the engine to end in good order; asked again, it is ended. As a signal's handler."""
        again, self._stopping = self._stopping, True
        if APART and self._engine is not None and self._engine.poll() is None:
            self._engine.send_signal(signal.SIGTERM if again else signal.SIGINT)

    @property
    def _ready(self) -> Path:
        return self._folder / "ready"

    def _one(self) -> int:
        started_s = time.monotonic()
        self._engine = self._taken_over() or self._begin(self._seconds_words())
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._engine.wait(POLL_S)
            if not self._began_s and self._ready.exists():
                self._began_s = time.monotonic()
                if not self._options.no_monitor:
                    self._window = open_monitor(self._ready.read_text(encoding="utf-8"))
            if self._standby is None and self._began_s and time.monotonic() - started_s > STANDBY_S:
                self._standby = self._begin(["--standby"], stdin=subprocess.PIPE)

    def _begin(self, words: list[str], stdin: int | None = None) -> subprocess.Popen[bytes]:
        # In a session of its own: Ctrl-C reaches it through us alone, and once.
        return subprocess.Popen([*self._command(), *words], start_new_session=APART, stdin=stdin)

    def _taken_over(self) -> subprocess.Popen[bytes] | None:
        """The process that stood by, told to go on; None where there is none that lives."""
        process, self._standby = self._standby, None
        if process is None or process.stdin is None or process.poll() is not None:
            return None
        try:
            process.stdin.write(json.dumps({"seconds": self._seconds_left()}).encode() + b"\n")
            process.stdin.close()
        except OSError:  # it has just died
            return None
        return process

    def _command(self) -> list[str]:
        words = [str(self._options.config), "--no-monitor", "--no-supervisor", "--supervised", str(self._folder)]
        for name in ("name", "record", "session"):
            value = getattr(self._options, name)
            words += [f"--{name}={value}"] if value is not None else []
        words += ["--adapt"] if self._options.adapt else []
        words += ["--accept-commands"] if self._options.accept_commands else []
        return [sys.executable, "-m", "realtime.cli", "run", *words]

    def _seconds_words(self) -> list[str]:
        left = self._seconds_left()
        return [f"--seconds={left}"] if left is not None else []

    def _seconds_left(self) -> float | None:
        seconds: float | None = self._options.seconds
        if seconds is None or not self._began_s:
            return seconds
        return max(0.0, seconds - (time.monotonic() - self._began_s))

    def _tell_of_a_recording(self) -> None:
        """One that the last engine did not end, such as one whose streams stayed away, goes on without it."""
        path = noted(self._folder)
        if path is not None:
            say(f"the recording {path} goes on without an engine: end it with corticast record {path} --stop")


def supervise(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="corticast-") as folder:
        supervisor = Supervisor(options, Path(folder))
        with _signals(supervisor):
            return supervisor.run()


@contextlib.contextmanager
def _signals(supervisor: Supervisor) -> Iterator[None]:
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if os.name == "posix" else [])]
    before = {number: signal.signal(number, supervisor.stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _why(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
