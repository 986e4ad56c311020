"""A receiver under load: pump, ring and a reader in a process of its own, for so many seconds; then what came of it."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence

from benchmarks.processes import stop_with_parent, tell
from realtime.clock import Clock
from realtime.ring import Cursor, Ring
from realtime.sources.lsl import Counts, LslInlet, StreamQuery, pump

MOST_ROWS = 8192  # at once: one that fell behind must not fall further behind over one large copy


class Reader(threading.Thread):
    """Reads a ring to its end as a lane does, and checks the counter in channel 0."""

    def __init__(self, cursor: Cursor, ring: Ring) -> None:
        super().__init__(daemon=True)
        self.first = self.last = -1
        self.read = 0
        self._cursor, self._ring = cursor, ring

    def run(self) -> None:
        while self._cursor.wait(0.2) or not self._ring.closed:
            block = self._cursor.read(MOST_ROWS)
            if not len(block):
                continue
            if self.first < 0:
                self.first = int(block.data[0, 0])
            self.last = int(block.data[-1, 0])
            self.read += len(block)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inlet_load", description=__doc__)
    parser.add_argument("--name", required=True, help="of the stream")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--ring-s", type=float, required=True)
    options = parser.parse_args(arguments)
    stop = stop_with_parent()
    inlet = LslInlet(StreamQuery(options.name), 20.0).connect()
    ring, counts = Ring(round(options.ring_s * inlet.spec.rate_hz), (len(inlet.spec.channels),)), Counts()
    cursor = ring.cursor()
    reader = Reader(cursor, ring)
    reader.start()
    clock = Clock(inlet.spec.rate_hz)
    words = (inlet, clock, ring, lambda _event: None, stop)
    pulling = threading.Thread(target=pump, args=words, kwargs={"counts": counts}, daemon=True)
    pulling.start()
    while reader.first < 0 and not stop.wait(0.01):
        continue
    began, cpu_s = time.monotonic(), time.process_time()
    stop.wait(options.seconds)
    seconds, cpu_s = time.monotonic() - began, time.process_time() - cpu_s
    stop.set()
    pulling.join(20)
    reader.join(20)
    counted = {"received": counts.received, "lost": counts.lost, "resets": counts.resets, "overrun": cursor.overrun}
    owed = reader.last - reader.first + 1
    tell("done", **counted, read=reader.read, owed=owed, seconds=seconds, cpu_percent=100 * cpu_s / seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
