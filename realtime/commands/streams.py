"""`corticast streams`: what is on the network."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from realtime.commands.options import seconds
from realtime.sources.lsl import find_streams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=seconds, default=2.0, help="how long to listen for answers (default: 2)")


def run(options: argparse.Namespace) -> int:
    found = find_streams(options.seconds, offsets=True)
    if not found:
        print(f"no LSL stream answered within {options.seconds:g} s: start its program, and check the firewall")
        return 0
    table = Table("name", "type", "channels and rate", "host", "clock (ms)", caption="clock: offset to this machine's")
    for stream in found:
        rate = f"{stream.rate_hz:g} Hz" if stream.rate_hz else "irregular"
        rows = ", ".join(filter(None, [f"{len(stream.channels)} x {stream.format}", rate, stream.unit]))
        offset = "-" if stream.clock_offset_s is None else f"{stream.clock_offset_s * 1e3:.3f}"
        table.add_row(stream.name, stream.type, rows, stream.host, offset)
    Console(markup=False).print(table)
    for stream in found:
        if not stream.source_id:
            print(f"{stream.name}: no source_id, so it cannot be found again after a restart; set one in its program")
    return 0
