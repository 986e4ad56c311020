"""`corticast record`: sources, marker streams and an engine's outlets into one XDF file, whatever else ends."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from realtime.commands.console import say, working
from realtime.errors import UserError
from realtime.sinks.keeper import start_recording
from realtime.sinks.recording_status import is_alive, read_status, stop_recording, trouble
from realtime.sources.lsl import StreamQuery, find_streams

POLL_S = 1.0
SEARCH_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.xdf", help="an existing file is never written over")
    parser.add_argument("--streams", nargs="+", default=[], metavar="NAME", help="sources and marker streams by name")
    parser.add_argument("--engine", metavar="NAME", help="all outlets of this engine")
    parser.add_argument("--detach", action="store_true", help="return once it records; end it with --stop")
    parser.add_argument("--stop", action="store_true", help="end the recording that goes on into FILE.xdf")


def run(options: argparse.Namespace) -> int:
    """Record until Ctrl-C. Closing the terminal, or a crash of the engine, does not end it; `--stop` does."""
    path: Path = options.file
    if options.stop:
        return _stop(path)
    queries = _queries(options.streams, options.engine)
    with working(f"starting the recording {path}"):
        status = start_recording(path, queries, options.engine or "")
    say(f"recording {len(status.streams)} streams into {path}")
    if options.detach:
        say(f"end it with: corticast record {path} --stop")
        return 0
    try:
        _watch(path)
    except KeyboardInterrupt:
        say("stopping")
        return _stop(path)
    return _ended_elsewhere(path)


def _queries(names: list[str], engine: str | None) -> list[StreamQuery]:
    """One query for each stream: those named, and those whose name begins with the engine's."""
    if not names and not engine:
        raise UserError("found no stream to record, expected --streams or --engine: name at least one")
    found = find_streams(SEARCH_S)
    outlets = [stream for stream in found if engine and stream.name.startswith(f"{engine}.")]
    if engine and not outlets:
        raise UserError(f"no outlet of an engine {engine!r} was found: start corticast run first, or correct the name")
    return list(dict.fromkeys([*map(StreamQuery, names), *(StreamQuery(stream.name) for stream in outlets)]))


def _stop(path: Path) -> int:
    status = stop_recording(path)
    say(f"recorded {status.size_bytes / 1e6:.1f} MB into {path}")
    return 0


def _watch(path: Path) -> None:
    """Tell what goes wrong, once each, until the recording ends."""
    said = ""
    while is_alive(read_status(path)):
        message = trouble(path)
        if message and message.split("(")[0] != said:
            say(f"warning: {message}")
        said = message.split("(")[0]
        time.sleep(POLL_S)


def _ended_elsewhere(path: Path) -> int:
    status = read_status(path)
    if status is None or status.state == "finished":
        return 0
    raise UserError(status.message or f"the recorder of {path} was ended: its last second may be missing")
