"""`corticast run`: the engine against LSL sources, until Ctrl-C; started again when it dies."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from realtime.commands.options import seconds
from realtime.commands.supervisor import supervise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="a .toml file; configs/live.toml explains every key")
    parser.add_argument("--name", help="of the engine and its outlets, instead of the file's")
    parser.add_argument("--record", type=Path, metavar="FILE.xdf", help="record sources and results")
    parser.add_argument("--adapt", action="store_true", help="let the model's read-out learn from what is observed")
    parser.add_argument("--accept-commands", action="store_true", help="obey a monitor: record, markers, adaptation")
    parser.add_argument(
        "--session",
        type=Path,
        metavar="DIR",
        help="folder of the session's log (default: DATE-TIME-ENGINE in the file's)",
    )
    parser.add_argument("--seconds", type=seconds, help="stop after so long (default: at Ctrl-C)")
    parser.add_argument("--no-monitor", action="store_true", help="open no window")
    parser.add_argument("--no-supervisor", action="store_true", help="do not start the engine again when it dies")
    parser.add_argument("--supervised", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--standby", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Only the engine's process loads torch and LSL: what watches over it must not die of them."""
    if not options.no_supervisor:
        return supervise(options)
    status: int = importlib.import_module("realtime.commands.engine_process").run(options)
    return status
