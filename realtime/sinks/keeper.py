"""A recording that outlives whoever began it: a process in a session of its own that holds LabRecorder's pipes.

Beside FILE.xdf lies FILE.xdf.recorder.json, written anew every second: by it the recording is found again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from realtime.errors import UserError
from realtime.manners import leave_realtime
from realtime.sinks.recorder import Recorder
from realtime.sinks.recording_status import MODULE, Status, is_alive, read_status, status_file, write_status
from realtime.sources.lsl import StreamQuery

BEAT_S = 1.0
STALL_S = 15.0  # LabRecorder writes clock offsets every 5 s, even where no stream sends
LEAST_FREE = 1e9  # bytes
LEAST_MINUTES = 10.0
START_S = 40.0


class Watch:
    """Says in one line what is wrong with a growing file, or nothing."""

    def __init__(self, now_s: float):
        self._size, self._grew_s = 0, now_s
        self._first: tuple[float, int] | None = None
        self.stands_still = False

    def check(self, size: int, free: int, now_s: float) -> str:
        """size, free: bytes of the file and of its disk."""
        if size > self._size:
            self._size, self._grew_s = size, now_s
            self._first = self._first or (now_s, size)
        self.stands_still = now_s - self._grew_s > STALL_S
        if self.stands_still:
            return (
                f"the recording has not grown for {now_s - self._grew_s:.0f} s ({free / 1e6:.0f} MB free): record to "
                "another file, on a disk with room; LabRecorder writes no more into one that a full disk refused"
            )
        minutes = self._minutes_left(size, free, now_s)
        if free < LEAST_FREE or minutes < LEAST_MINUTES:
            left = f", enough for {minutes:.0f} min" if minutes < 1e4 else ""
            return f"the recording's disk has {free / 1e6:.0f} MB left{left}: make room"
        return ""

    def _minutes_left(self, size: int, free: int, now_s: float) -> float:
        if self._first is None or now_s - self._first[0] < STALL_S or size == self._first[1]:
            return float("inf")
        return free / (size - self._first[1]) * (now_s - self._first[0]) / 60.0


def start_recording(path: Path, queries: Sequence[StreamQuery], engine: str = "") -> Status:
    """Begin a recording that goes on until `stop_recording`. Returns when rows of every stream are recorded.

    Raises UserError where the file exists or the recording does not begin.
    """
    if path.exists():
        raise UserError(f"{str(path)!r} exists already and is not written over: choose another file name")
    if is_alive(read_status(path)):
        raise UserError(f"{str(path)!r} is being recorded already: stop it first with corticast record {path} --stop")
    _make_folder(path.parent)
    status_file(path).unlink(missing_ok=True)
    wanted = json.dumps([asdict(query) for query in queries])
    command = [sys.executable, "-m", MODULE, str(path.resolve()), engine, wanted]
    flags: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, **flags)
    threading.Thread(target=process.wait, daemon=True).start()  # or it would stay as a zombie
    return _await_start(path, process)


def _await_start(path: Path, process: subprocess.Popen[bytes]) -> Status:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        status = read_status(path)
        if status is not None and status.state == "recording":
            return status
        if process.poll() is not None:
            status = read_status(path)
            status_file(path).unlink(missing_ok=True)
            why = status.message if status is not None else f"its process ended with status {process.returncode}"
            raise UserError(why if status is not None else f"{str(path)!r} could not be recorded: {why}; try again")
        time.sleep(0.05)
    process.terminate()
    raise UserError(f"the recording of {str(path)!r} did not begin within {START_S:g} s: try again")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {folder} of the recording cannot be made ({error.strerror}): choose another"
        ) from (None)


def keep(path: Path, engine: str, queries: Sequence[StreamQuery], stop: threading.Event) -> int:
    """Record until `stop`: the body of the keeper's process."""
    status = Status("starting", str(path), engine, tuple(str(query) for query in queries), os.getpid())
    write_status(path, status)
    recorder = Recorder(path, queries)
    try:
        recorder.start()
    except (UserError, OSError) as error:
        write_status(path, replace(status, state="failed", message=str(error)))
        return 2
    watch = Watch(time.monotonic())
    status = replace(status, state="recording", recorder_pid=recorder.pid)
    while recorder.running:
        size, free = recorder.size_bytes, shutil.disk_usage(path.parent).free
        message = watch.check(size, free, time.monotonic())
        status = replace(status, size_bytes=size, free_bytes=free, message=message)
        write_status(path, status)
        if stop.wait(BEAT_S):
            return _finish(path, recorder, status, watch)
    message = f"LabRecorder ended by itself: {path.name} holds what came before; record to another file"
    write_status(path, replace(status, state="failed", message=message, size_bytes=recorder.size_bytes))
    return 1


def _finish(path: Path, recorder: Recorder, status: Status, watch: Watch) -> int:
    before = recorder.size_bytes
    try:
        recorder.stop()
        _require_end(path, recorder.size_bytes - before, watch.stands_still)
    except UserError as error:
        write_status(path, replace(status, state="failed", message=str(error)))
        return 1
    write_status(path, replace(status, state="finished", size_bytes=recorder.size_bytes, message=""))
    return 0


def _require_end(path: Path, written: int, stood_still: bool) -> None:
    """LabRecorder ends well even where nothing could be written any more. Every stream's end takes some bytes."""
    if written <= 0 or stood_still:
        raise UserError(
            f"{path.name} could not be written to its end, its disk is probably full: it holds what came before"
        )


def main(arguments: Sequence[str]) -> int:
    leave_realtime()  # an engine may have started it, and the recorder takes its priority from here
    path, engine, wanted = arguments
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return keep(Path(path), engine, [StreamQuery(**query) for query in json.loads(wanted)], stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
