"""What the commands show in a terminal: steps with progress, plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(stderr=True, markup=False)  # names of streams and electrodes may hold brackets


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[float], None]]:
    """A step that takes a while: yields a function to tell the share done, 0 to 1."""
    if not console.is_terminal:
        say(f"{what} ...")
        yield lambda _share: None
        return
    columns = (TextColumn("{task.description:<44}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(task, completed=share)
        progress.update(task, completed=1.0)


def say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def titled(words: str, simulated: bool) -> str:
    """A table's title, which says of a simulated patient that it is one."""
    return f"simulated patient: {words}" if simulated else words


def has_screen() -> bool:
    """Whether a window could open here."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def machine_facts() -> dict[str, Any]:
    """What a figure's machine was: processor, cores, system, versions."""
    import numpy
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
