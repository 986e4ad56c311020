"""What the report shows of time."""

from __future__ import annotations

from typing import Any

import numpy as np

from encoders.analysis.sweep import TIME_MODELS
from realtime.commands.analysis_page import told
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result
from realtime.commands.analysis_time import PAIRS
from realtime.commands.report import Report, new_figure

Rows = list[dict[str, Any]]
LABELS = {
    "instantaneous": "one frame",
    "lagged": "lagged linear",
    "lstm": "LSTM",
    "lstm_attention": "LSTM + attention",
}


def draw(patient: str, result: Result, _setup: Setup, report: Report) -> Rows:
    """Add the part to the report; returns its numbers."""
    report.add_heading(f"Time: {patient}")
    facts, arrays = result.facts, result.arrays
    if not told(facts, report):
        return []
    names = list(facts["electrodes"])
    report.add_text(
        f"{facts['embedding']}: prediction from the present frame alone, from lags of 0 to 0.36 s, from an LSTM and "
        f"from an LSTM that attends to the last 0.5 s (both with a linear path from the present frame, up to "
        f"{facts['epochs']} epochs a fold). Out-of-fold r; p of a gain by resampled blocks of 10 s, adjusted for the "
        "false discovery rate; overall by a signed-rank test over electrodes."
    )
    figure = new_figure(11.0, 3.2)
    for axes, (better, plain) in zip(figure.subplots(1, len(PAIRS)), PAIRS, strict=True):
        x, y = arrays[f"{plain}/r"], arrays[f"{better}/r"]
        sure = np.nan_to_num(arrays[f"{better} over {plain}/p_fdr"], nan=1.0) <= 0.05
        edge = float(np.nanmax([x, y])) + 0.03
        axes.plot([-0.1, edge], [-0.1, edge], color="#999999", lw=1)
        axes.plot(x[~sure], y[~sure], "o", mfc="none", color="C0", ms=4, label="p > 0.05")
        axes.plot(x[sure], y[sure], "o", color="C0", ms=4, label="p <= 0.05")
        axes.set(xlabel=f"r, {LABELS[plain]}", ylabel=f"r, {LABELS[better]}", aspect="equal")
        axes.set(xlim=(-0.1, edge), ylim=(-0.1, edge))
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    report.add_figure(
        figure, "Each dot an electrode; above the line the model named on the vertical axis is the better."
    )
    report.add_table(
        [
            {
                "model": LABELS[test["pair"][0]],
                "against": LABELS[test["pair"][1]],
                "mean gain of r": test["mean_gain"],
                "p over electrodes": test["p"],
                "electrodes that gain": _sure(arrays, test["pair"], 1),
                "electrodes that lose": _sure(arrays, test["pair"], -1),
            }
            for test in facts["tests"]
        ],
        "What time gains.",
    )
    rows = [
        {"electrode": name, **{LABELS[kind]: arrays[f"{kind}/r"][e] for kind in TIME_MODELS}}
        for e, name in enumerate(names)
    ]
    report.add_table(rows, "Electrodes: r of each model", folded=True)
    overall = [
        {"part": "time", "patient": patient, "electrode": "", "of": " over ".join(test["pair"]), "quantity": quantity,
         "value": test[key]}
        for test in facts["tests"]
        for quantity, key in (("mean gain over electrodes", "mean_gain"), ("p over electrodes", "p"))
    ]  # fmt: skip
    return overall + [
        {"part": "time", "patient": patient, "electrode": name, "of": quantity.split("/")[0],
         "quantity": quantity.split("/")[1], "value": values[e].item()}
        for quantity, values in arrays.items()
        for e, name in enumerate(names)
    ]  # fmt: skip


def _sure(arrays: Any, pair: list[str], sign: int) -> int:
    name = f"{pair[0]} over {pair[1]}"
    gain = np.nan_to_num(arrays[f"{name}/gain"]) * sign > 0
    return int(np.sum(gain & (np.nan_to_num(arrays[f"{name}/p_fdr"], nan=1.0) <= 0.05)))
