"""The outside client of the latency benchmark: notes when rows arrive, and believes the engine nothing else.

It reads the engine's outlets and the sound stream itself, in whose second channel it finds the number of the sample
that the engine called its first. It asks the system for the engine's priority, as a program that closes a loop would.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.processes import stop_with_parent, tell
from realtime.block import Floats, Times
from realtime.errors import UserError
from realtime.manners import ask_system
from realtime.sources.lsl import LslInlet, Network, Reader, StreamQuery, local_clock

POLL_S = 0.1
LINGER_S = 1.5  # observed rows come later than predicted ones


class Arrivals(threading.Thread):
    """When each row of a stream arrived: blocks on the stream in a thread of its own."""

    def __init__(self, name: str, timeout_s: float, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.stamps: list[Times] = []
        self.arrivals: list[Times] = []
        self.first = threading.Event()
        self.error: Exception | None = None
        self._query, self._timeout_s, self._ended = StreamQuery(name), timeout_s, stop

    def run(self) -> None:
        try:
            inlet = LslInlet(self._query, self._timeout_s).connect()
            inlet.open()
            while not self._ended.is_set():
                _, stamps = inlet.pull(0.2)
                now = local_clock()
                if len(stamps):
                    self.stamps.append(stamps)
                    self.arrivals.append(np.full(len(stamps), now))
                    self.first.set()
        except (UserError, ConnectionError) as error:
            self.error = error

    def arrays(self) -> tuple[Times, Times]:
        """Stamps and arrivals (rows,)."""
        count = len(self.arrivals)  # the thread may still append
        empty: list[Times] = [np.empty(0)]
        return np.concatenate(empty + self.stamps[:count]), np.concatenate(empty + self.arrivals[:count])


class Counter:
    """The sound stream's counter: its value at the engine's first sample, and rows that were missing here."""

    def __init__(self) -> None:
        self.at_anchor = -1
        self.missing = 0
        self.anchor_s: float | None = None
        self._next = -1
        self._kept: list[tuple[Floats, Times]] = []

    def add(self, counters: Floats, stamps: Times) -> None:
        if not len(stamps):
            return
        if self._next >= 0:
            self.missing += int(counters[-1]) + 1 - self._next - len(counters)
        self._next = int(counters[-1]) + 1
        if self.at_anchor < 0:
            self._kept.append((counters, stamps))
            self._look()

    def anchored(self, raw_s: float) -> None:
        """The engine says that its first sample was stamped raw_s by the source."""
        self.anchor_s = raw_s
        self._look()

    def _look(self) -> None:
        for counters, stamps in self._kept if self.anchor_s is not None else ():
            found = np.flatnonzero(stamps == self.anchor_s)
            if len(found):
                self.at_anchor = int(counters[found[0]])
                self._kept = []
                return


class Polled:
    """What needs no time of arrival: telemetry, status and the sound's counter."""

    def __init__(self, engine: str, sound: str) -> None:
        self.counter = Counter()
        self.resets = 0
        self.telemetry: list[Floats] = []
        self.stamps: list[Times] = []
        self._network = Network("bench")
        self._readers: dict[str, Reader | None] = {sound: None, f"{engine}.status": None, f"{engine}.telemetry": None}
        self._sound = sound

    def poll(self) -> None:
        if None in self._readers.values():
            for name, uid in self._network.present():
                if name in self._readers and self._readers[name] is None:
                    self._readers[name] = self._network.open(uid)
        for name, reader in self._readers.items():
            if reader is not None:
                self._take(name, reader)

    @property
    def listening(self) -> bool:
        """Whether the sound's counter is being read."""
        return self._readers[self._sound] is not None

    def _take(self, name: str, reader: Reader) -> None:
        while True:
            values, stamps = reader.pull()
            if not len(stamps):
                return
            if name == self._sound:
                self.counter.add(values[:, 1], stamps)
            elif reader.is_text:
                for text in values:
                    self._told(json.loads(text))
            else:
                self.telemetry.append(values)
                self.stamps.append(stamps)

    def _told(self, event: dict[str, object]) -> None:
        anchors = event.get("anchors")
        anchor = event if event["event"] == "anchor" and event["lane"] == "sound" else None
        if isinstance(anchors, dict):
            anchor = anchors.get("sound", anchor)
        if anchor is not None and self.counter.anchor_s is None:
            self.counter.anchored(float(str(anchor["raw_s"])))
        if event["event"] == "reset" and event.get("lane") == "sound":
            self.resets += 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency_client", description=__doc__)
    parser.add_argument("--engine", required=True, help="its name")
    parser.add_argument("--sound", required=True, help="name of the sound stream")
    parser.add_argument("--warm-up", type=float, required=True, metavar="S", help="not counted")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--wait", type=float, default=180.0, metavar="S", help="for the engine's first row")
    parser.add_argument("--out", type=Path, required=True, help=".npz")
    options = parser.parse_args(arguments)
    ask_system()
    stop = stop_with_parent()
    polled = Polled(options.engine, options.sound)
    _poll_until(polled, stop, lambda: polled.listening, 30.0, "the sound stream did not appear")
    tell("listening")
    names = (f"{options.engine}.predicted", f"{options.engine}.observed")
    predicted, observed = (Arrivals(name, options.wait, stop) for name in names)
    predicted.start()
    observed.start()
    ready = lambda: predicted.first.is_set() and polled.counter.at_anchor >= 0  # noqa: E731
    _poll_until(polled, stop, ready, options.wait, "the engine predicted nothing, or told no anchor")
    _poll_for(polled, stop, options.warm_up)
    begin_s = local_clock()
    tell("measuring")
    _poll_for(polled, stop, options.seconds)
    end_s = local_clock()
    tell("measured")
    _poll_for(polled, stop, LINGER_S)
    for thread in (predicted, observed):
        if thread.error is not None:
            raise SystemExit(str(thread.error))
    _save(options.out, predicted, observed, polled, begin_s, end_s)
    tell("saved")
    return 0


def _save(out: Path, predicted: Arrivals, observed: Arrivals, polled: Polled, begin_s: float, end_s: float) -> None:
    predicted_stamps, predicted_arrivals = predicted.arrays()
    observed_stamps, observed_arrivals = observed.arrays()
    np.savez(
        out,
        predicted_stamps=predicted_stamps,
        predicted_arrivals=predicted_arrivals,
        observed_stamps=observed_stamps,
        observed_arrivals=observed_arrivals,
        telemetry=np.concatenate(polled.telemetry),
        telemetry_stamps=np.concatenate(polled.stamps),
        counter_at_anchor=polled.counter.at_anchor,
        counter_missing=polled.counter.missing,
        resets=polled.resets,
        begin_s=begin_s,
        end_s=end_s,
    )


def _poll_for(polled: Polled, stop: threading.Event, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < until:
        polled.poll()
        stop.wait(min(POLL_S, max(0.0, until - time.monotonic())))
    if stop.is_set():
        raise SystemExit(1)


def _poll_until(polled: Polled, stop: threading.Event, there, timeout_s: float, otherwise: str) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + timeout_s
    while not there():
        if time.monotonic() > until:
            raise SystemExit(otherwise)
        _poll_for(polled, stop, POLL_S)


if __name__ == "__main__":
    sys.exit(main())
