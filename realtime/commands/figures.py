"""The figures of fits and evaluations, each from arrays alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from encoders.horizon import HorizonCurve
from encoders.ridge import FRAME_S
from encoders.scores import Scores
from realtime.block import Floats, Mask
from realtime.commands.report import new_figure

Doubles = npt.NDArray[np.float64]

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "0.6"
ALPHA = 0.05
SHOWN_S = 20.0


def order_of(r: Doubles) -> npt.NDArray[np.intp]:
    """Electrodes that were tested, the best first."""
    tested = np.flatnonzero(np.isfinite(r))
    return tested[np.argsort(-r[tested], kind="stable")]


def electrode_figure(scores: Scores, electrodes: Sequence[str], ceiling: Doubles | None = None) -> Figure:
    """r of every electrode with its interval, what chance reaches, and the ceiling where repeats gave one."""
    order = order_of(scores.r)
    figure = new_figure(max(8.0, 0.16 * len(order) + 2), 4.2)
    axes = figure.subplots()
    x = np.arange(len(order))
    found = np.nan_to_num(scores.p_fdr[order], nan=1.0) < ALPHA
    left_out = ~np.isfinite(scores.p[order])
    axes.fill_between(x, 0, scores.null_p95[order], step="mid", color="0.85", label="95 % of the null lie below")
    kinds = (
        (found, BLUE, "found (FDR 5 %)"),
        (~found & ~left_out, GREY, "not found"),
        (left_out, PURPLE, "records the sound: left out"),
    )
    for chosen, colour, label in kinds:
        if chosen.any():
            e = order[chosen]
            ends = np.abs(scores.r_interval[:, e] - scores.r[e])
            axes.errorbar(x[chosen], scores.r[e], ends, fmt="o", ms=4, lw=1, color=colour, label=label)
    if ceiling is not None and np.isfinite(ceiling).any():
        axes.plot(x, ceiling[order], "_", color=ORANGE, ms=9, mew=2, label="noise ceiling, from repeats")
    axes.axhline(0, color="0.3", lw=0.8)
    axes.set_xticks(x, [electrodes[e] for e in order], rotation=90, fontsize=6 if len(order) > 40 else 8)
    axes.set(ylabel="r, predicted with observed", xlabel="electrode", xlim=(-0.7, max(len(order), 1) - 0.3))
    axes.legend(fontsize=8, loc="upper right")
    return figure


def trace_figure(
    predicted: Floats, observed: Floats, bad: Mask, scores: Scores, electrodes: Sequence[str], row_rate_hz: float
) -> Figure:
    """Predicted over observed of the three best electrodes, for the 20 s in which fewest rows are masked."""
    best = order_of(np.where(np.isfinite(scores.p), scores.r, np.nan))[:3]  # of those that may be claimed
    rows = min(round(SHOWN_S * row_rate_hz), len(predicted))
    starts = np.arange(0, len(predicted) - rows + 1, max(rows // 2, 1))
    start = int(starts[np.argmin([bad[a : a + rows, best].sum() for a in starts])])
    figure = new_figure(10, 1.2 + 1.5 * max(len(best), 1))
    panels = figure.subplots(max(len(best), 1), 1, sharex=True, squeeze=False)[:, 0]
    part = slice(start, start + rows)
    times_s = np.arange(start, start + rows) / row_rate_hz
    for axes, e in zip(panels, best, strict=False):
        axes.plot(times_s, np.where(bad[part, e], np.nan, observed[part, e]), color=GREY, lw=0.8, label="observed")
        axes.plot(times_s, predicted[part, e], color=BLUE, lw=1.4, label="predicted")
        axes.set_ylabel(f"{electrodes[e]}\nSD of baseline", fontsize=8)
        axes.set_title(f"r = {scores.r[e]:.2f} over all rows left out", fontsize=8, loc="right")
    panels[0].legend(fontsize=8, loc="upper left", ncols=2)
    panels[-1].set_xlabel("seconds of recording")
    return figure


def baseline_figure(r: Doubles, baselines: Mapping[str, Doubles], found: Mask) -> Figure:
    """The model against each baseline, an electrode a point."""
    names = {
        "ridge": "ridge on embeddings",
        "spectrogram": "ridge on spectrogram",
        "rate": "ridge on onset rate",
        "untrained": "ridge on an untrained Whisper",
    }
    figure = new_figure(12, 3.4)
    panels = figure.subplots(1, len(baselines), sharey=True, squeeze=False)[0]
    values = np.concatenate([r, *baselines.values()])
    low, high = float(np.nanmin(values, initial=-0.1)) - 0.02, float(np.nanmax(values, initial=0.1)) + 0.02
    for axes, (name, other) in zip(panels, baselines.items(), strict=True):
        axes.plot([low, high], [low, high], color="0.3", lw=0.8)
        axes.scatter(other[~found], r[~found], s=12, color=GREY, label="not found")
        axes.scatter(other[found], r[found], s=14, color=BLUE, label="found")
        axes.set(xlim=(low, high), ylim=(low, high), xlabel=f"r, {names.get(name, name)}", aspect="equal")
    panels[0].set_ylabel("r, model")
    panels[0].legend(fontsize=8, loc="lower right")
    return figure


def lag_figure(profile: Doubles, lags_s: Doubles, horizon_s: float, found: Mask) -> Figure:
    """What a lag alone explains of the electrodes found, by their best lag, and how many have which."""
    figure = new_figure(10, 3.8)
    left, right = figure.subplots(1, 2)
    shown = np.flatnonzero(found & np.isfinite(lags_s))
    shown = shown[np.argsort(lags_s[shown])]
    half = 1e3 * FRAME_S / 2
    first_ms = 1e3 * horizon_s
    last_ms = first_ms + 1e3 * FRAME_S * (len(profile) - 1)
    if len(shown):
        relative = profile[:, shown].T / profile[:, shown].max(axis=0)[:, None]
        extent = (first_ms - half, last_ms + half, len(shown) - 0.5, -0.5)
        image = left.imshow(relative, aspect="auto", extent=extent, cmap="viridis", interpolation="nearest")
        left.plot(1e3 * lags_s[shown], np.arange(len(shown)), ".", color=ORANGE, ms=5, label="best lag")
        left.legend(fontsize=8, loc="upper right")
        figure.colorbar(image, ax=left, label="explained by the lag alone, of its best")
    left.set(xlabel="lag of activity behind sound, ms", ylabel="electrodes found, by lag")
    right.hist(1e3 * lags_s[shown], bins=np.arange(first_ms - half, last_ms + 2 * half, 20), color=BLUE)
    right.set(xlabel="best lag, ms", ylabel="electrodes")
    return figure


def training_figure(history: Sequence[Mapping[str, float]], ridge_r: float) -> Figure:
    """Loss and validation r of the LSTM with attention, epoch by epoch, beside the ridge."""
    figure = new_figure(10, 3.2)
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history], "o-", color=BLUE, ms=4)
    left.set(xlabel="epoch", ylabel="loss on training crops")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.plot(epochs, [row["validation_r"] for row in history], "o-", color=BLUE, ms=4, label="LSTM with attention")
    right.axhline(ridge_r, color=ORANGE, ls="--", label="ridge")
    right.set(xlabel="epoch (0: the ridge that it starts from)", ylabel="mean r on validation rows")
    right.legend(fontsize=8)
    return figure


def horizon_figure(curve: HorizonCurve, chosen_s: float) -> Figure:
    """Mean r against horizon, beside what the activity's own past gives."""
    figure = new_figure(7, 3.6)
    axes = figure.subplots()
    ms = 1e3 * np.asarray(curve.horizons_s)
    styles = {
        "model": (BLUE, "o-", "from sound"),
        "autoregressive": (GREEN, "s--", "from its own past (autoregressive)"),
    }
    styles["persistence"] = (GREY, "^:", "its newest row again (persistence)")
    for name, values in curve.means().items():
        colour, style, label = styles[name]
        axes.plot(ms, values, style, color=colour, ms=5, label=label)
    axes.axvline(
        1e3 * curve.recommended_s, color=ORANGE, lw=1.5, label=f"recommended: {1e3 * curve.recommended_s:.0f} ms"
    )
    axes.axvline(1e3 * chosen_s, color="0.3", lw=1, ls=":", label=f"used here: {1e3 * chosen_s:.0f} ms")
    axes.axhline(0, color="0.3", lw=0.8)
    axes.set(xlabel="horizon: how far ahead of the sound, ms", ylabel=f"mean r, {int(curve.used.sum())} electrodes")
    axes.legend(fontsize=8)
    return figure


def share_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Variance that only one kind of features explains, for the electrodes found. rows: JSON rows, the best first."""
    figure = new_figure(max(7.0, 0.18 * len(rows) + 2), 3.4)
    axes = figure.subplots()
    x = np.arange(len(rows))
    for name, colour, offset in (("embeddings", BLUE, -0.2), ("spectrogram", ORANGE, 0.2)):
        values = [row["unique_r2"][name] or 0.0 for row in rows]
        axes.bar(x + offset, values, 0.4, color=colour, label=f"only {name}")
    axes.plot(x, [row["unique_r2"]["together"] or 0.0 for row in rows], "_", color="0.2", ms=8, label="both together")
    axes.axhline(0, color="0.3", lw=0.8)
    axes.set_xticks(x, [row["name"] for row in rows], rotation=90, fontsize=6 if len(rows) > 40 else 8)
    axes.set(ylabel="share of variance (R²)", xlabel="electrodes found")
    axes.legend(fontsize=8)
    return figure
