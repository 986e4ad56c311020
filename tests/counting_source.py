"""A source in a process of its own, to be killed or stopped: `python -m tests.counting_source NAME RATE ORIGIN`.

Row n is stamped ORIGIN + n / RATE and holds n, then -n. Rows are sent when they are due; after a pause, those that
were due more than half a second ago are left out, as an amplifier's program would that has lost them.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pylsl

LATE_S = 0.5


def main(name: str, rate_hz: float, origin_s: float) -> None:
    info = pylsl.StreamInfo(name, "ECoG", 2, rate_hz, pylsl.cf_float32, name)
    outlet = pylsl.StreamOutlet(info)
    outlet.wait_for_consumers(60)
    sent = due(origin_s, rate_hz)
    while True:
        now = due(origin_s, rate_hz)
        if now - sent > LATE_S * rate_hz:
            sent = now - 1
        rows = np.arange(sent, now)
        if len(rows):
            data = np.stack([rows, -rows], axis=1).astype(np.float32)
            outlet.push_chunk(data, (origin_s + rows / rate_hz).tolist())
            sent = now
        time.sleep(0.01)


def due(origin_s: float, rate_hz: float) -> int:
    return int((pylsl.local_clock() - origin_s) * rate_hz)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
