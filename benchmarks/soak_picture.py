"""The soak as a picture: memory, time between the lanes, latency and losses over its minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.soak_verdict import MOST_DRIFT_MS, Arrays, Samples, Verdict

WINDOW_S = 10.0


def draw_soak(verdict: Verdict, samples: Samples, client: Arrays, title: str, path: Path) -> None:
    figure = Figure(figsize=(11, 11), layout="constrained")
    memory, drift, latency, lost, busy = figure.subplots(5, 1, sharex=True)
    figure.suptitle(title)
    minutes = samples.seconds / 60
    memory.plot(minutes, samples.rss_mb)
    memory.set_ylabel("engine's memory, MB")
    memory.set_ylim(0, 1.15 * samples.rss_mb.max())
    memory.set_title(f"slope after warm-up {verdict.rss_slope_mb_per_h[0]:+.2f} MB an hour", fontsize=9)
    drift.plot((verdict.drift_s + verdict.warm_up_s) / 60, verdict.drift_ms)
    drift.axhspan(-MOST_DRIFT_MS, MOST_DRIFT_MS, color="green", alpha=0.1, label="allowed")
    drift.set_ylabel("ECoG against\nsound lane, ms")
    drift.legend(fontsize=8, loc="upper right")
    _draw_latency(latency, client)
    start = client["counts_s"][0]
    lost.plot((client["counts_s"] - start) / 60, client["counts"])
    lost.set_ylabel("samples lost\nor skipped")
    lost.set_ylim(bottom=0)
    busy.plot(minutes[1:], samples.cpu_percent[1:], label="engine, % of one core")
    busy.plot(minutes[1:], 100 * samples.load[1:], label="all programs: wanting to run, x 100", alpha=0.6)
    busy.set_ylabel("processor")
    busy.legend(fontsize=8, loc="upper left")
    busy.set_xlabel("minutes")
    for axes in (memory, drift, latency, lost, busy):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _draw_latency(axes, client: Arrays) -> None:  # type: ignore[no-untyped-def]
    """p50, p99 and largest of each ten seconds."""
    seconds, values = client["latency_s"] - client["latency_s"][0], 1e3 * client["latency"]
    edges = np.searchsorted(seconds, np.arange(0.0, seconds[-1], WINDOW_S))
    windows = [part for part in np.split(values, edges[1:]) if len(part)]
    middles = (np.arange(len(windows)) + 0.5) * WINDOW_S / 60
    for name, share in (("largest", 100), ("p99", 99), ("p50", 50)):
        axes.plot(middles, [np.percentile(part, share) for part in windows], label=name)
    axes.set_yscale("log")
    axes.set_ylabel("newest sample to\npublished, ms")
    axes.legend(fontsize=8, loc="upper right")
