"""`python -m realtime.monitor`: the window on an engine's outlets."""

from __future__ import annotations

import argparse
import ctypes.util
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from realtime.errors import UserError

NO_ROWS_S = 60.0  # longer than this without a row, a picture is given up


def main(argv: Sequence[str] | None = None) -> int:
    """Open the window, or with --picture save it. Returns the exit status: 2 after one line on what is wrong."""
    try:
        parser = argparse.ArgumentParser(prog="corticast monitor", description=__doc__)
        add_arguments(parser)
        return show(parser.parse_args(argv))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the window was there
        return 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the window may be told on the command line."""
    parser.add_argument("--engine", default="corticast", help="name of the engine to show (%(default)s)")
    parser.add_argument("--electrodes", type=int, metavar="N", help="traces shown (8, or as last time)")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save a PNG and close; needs no screen")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="the same, and one PNG of each panel")
    parser.add_argument(
        "--after", type=float, default=15.0, metavar="S", help="seconds of data before it (%(default)s)"
    )
    parser.add_argument("--size", metavar="WxH", help="of the window, in pixels (1600x1000, or as last time)")


def show(options: argparse.Namespace) -> int:
    """Run the window until it is closed or the picture is saved. Raises UserError."""
    width, height = _size(options.size or "1600x1000")
    pictures = options.picture is not None or options.pictures is not None
    _need_display(offscreen=pictures)
    try:
        from PySide6.QtCore import QTimer
        from PySide6.QtWidgets import QApplication

        from realtime.monitor.picture import save_panels, save_picture
        from realtime.monitor.remember import user_settings
        from realtime.monitor.theme import THEMES
        from realtime.monitor.window import Window
    except ImportError as error:
        raise UserError(_qt_missing(error)) from None
    from realtime.monitor.client import Client
    from realtime.sources.lsl import Network, local_clock

    application = QApplication.instance() or QApplication(sys.argv[:1])
    settings = None if pictures else user_settings()  # a picture is the same on every machine
    client = Client(options.engine, Network, local_clock)
    window = Window(client, THEMES[options.theme], options.electrodes, settings)
    if options.size or settings is None:
        window.resize(width, height)
    window.show()
    client.start()
    failures: list[UserError] = []
    began_s = local_clock()

    def take_picture() -> None:
        rows = client.main_rows()
        if rows is not None and len(rows) and rows.newest_s - rows.oldest_s >= options.after:
            try:
                if options.picture is not None:
                    save_picture(window, options.picture)
                if options.pictures is not None:
                    save_panels(window, options.pictures)
            except UserError as error:
                failures.append(error)
            application.quit()
        elif local_clock() - began_s > options.after + NO_ROWS_S:
            failures.append(UserError(_too_few_rows(options.engine, options.after)))
            application.quit()

    timer = QTimer()
    if pictures:
        timer.timeout.connect(take_picture)
        timer.start(100)
    # By way of the event loop, as quitting before it runs is lost; the window's timer lets Python see the signal.
    signal.signal(signal.SIGINT, lambda *_: QTimer.singleShot(0, application.quit))
    if not pictures:
        print(f"showing engine {options.engine!r}: close the window or press Ctrl-C to end", flush=True)
    application.exec()
    window.close()
    client.close()
    if failures:
        raise failures[0]
    return 0


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise UserError(f"--size {text!r} is not a size: give width x height in pixels, as 1600x1000")
    return int(parts[0]), int(parts[1])


def _need_display(offscreen: bool) -> None:
    if offscreen:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    there = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    if os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY") and "QT_QPA_PLATFORM" not in os.environ:
        _need_xcb()
    if sys.platform.startswith("linux") and not there:
        raise UserError(
            "the monitor found no display: run it where there is a screen, or save a picture with --picture FILE"
        )


def _need_xcb() -> None:
    """Without this library Qt ends the process with words of its own."""
    if sys.platform.startswith("linux") and ctypes.util.find_library("xcb-cursor") is None:
        raise UserError(
            "the monitor found no libxcb-cursor, which Qt needs for its window: on Debian, apt install libxcb-cursor0 "
            "libxcb-icccm4 libxcb-keysyms1 libxkbcommon-x11-0"
        )


def _qt_missing(error: ImportError) -> str:
    if (error.name or "").split(".")[0] in ("PySide6", "pyqtgraph"):
        return "the monitor needs Qt, which is not installed: pip install 'corticast[monitor]'"
    return f"the monitor cannot load Qt ({error}): on Debian, apt install libegl1 libgl1 libxkbcommon0 libdbus-1-3"


def _too_few_rows(engine: str, after_s: float) -> str:
    return (
        f"no picture: engine {engine!r} sent less than {after_s:g} s of predictions in {after_s + NO_ROWS_S:g} s: "
        "start it first, or give its name with --engine"
    )


if __name__ == "__main__":
    sys.exit(main())
