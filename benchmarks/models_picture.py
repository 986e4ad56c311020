"""How much more of the ceiling each model reaches than the ridge, by kind of electrode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def draw(rows: Sequence[dict[str, Any]], path: Path, ridge: str, kinds: Sequence[str]) -> None:
    """rows: of `summarise`. Intervals are 95 %, over seeds."""
    models = [name for name in dict.fromkeys(row["model"] for row in rows) if name != ridge]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, model in enumerate(models):
        of = [next(r for r in rows if r["model"] == model and r["kind"] == kind) for kind in kinds]
        at = [i + 0.16 * (number - (len(models) - 1) / 2) for i in range(len(kinds))]
        gain = [r["gain"] for r in of]
        error = [[r["gain"] - r["low"] for r in of], [r["high"] - r["gain"] for r in of]]
        axes.errorbar(at, gain, error, fmt="o", capsize=3, label=model)
    axes.axhline(0, color="0.5", linewidth=1)
    shares = {r["kind"]: r["share"] for r in rows if r["model"] == ridge}
    axes.set_xticks(range(len(kinds)), [f"{kind}\n(ridge: {shares[kind]:.2f})" for kind in kinds])
    axes.set_xlabel("simulated electrodes driven by")
    axes.set_ylabel("share of the ceiling,\nmore than the ridge's")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
