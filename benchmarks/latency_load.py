"""A competing program, which ends with its parent: `core` burns one core, `disk` writes and flushes, `monitor` is the
window."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import stop_with_parent, tell

PIECE = bytes(4 << 20)
FILE_BYTES = 256 << 20  # then it begins again at the start of the file


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency_load", description=__doc__)
    parser.add_argument("kind", choices=("core", "disk", "monitor"))
    parser.add_argument("--file", type=Path, help="what `disk` writes")
    parser.add_argument("--engine", help="whose window `monitor` is")
    options = parser.parse_args(arguments)
    stop = stop_with_parent()
    if options.kind == "monitor":
        from benchmarks.monitor import show_until

        show_until(stop, options.engine)
    tell("running")
    if options.kind == "disk":
        with options.file.open("wb") as file:
            while not stop.is_set():
                if file.tell() >= FILE_BYTES:
                    file.seek(0)
                file.write(PIECE)
                file.flush()
                os.fsync(file.fileno())
    while not stop.is_set():
        sum(range(10_000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
