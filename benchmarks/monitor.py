"""What the monitor costs: frames a second and share of a core, under software rendering.

    python -m benchmarks.monitor --json monitor.json

An engine's outlets are imitated by another process (tests/fake_engine.py), whose cost is not counted. Qt draws into
memory (QT_QPA_PLATFORM=offscreen): no graphics card helps. Each tab is measured in turn, all other panels being there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from realtime.commands.console import machine_facts

ROOT = Path(__file__).parents[1]
FULL_S = 12.0  # until the traces are full
TRACES, SIZE = 24, "1600x1000"


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of the monitor's window")
    parser.add_argument("--electrodes", type=int, default=256)
    parser.add_argument("--traces", type=int, default=TRACES)
    parser.add_argument("--seconds", type=float, default=20.0, help="measured, for each tab (default: 20)")
    parser.add_argument("--size", default=SIZE)
    parser.add_argument("--window", type=float, default=10.0, help="seconds shown (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    engine = f"benchmark-{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-m", "tests.fake_engine", "--engine", engine, "--lead", "0.2"]
    process = subprocess.Popen([*command, "--electrodes", str(options.electrodes)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        report = measure(engine, options)
    finally:
        process.terminate()
        process.wait()
    print(json.dumps({key: report[key] for key in ("tabs", "points_drawn")}, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def open_window(engine: str, traces: int = TRACES, size: str = SIZE, window_s: float = 10.0) -> tuple[Any, Any, Any]:
    """Application, client and window on an engine, drawn into memory where nothing else is asked for."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtWidgets import QApplication

    from realtime.monitor.client import Client
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network, local_clock

    application = QApplication.instance() or QApplication([])
    client = Client(engine, Network, local_clock)
    window = Window(client, count=traces)
    window.view.window_s = window_s
    window.resize(*(int(part) for part in size.split("x")))
    window.show()
    client.start()
    return application, client, window


def show_until(stop: threading.Event, engine: str) -> None:
    """The window, going through its tabs, until `stop` is set."""
    from PySide6.QtCore import QTimer

    application, client, window = open_window(engine)
    tab, look = QTimer(), QTimer()
    tab.timeout.connect(lambda: window.tabs.setCurrentIndex((window.tabs.currentIndex() + 1) % window.tabs.count()))
    look.timeout.connect(lambda: application.quit() if stop.is_set() else None)
    tab.start(5000)
    look.start(100)
    application.exec()
    window.close()
    client.close()


def measure(engine: str, options: argparse.Namespace) -> dict[str, Any]:
    """Open the window on `engine` and measure it, tab by tab."""
    import pyqtgraph as pg
    from PySide6.QtCore import QEventLoop, QTimer, qVersion

    paints = count_paints()
    application, client, window = open_window(engine, options.traces, options.size, options.window)

    def run(seconds: float) -> None:
        loop = QEventLoop()  # quitting the application would close the window
        QTimer.singleShot(round(1000 * seconds), loop.quit)
        loop.exec()

    run(max(FULL_S, options.window + 2.0))
    tabs, points = {}, {}
    for tab in range(window.tabs.count()):
        window.tabs.setCurrentIndex(tab)
        run(1.0)
        before, began_s, used_s = dict(paints), time.perf_counter(), time.process_time()
        run(options.seconds)
        took_s, used_s = time.perf_counter() - began_s, time.process_time() - used_s
        rate_hz = {
            name: round((paints[id(plot)] - before.get(id(plot), 0)) / took_s, 1)
            for name, plot in (("traces", window.traces.widget), ("maps", window.maps.panes[0]))
        }
        filled = [np.isfinite(curve.getData()[1]).sum() for curve in (window.traces.predicted, window.traces.observed)]
        points[window.tabs.tabText(tab)] = [int(count) for count in filled]  # few: the imitated engine fell behind
        tabs[window.tabs.tabText(tab)] = {"core_percent": round(100 * used_s / took_s, 1), "frames_a_second": rate_hz}
    rows = client.rows("predicted")
    assert rows is not None, "the imitated engine was not found"
    window.close()
    client.close()
    del application
    return {
        "tabs": tabs,
        "points_drawn": points,
        "electrodes": len(rows.channels),
        "traces": len(window.shown),
        "size": options.size,
        "window_s": options.window,
        "measured_s": options.seconds,
        "qt": qVersion(),
        "pyqtgraph": pg.__version__,
        "load_1_min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "machine": machine_facts(),
    }


def count_paints() -> Counter[int]:
    """How often each plot has been painted, by id, from now on."""
    import pyqtgraph as pg

    paints: Counter[int] = Counter()
    paint = pg.GraphicsView.paintEvent

    def counted(self: Any, event: Any) -> Any:
        paints[id(self)] += 1
        return paint(self, event)

    pg.GraphicsView.paintEvent = counted
    return paints


if __name__ == "__main__":
    main()
