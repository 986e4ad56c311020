"""The engine's health and its best electrodes as a table for the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table

from realtime.engine import Engine, Latencies

BEST = 10


def health(engine: Engine, seconds: float) -> Table:
    """One line per lane, the latency, and the best electrodes by running score."""
    table = Table(title=f"{engine.settings.name}: {seconds:.0f} s", title_justify="left", box=None, pad_edge=False)
    for name in ("lane", "received", "lost", "skipped"):
        table.add_column(name, justify="left" if name == "lane" else "right")
    for lane, counts in engine.samples().items():
        table.add_row(lane, *(str(counts[key]) for key in ("received", "lost", "skipped")))
    compute = engine.latencies.compute
    if compute.count:
        latency = f"compute p50 {compute.percentile(0.5):.1f} ms, p99 {compute.percentile(0.99):.1f} ms"
        table.add_row("latency", latency)
    table.add_row("best", best_electrodes(engine))
    return table


def best_electrodes(engine: Engine) -> str:
    score = engine.score
    if score is None or not len(score) or not np.isfinite(score.data[-1]).any():
        return "not enough data: a score needs 30 s"
    r = np.nan_to_num(score.data[-1], nan=-1.0)
    names = engine.settings.electrodes
    return "  ".join(f"{names[i]} {r[i]:.2f}" for i in np.argsort(-r)[:BEST] if r[i] > -1)


def status_line(engine: Engine, seconds: float, total: float | None = None) -> str:
    """The same in one line, for a terminal that is none."""
    samples = engine.samples()
    lost = sum(counts["lost"] for counts in samples.values())
    skipped = sum(counts["skipped"] for counts in samples.values())
    of = "" if total is None else f" of {total:.0f}"
    compute = engine.latencies.compute
    p99 = f"{compute.percentile(0.99):.1f} ms" if compute.count else "-"
    return f"{seconds:.0f}{of} s | lost {lost} skipped {skipped} | compute p99 {p99} | {best_electrodes(engine)}"


def latency_table(latencies: Latencies) -> Table:
    """p50, p95, p99 and max of each part, milliseconds."""
    table = Table("latency (ms)", "p50", "p95", "p99", "max", title_justify="left")
    rows: dict[str, Any] = {
        "newest sound sample to prediction": latencies.sound_to_prediction,
        "  of it: transport to this engine": latencies.transport,
        "  of it: computing, block complete to published": latencies.compute,
        **{f"    {name}": histogram for name, histogram in latencies.stages.items()},
        "beside it: wait for the block and look-ahead": latencies.wait,
    }
    for name, histogram in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in histogram.summary().values()))
    return table


def latency_facts(latencies: Latencies) -> dict[str, Any]:
    return {
        "sound_to_prediction": latencies.sound_to_prediction.summary(),
        "compute": latencies.compute.summary(),
        "transport": latencies.transport.summary(),
        "wait_for_block": latencies.wait.summary(),
        "stages": {name: histogram.summary() for name, histogram in latencies.stages.items()},
    }
