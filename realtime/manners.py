"""What a process asks of the system to be on time. All of it is asked for, none of it required, and told."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable

SWITCH_INTERVAL_S = 0.0005  # how long Python lets one thread keep another from running
NICENESS = -10
LOCK_PRESENT, LOCK_FUTURE, LOCK_ON_FAULT = 1, 2, 4  # of mlockall(2) on Linux
COLLECT_EVERY_S = 1.0
Facts = dict[str, str]


def ask_system(cores: tuple[int, ...] = ()) -> Facts:
    """Ask for priority, memory that is not paged out, and (where given) cores, for this process and its threads.

    Returns what came of each, in words. To be called by a process that is an engine and nothing else, before the
    engine's threads are started: on Linux they inherit the priority, as later child processes do.
    """
    return {"priority": _tried(_raise_priority), "memory": _tried(_lock_memory), "cores": _tried(lambda: _pin(cores))}


def calm_python() -> None:
    """Let threads take turns quickly, and collect garbage only when there is time (`IdleCollector`)."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.disable()


def free_python() -> None:
    """Python's own collector again."""
    gc.enable()
    gc.unfreeze()


class IdleCollector:
    """Collects garbage when told that there is time for it, once a second at the most."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last_s = now()
        self.longest_s = 0.0

    def rest(self) -> None:
        """Called by the thread that has just published and now waits for the next block."""
        begun_s = self._now()
        if begun_s - self._last_s < COLLECT_EVERY_S:
            return
        gc.collect()
        self._last_s = self._now()
        self.longest_s = max(self.longest_s, self._last_s - begun_s)


def _tried(ask_for: Callable[[], str]) -> str:
    try:
        return ask_for()
    except (OSError, AttributeError, ValueError) as error:
        return f"not given: {error}"


def _raise_priority() -> str:
    if not hasattr(os, "setpriority"):
        return "not asked: this system has no niceness"
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    return f"niceness {os.getpriority(os.PRIO_PROCESS, 0)}"


def _lock_memory() -> str:
    """Pages stay in memory once they were used; only where no limit could make a later allocation fail."""
    if not sys.platform.startswith("linux"):
        return "not asked: only done on Linux"
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        return f"not asked: only {limit // 1024} kB may be locked (ulimit -l)"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(LOCK_PRESENT | LOCK_FUTURE | LOCK_ON_FAULT):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "locked"


def _pin(cores: tuple[int, ...]) -> str:
    if not hasattr(os, "sched_setaffinity"):
        return "not asked: this system pins no process"
    if cores:
        os.sched_setaffinity(0, cores)
    return ", ".join(map(str, sorted(os.sched_getaffinity(0))))
