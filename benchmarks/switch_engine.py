"""The engine of the latency benchmark, with Python's switch interval changed from turn to turn while it runs.

Which interval a turn has follows from the LSL clock alone, so that whoever reads its rows knows it without being told.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence

from benchmarks import latency_engine
from realtime.sources.lsl import local_clock


def turn_of(time_s: float, turn_s: float) -> int:
    """Which turn it is at a time on the LSL clock; turn k has interval k modulo their number."""
    return int(time_s // turn_s)


def take_turns(intervals_ms: Sequence[float], turn_s: float) -> None:
    """Set the interval at the begin of each turn, for as long as the process lives."""
    while True:
        now_s = local_clock()
        turn = turn_of(now_s, turn_s)
        sys.setswitchinterval(intervals_ms[turn % len(intervals_ms)] / 1e3)
        time.sleep(max(0.0, (turn + 1) * turn_s - now_s) + 1e-3)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turn", type=float, required=True)
    parser.add_argument("--intervals-ms", type=float, nargs="+", required=True)
    options, others = parser.parse_known_args()
    words = (options.intervals_ms, options.turn)
    threading.Thread(target=take_turns, args=words, name="turns", daemon=True).start()
    return latency_engine.main(others)


if __name__ == "__main__":
    sys.exit(main())
