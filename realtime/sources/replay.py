"""A recording sent again over LSL: `python -m realtime.sources.replay RECORDING`, and behind `corticast replay`."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from realtime.errors import UserError, nearest
from realtime.ranges import between
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import local_clock
from realtime.sources.player import Player, Timeline
from realtime.sources.recording import RecordedStream, Recording, load_recording

WAIT = between(0, math.inf, "seconds")
CHUNK = between(0.1, 10_000, "milliseconds")
Report = Callable[[dict[str, object]], None]


def replay(
    recording: Recording,
    *,
    streams: Sequence[str] | None = None,
    prefix: str = "",
    start_delay_s: float = 0.5,
    chunk_ms: float = 10.0,
    wait_s: float = 30.0,
    linger_s: float = 3.0,
    speed: float = 1.0,
    start_s: float = 0.0,
    loop: bool = False,
    as_live: bool = True,
    report: Report | None = None,
    progress: Callable[[float], None] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, int]:
    """Send the recording's streams as LSL outlets and return the rows sent of each.

    Rows keep the spacing of their stamps, gaps included, at any speed. as_live: all streams are moved by one time, so
    that the first row speaks of `start_delay_s` after somebody listens to every stream; else stamps are the
    recorded ones, with the first measured clock offset added. A chunk goes out as its last row's time comes,
    on a schedule that does not drift. The outlets stay `linger_s` after the last row.

    streams: names to send; by default all with a regular rate but an engine's own results. prefix: put before
    their names. wait_s: for consumers; 0 does not wait. start_s: of the recording to leave out. loop: begin again after
    the end, with stamps that go on and a second of nothing between, which a listener sees as a gap. report: told of
    `ready`, `started`, `looped`, `finished`, `interrupted`. progress: told the share of the round sent, each tenth
    of a second. stop: ends it early. Raises UserError where nobody listens in time.
    """
    stop = stop or threading.Event()
    tell = report or (lambda _: None)
    if not speed > 0:
        raise UserError(f"speed {speed:g}: expected a number above 0, such as 2 for twice as fast")
    if not chunk_ms > 0:
        raise UserError(f"chunks of {chunk_ms:g} ms: expected a length above 0, such as 10")
    chosen = _chosen(recording, streams)
    timeline = Timeline.of(list(chosen.values()), start_s)
    outlets = {name: _outlet(stream, prefix) for name, stream in chosen.items()}
    with ThreadPoolExecutor(1, "replay-reader") as reader:
        players = [Player(outlets[name], stream, timeline, reader, loop) for name, stream in chosen.items()]
        try:
            tell({"state": "ready", "streams": [outlet.spec.name for outlet in outlets.values()]})
            _await_consumers(outlets, wait_s, stop)
            start = local_clock() + start_delay_s
            for player in players:
                player.shift_s = start - timeline.first_s if as_live else 0.0
            tell({"state": "started", "start_s": start})
            _play(players, timeline, start, chunk_ms / 1000.0, speed, stop, tell, progress)
            sent = {player.outlet.spec.name: player.sent for player in players}
            tell({"state": "interrupted" if stop.is_set() else "finished", "sent": sent})
            stop.wait(linger_s)
            return sent
        finally:
            for outlet in outlets.values():
                outlet.close()


def _play(
    players: Sequence[Player],
    timeline: Timeline,
    start_s: float,
    chunk_s: float,
    speed: float,
    stop: threading.Event,
    tell: Report,
    progress: Callable[[float], None] | None,
) -> None:
    """Chunk after chunk until all rows are sent. A tick is `chunk_s` long on the wall clock."""
    ticks, rounds = 0, 0
    while not stop.is_set() and not all(player.finished for player in players):
        ticks += 1
        ahead = start_s + ticks * chunk_s - local_clock()
        if ahead > 0 and stop.wait(ahead):
            return
        at_s = timeline.first_s + ticks * chunk_s * speed
        for player in players:
            player.send_due(at_s)
        if min(player.round for player in players) > rounds:
            rounds += 1
            tell({"state": "looped", "round": rounds + 1, "gap_s": timeline.seams_s})
        if progress is not None and ticks % max(1, round(0.1 / chunk_s)) == 0:
            progress(min(1.0, (at_s - timeline.first_s) % timeline.round_s / timeline.round_s))


def _chosen(recording: Recording, names: Sequence[str] | None) -> dict[str, RecordedStream]:
    for name in names or ():
        if name not in recording.streams:
            known = ", ".join(recording.streams)
            raise UserError(f"the recording has no stream {name!r}{nearest(name, recording.streams)}; it has: {known}")
    engines = tuple(name.removesuffix("status") for name in recording.markers if name.endswith(".status"))
    chosen = {
        name: stream
        for name, stream in recording.streams.items()
        if (name in names if names else stream.spec.rate_hz > 0 and not name.startswith(engines))
    }
    if not any(len(stream.stamps) for stream in chosen.values()):
        raise UserError("the recording has no stream with a regular rate to replay: record sound or ECoG")
    return chosen


def _outlet(stream: RecordedStream, prefix: str) -> Outlet:
    name = prefix + stream.spec.name
    meta = {"replayed_from": stream.source_id or stream.spec.name}
    return Outlet(replace(stream.spec, name=name), stream.type, f"{name}-replay", meta=meta)


def _await_consumers(outlets: dict[str, Outlet], wait_s: float, stop: threading.Event) -> None:
    until = time.monotonic() + wait_s
    for outlet in outlets.values() if wait_s > 0 else ():
        while not stop.is_set() and not outlet.wait_for_consumers(0.1):
            if time.monotonic() > until:
                lonely = ", ".join(o.spec.name for o in outlets.values() if not o.have_consumers)
                raise UserError(f"nobody listens to {lonely} after {wait_s:g} s: start the engine, or use --wait 0")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", default="", help="put before the names of the streams")
    parser.add_argument(
        "--start-delay", type=WAIT, default=0.5, metavar="S", help="from consumers to the first row (default: 0.5)"
    )
    parser.add_argument("--chunk-ms", type=CHUNK, default=10.0, metavar="MS", help="length of a chunk (default: 10)")
    parser.add_argument(
        "--wait", type=WAIT, default=30.0, metavar="S", help="for consumers; 0: do not wait (default: 30)"
    )
    parser.add_argument(
        "--linger", type=WAIT, default=3.0, metavar="S", help="keep the outlets so long at the end (default: 3)"
    )


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C and a request to terminate set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def as_json(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line for other processes: JSON lines, no torch. Exit status 2 after a mistake, told on one line."""
    parser = argparse.ArgumentParser(prog="python -m realtime.sources.replay", description=__doc__)
    parser.add_argument("recording")
    parser.add_argument("--streams", nargs="+", metavar="NAME", help="send only these")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        replay(
            load_recording(options.recording),
            streams=options.streams,
            prefix=options.prefix,
            start_delay_s=options.start_delay,
            chunk_ms=options.chunk_ms,
            wait_s=options.wait,
            linger_s=options.linger,
            report=as_json,
            stop=stop_on_signals(),
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
