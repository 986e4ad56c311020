"""`corticast run` as it is, but that it ends with its parent: the engine of the latency benchmark."""

from __future__ import annotations

import _thread
import os
import sys
import threading
from collections.abc import Sequence

from benchmarks.processes import END_S, stop_with_parent
from realtime.cli import main as command_line

ALONE = ("--no-monitor", "--no-supervisor")  # a process that is started again would spoil the figures


def main(arguments: Sequence[str] | None = None) -> int:
    stop = stop_with_parent()

    def interrupt() -> None:
        stop.wait()
        _thread.interrupt_main()  # as Ctrl-C does
        threading.Event().wait(0.8 * END_S)
        os._exit(1)

    threading.Thread(target=interrupt, name="parent", daemon=True).start()
    return command_line(["run", *(sys.argv[1:] if arguments is None else arguments), *ALONE])


if __name__ == "__main__":
    sys.exit(main())
