"""What a process asks of the system to be on time. All of it is asked for, none of it required, and told."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SWITCH_INTERVAL_S = 0.0005  # how long Python lets one thread keep another from running
NICENESS = -10
REALTIME = 1  # of 1 to 99
LOCK_PRESENT, LOCK_FUTURE, LOCK_ON_FAULT = 1, 2, 4  # of mlockall(2) on Linux
COLLECT_EVERY_S, COLLECT_AT_LAST_S = 1.0, 10.0
Facts = dict[str, str]


def ask_system(cores: tuple[int, ...] = (), realtime: bool = True) -> Facts:
    """Ask for priority, memory that is not paged out, and (where given) cores, for this process and all its threads.

    realtime: before all programs that have no real-time priority themselves, where the system grants it; else, and
    where it does not, a high priority among them. Returns what came of each, in words. To be called by a process that
    is an engine and nothing else. Later threads inherit it; later processes call `leave_realtime`.
    """
    return {
        "priority": _tried(lambda: _before_all() if realtime and _realtime_granted() else _raise_priority()),
        "memory": _tried(_lock_memory),
        "cores": _tried(lambda: _pin(cores)),
    }


def knows_realtime() -> bool:
    """Whether it exists here. Not on a single core, where a busy engine would keep its own sources waiting."""
    return hasattr(os, "SCHED_RR") and os.cpu_count() != 1


def leave_realtime() -> None:
    """For an engine that has ended, and a process that an engine may have started: only a live one runs before all."""
    if not hasattr(os, "SCHED_RR"):
        return
    for thread in _threads():
        with suppress(ProcessLookupError):  # it has ended since
            if os.sched_getscheduler(thread) == os.SCHED_RR:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


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

    def rest(self) -> None:
        """Called by the thread that has just published and now waits for the next block."""
        self._collect_after(COLLECT_EVERY_S)

    def beat(self) -> None:
        """Called now and then by any thread, for when nothing has been published for long."""
        self._collect_after(COLLECT_AT_LAST_S)

    def _collect_after(self, seconds: float) -> None:
        if self._now() - self._last_s >= seconds:
            self._last_s = self._now()  # first: two threads do not both collect
            gc.collect()


def _tried(ask_for: Callable[[], str]) -> str:
    try:
        return ask_for()
    except (OSError, AttributeError, ValueError) as error:
        return f"not given: {error}"


def _realtime_granted() -> bool:
    """Whether this thread may have it."""
    if not knows_realtime():
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME))
    except PermissionError:
        return False
    return True


def _before_all() -> str:
    """Round robin among all threads that have the same real-time priority, the lowest that there is."""
    for thread in _threads():
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(REALTIME))
    return f"real-time, round robin {REALTIME}"


def _raise_priority() -> str:
    if not hasattr(os, "setpriority"):
        return "not asked: this system has no niceness"
    for thread in _threads():
        with suppress(ProcessLookupError):  # it has ended since
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
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
    for thread in _threads() if cores else ():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)
    return ", ".join(map(str, sorted(os.sched_getaffinity(0))))


def _threads() -> list[int]:
    """Of this process: Linux keeps priority and cores for each thread. 0, this process, elsewhere."""
    tasks = Path("/proc/self/task")
    return [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]
