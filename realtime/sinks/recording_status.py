"""What a recording's keeper says of it, in a small file beside it; needs neither LSL nor anything else large."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from realtime.errors import UserError

STALE_S = 10.0  # a status older than this was not written: the disk is full, or the machine hangs
PROC = Path("/proc")
MODULE = "realtime.sinks.keeper"
NOTE = "recording"  # in the supervisor's folder: which file is recorded, for an engine that takes over


@dataclass(frozen=True)
class Status:
    """state: starting, recording, finished or failed. message: for the operator, where something is wrong.

    pid: of the process that holds the recorder, whose own is recorder_pid. updated_s: seconds since 1970.
    """

    state: str
    file: str
    engine: str
    streams: tuple[str, ...]
    pid: int
    recorder_pid: int = 0
    size_bytes: int = 0
    free_bytes: int = 0
    message: str = ""
    updated_s: float = 0.0


def status_file(path: Path) -> Path:
    return path.with_name(path.name + ".recorder.json")


def read_status(path: Path) -> Status | None:
    """What the keeper of a recording last said; None where there is none, or it makes no sense."""
    try:
        content = json.loads(status_file(path).read_text(encoding="utf-8"))
        return Status(**{**content, "streams": tuple(content["streams"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def is_alive(status: Status | None) -> bool:
    """Whether the recording goes on. A number of a process that has ended may have been given to another."""
    if status is None or status.state not in ("starting", "recording"):
        return False
    if not PROC.is_dir():
        return time.time() - status.updated_s < STALE_S
    try:
        command = (PROC / str(status.pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return MODULE.encode() in command


def noted(folder: Path) -> Path | None:
    """The recording that a supervisor's folder notes and that goes on, whatever became of its engine."""
    note = folder / NOTE
    path = Path(note.read_text(encoding="utf-8") if note.exists() else "").absolute()
    return path if is_alive(read_status(path)) else None


def goes_on_for(path: Path, engine: str) -> bool:
    """Whether this file is being recorded for an engine of this name: one that has crashed."""
    status = read_status(path)
    return status is not None and status.engine == engine and is_alive(status)


def require_free(path: Path | None, engine: str) -> None:
    """Raise UserError where a recording is to go to a file that exists: told before anything else is done.

    One that is still being recorded for an engine of this name, which has crashed, will go on.
    """
    if path is not None and path.exists() and not goes_on_for(path, engine):
        raise UserError(f"{str(path)!r} exists already and is not written over: choose another file name")


def trouble(path: Path) -> str:
    """What the operator should know of a recording that is meant to go on; empty where all is well."""
    status = read_status(path)
    if status is None:
        return f"the recording {path} has lost its status file: look whether it still grows"
    if status.message:
        return status.message
    if not is_alive(status):
        return f"the recorder of {path} has ended: start another recording"
    if time.time() - status.updated_s > STALE_S:
        return f"the recorder of {path} cannot write: its disk is probably full"
    return ""


def stop_recording(path: Path, timeout_s: float = 30.0) -> Status:
    """End a recording; returns when its file is complete. Raises UserError where none goes on or it ends badly."""
    status = read_status(path)
    if status is None or not is_alive(status):
        why = status.message if status is not None and status.message else "no recorder of it is running"
        raise UserError(f"{str(path)!r} is not being recorded: {why}")
    os.kill(status.pid, signal.SIGTERM)
    until = time.monotonic() + timeout_s
    while is_alive(read_status(path)) and time.monotonic() < until:
        time.sleep(0.05)
    ended = read_status(path)
    if ended is None or ended.state != "finished":
        why = ended.message if ended is not None and ended.message else "its recorder did not answer"
        raise UserError(f"the recording {str(path)!r} did not end as it should ({why}): check its last second")
    status_file(path).unlink(missing_ok=True)
    return ended


def write_status(path: Path, status: Status) -> None:
    """Whole or not at all. A disk that is full must not end the recording: what is old shows by its time."""
    file = status_file(path)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        aside.write_text(json.dumps({**asdict(status), "updated_s": time.time()}), encoding="utf-8")
        aside.replace(file)
