"""The frontier as a picture: phone accuracy against the worst wait and against cost.

python -m benchmarks.frontier a.json b.json --picture frontier.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.labels import Point, write_labels

Row = dict[str, Any]
WAIT, COST = (
    ("lag_ms", "Worst wait: block + delay + look-ahead (ms)"),
    ("ms_per_s", "Computing per second of sound (ms)"),
)
TICKS = (10, 20, 30, 50, 70, 100, 200, 300, 500, 700, 1000)
STYLES = {  # series: colour, marker
    "no tail": ("#0072b2", "o"),
    "tail": ("#d55e00", "s"),
    "no tail, short history": ("#56b4e9", "v"),
    "tail, short history": ("#e69f00", "^"),
    "window": ("#009e73", "D"),
    "distilled student": ("#7b3294", "*"),
}
STUDENT = "distilled student"


def draw_frontier(rows: Sequence[Row], path: Path) -> None:
    """One line of two panels for each model and layer, as PNG."""
    frontier_figure(rows).savefig(path, dpi=110)


def frontier_figure(rows: Sequence[Row]) -> Figure:
    """Each model and layer against the offline reference of its own; rows without fidelity are left out."""
    rows = [row for row in rows if row["phone_accuracy"] is not None]
    groups = list(dict.fromkeys((row["model"], row["layer"]) for row in rows))
    figure = Figure(figsize=(12.5, 0.7 + 6.4 * len(groups)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 2, sharey="row", squeeze=False)
    drawn = []
    for (model, layer), (left, right) in zip(groups, panels, strict=True):
        own = [row for row in rows if (row["model"], row["layer"]) == (model, layer)]
        for axes, (name, label) in zip((left, right), (WAIT, COST), strict=True):
            _panel(axes, own, name, label)
            drawn.append((axes, own, name))
        threads, dtype = own[-1]["threads"], own[-1]["dtype"]
        left.set_ylabel(f"Phone accuracy, {model} layer {layer}\n(39 phones, 20 ms frames, held-out trials)")
        right.set_title(f"{own[-1]['device']}, {threads} thread{'s' if threads > 1 else ''}, {dtype}", fontsize=10)
        left.set_title("labels: block + delay in ms, @ history in s where it is not 10", fontsize=10)
    figure.legend(*panels[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    figure.draw_without_rendering()  # only now it is settled where each point lies
    for axes, own, name in drawn:
        write_labels(axes, [_point(row, name) for row in own if row["mode"] != "offline"])
    return figure


def _panel(axes: Axes, rows: Sequence[Row], name: str, label: str) -> None:
    offline = rows[0]["offline_phone_accuracy"]
    axes.axhline(offline, color="0.4", linestyle="--", linewidth=1, label=f"offline ({offline:.3f})")
    causal = [row for row in rows if row["mode"] != "offline"]
    for series, (colour, marker) in STYLES.items():
        points = [row for row in causal if _series(row) == series]
        if points:
            x, y = [row[name] for row in points], [row["phone_accuracy"] for row in points]
            size = 110 if marker == "*" else 36
            axes.scatter(x, y, color=colour, marker=marker, s=size, label=series, zorder=3)
    for student, colour, words in ((False, "0.75", "frontier, untrained"), (True, "#c2a5cf", "frontier, student")):
        best = _frontier([row for row in causal if bool(row["student"]) == student], name)
        if best:
            x, y = [row[name] for row in best], [row["phone_accuracy"] for row in best]
            axes.step(x, y, where="post", color=colour, label=words)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.07)
    ticks = [t for t in TICKS if 0.6 * min(r[name] for r in causal) < t < 1.6 * max(r[name] for r in causal)]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)


def _point(row: Row, name: str) -> Point:
    return Point(row[name], row["phone_accuracy"], _label(row), STYLES[_series(row)][0])


def _series(row: Row) -> str:
    if row["student"]:
        return STUDENT
    if row["mode"] == "window":
        return "window"
    tail = "tail" if row["delay_ms"] else "no tail"
    return tail if row["history_s"] >= 10 else f"{tail}, short history"


def _label(row: Row) -> str:
    history = "" if row["history_s"] == 10 else f"@{row['history_s']:g}"
    return f"{row['block_ms']:g}+{row['delay_ms']:g}{history}"


def _frontier(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows that nothing cheaper or sooner beats, from the cheapest."""
    best: list[Row] = []
    for row in sorted(rows, key=lambda row: (row[name], -row["phone_accuracy"])):
        if not best or row["phone_accuracy"] > best[-1]["phone_accuracy"]:
            best.append(row)
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description="Draw rows already measured.")
    parser.add_argument("files", nargs="+", type=Path, metavar="JSON", help="what benchmarks.fidelity wrote")
    parser.add_argument("--picture", type=Path, required=True, metavar="PNG", help="where the picture goes")
    options = parser.parse_args(arguments)
    draw_frontier([row for file in options.files for row in json.loads(file.read_text())["rows"]], options.picture)


if __name__ == "__main__":
    main()
