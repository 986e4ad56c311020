"""The distributions of the latency benchmark as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from benchmarks.latency_case import Measured

PARTS = {  # of Parts, with what they are called
    "wait": "waiting for the block",
    "transport_in": "transport to the engine",
    "compute": "computing",
    "transport_out": "transport to the client",
}


def draw_latency(measured: Sequence[Measured], path: Path) -> None:
    """Left: the share of rows later than so many ms. Right: what the median delay consists of."""
    figure = Figure(figsize=(15, 4.0 + 0.45 * len(measured)), layout="constrained")
    tails, bars = figure.subplots(1, 2)
    _draw_tails(tails, measured)
    _draw_bars(bars, measured)
    figure.legend(*tails.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, dpi=120)


def _draw_tails(axes: Axes, measured: Sequence[Measured]) -> None:
    for m in measured:
        values = np.sort(m.parts.end_to_end)
        later = 1.0 - np.arange(len(values)) / max(1, len(values))
        style = "--" if m.case.load else "-"
        axes.step(values, later, style, where="post", label=str(m.case))
    axes.set(xscale="log", yscale="log", xlabel="end to end, ms", ylabel="share of rows that are later")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, which="both")


def _draw_bars(axes: Axes, measured: Sequence[Measured]) -> None:
    left = np.zeros(len(measured))
    for name, label in PARTS.items():
        widths = np.array([max(0.0, float(np.median(getattr(m.parts, name)))) for m in measured])
        axes.barh(np.arange(len(measured)), widths, left=left, label=label)
        left += widths
    axes.set_yticks(np.arange(len(measured)), [str(m.case) for m in measured], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("median of each part, ms, from the time that the row's sound speaks of")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, fontsize=9)
