"""What the report shows of decoder layers: offline, and said to be so in every figure and table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from realtime.commands.analysis_decoder import DECODERS
from realtime.commands.analysis_page import draw_profiles
from realtime.commands.analysis_setup import Truth
from realtime.commands.report import Report, new_figure

WORD_VECTOR, DECODER, UNTRAINED = DECODERS
COLOURS = {DECODER: "#7570b3", UNTRAINED: "#7f7f7f"}


def draw_decoder(
    report: Report, facts: Mapping[str, Any], arrays: Any, names: list[str], model: str, truth: Mapping[str, Truth]
) -> None:
    """Add one model's decoder layers to the report, or why there are none. truth: empty for a real patient."""
    layers = next((tuple(n) for m, hearing, n in facts["families"] if (m, hearing) == (model, DECODER)), None)
    if layers is None:
        report.add_text(f"Decoder layers of Whisper {model} are not compared: {facts.get('no_decoder', '')}.")
        return
    follows = np.nan_to_num(arrays["decoder p_fdr"], nan=1.0) <= 0.05
    report.add_text(
        f"Decoder of Whisper {model}, offline only: {facts['words']} words of the transcript, each from the "
        f"{facts['context_s']:g} s of sound up to {facts['crop_ms']:g} ms after its end and the words within them, up "
        "to itself, held from then to the next word. The untrained decoder (random weights) listens to the same "
        "trained encoder. "
        f"{follows.sum()} of {len(names)} electrodes follow some decoder layer of a trained Whisper (best r against "
        "the best of all decoder layers under circular shifts, false discovery rate 0.05)."
    )
    if truth:
        silent = [e for e, name in enumerate(names) if name in truth and truth[name].kind in ("undriven", "dead")]
        report.add_text(
            "Simulated patient: no decoder layer drives an electrode, so there is no layer to find; an electrode that "
            "follows one does so through what its words have in common with what drives it. Of "
            f"{len(silent)} electrodes that nothing drives {follows[silent].sum()} are said to follow one."
        )
    _profile(report, arrays, follows, model, layers)
    report.add_table(_electrodes(arrays, names, model), f"Electrodes, decoder of Whisper {model}, offline", folded=True)


def _profile(report: Report, arrays: Any, follows: Any, model: str, layers: tuple[int, ...]) -> None:
    figure = new_figure(7.0, 4.0)
    axes = figure.subplots()
    shown = draw_profiles(axes, arrays, follows, model, layers, COLOURS)
    vector = np.nanmean(arrays[f"{model} {WORD_VECTOR}/r"][0, shown])
    axes.axhline(vector, color="#2ca02c", ls="--", label=WORD_VECTOR)
    axes.set(xlabel=f"decoder layer of Whisper {model} (offline)", ylabel="mean out-of-fold r", xticks=layers)
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    which = "electrodes that follow a decoder layer" if follows.any() else "all electrodes: none follows a layer"
    report.add_figure(
        figure, f"Offline: mean out-of-fold r over {shown.sum()} {which}; bars: standard error over electrodes."
    )


def _electrodes(arrays: Any, names: list[str], model: str) -> list[dict[str, Any]]:
    of = f"{model} {DECODER}"
    rows = []
    for e, name in enumerate(names):
        low, best, high = (arrays[f"{of}/{quantity}"][e] for quantity in ("low", "best", "high"))
        rows.append(
            {
                "electrode": name,
                "p (FDR)": arrays["decoder p_fdr"][e],
                f"r {DECODER}": float(np.nanmax(np.append(arrays[f"{of}/r"][:, e], -1.0))),
                "layer": f"{best} ({low} to {high})",
                f"r {UNTRAINED}": float(np.nanmax(np.append(arrays[f"{model} {UNTRAINED}/r"][:, e], -1.0))),
                f"r {WORD_VECTOR}": arrays[f"{model} {WORD_VECTOR}/r"][0, e],
            }
        )
    return sorted(rows, key=lambda row: -float(row[f"r {DECODER}"]))
