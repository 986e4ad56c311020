"""A recording sent again over LSL, in real time: `python -m realtime.sources.replay RECORDING`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from realtime.block import Block, Times
from realtime.errors import UserError, nearest
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import local_clock
from realtime.sources.recording import RecordedStream, Recording, load_recording

Report = Callable[[dict[str, object]], None]


@dataclass
class _Player:
    outlet: Outlet
    stream: RecordedStream
    stamps: Times  # as sent, seconds on LSL's clock
    due: Times  # when each row is to be sent: never decreasing
    sent: int = 0

    def send_due(self, now_s: float) -> None:
        upto = int(np.searchsorted(self.due, now_s, side="right"))
        if upto > self.sent:
            rows = slice(self.sent, upto)
            self.outlet.push(Block(self.stream.data[rows], self.stamps[rows], self.sent))
            self.sent = upto


def replay(
    recording: Recording,
    *,
    streams: Sequence[str] | None = None,
    prefix: str = "",
    start_delay_s: float = 0.5,
    chunk_ms: float = 10.0,
    wait_s: float = 30.0,
    linger_s: float = 3.0,
    report: Report | None = None,
    stop: threading.Event | None = None,
) -> dict[str, int]:
    """Send the recording's streams as LSL outlets and return the rows sent of each.

    Rows keep the spacing of their stamps; all streams are moved by one time, so that the first row speaks
    of `start_delay_s` after somebody listens to every stream. A chunk goes out as its last row's time comes,
    on a schedule that does not drift; gaps stay gaps. The outlets stay `linger_s` after the last row.

    streams: names to send; by default all with a regular rate but an engine's own results. prefix: put before
    their names. wait_s: for consumers; 0 does not wait. report: told of `ready`, `started`, `finished`,
    `interrupted`. stop: ends it early. Raises UserError where nobody listens in time.
    """
    stop = stop or threading.Event()
    tell = report or (lambda _: None)
    chosen = _chosen(recording, streams)
    outlets = {name: _outlet(stream, prefix) for name, stream in chosen.items()}
    try:
        tell({"state": "ready", "streams": [outlet.spec.name for outlet in outlets.values()]})
        _await_consumers(outlets, wait_s, stop)
        start = local_clock() + start_delay_s
        players = _players(chosen, outlets, start)
        tell({"state": "started", "start_s": start})
        _play(players, start, chunk_ms / 1000.0, stop)
        sent = {player.outlet.spec.name: player.sent for player in players}
        tell({"state": "interrupted" if stop.is_set() else "finished", "sent": sent})
        stop.wait(linger_s)
        return sent
    finally:
        for outlet in outlets.values():
            outlet.close()


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
    if not chosen:
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


def _players(chosen: dict[str, RecordedStream], outlets: dict[str, Outlet], start_s: float) -> list[_Player]:
    """Every stream on one clock (its first offset added), moved so that the earliest row is at start_s."""
    aligned = {name: s.stamps + (s.offsets[0][1] if s.offsets else 0.0) for name, s in chosen.items()}
    shift = start_s - min(float(stamps[0]) for stamps in aligned.values() if len(stamps))
    return [
        _Player(outlets[name], stream, aligned[name] + shift, _due(aligned[name] + shift, stream.spec.rate_hz))
        for name, stream in chosen.items()
    ]


def _due(stamps: Times, rate_hz: float) -> Times:
    """Times to send at: the stamps, but where the source's clock was set back they go on."""
    steps = np.diff(stamps, prepend=stamps[:1])
    back = steps < -1.0
    steps[back] = 1.0 / rate_hz if rate_hz > 0 else 0.0
    due = stamps if not back.any() else stamps[0] + np.cumsum(steps)
    return np.asarray(np.maximum.accumulate(due), np.float64)


def _play(players: list[_Player], start_s: float, chunk_s: float, stop: threading.Event) -> None:
    ticks = 0
    while not stop.is_set() and any(player.sent < len(player.due) for player in players):
        ticks += 1
        ahead = start_s + ticks * chunk_s - local_clock()
        if ahead > 0 and stop.wait(ahead):
            return
        for player in players:
            player.send_due(start_s + ticks * chunk_s)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", help=".xdf file, or folder with recording.json")
    parser.add_argument("--prefix", default="", help="put before the names of the streams")
    parser.add_argument("--streams", nargs="+", metavar="NAME", help="send only these")
    parser.add_argument("--start-delay", type=float, default=0.5, metavar="S", help="from consumers to the first row")
    parser.add_argument("--chunk-ms", type=float, default=10.0, help="length of a chunk")
    parser.add_argument("--wait", type=float, default=30.0, metavar="S", help="for consumers; 0: do not wait")
    parser.add_argument("--linger", type=float, default=3.0, metavar="S", help="keep the outlets so long at the end")


def run(options: argparse.Namespace) -> int:
    """Replay until the end or Ctrl-C; a line of JSON on stdout at each change of state."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    replay(
        load_recording(options.recording),
        streams=options.streams,
        prefix=options.prefix,
        start_delay_s=options.start_delay,
        chunk_ms=options.chunk_ms,
        wait_s=options.wait,
        linger_s=options.linger,
        report=lambda line: print(json.dumps(line), flush=True),
        stop=stop,
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit status 2 after a user's mistake, told on one line."""
    parser = argparse.ArgumentParser(prog="python -m realtime.sources.replay", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args(arguments))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
