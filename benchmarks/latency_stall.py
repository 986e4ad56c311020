"""What happens past the limit: the engine is held still for a while, as a load that takes all of it would."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.latency_case import Case, Share, run_case
from benchmarks.processes import Child
from realtime.block import Times
from realtime.errors import UserError
from realtime.sources.lsl import local_clock

BEFORE_S, AFTER_S = 5.0, 8.0
STEADY_S = 1.0


@dataclass(frozen=True)
class Stall:
    """stall_s: how long it was held. recovery_s: from its end until latency was normal again. Samples lost, skipped."""

    stall_s: float
    recovery_s: float
    lost: int
    skipped: int

    def __str__(self) -> str:
        what = f"{self.lost} samples lost, {self.skipped} skipped"
        return f"held for {self.stall_s:g} s: latency normal again {self.recovery_s:.2f} s later; {what}"


def run_stall(case: Case, stall_s: float, warm_up_s: float, random_weights: bool, share: Share) -> Stall:
    """Hold the engine of a measurement for stall_s and see it come back. Where processes can be held (not Windows)."""
    if not hasattr(signal, "SIGSTOP"):
        raise UserError("bench: found a system without SIGSTOP, expected one that can hold a process: leave this out")
    held: list[float] = []

    def meanwhile(engine: Child) -> None:
        time.sleep(BEFORE_S)
        held.append(local_clock())
        engine.process.send_signal(signal.SIGSTOP)
        time.sleep(stall_s)
        engine.process.send_signal(signal.SIGCONT)
        held.append(local_clock())

    measured = run_case(case, BEFORE_S + stall_s + AFTER_S, warm_up_s, random_weights, share, meanwhile)
    found = measured.parts
    order = np.argsort(found.arrived_s, kind="stable")
    again_s = normal_again(found.arrived_s[order], found.end_to_end[order], held[0], held[1])
    return Stall(stall_s, again_s - held[1], found.lost, found.skipped)


def normal_again(arrived_s: Times, latency_ms: Times, begun_s: float, ended_s: float) -> float:
    """The first arrival after ended_s from which on, for a second, latency is no higher than before begun_s.

    That is, than the largest then, or than twice the median, for a few seconds before may have been lucky ones.

    arrived_s, latency_ms: (rows,), in order of arrival. Raises UserError where that does not come.
    """
    before_ms = latency_ms[arrived_s < begun_s]
    limit_ms = max(before_ms.max(), 2 * np.median(before_ms))
    late = np.flatnonzero((arrived_s >= ended_s) & (latency_ms > limit_ms))
    for first in np.flatnonzero((arrived_s >= ended_s) & (latency_ms <= limit_ms)):
        after = late[late > first]
        until_s = arrived_s[after[0]] if len(after) else arrived_s[-1]
        if until_s - arrived_s[first] >= STEADY_S:
            return float(arrived_s[first])
    raise UserError("bench: latency did not return to normal in time: close other programs, run again")
