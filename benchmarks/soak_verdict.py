"""What an hour's notes say: is memory flat, is every sample accounted for, do the lanes stay together in time?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import theilslopes

from benchmarks.latency_figures import distribution
from benchmarks.latency_source import BEAT_HZ
from realtime.block import ROW_RATE_HZ, Times

Arrays = Mapping[str, npt.NDArray[Any]]
LANES = ("sound", "ecog")
WINDOW_S = 10.0  # over which the lanes are compared
MOST_DRIFT_MS = 2.0
MOST_GROWTH_MB = 5.0  # from the first fifth to the last, after warm-up; or as much of an hour as it lasted at that rate
EXPECTED = {"started", "settings", "anchor", "offset", "stopped"}  # events that need no explanation
BREAKS = {"gap", "skip", "reset"}  # events that explain a break in the predictions' times
NEAR_S = 15.0  # of a break, within which the event that explains it is told


@dataclass(frozen=True)
class Samples:
    """Of the engine's process. seconds: since the first; cpu_percent: since the sample before, 100 for one core.

    load: of the whole machine, processes that run or want to.
    """

    seconds: Times
    rss_mb: Times
    threads: Times
    cpu_percent: Times
    load: Times


@dataclass(frozen=True)
class Lane:
    """sent: since the engine's first row, by the source's own counter. missing: at the client, by that counter."""

    sent: int
    received: int
    lost: int
    skipped: int
    missing: int

    @property
    def unexplained(self) -> int:
        return self.sent - self.received - self.lost - self.skipped


@dataclass(frozen=True)
class Verdict:
    """seconds: that the engine predicted for. warm_up_s: left out of memory and drift.

    rss_slope_mb_per_h: Theil-Sen, with its 95 % interval. drift_ms: (windows,) by how much the ECoG lane's times have
    moved against the sound lane's since the first windows; drift_s: their middles since the first.
    breaks: of the predictions' times; unexplained_breaks: those that no event tells of.
    """

    seconds: float
    warm_up_s: float
    lanes: dict[str, Lane]
    rss_slope_mb_per_h: tuple[float, float, float]
    rss_growth_mb: float
    threads: tuple[int, int]
    drift_s: Times
    drift_ms: Times
    latency_ms: dict[str, float]
    breaks: int
    unexplained_breaks: int
    events: dict[str, int]

    def failures(self) -> list[str]:
        """What is wrong, in words; empty where all is well."""
        found = [
            f"{name}: {lane.unexplained} of {lane.sent} samples are neither received, lost nor skipped"
            for name, lane in self.lanes.items()
            if lane.unexplained
        ]
        if self.unexplained_breaks:
            found.append(f"the predictions' times break off {self.unexplained_breaks} times with nothing told of it")
        if self.rss_growth_mb > MOST_GROWTH_MB:
            found.append(f"memory grew by {self.rss_growth_mb:.1f} MB, allowed are {MOST_GROWTH_MB:g}")
        if not self.worst_drift_ms <= MOST_DRIFT_MS:
            found.append(f"the lanes drift apart by {self.worst_drift_ms:.2f} ms, allowed are {MOST_DRIFT_MS:g}")
        return found

    @property
    def worst_drift_ms(self) -> float:
        return float(np.abs(self.drift_ms).max()) if len(self.drift_ms) else float("nan")

    def content(self) -> dict[str, Any]:
        """For the JSON."""
        plain = asdict(self)
        del plain["drift_s"], plain["drift_ms"]
        return {**plain, "worst_drift_ms": self.worst_drift_ms, "failures": self.failures()}

    def lines(self) -> list[str]:
        """For people."""
        slope, low, high = self.rss_slope_mb_per_h
        lanes = [
            f"{name}: sent {lane.sent}, received {lane.received}, lost {lane.lost}, skipped {lane.skipped}, "
            f"unexplained {lane.unexplained}; missing at the client {lane.missing}"
            for name, lane in self.lanes.items()
        ]
        return [
            f"{self.seconds / 60:.1f} min, of which {self.warm_up_s:.0f} s of warm-up",
            *lanes,
            f"breaks in the predictions' times: {self.breaks}, unexplained {self.unexplained_breaks}",
            f"memory: {slope:+.2f} MB an hour (95 % {low:+.2f} to {high:+.2f}), grew by {self.rss_growth_mb:+.1f} MB",
            f"threads: {self.threads[0]} to {self.threads[1]}",
            f"drift between the lanes: at most {self.worst_drift_ms:.2f} ms",
            f"latency, newest sample to published: p50 {self.latency_ms['p50']:.1f}, p99 {self.latency_ms['p99']:.1f}, "
            f"max {self.latency_ms['max']:.1f} ms",
            f"events: {', '.join(f'{name} {count}' for name, count in self.events.items()) or 'none'}",
        ]


def judge(client: Arrays, sources: Mapping[str, Arrays], samples: Samples, warm_up_s: float) -> Verdict:
    """client, sources: what their processes saved."""
    events: list[dict[str, Any]] = json.loads(str(client["events"]))
    counts = [event["samples"] for event in events if "samples" in event][-1]
    lanes = {
        lane: Lane(
            sent=int(sources[lane]["ends"][-1]) - int(client[f"{lane}_anchor"]),
            missing=int(client[f"{lane}_missing"]),
            **counts[lane],
        )
        for lane in LANES
    }
    stamps = client["predicted_s"]
    settled = samples.seconds >= warm_up_s
    rss, threads = samples.rss_mb[settled], samples.threads[settled]
    broken = np.flatnonzero(np.abs(np.diff(stamps) - 1 / ROW_RATE_HZ) > 0.5 / ROW_RATE_HZ)
    told = np.array([event["time"] for event in events if event["event"] in BREAKS])
    unexplained = sum(not np.any(np.abs(told - stamps[at + 1]) < NEAR_S) for at in broken)
    drift_s, drift_ms = lane_drift(client, warm_up_s)
    return Verdict(
        seconds=float(stamps[-1] - stamps[0]),
        warm_up_s=warm_up_s,
        lanes=lanes,
        rss_slope_mb_per_h=_slope(samples.seconds[settled], rss),
        rss_growth_mb=growth(rss),
        threads=(int(threads.min()), int(threads.max())),
        drift_s=drift_s,
        drift_ms=drift_ms,
        latency_ms=distribution(1e3 * client["latency"]),
        breaks=len(broken),
        unexplained_breaks=unexplained,
        events=_counted(event["event"] for event in events if event["event"] not in EXPECTED),
    )


def growth(values: Times) -> float:
    """From the median of the first fifth to that of the last."""
    fifth = max(1, len(values) // 5)
    return float(np.median(values[-fifth:]) - np.median(values[:fifth]))


def _slope(seconds: Times, rss_mb: Times) -> tuple[float, float, float]:
    slope, _, low, high = theilslopes(rss_mb, seconds)
    return 3600 * float(slope), 3600 * float(low), 3600 * float(high)


def lane_drift(client: Arrays, warm_up_s: float) -> tuple[Times, Times]:
    """Middles of windows, since the first, and ms by which the ECoG lane's times have moved against the sound lane's.

    Both sources hold a tone that swells in step; a lane's time error shows as a phase of what came out of it.
    """
    begin = max(client["observed_s"][0], client["sound_s"][0]) + warm_up_s
    end = min(client["observed_s"][-1], client["sound_s"][-1])
    starts = begin + WINDOW_S * np.arange(int((end - begin) / WINDOW_S))
    phases = [
        phase(client["observed_s"], client["observed"], start) - phase(client["sound_s"], client["sound"], start)
        for start in starts
    ]
    apart = np.array(phases)
    known = np.isfinite(apart)
    late_ms = 1e3 * np.unwrap(apart[known]) / (2 * np.pi * BEAT_HZ)
    first = max(1, min(6, len(late_ms) // 2))
    return starts[known] - begin + WINDOW_S / 2, late_ms - np.median(late_ms[:first]) if len(late_ms) else late_ms


def phase(stamps: Times, values: npt.NDArray[Any], start_s: float) -> float:
    """Of the swelling in one window: how late it is by these stamps, radians. NaN where too few rows are known."""
    rows = (stamps >= start_s) & (stamps < start_s + WINDOW_S) & np.isfinite(values)
    if np.count_nonzero(rows) < 0.9 * WINDOW_S * ROW_RATE_HZ:
        return float("nan")
    angle = 2 * np.pi * BEAT_HZ * stamps[rows]
    waves = [np.ones_like(angle), *(wave(k * angle) for k in (1, 2, 3) for wave in (np.cos, np.sin))]
    weights = np.linalg.lstsq(np.stack(waves, axis=1), values[rows].astype(np.float64), rcond=None)[0]
    return float(np.arctan2(weights[2], weights[1]))


def _counted(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
