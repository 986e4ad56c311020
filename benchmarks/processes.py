"""The processes that a latency measurement consists of: started, heard and ended together, whatever happens.

A child ends when its standard input closes, so that none outlives a parent that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from realtime.errors import UserError

PORTS = range(17100, 30000, 100)  # of their own: the usual 32 may all be taken by other streams on this machine
END_S = 15.0  # to end by itself, before it is killed
Line = dict[str, Any]
LSL_MULTICAST_PORT = 16571  # the usual one


def lsl_config(base_port: int, port_range: int, multicast_port: int = LSL_MULTICAST_PORT) -> str:
    """What LSL reads: an own session on this machine alone, on ports from base_port on."""
    return f"""[ports]
IPv6 = disable
MulticastPort = {multicast_port}
BasePort = {base_port}
PortRange = {port_range}
[multicast]
ResolveScope = machine
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {uuid.uuid4().hex}
[log]
level = -2
"""


class Child:
    """One Python module in a process of its own, which tells its state in lines of JSON."""

    def __init__(self, name: str, module: str, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent, which ends us in order
            )
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self._closed = False
        self._reader = threading.Thread(target=self._read, name=f"{name} out", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    self._lines.put(said)

    def next_line(self, timeout_s: float) -> Line | None:
        """What it said next; None where it said nothing in time."""
        try:
            return self._lines.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def ended(self) -> str | None:
        """Why it is no longer there; None while it is, has lines to be read, or was asked to end."""
        status = self.process.poll()
        if status is None or self._closed or self._reader.is_alive() or not self._lines.empty():
            return None
        said = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{self.name} ended with status {status}: {said[-1].strip() if said else 'it said nothing'}"

    def close(self) -> None:
        """Ask it to end; kill it where it does not."""
        self._closed = True
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class TooSlow(UserError):
    """All parts run, and the machine does not keep up with what they are asked for."""


class Children:
    """All children of one measurement, in an LSL session of their own. Leaving the context ends them, newest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._all: list[Child] = []
        config = folder / "lsl_api.cfg"
        port = PORTS[os.getpid() % len(PORTS)]
        config.write_text(lsl_config(port + 1, 64, multicast_port=port), encoding="utf-8")
        self._environment = {**os.environ, "LSLAPICFG": str(config)}

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._all):
            child.close()

    def start(self, name: str, module: str, *words: object) -> Child:
        child = Child(name, module, [str(word) for word in words], self._folder, self._environment)
        self._all.append(child)
        return child

    def await_state(self, child: Child, state: str, timeout_s: float) -> Line:
        """The line in which `child` says that it is in `state`.

        Raises UserError where any child ends before that, TooSlow where all live and it takes too long.
        """
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            said = child.next_line(0.1)
            if said is not None and said.get("state") == state:
                return said
            if said is None:
                self.require_all()
        raise TooSlow(f"bench: {child.name} was not {state} within {timeout_s:g} s: close other programs, run again")

    def require_all(self) -> None:
        for child in self._all:
            reason = child.ended()
            if reason is not None:
                raise UserError(f"bench: {reason}")


# ---------------------------------------------------------------- in the child


def tell(state: str, **facts: object) -> None:
    """One line of JSON for the parent."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"state": state, **facts}), flush=True)


def stop_with_parent() -> threading.Event:
    """Set when the parent has closed our standard input, or is gone."""
    stop = threading.Event()

    def watch() -> None:
        while os.read(0, 4096):
            continue
        stop.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop
