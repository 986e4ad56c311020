"""What it costs to have a stream in the ring: time and processor beside plain pylsl, and the highest load without loss.

    python -m benchmarks.inlet --json inlet.json

The source is a process of its own and counts its rows in channel 0. Both receivers take turns on the same stream.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency_figures import distribution
from benchmarks.processes import Child, Children
from realtime.commands.console import machine_facts, say, working
from realtime.commands.options import file_to_write
from realtime.errors import UserError

STREAM = "bench-inlet"
CHANNELS, RATE_HZ = 256, 2000.0
LOADS = ((1024, 30e3), (1024, 20e3), (512, 30e3), (512, 20e3), (256, 30e3), (256, 20e3), (128, 30e3), (64, 30e3))
TRIAL_S, LOAD_S = 6.0, 60.0
RING_S, LOAD_RING_S = 30.0, 5.0  # 30 s of the highest load would be 3.7 GB
PACE = 0.99  # of its rate that the source itself must reach
Row = dict[str, Any]


def beside_pylsl(turns: int, windows: int) -> dict[str, Row]:
    """ms from the push of the newest row to when it is held, and % of one core, of plain pylsl and of the ring."""
    late: dict[str, list[Any]] = {"pylsl": [], "ours": []}
    cpu: dict[str, list[Any]] = {"pylsl": [], "ours": []}
    with tempfile.TemporaryDirectory(prefix="corticast-bench-") as name:
        folder = Path(name)
        with Children(folder) as children, working("beside plain pylsl") as share:
            source = _source(children, folder, CHANNELS, RATE_HZ)
            for turn in range(turns):
                for receiver in late:
                    out = folder / f"{receiver}-{turn}.npz"
                    words = (receiver, "--name", STREAM, "--windows", windows, "--out", out)
                    child = children.start(f"{receiver}-{turn}", "benchmarks.transport_client", *words)
                    children.await_state(child, "done", 60 + windows)
                    child.close()
                share((turn + 1) / turns)
            source.close()
        with np.load(folder / "source.npz") as pushes:
            ends, pushed_s = pushes["ends"], pushes["pushed_s"]
        for receiver in late:
            for turn in range(turns):
                with np.load(folder / f"{receiver}-{turn}.npz") as told:
                    chunks = np.searchsorted(ends, told["counters"], side="right")
                    late[receiver].append(1e3 * (told["times"] - pushed_s[chunks]))
                    cpu[receiver].append(told["cpu_ms"] / 10)
    return {
        receiver: {"held_ms": distribution(np.concatenate(late[receiver])), "cpu_percent": _median(cpu[receiver])}
        for receiver in late
    }


def _median(parts: list[Any]) -> float:
    return float(np.median(np.concatenate(parts)))


def _source(children: Children, folder: Path, channels: int, rate_hz: float) -> Child:
    words = ("ecog", "--name", STREAM, "--rate-hz", rate_hz, "--channels", channels, "--log", folder / "source.npz")
    child = children.start("source", "benchmarks.latency_source", *words)
    children.await_state(child, "sending", 120)
    return child


def under_load(channels: int, rate_hz: float, seconds: float) -> Row:
    """What became of the rows at this load. ok: none lost, and the source itself kept its pace."""
    with tempfile.TemporaryDirectory(prefix="corticast-bench-") as name:
        folder = Path(name)
        with Children(folder) as children, working(f"{channels} channels at {rate_hz:g} Hz for {seconds:g} s"):
            source = _source(children, folder, channels, rate_hz)
            words = ("--name", STREAM, "--seconds", seconds, "--ring-s", LOAD_RING_S)
            receiver = children.start("receiver", "benchmarks.inlet_load", *words)
            told = children.await_state(receiver, "done", 120 + seconds)
            receiver.close()
            source.close()
        with np.load(folder / "source.npz") as pushes:
            ends, pushed_s = pushes["ends"], pushes["pushed_s"]
    pace = float((ends[-1] - ends[0]) / (pushed_s[-1] - pushed_s[0]) / rate_hz)
    whole = told["owed"] == told["received"] == told["read"] and not told["lost"] and not told["overrun"]
    del told["state"]
    return {"channels": channels, "rate_hz": rate_hz, **told, "pace": pace, "ok": whole and pace > PACE}


def highest_load(trial_s: float, seconds: float) -> list[Row]:
    """From the highest load down: what was tried; the last, over `seconds`, is the highest without loss."""
    tried: list[Row] = []
    for channels, rate_hz in LOADS:
        for length_s in (trial_s, seconds):
            try:
                tried.append(under_load(channels, rate_hz, length_s))
            except UserError as error:
                tried.append({"channels": channels, "rate_hz": rate_hz, "ok": False, "error": str(error)})
            say(f"  {_words(tried[-1])}")
            if not tried[-1]["ok"]:
                break
        if tried[-1]["ok"]:
            break
    return tried


def _words(row: Row) -> str:
    load = f"{row['channels']} x {row['rate_hz']:g} Hz"
    if "error" in row:
        return f"{load}: {row['error']}"
    return (
        f"{load}, {row['seconds']:.0f} s: {'ok' if row['ok'] else 'not kept up with'}; owed {row['owed']}, received "
        f"{row['received']}, lost {row['lost']}; source at {100 * row['pace']:.1f} % of its rate; "
        f"receiver {row['cpu_percent']:.0f} % of one core"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inlet", description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="of each receiver (default: 5)")
    parser.add_argument("--windows", type=int, default=10, help="seconds of a turn (default: 10)")
    parser.add_argument("--no-load", action="store_true", help="leave the highest load out")
    parser.add_argument("--load-seconds", type=float, default=LOAD_S, help="(default: 60)")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    try:
        found = beside_pylsl(options.turns, options.windows)
        for receiver, row in found.items():
            late = ", ".join(f"{key} {value:.2f}" for key, value in row["held_ms"].items())
            say(f"{receiver}: held after {late} ms; {row['cpu_percent']:.1f} % of one core")
        tried = [] if options.no_load else highest_load(TRIAL_S, options.load_seconds)
    except UserError as error:
        print(f"corticast: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("corticast: interrupted", file=sys.stderr)
        return 130
    if options.json:
        stream = {"channels": CHANNELS, "rate_hz": RATE_HZ, "ring_s": RING_S}
        content = {"stream": stream, "beside_pylsl": found, "load": tried, "machine": machine_facts()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
