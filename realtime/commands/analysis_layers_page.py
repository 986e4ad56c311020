"""What the report shows of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from encoders.analysis.layers import confusion
from realtime.commands.analysis_decoder_page import draw_decoder
from realtime.commands.analysis_page import draw_profiles, told
from realtime.commands.analysis_setup import Setup, Truth
from realtime.commands.analysis_store import Result
from realtime.commands.report import Report, new_figure

Doubles = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]
COLOURS = {"offline": "#1b6ca8", "causal": "#d95f02", "untrained": "#7f7f7f"}
TRUTH_CEILING = 0.4


def draw(patient: str, result: Result, setup: Setup, report: Report) -> Rows:
    """Add the part to the report; returns its numbers, one row for each electrode and feature set."""
    report.add_heading(f"Layers: {patient}")
    facts, arrays = result.facts, result.arrays
    if not told(facts, report):
        return []
    names = list(facts["electrodes"])
    encodes = np.nan_to_num(arrays["p_fdr"], nan=1.0) <= 0.05
    report.add_text(
        f"{facts['seconds']:.0f} s of sound and high gamma. {encodes.sum()} of {len(names)} electrodes follow some "
        "layer of a trained Whisper (best r against the best of all layers under circular shifts, false discovery "
        "rate 0.05). r is out of fold, from 50 whitened principal components and lags of 0 to 0.36 s."
    )
    rows = _numbers(patient, facts, arrays, names)
    for model in dict.fromkeys(model for model, _, _ in facts["families"] if model):
        layers = next(tuple(numbers) for m, _, numbers in facts["families"] if m == model)
        _profiles(report, arrays, encodes, model, layers)
        _heat(report, arrays, encodes, names, model, layers)
        _peaks(report, arrays, encodes, model, layers)
        if setup.truth:
            counts = against_truth(report, arrays, names, model, layers, setup.truth)
            rows += [_row(patient, "", *one) for one in counts]
        report.add_table(_electrodes(arrays, names, model), f"Electrodes, Whisper {model}", folded=True)
        draw_decoder(report, facts, arrays, names, model, setup.truth)
    return rows


def _profiles(report: Report, arrays: Any, encodes: Any, model: str, layers: tuple[int, ...]) -> None:
    figure = new_figure(7.0, 4.0)
    axes = figure.subplots()
    shown = draw_profiles(axes, arrays, encodes, model, layers, COLOURS)
    axes.axhline(np.nanmean(arrays["spectrogram/r"][0, shown]), color="#2ca02c", ls="--", label="spectrogram")
    axes.set(xlabel=f"encoder layer of Whisper {model}", ylabel="mean out-of-fold r", xticks=layers)
    axes.legend(frameon=False, fontsize=8)
    which = "electrodes that encode" if encodes.any() else "all electrodes: none encodes"
    report.add_figure(figure, f"Mean out-of-fold r over {shown.sum()} {which}; bars: standard error over electrodes.")


def _heat(report: Report, arrays: Any, encodes: Any, names: list[str], model: str, layers: tuple[int, ...]) -> None:
    shown = np.flatnonzero(encodes)
    if not len(shown):
        return
    offline, causal = (arrays[f"{model} {hearing}/r"][:, shown] for hearing in ("offline", "causal"))
    order = np.lexsort((-np.nanmax(offline, axis=0), arrays[f"{model} offline/best"][shown]))
    figure = new_figure(8.0, max(3.0, 0.16 * len(shown) + 1.2))
    top = float(np.nanmax([offline, causal]))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, r, title in zip(panels, (offline, causal), ("offline", "causal"), strict=True):
        picture = axes.imshow(r[:, order].T, aspect="auto", vmin=0, vmax=top, cmap="viridis")
        best = np.nan_to_num(r[:, order], nan=-1).argmax(axis=0)
        axes.plot(best, np.arange(len(shown)), "w.", ms=4)
        axes.set(title=title, xlabel="encoder layer", xticks=range(len(layers)), xticklabels=layers)
    panels[0].set_yticks(range(len(shown)), [names[i] for i in shown[order]], fontsize=6)
    panels[0].set_ylabel("electrode")
    figure.colorbar(picture, ax=panels, label="out-of-fold r")
    report.add_figure(figure, "r of each layer at each electrode that encodes; a white dot marks its best layer.")


def _peaks(report: Report, arrays: Any, encodes: Any, model: str, layers: tuple[int, ...]) -> None:
    if not encodes.any():
        return
    figure = new_figure(6.0, 3.2)
    axes = figure.subplots()
    for offset, hearing in ((-0.2, "offline"), (0.2, "causal")):
        best = arrays[f"{model} {hearing}/best"][encodes]
        counts = [(best == layer).sum() for layer in layers]
        axes.bar(np.array(layers) + offset, counts, 0.38, color=COLOURS[hearing], label=hearing)
    axes.set(xlabel="best encoder layer", ylabel="electrodes", xticks=layers)
    axes.legend(frameon=False)
    both = [arrays[f"{model} {hearing}/best"][encodes].astype(float) for hearing in ("offline", "causal")]
    moved = both[1] - both[0]
    report.add_figure(
        figure,
        f"Best layers, offline and causal. The causal best layer lies {np.mean(moved):+.2f} layers from the offline "
        f"one on average; it is the same at {np.mean(moved == 0):.0%} of the electrodes.",
    )


def against_truth(
    report: Report, arrays: Any, names: list[str], model: str, layers: tuple[int, ...], truth: dict[str, Truth]
) -> list[tuple[str, str, int]]:
    """Confusion matrices for a simulated patient, over the layer-driven electrodes with a ceiling worth the name.

    Returns their counts: of what drives, of what is found.
    """
    chosen = [
        e for e, name in enumerate(names)
        if name in truth and truth[name].layer in layers and (truth[name].ceiling or 0.0) >= TRUTH_CEILING
    ]  # fmt: skip
    if not chosen:
        return []
    true = np.array([truth[names[e]].layer for e in chosen], np.intp)
    figure = new_figure(8.5, 4.0)
    said: list[str] = []
    numbers: list[tuple[str, str, int]] = []
    for axes, hearing in zip(figure.subplots(1, 2), ("offline", "causal"), strict=True):
        found = arrays[f"{model} {hearing}/best"][chosen]
        counts = confusion(true, found, layers)
        _matrix(axes, counts, layers)
        axes.set_title(hearing)
        numbers += [
            (f"{model} {hearing}, electrodes driven by layer {layers[i]}", f"found in layer {layers[j]}", int(count))
            for (i, j), count in np.ndenumerate(counts)
        ]
        said.append(
            f"{hearing}: {np.mean(found == true):.0%} exact, {np.mean(np.abs(found - true) <= 1):.0%} within one"
        )
    report.add_figure(
        figure,
        f"Simulated patient: layer that drives an electrode and layer found, {len(chosen)} electrodes with a ceiling "
        f"of {TRUTH_CEILING:g} or more. {'; '.join(said)}.",
    )
    return numbers


def _matrix(axes: Axes, counts: npt.NDArray[np.intp], layers: tuple[int, ...]) -> None:
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            axes.text(j, i, str(count), ha="center", va="center", color="w" if count > counts.max() / 2 else "k")
    ticks = range(len(layers))
    axes.set(xlabel="layer found", ylabel="layer that drives", xticks=ticks, yticks=ticks)
    axes.set(xticklabels=layers, yticklabels=layers)


def _electrodes(arrays: Any, names: list[str], model: str) -> Rows:
    rows = []
    for e, name in enumerate(names):
        row: dict[str, Any] = {"electrode": name, "p (FDR)": arrays["p_fdr"][e], "null p95": arrays["null_p95"][e]}
        for hearing in ("offline", "causal"):
            of = f"{model} {hearing}"
            row[f"r {hearing}"] = float(np.nanmax(np.append(arrays[f"{of}/r"][:, e], -1.0)))
            low, high = arrays[f"{of}/low"][e], arrays[f"{of}/high"][e]
            row[f"layer {hearing}"] = f"{arrays[f'{of}/best'][e]} ({low} to {high})"
        row["r untrained"] = float(np.nanmax(np.append(arrays[f"{model} untrained/r"][:, e], -1.0)))
        row["r spectrogram"] = arrays["spectrogram/r"][0, e]
        rows.append(row)
    return sorted(rows, key=lambda row: -row["r offline"])


def _numbers(patient: str, facts: dict[str, Any], arrays: Any, names: list[str]) -> Rows:
    rows = []
    for model, hearing, layers in facts["families"]:
        of = f"{model} {hearing}".strip()
        for i, layer in enumerate(layers):
            rows += [_row(patient, name, f"{of} layer {layer}" if layer else of, "r", arrays[f"{of}/r"][i, e])
                     for e, name in enumerate(names)]  # fmt: skip
        for quantity in ("best", "low", "high", "agreement"):
            if f"{of}/{quantity}" in arrays:
                rows += [_row(patient, name, of, f"{quantity} layer" if quantity != "agreement" else quantity,
                              arrays[f"{of}/{quantity}"][e]) for e, name in enumerate(names)]  # fmt: skip
    for of, prefix in (("any trained layer", ""), ("any decoder layer, offline", "decoder ")):
        for quantity in ("p", "p_fdr", "null_p95"):
            if prefix + quantity in arrays:
                rows += [_row(patient, name, of, quantity, arrays[prefix + quantity][e])
                         for e, name in enumerate(names)]  # fmt: skip
    return rows


def _row(patient: str, electrode: str, what: str, quantity: str, value: Any) -> dict[str, Any]:
    return {"part": "layers", "patient": patient, "electrode": electrode, "of": what, "quantity": quantity,
            "value": value.item() if isinstance(value, np.generic) else value}  # fmt: skip
