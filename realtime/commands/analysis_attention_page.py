"""What the report shows of attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from realtime.commands.analysis_attention import RECOVERED, Q
from realtime.commands.analysis_page import told
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result
from realtime.commands.report import Report, new_figure

Rows = list[dict[str, Any]]
MOST_SHOWN = 80


def draw(patient: str, result: Result, _setup: Setup, report: Report) -> Rows:
    """Add the part to the report; returns its numbers."""
    report.add_heading(f"Attention in time: {patient}")
    facts, arrays = result.facts, result.arrays
    if not told(facts, report) or facts["failed"]:
        return []
    names = list(facts["electrodes"])
    _words(facts, arrays, report)
    _weights(arrays, report)
    _costs(arrays, names, report)
    _planted(facts, arrays, report)
    _peaks(facts, report)
    report.add_table(_electrodes(arrays, names), "Electrodes: what attention gives them", folded=True)
    return _numbers(patient, facts, arrays, names)


def _words(facts: dict[str, Any], arrays: Any, report: Report) -> None:
    report.add_text(
        f"An LSTM that attends to the last 0.5 s of {facts['embedding']}, fitted in five folds; everything here is of "
        "rows that it did not learn from. A weight is not a latency: a lag is masked (its weight goes to the others), "
        "and only where that lowers r is it said that the electrode is read from there (bootstrap of 10 s blocks, "
        "false discovery rate 0.05). Heads are numbered in each fold by their mean lag, the nearest first."
    )
    called = np.isfinite(arrays["latency_s"])
    share = facts["recovered"]
    if share < RECOVERED:
        report.add_text(
            f"No lag is called a latency: of simulated electrodes with known lags in the same recording, only "
            f"{share:.0%} get theirs back within 40 ms, and {RECOVERED:.0%} are asked for. A longer recording or more "
            "epochs may help."
        )
    elif called.any():
        ms = 1e3 * arrays["latency_s"][called]
        report.add_text(
            f"{called.sum()} of {len(called)} electrodes have a latency: {np.median(ms):.0f} ms in the middle, "
            f"{ms.min():.0f} to {ms.max():.0f}. Of simulated electrodes in the same recording {share:.0%} get their "
            "lag back within 40 ms."
        )
    else:
        report.add_text(
            f"No electrode has a latency: masking no lag lowers r for sure, though {share:.0%} of simulated electrodes "
            "in the same recording get their lag back within 40 ms."
        )


def _weights(arrays: Any, report: Report) -> None:
    weights = arrays["weights"]
    lags_ms = 20.0 * np.arange(weights.shape[1])
    figure = new_figure(7.0, 3.4)
    axes = figure.subplots()
    for head, row in enumerate(weights):
        axes.plot(lags_ms, row, "o-", ms=3, color=f"C{head}", label=f"head {head + 1}")
    axes.axhline(1 / weights.shape[1], color="0.5", ls="--", lw=1, label="all lags alike")
    top = 1.35 * max(float(weights.max()), 1 / weights.shape[1])  # room for the legend above heads that are nearly flat
    axes.set(xlabel="lag behind the sound (ms)", ylabel="mean attention weight", ylim=(0, top))
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=3)
    report.add_figure(figure, "Mean attention weight of each head over lags.")


def _costs(arrays: Any, names: list[str], report: Report) -> None:
    drop, lags_ms = arrays["lag_drop"], 1e3 * arrays["lags_s"]
    best = drop.max(axis=0)
    order = np.argsort(-best)[:MOST_SHOWN]
    order = order[np.lexsort((-best[order], arrays["costliest_s"][order]))]
    figure = new_figure(9.5, max(3.4, 0.16 * len(order) + 1.4))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    step = lags_ms[1] - lags_ms[0] if len(lags_ms) > 1 else 40.0
    extent = (lags_ms[0] - step / 2, lags_ms[-1] + step / 2, len(order) - 0.5, -0.5)
    top = max(float(np.nanpercentile(np.abs(drop), 99.5)), 1e-3)
    shown = {"aspect": "auto", "cmap": "RdBu_r", "vmin": -top, "vmax": top}
    left.imshow(drop[:, order].T, extent=extent, **shown)
    latency = 1e3 * arrays["latency_s"][order]
    left.plot(latency, np.arange(len(order)), "k.", ms=6)
    left.set_yticks(range(len(order)), [names[e] for e in order], fontsize=6)
    left.set(xlabel="lag that is masked (ms)", ylabel="electrode", title="without a lag")
    heads = arrays["head_drop"].shape[0]
    picture = right.imshow(arrays["head_drop"][:, order].T, **shown)
    right.set(xlabel="head", title="without a head", xticks=range(heads), xticklabels=range(1, heads + 1))
    figure.colorbar(picture, ax=[left, right], label="drop of r", extend="both")
    report.add_figure(
        figure,
        "What r loses without 40 ms of lags, and without a head: the electrodes that read it. A black dot: a latency.",
    )


def _planted(facts: dict[str, Any], arrays: Any, report: Report) -> None:
    true, found = 1e3 * arrays["planted_s"], 1e3 * arrays["planted_found_s"]
    figure = new_figure(4.6, 3.8)
    axes = figure.subplots()
    edge = max(float(true.max()), float(found.max())) + 30
    axes.plot([0, edge], [0, edge], color="0.6", lw=1)
    axes.plot(true + np.tile([-5.0, 0.0, 5.0], len(true))[: len(true)], found, "o", mfc="none", color="C0", ms=6)
    axes.set(xlabel="lag planted (ms)", ylabel="lag whose masking costs most (ms)", aspect="equal")
    report.add_figure(
        figure,
        f"SIMULATED electrodes that follow this recording's embedding at a known lag (ceiling 0.4): "
        f"{facts['recovered']:.0%} get theirs back within 40 ms, and for sure. Points are moved apart by 5 ms.",
    )


def _peaks(facts: dict[str, Any], report: Report) -> None:
    if not facts["peaks"]:
        report.add_text("No phone times: attention peaks are not held against words, phones and pauses.")
        return
    report.add_table(
        [
            {
                "head": row["head"],
                "event": row["event"],
                "events": row["events"],
                "peaks": row["peaks"],
                "near an event": row["count"],
                "expected": f"{row['expected']:.0f} ({row['low']:.0f} to {row['high']:.0f})",
                "p (FDR)": row["p_fdr"],
                "verdict": _verdict(row),
            }
            for row in facts["peaks"]
        ],
        "Peaks of the attention that a moment receives, within 40 ms of an event, against all circular shifts of the "
        "peaks by 5 s and more (mean and middle 95 %).",
    )


def _verdict(row: dict[str, Any]) -> str:
    if row["p_fdr"] > Q:
        return "as by chance"
    return "more than chance" if row["count"] > row["expected"] else "fewer than chance"


def _electrodes(arrays: Any, names: list[str]) -> Rows:
    rows = [
        {
            "electrode": name,
            "r": arrays["r"][e],
            "costliest lag (ms)": float(1e3 * arrays["costliest_s"][e]),
            "r lost without it": float(arrays["lag_drop"][:, e].max()),
            "latency (ms)": float(1e3 * arrays["latency_s"][e]),
            "head that it reads most": int(np.nan_to_num(arrays["head_drop"][:, e]).argmax()) + 1,
        }
        for e, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: -row["r lost without it"])


def _numbers(patient: str, facts: dict[str, Any], arrays: Any, names: list[str]) -> Rows:
    def row(electrode: str, of: str, quantity: str, value: Any) -> dict[str, Any]:
        return {"part": "attention", "patient": patient, "electrode": electrode, "of": of, "quantity": quantity,
                "value": value}  # fmt: skip

    rows = [row("", "planted lags", "recovered", facts["recovered"])]
    for quantity in ("r", "costliest_s", "latency_s"):
        rows += [row(name, "", quantity, arrays[quantity][e].item()) for e, name in enumerate(names)]
    for kind, labels in (
        ("lag", [f"{1e3 * lag:.0f} ms" for lag in arrays["lags_s"]]),
        ("head", [f"head {head + 1}" for head in range(len(arrays["head_drop"]))]),
    ):
        for quantity in (f"{kind}_drop", f"{kind}_p_fdr"):
            rows += [
                row(name, label, quantity, arrays[quantity][i, e].item())
                for i, label in enumerate(labels)
                for e, name in enumerate(names)
            ]
    rows += [
        row("", f"head {head + 1}, {20 * lag} ms", "weight", value.item())
        for (head, lag), value in np.ndenumerate(arrays["weights"])
    ]
    for one in facts["peaks"]:
        of = f"head {one['head']}, {one['event']}"
        rows += [row("", of, name, one[name]) for name in ("peaks", "events", "count", "expected", "p", "p_fdr")]
    return rows
