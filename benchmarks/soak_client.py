"""The outside client of the soak: reads sources and outlets for an hour, and believes neither.

It counts both sources' samples through, looks for breaks in the predictions' times, and keeps how a tone that swells in
step in sound and ECoG comes out of either lane: by the outlets' stamps alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency_client import Counter
from benchmarks.processes import stop_with_parent, tell
from realtime.block import Floats, Times
from realtime.sources.lsl import Network, Reader
from realtime.telemetry import TELEMETRY

POLL_S = 0.1
COLUMNS = {"predicted": 0, "observed": 0, "sound": 1 + 72}  # kept; of the last two that with the swelling tone
COUNTER_AT = {"sound": 1, "ecog": 0}  # its column in either source
PUBLISHED, NEWEST = TELEMETRY.index("published_time"), TELEMETRY.index("newest_sample_time")
COUNTS = [TELEMETRY.index(name) for name in ("sound_lost", "sound_skipped", "ecog_lost", "ecog_skipped")]


class Series:
    """Stamps and one number of each row of a stream."""

    def __init__(self) -> None:
        self._stamps: list[Times] = []
        self._values: list[Floats] = []

    def add(self, stamps: Times, values: Floats) -> None:
        self._stamps.append(stamps)
        self._values.append(values.copy())  # or a view would keep all columns

    def begun(self) -> bool:
        return bool(self._stamps)

    def arrays(self, name: str) -> dict[str, Any]:
        empty = [np.empty(0)]
        return {f"{name}_s": np.concatenate(empty + self._stamps), name: np.concatenate([*empty, *self._values])}


class Listener:
    """All streams of a soak. `poll` takes what is there."""

    def __init__(self, engine: str, sources: dict[str, str]) -> None:
        self.series = {name: Series() for name in (*COLUMNS, "latency", "counts")}
        self.counters = {lane: Counter() for lane in sources}
        self.events: list[dict[str, Any]] = []
        self._lanes = {name: lane for lane, name in sources.items()}
        self._outlets = {f"{engine}.{what}": what for what in (*COLUMNS, "telemetry", "status")}
        self._network = Network(engine)
        self._readers: dict[str, Reader] = {}
        self._gone: set[str] = set()

    def listening(self) -> bool:
        """Whether both sources are being read."""
        return self._lanes.keys() <= self._readers.keys()

    def poll(self) -> None:
        missing = (self._lanes.keys() | self._outlets.keys()) - self._readers.keys() - self._gone
        for name, uid in self._network.present() if missing else ():
            if name in missing and name not in self._readers:
                self._readers[name] = self._network.open(uid)
        for name in list(self._readers):
            try:
                self._take(name, self._readers[name])
            except ConnectionError:  # its program has ended
                del self._readers[name]
                self._gone.add(name)

    def _take(self, name: str, reader: Reader) -> None:
        while True:
            values, stamps = reader.pull()
            if not len(stamps):
                return
            if name in self._lanes:
                lane = self._lanes[name]
                self.counters[lane].add(values[:, COUNTER_AT[lane]], stamps)
            else:
                self._take_outlet(self._outlets[name], values, stamps)

    def _take_outlet(self, what: str, values: Any, stamps: Times) -> None:
        if what == "status":
            for text in values:
                self._told(json.loads(text))
        elif what == "telemetry":
            self.series["latency"].add(stamps, values[:, PUBLISHED] - values[:, NEWEST])
            self.series["counts"].add(stamps, values[:, COUNTS].sum(axis=1))
        else:
            self.series[what].add(stamps, values[:, COLUMNS[what]])

    def _told(self, event: dict[str, Any]) -> None:
        kept = {key: event[key] for key in event.keys() - {"electrodes", "whisper", "message"}}
        self.events.append(kept)
        anchors = event.get("anchors") or ({event["lane"]: event} if event["event"] == "anchor" else {})
        for lane, anchor in anchors.items():
            if self.counters[lane].anchor_s is None:
                self.counters[lane].anchored(float(anchor["raw_s"]))
        if event["event"] == "settings":
            tell("counted", time=event["time"], samples=event["samples"])

    def save(self, out: Path) -> None:
        arrays: dict[str, Any] = {}
        for name, series in self.series.items():
            arrays |= series.arrays(name)
        for lane, counter in self.counters.items():
            arrays |= {f"{lane}_anchor": counter.at_anchor, f"{lane}_missing": counter.missing}
        np.savez(out, events=json.dumps(self.events), **arrays)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak_client", description=__doc__)
    parser.add_argument("--engine", required=True, help="its name, with which the sources' names begin too")
    parser.add_argument("--sound", required=True, help="name of the sound stream")
    parser.add_argument("--ecog", required=True, help="name of the ECoG stream")
    parser.add_argument("--out", type=Path, required=True, help=".npz, written when standard input closes")
    options = parser.parse_args(arguments)
    stop = stop_with_parent()
    listener = Listener(options.engine, {"sound": options.sound, "ecog": options.ecog})
    awaited = {"listening": listener.listening, "predicting": listener.series["predicted"].begun}
    while not stop.wait(POLL_S):
        listener.poll()
        for state in [state for state, there in awaited.items() if there()]:
            del awaited[state]
            tell(state)
    listener.poll()
    listener.save(options.out)
    tell("saved")
    return 0


if __name__ == "__main__":
    sys.exit(main())
