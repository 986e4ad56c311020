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
    table = Table("name", "type", "channels", "rate (Hz)", "format", "unit", "host", "clock offset (ms)", "source_id")
    for stream in found:
        table.add_row(
            stream.name,
            stream.type,
            str(len(stream.channels)),
            f"{stream.rate_hz:g}" if stream.rate_hz else "irregular",
            stream.format,
            stream.unit,
            stream.host,
            "-" if stream.clock_offset_s is None else f"{stream.clock_offset_s * 1e3:.3f}",
            stream.source_id or "none: cannot be found again after a restart",
        )
    Console(markup=False).print(table)
    return 0
