"""How late a prediction is: sources, engine and an outside client in processes of their own, with LSL between them.

    corticast bench --json latency.json --picture latency.png

Without options it measures the default rows and the peers. Any of --model, --layer, --mode, --block-ms, --channels,
--rate, --threads, --device and --load, each with one or more values, measures all their combinations instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.latency_case import CHANNELS, LOADS, RATE_HZ, SWEPT, Case, Measured, require_possible, run_case
from benchmarks.peers import Peer, run_peers, skipped_line
from realtime.commands.console import machine_facts, say, working
from realtime.commands.options import file_to_write, seconds
from realtime.errors import UserError

SECONDS, WARM_UP_S = 30.0, 11.0  # the history of 10 s has to be full
FAST_SECONDS, FAST_WARM_UP_S = 2.0, 0.5
FAST = Case(model="tiny.en", layer=2, channels=16, rate_hz=500.0)
IDLE_LOAD = 0.5  # of other programs, in processes that want to run
Content = dict[str, Any]


def default_cases() -> list[Case]:
    """One thing changed at a time; CUDA where there is one."""
    base = Case()
    cases = [
        base,
        *(replace(base, block_ms=block_ms) for block_ms in (20.0, 40.0, 200.0)),
        replace(base, block_ms=40.0, delay_ms=60.0),
        replace(base, layer=6),
        replace(base, model="tiny.en", layer=2),
        replace(base, mode="window", history_s=2.0),
        replace(base, channels=64, rate_hz=1000.0),
        replace(base, threads=2),
        replace(base, load="core"),
        replace(base, block_ms=40.0, load="core"),
        replace(base, load="disk"),
    ]
    if torch.cuda.is_available():
        cases.append(replace(base, device="cuda", block_ms=40.0))
    return cases


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    """The rows that the options ask for."""
    given = {field: getattr(options, name) for name, field in SWEPT.items() if getattr(options, name) is not None}
    start = replace(FAST if options.fast else Case(), eager=options.eager)
    if not given:
        return [start] if options.fast else [replace(case, eager=options.eager) for case in default_cases()]
    given = {key: [None if v == "none" else v for v in values] for key, values in given.items()}
    return [replace(start, **dict(zip(given, values, strict=True))) for values in itertools.product(*given.values())]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    swept = parser.add_argument_group("what is swept (one or more values each)")
    swept.add_argument("--model", nargs="+", help="Whisper models (default: base)")
    swept.add_argument("--layer", nargs="+", type=int, help="encoder blocks (default: 3)")
    swept.add_argument("--mode", nargs="+", choices=("cached", "window"), help="(default: cached)")
    swept.add_argument("--block-ms", nargs="+", type=float, help="(default: 100)")
    swept.add_argument("--delay-ms", nargs="+", type=float, help="(default: 0)")
    swept.add_argument("--history", nargs="+", type=float, metavar="S", help="(default: 10)")
    swept.add_argument("--channels", nargs="+", type=CHANNELS, help="of the ECoG stream (default: 256)")
    swept.add_argument("--rate", nargs="+", type=RATE_HZ, metavar="HZ", help="of the ECoG stream (default: 2000)")
    swept.add_argument("--threads", nargs="+", type=int, help="torch's (default: 1)")
    swept.add_argument("--device", nargs="+", choices=("cpu", "cuda"), help="(default: cpu)")
    swept.add_argument("--load", nargs="+", choices=("none", *LOADS), help="a competing program (default: none)")
    parser.add_argument("--seconds", type=seconds, help=f"of each row (default: {SECONDS:g})")
    parser.add_argument(
        "--random-weights", action="store_true", help="an untrained Whisper: the same cost, no download"
    )
    parser.add_argument("--eager", action="store_true", help="on CUDA each kernel by itself, no captured graph")
    parser.add_argument("--no-peers", action="store_true", help="leave the comparison with other software out")
    parser.add_argument("--overload", action="store_true", help="find this machine's highest sustainable load instead")
    parser.add_argument("--fast", action="store_true", help="a few seconds of a small rig: for tests, not for figures")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures")
    parser.add_argument("--picture", type=file_to_write, metavar="PNG", help="draw the distributions")


def run(options: argparse.Namespace) -> int:
    """Measure, show, write; what is done is written even where Ctrl-C ends it."""
    draw = _drawing() if options.picture else None
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy >= IDLE_LOAD and not options.fast:
        say(f"warning: other programs keep this machine busy (load {busy:.1f}): these figures are upper bounds")
    if options.overload:
        from benchmarks.latency_overload import find_limits

        return find_limits(options)
    measured: list[Measured] = []
    peers: list[Peer] = []
    try:
        _measure(options, measured, peers, busy)
    finally:
        if measured:
            Console(width=220, markup=False).print(table(measured))
        for peer in peers:
            Console(width=220, markup=False).print(str(peer), highlight=False)
        if draw is not None and measured:
            draw(measured, options.picture)
    return 0


def _measure(options: argparse.Namespace, measured: list[Measured], peers: list[Peer], busy: float) -> None:
    length_s = options.seconds or (FAST_SECONDS if options.fast else SECONDS)
    warm_up_s = FAST_WARM_UP_S if options.fast else WARM_UP_S
    cases = chosen_cases(options)
    for case in cases:
        require_possible(case, options.random_weights)
    for number, case in enumerate(cases, start=1):
        with working(f"{number} of {len(cases)}: {case}") as share:
            measured.append(run_case(case, length_s, warm_up_s, options.random_weights, share))
        _write(options, measured, peers, busy)
    if not options.no_peers:
        peers += run_peers(options.fast, options.random_weights, skipped_line)
        _write(options, measured, peers, busy)


def content(measured: Sequence[Measured], peers: Sequence[Peer], busy: float) -> Content:
    """What `--json` writes: rows, peers and machine; details has an entry for each row."""
    return {
        "rows": [m.row() for m in measured],
        "peers": [peer.entry() for peer in peers],
        "machine": {**machine_facts(), "load_1min": busy, "idle": busy < IDLE_LOAD},
        "details": [m.details() for m in measured],
    }


def _write(options: argparse.Namespace, measured: Sequence[Measured], peers: Sequence[Peer], busy: float) -> None:
    if options.json:  # each time, so that what is done outlives an interruption
        text = json.dumps(_finite(content(measured, peers, busy)), indent=1, allow_nan=False)
        options.json.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value


def table(measured: Sequence[Measured]) -> Table:
    """Milliseconds, p50 / p99 / p99.9."""
    missing = "" if any(m.case.device == "cuda" for m in measured) else "; no GPU row: none was measured"
    result = Table(title=f"latency in ms, p50 / p99 / p99.9{missing}", title_justify="left")
    for name in ("row", "wait", "in", "compute", "out", "end to end", "telemetry", "lead", "lost", "skipped", "CPU %"):
        result.add_column(name, justify="left" if name == "row" else "right", no_wrap=True)
    for m in measured:
        row, details = m.row(), m.details()
        figures = [details["wait_ms"], details["transport_in_ms"], row["compute_ms"], details["transport_out_ms"]]
        figures += [row["end_to_end_ms"], row["telemetry_ms"]]
        cpu = "-" if m.cpu_percent is None else f"{m.cpu_percent:.0f}"
        lead = f"{details['lead_physical_ms']['p50']:.0f}"
        result.add_row(str(m.case), *(_three(f) for f in figures), lead, str(row["lost"]), str(row["skipped"]), cpu)
    return result


def _three(figures: dict[str, float]) -> str:
    return " / ".join(f"{figures[name]:.1f}" for name in ("p50", "p99", "p999"))


def _drawing() -> Any:
    """Asked for before the work begins, so that a missing library costs nobody minutes."""
    try:
        from benchmarks.latency_picture import draw_latency
    except ImportError as error:
        raise UserError(
            "picture: found no matplotlib, expected 3.8 or later; run: pip install 'corticast[bench]'"
        ) from error
    return draw_latency


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m benchmarks.latency`: the same as `corticast bench`."""
    from realtime.cli import main as command_line

    return command_line(["bench", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
