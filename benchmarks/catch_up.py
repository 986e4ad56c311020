"""How much quicker many blocks go in one step than one by one: the sound lane up to Whisper, when it is behind.

    python -m benchmarks.catch_up --json catch_up.json

Two streams of the same sound take turns, one in a single step, one block by block, so that whatever else the machine
does meets both; through two swaps of Whisper's caches, once the history is full. Wall time of one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.latency_figures import distribution
from benchmarks.stream_length import RATE_HZ, each_case, heard, lane
from realtime.block import Floats, concat

BLOCKS = 10
WARM_S = 15.0  # by then 10 s of history are full


def measure(model: str, layer: int, block_ms: float, delay_ms: float, blocks: int = BLOCKS) -> dict[str, Any]:
    """Milliseconds of so many blocks in either way, and how many times as long they take one by one (of the medians).

    largest_sd: largest difference between the two ways' rows, in SDs of their channels.
    """
    chain, period_s = lane(model, layer, block_ms, delay_ms)
    block = round(block_ms / 1e3 * RATE_HZ)
    begin = round(WARM_S * 1e3 / block_ms) * block
    steps = {"at_once": 1, "one_by_one": blocks}
    states = {name: chain.step(heard(0, begin), chain.initial_state())[1] for name in steps}
    took_ms: dict[str, list[float]] = {name: [] for name in steps}
    rows: dict[str, list[Floats]] = {name: [] for name in steps}
    for turn in range(int(np.ceil(2 * period_s * 1e3 / (blocks * block_ms)))):
        first = begin + turn * blocks * block
        for name in sorted(steps, reverse=bool(turn % 2)):
            length = blocks * block // steps[name]
            sound = [heard(first + step * length, length) for step in range(steps[name])]
            results = []
            began = time.perf_counter()
            for x in sound:
                result, states[name] = chain.step(x, states[name])
                results.append(result)
            took_ms[name].append(1e3 * (time.perf_counter() - began))
            rows[name].append(concat(results).data)
    one, other = (np.concatenate(each) for each in rows.values())
    return {
        **{"model": model, "layer": layer, "block_ms": block_ms, "delay_ms": delay_ms, "blocks": blocks},
        **{f"{name}_ms": distribution(np.array(ms)) for name, ms in took_ms.items()},
        "ratio": float(np.median(took_ms["one_by_one"]) / np.median(took_ms["at_once"])),
        "largest_sd": float(np.max(np.abs(one - other) / np.maximum(other.std(axis=0), 1e-6))),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return each_case("catch_up", __doc__, measure, _line, arguments)


def _line(row: dict[str, Any]) -> str:
    once_ms, each_ms = (row[f"{name}_ms"]["p50"] for name in ("at_once", "one_by_one"))
    return f"{row['blocks']} blocks p50 {once_ms:.1f} ms at once, {each_ms:.1f} one by one, {row['ratio']:.2f} times"


if __name__ == "__main__":
    sys.exit(main())
