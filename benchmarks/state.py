"""What it costs to keep the state that a restarted engine goes on with: time, bytes, and how long it holds others up.

python -m benchmarks.state --electrodes 256
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency_figures import distribution
from realtime.block import Block
from realtime.carried import LaneState, StateFolder
from realtime.commands.console import machine_facts
from realtime.commands.options import file_to_write
from realtime.repair import RepairState
from realtime.score import Score, ScoreState
from realtime.zscore import ZScore

ROWS_HZ = 50
SCORED_S = 90


class Ticker(threading.Thread):
    """Wants to run every 0.2 ms, as a lane's thread might, and notes how late it was at worst."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late_ms: list[float] = []
        self.stop = threading.Event()

    def run(self) -> None:
        before = time.perf_counter()
        while not self.stop.is_set():
            time.sleep(2e-4)
            now = time.perf_counter()
            self.late_ms.append(1e3 * (now - before) - 0.2)
            before = now

    @property
    def worst_ms(self) -> float:
        return max(self.late_ms, default=0.0)


def collecting(electrodes: int) -> LaneState:
    """An ECoG lane that still collects its baseline: its state is never larger."""
    stage = ZScore(row_rate_hz=ROWS_HZ)
    x = Block(np.random.default_rng(0).normal(size=(ROWS_HZ, electrodes)).astype(np.float32), np.arange(ROWS_HZ) / 50)
    _, z_score = stage.step(x, stage.initial_state())
    return LaneState(1, 0, 0, 0, 1.0, RepairState(nan_samples=np.zeros(electrodes, np.int64)), z_score)


def scored(electrodes: int) -> ScoreState:
    """A score whose window and history are full."""
    score, rows = Score(row_rate_hz=ROWS_HZ), SCORED_S * ROWS_HZ
    data = np.random.default_rng(1).normal(size=(rows, electrodes, 2)).astype(np.float32)
    return score.step(Block(data, np.arange(rows) / ROWS_HZ), score.initial_state())[1]


def measure(electrodes: int, times: int) -> dict[str, Any]:
    lane, score = collecting(electrodes), scored(electrodes)
    with tempfile.TemporaryDirectory(prefix="corticast-bench-") as name:
        folder = Path(name)
        state = StateFolder(folder)

        def save_score() -> None:
            score.second += 1
            state.save_score(score, 0.0)

        state.save_score(score, 0.0)  # the first writes all seconds
        found: dict[str, Any] = {
            "lane": _timed(lambda: state.save_lane("ecog", lane), times),
            "score": _timed(save_score, times),
            "idle": _timed(lambda: None, times),
        }
        found["files"] = {path.name: path.stat().st_size for path in folder.iterdir() if "score-" not in path.name}
        begin = time.perf_counter()
        state.load_lane("ecog")
        state.load_score(Score(row_rate_hz=ROWS_HZ).initial_state())
        found["load_ms"] = 1e3 * (time.perf_counter() - begin)
    return found


def _timed(save: Callable[[], None], times: int) -> dict[str, Any]:
    ticker, took_ms = Ticker(), []
    ticker.start()
    for _ in range(times):
        begin = time.perf_counter()
        save()
        took_ms.append(1e3 * (time.perf_counter() - begin))
        time.sleep(0.02)
    ticker.stop.set()
    ticker.join()
    return {"took_ms": distribution(np.array(took_ms)), "others_late_ms": ticker.worst_ms}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--electrodes", type=int, default=256)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    sys.setswitchinterval(5e-4)  # as the engine does
    found = {"electrodes": options.electrodes, **measure(options.electrodes, options.times), "machine": machine_facts()}
    for what in ("lane", "score", "idle"):
        took = ", ".join(f"{key} {value:.2f}" for key, value in found[what]["took_ms"].items())
        print(f"{what}: {took} ms; another thread was late by {found[what]['others_late_ms']:.2f} ms at worst")
    print(f"files: {found['files']}; loaded in {found['load_ms']:.1f} ms")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
