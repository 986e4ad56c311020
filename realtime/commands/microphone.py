"""`corticast microphone`: a microphone as an LSL stream, with a level meter."""

from __future__ import annotations

import argparse
import signal
import threading
import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from realtime.commands.console import console, say
from realtime.errors import UserError
from realtime.sources.sound import Counts, Microphone, choose, microphones, outlet_for, portaudio, send

REFRESH_S = 0.1
LINE_EVERY_S = 10.0
METER_DB, METER_WIDTH = 60.0, 30
CLIPS, QUIET_DB = 0.99, -60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="D", help="number or part of the name (default: the system's)")
    parser.add_argument("--list", action="store_true", help="list the devices and end")
    parser.add_argument("--name", default="Microphone", help="of the LSL stream (default: Microphone)")
    parser.add_argument("--rate", type=float, metavar="HZ", help="default: the device's own")
    parser.add_argument("--channels", type=int, default=1, help="default: 1")


def run(options: argparse.Namespace) -> int:
    audio = portaudio()
    if options.list:
        return _list(microphones(audio))
    chosen = choose(microphones(audio), options.device)
    rate_hz = _checked_rate(options.rate or chosen.rate_hz)
    if not 1 <= options.channels <= chosen.channels:
        raise UserError(f"--channels: found {options.channels}, {chosen.name} has 1 to {chosen.channels}")
    outlet, counts, stop = outlet_for(chosen, options.name, rate_hz, options.channels), Counts(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    wanted = options.device or chosen.name
    wanted = chosen.name if wanted == str(chosen.number) else wanted  # numbers change when devices come and go
    sending = threading.Thread(
        target=send, args=(audio, lambda: choose(microphones(audio), wanted), outlet, counts, stop, say), daemon=True
    )
    say(f"{chosen.name}: {options.channels} x {rate_hz:g} Hz as LSL stream {options.name!r}; Ctrl-C ends it")
    sending.start()
    _show(counts, sending, stop)
    sending.join(5.0)
    say(f"{counts.sent} samples sent, {_troubles(counts)}")
    return 0


def _checked_rate(rate_hz: float) -> float:
    if not 8000 <= rate_hz <= 384_000:
        raise UserError(f"--rate: found {rate_hz:g}, expected 8000 to 384000 Hz; the device's own rate is best")
    return rate_hz


def _list(found: list[Microphone]) -> int:
    if not found:
        raise UserError("no device that gives sound was found: connect a microphone and try again")
    table = Table("number", "device", "channels", "rate (Hz)")
    for one in found:
        table.add_row(str(one.number), one.name, str(one.channels), f"{one.rate_hz:g}")
    Console(markup=False).print(table)
    return 0


def _show(counts: Counts, sending: threading.Thread, stop: threading.Event) -> None:
    """The meter, in place on a terminal, else a line now and then, until it ends."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=10) as live:
            while sending.is_alive() and not stop.wait(REFRESH_S):
                live.update(Text(meter(counts)))
        return
    said_s = 0.0
    while sending.is_alive() and not stop.wait(REFRESH_S):
        if counts.sent and time.monotonic() - said_s >= LINE_EVERY_S:
            said_s = time.monotonic()
            say(meter(counts))


def meter(counts: Counts) -> str:
    """One line: a bar over 60 dB, the level in dBFS, and what is wrong."""
    share = min(1.0, max(0.0, 1.0 + counts.level_db / METER_DB)) if counts.sent else 0.0
    bar = "#" * round(share * METER_WIDTH)
    level = f"{counts.level_db:.0f} dBFS" if counts.sent else "no sound yet"
    advice = " | clips: lower the gain" if counts.peak >= CLIPS else ""
    advice = advice or (" | very quiet" if counts.sent and counts.level_db < QUIET_DB else "")
    return f"[{bar:<{METER_WIDTH}}] {level} | {_troubles(counts)}{advice}"


def _troubles(counts: Counts) -> str:
    return f"{counts.overflows} overflows, {counts.dropped} dropped, vanished {counts.lost_devices} times"
