"""Does Python's switch interval matter to the engine? Compute latency under several, in turns within one engine.

    python -m benchmarks.switch_interval [--json FILE] [--seconds S] [--load core]

Sources, engine and client as `corticast bench` has them. The engine's interval changes with every turn, so that all of
them meet the same machine. The default takes about six minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.latency import IDLE_LOAD, WARM_UP_S
from benchmarks.latency_case import LOADS, Case, require_possible, run_case
from benchmarks.latency_figures import distribution
from benchmarks.switch_engine import turn_of
from realtime.block import Times
from realtime.commands.console import machine_facts, say, working
from realtime.commands.options import file_to_write, seconds
from realtime.errors import UserError
from realtime.manners import SWITCH_INTERVAL_S

INTERVALS_MS = (5.0, 1.0, 0.5, 0.1)  # the first is Python's own
TURNS, SECONDS = 8, 330.0
SETTLE_S = 0.5  # of each turn, left out
SHOWN = ("p50", "p99", "p999")
Row = dict[str, Any]


def by_interval(
    arrived_s: Times, compute_ms: Times, intervals_ms: Sequence[float], turn_s: float, settle_s: float
) -> list[Row]:
    """For each interval its rows together, and the percentiles of each whole turn. arrived_s: (rows,), LSL clock."""
    turns = np.array([turn_of(time_s, turn_s) for time_s in arrived_s], np.int64)
    counted = arrived_s - turns * turn_s >= settle_s
    first, last = int(turns.min()) + 1, int(turns.max()) - 1  # the others are parts of turns
    found = []
    for k, interval_ms in enumerate(intervals_ms):
        own = [turn for turn in range(first, last + 1) if turn % len(intervals_ms) == k]
        rows = compute_ms[counted & np.isin(turns, own)]
        each = [distribution(compute_ms[counted & (turns == turn)]) for turn in own]
        spread = {name: [float(f([d[name] for d in each])) for f in (min, max)] for name in SHOWN} if each else {}
        found.append(
            {
                "switch_interval_ms": interval_ms,
                "turns": len(own),
                "rows": len(rows),
                "compute_ms": distribution(rows),
                "turns_lowest_highest_ms": spread,
            }
        )
    return found


def measure(case: Case, intervals_ms: Sequence[float], length_s: float, random_weights: bool) -> dict[str, Any]:
    """The JSON's contents. Raises UserError where a part of the measurement fails or a turn would be too short."""
    turn_s = length_s / (len(intervals_ms) * TURNS + 1)
    if turn_s < 2 * SETTLE_S:
        least_s = 2 * SETTLE_S * (len(intervals_ms) * TURNS + 1)
        raise UserError(f"switch_interval: found --seconds {length_s:g}, expected {least_s:g} or more for all turns")
    require_possible(case, random_weights)
    engine = ("benchmarks.switch_engine", "--turn", turn_s, "--intervals-ms", *intervals_ms)
    with working(f"{case}: turns of {turn_s:.1f} s") as share:
        measured = run_case(case, length_s, WARM_UP_S, random_weights, share, engine=engine)
    p = measured.parts
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "case": str(case),
        "turn_s": turn_s,
        "rows": by_interval(p.arrived_s, p.compute, intervals_ms, turn_s, SETTLE_S),
        "lost": p.lost,
        "skipped": p.skipped,
        "machine": {**machine_facts(), "load_1min_after": busy},
    }


def table(content: dict[str, Any]) -> Table:
    shown = Table(title=f"compute latency in ms (lowest to highest turn); {content['case']}", title_justify="left")
    for name in ("switch interval", "turns", "rows", "p50", "p99", "p99.9"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in content["rows"]:
        name = f"{row['switch_interval_ms']:g} ms"
        name += " (corticast)" if row["switch_interval_ms"] == 1e3 * SWITCH_INTERVAL_S else ""
        name += " (Python)" if row["switch_interval_ms"] == INTERVALS_MS[0] else ""
        figures = []
        for key in SHOWN:
            low, high = row["turns_lowest_highest_ms"].get(key, (np.nan, np.nan))
            figures.append(f"{row['compute_ms'][key]:.2f} ({low:.2f} to {high:.2f})")
        shown.add_row(name, str(row["turns"]), str(row["rows"]), *figures)
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.switch_interval", description=__doc__)
    parser.add_argument("--model", default="base", help="of Whisper (default: %(default)s)")
    parser.add_argument("--layer", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--block-ms", type=float, default=40.0, help="(default: %(default)g)")
    parser.add_argument("--load", choices=LOADS, help="a competing program (default: none)")
    parser.add_argument("--seconds", type=seconds, default=SECONDS, help="of all turns (default: %(default)g)")
    parser.add_argument("--random-weights", action="store_true", help="an untrained Whisper: the same cost")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    if hasattr(os, "getloadavg") and os.getloadavg()[0] >= IDLE_LOAD:
        say(f"warning: other programs keep this machine busy (load {os.getloadavg()[0]:.1f})")
    case = Case(model=options.model, layer=options.layer, block_ms=options.block_ms, load=options.load)
    try:
        content = measure(case, INTERVALS_MS, options.seconds, options.random_weights)
    except UserError as error:
        print(f"corticast: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    Console(width=160, markup=False).print(table(content))
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
