"""Manners: asked in a process of its own, told in words; garbage collected only when there is time."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref

import pytest

from realtime import manners

ASK = """
import json, os, subprocess, sys, threading
from realtime.manners import ask_system, leave_realtime
done = threading.Event()

def rest():
    threading.Thread(target=done.wait, daemon=True).start()

rest()
told = ask_system({cores}, {realtime})
rest()
locked = [line for line in open("/proc/self/status") if line.startswith("VmLck")][0].split()[1]
threads = [int(name) for name in os.listdir("/proc/self/task")]
niceness = {{os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}}
policies = {{os.sched_getscheduler(thread) for thread in threads}}
cores = {{tuple(sorted(os.sched_getaffinity(thread))) for thread in threads}}
assert len(threads) > 2 and len(niceness) == len(cores) == len(policies) == 1, "threads are left out"
leave = "import os; from realtime.manners import leave_realtime; leave_realtime(); print(os.sched_getscheduler(0))"
child = int(subprocess.run([sys.executable, "-c", leave], capture_output=True, check=True).stdout)
leave_realtime()
assert os.SCHED_RR not in {{os.sched_getscheduler(thread) for thread in threads}}, "threads stay before all others"
print(json.dumps([told, niceness.pop(), policies.pop(), cores.pop(), int(locked), child]))
done.set()
"""


def asked(cores: tuple[int, ...], realtime: bool = True) -> tuple[dict[str, str], int, int, list[int], int, int]:
    """What was told, niceness, policy, cores, kB locked, and the policy of a process started later."""
    command = [sys.executable, "-c", ASK.format(cores=cores, realtime=realtime)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found[0], found[1], found[2], found[3], found[4], found[5]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is told is held against /proc")
@pytest.mark.parametrize("realtime", [True, False])
def test_what_is_told_is_what_was_given(realtime: bool) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    core = min(os.sched_getaffinity(0))
    told, niceness, policy, cores, locked_kb, child = asked((core,), realtime)
    if policy == os.SCHED_RR:
        assert realtime
        assert told["priority"] == "real-time, round robin 1"
    else:
        assert told["priority"] == f"niceness {niceness}" or (niceness == before and "not given" in told["priority"])
    assert child == os.SCHED_OTHER
    assert (told["cores"], cores) == (str(core), [core])
    assert (told["memory"] == "locked") == (locked_kb > 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pins a process as Linux does")
def test_a_core_that_is_not_there_is_told_and_changes_nothing() -> None:
    told, _, _, cores, _, _ = asked((4093,))
    assert "not given" in told["cores"]
    assert cores == sorted(os.sched_getaffinity(0))


class Knot:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


def test_garbage_waits_for_a_moment_of_rest() -> None:
    clock = [0.0]
    interval = sys.getswitchinterval()
    manners.calm_python()
    try:
        collector = manners.IdleCollector(lambda: clock[0])
        gone = weakref.ref(Knot())
        for _ in range(100_000):
            Knot()  # would trigger Python's own collector many times
        assert gone() is not None
        collector.rest()
        assert gone() is not None, "not a second has passed"
        clock[0] = 1.0
        collector.rest()
        assert gone() is None
        left = weakref.ref(Knot())
        clock[0] = 10.9
        collector.beat()
        assert left() is not None, "somebody who publishes rests often enough"
        clock[0] = 11.0
        collector.beat()
        assert left() is None, "nobody has rested for ten seconds"
    finally:
        manners.free_python()
        sys.setswitchinterval(interval)
    assert gc.isenabled()
