"""One receiver of the transport comparison: ours, plain pylsl, MNE-LSL's or ezmsg-lsl's, in a process of its own.

Each notes, when it holds new rows as a NumPy array, the newest counter (channel 0) and the time.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import stop_with_parent, tell
from realtime.block import Block, Spec
from realtime.clock import Clock
from realtime.ring import Ring
from realtime.sources.lsl import LslInlet, StreamQuery, keep_forever, local_clock, pump

WARM_UP_S = 1.0
WAIT_S = 20.0
POLL_S = 0.002
RING_S = 30.0


class Notes:
    """Counters and times as they come, and processor time in windows of a second, once warm."""

    def __init__(self, windows: int) -> None:
        self.counters: list[int] = []
        self.times: list[float] = []
        self.cpu_ms: list[float] = []
        self._windows, self._begun, self._cpu_s = windows, 0.0, 0.0

    def add(self, counter: float, now_s: float) -> bool:
        """Note it; False when there is enough."""
        if not self._begun:
            self._begun, self._cpu_s = now_s + WARM_UP_S, -1.0
        if now_s < self._begun:
            return True
        if self._cpu_s < 0:
            self._cpu_s = time.process_time()
        self.counters.append(int(counter))
        self.times.append(now_s)
        if now_s >= self._begun + 1.0:
            cpu_s = time.process_time()
            self.cpu_ms.append(1e3 * (cpu_s - self._cpu_s) / (now_s - self._begun))
            self._begun, self._cpu_s = now_s, cpu_s
        return len(self.cpu_ms) < self._windows


class NotedRing(Ring):
    """A ring that notes when rows are in it, and ends the pump when there are enough notes."""

    def __init__(self, spec: Spec, ring_s: float, notes: Notes, stop: threading.Event) -> None:
        super().__init__(round(ring_s * spec.rate_hz), (len(spec.channels),))
        self._notes, self._stop = notes, stop

    def write(self, block: Block) -> None:
        super().write(block)
        if not self._notes.add(float(block.data[-1, 0]), local_clock()):
            self._stop.set()


def ours(name: str, notes: Notes, stop: threading.Event) -> None:
    """What a lane does: `pump` into a ring, with regular times."""
    inlet = LslInlet(StreamQuery(name), WAIT_S).connect()
    ring = NotedRing(inlet.spec, RING_S, notes, stop)
    pump(inlet, Clock(inlet.spec.rate_hz), ring, lambda _event: None, stop)


def plain(name: str, notes: Notes, stop: threading.Event) -> None:
    """The least that a Python program can do: block on an inlet, into an array made once."""
    pylsl: Any = importlib.import_module("pylsl")
    (info,) = pylsl.resolve_byprop("name", name, 1, WAIT_S)
    inlet = pylsl.StreamInlet(info, max_buflen=60)
    keep_forever(inlet)
    rows = max(32, round(0.25 * info.nominal_srate()))
    array = np.empty((rows, info.channel_count()), np.float32)
    going = True
    while going and not stop.is_set():
        _, stamps = inlet.pull_chunk(0.1, rows, dest_obj=array, min_samples=1, as_numpy=True)
        if len(stamps):
            going = notes.add(float(array[len(stamps) - 1, 0]), local_clock())


def mne_lsl(name: str, notes: Notes, stop: threading.Event) -> None:
    """A `StreamLSL` with a buffer of 30 s, acquired as fast as it can be, its newest rows taken when there are any."""
    package: Any = importlib.import_module("mne_lsl.lsl")
    stream: Any = importlib.import_module("mne_lsl.stream").StreamLSL(bufsize=30, name=name)
    stream.connect(acquisition_delay=POLL_S, timeout=WAIT_S)
    going = True
    while going and not stop.is_set():
        fresh = int(stream.n_new_samples)
        if not fresh:
            time.sleep(POLL_S)
            continue
        data, _ = stream.get_data(winsize=fresh / stream.info["sfreq"])
        going = notes.add(float(data[0, -1]), package.local_clock())


def ezmsg_lsl(name: str, notes: Notes, stop: threading.Event) -> None:
    """Its inlet alone, without ezmsg's own messages between processes, which would come on top."""
    package: Any = importlib.import_module("ezmsg.lsl.inlet")

    async def receive() -> None:
        producer = package.LSLInletProducer(info=package.LSLInfo(name=name))
        going = True
        while going and not stop.is_set():
            message = await producer.__acall__()
            if message is not None and len(message.data):
                going = notes.add(float(message.data[-1, 0]), local_clock())

    asyncio.run(receive())


RECEIVERS = {"ours": ours, "pylsl": plain, "MNE-LSL": mne_lsl, "ezmsg-lsl": ezmsg_lsl}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport_client", description=__doc__)
    parser.add_argument("receiver", choices=tuple(RECEIVERS))
    parser.add_argument("--name", required=True, help="of the stream")
    parser.add_argument("--windows", type=int, required=True, help="of a second each")
    parser.add_argument("--out", type=Path, required=True, help=".npz")
    options = parser.parse_args(arguments)
    notes = Notes(options.windows)
    try:
        RECEIVERS[options.receiver](options.name, notes, stop_with_parent())
    except ImportError as error:
        tell("done", missing=str(error))
        return 0
    np.savez(options.out, counters=notes.counters, times=notes.times, cpu_ms=notes.cpu_ms)
    tell("done", missing="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
