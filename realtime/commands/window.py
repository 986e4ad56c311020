"""Opens the monitor, without loading what an engine needs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

from realtime.commands.console import has_screen, say


def open_monitor(engine: str) -> subprocess.Popen[bytes] | None:
    """The window in a process of its own, where there is a screen and Qt; one line where there is not."""
    if not has_screen():
        say(f"no screen, so no window: corticast monitor --engine {engine} opens one on another computer")
        return None
    if importlib.util.find_spec("pyqtgraph") is None or importlib.util.find_spec("PySide6") is None:
        say("no window: install it with pip install 'corticast[monitor]'")
        return None
    return subprocess.Popen([sys.executable, "-m", "realtime.monitor", "--engine", engine])
