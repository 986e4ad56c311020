"""What the report shows of anatomy: maps of each patient, and regions over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.analysis.regions import LEAST_REGIONS, left_out_agreement, region_effects
from realtime.commands.analysis_decoder import DECODERS
from realtime.commands.analysis_page import flat_places, label_places, told, unit_of
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result
from realtime.commands.report import Report, new_figure

Rows = list[dict[str, Any]]
Doubles = npt.NDArray[np.float64]
Found = Mapping[tuple[str, str], Result]
PART = "anatomy"
# by hearing: what its layers belong to, and the prefix of the p-values of following one
STACKS = {"offline": ("encoder", ""), "causal": ("encoder", ""), DECODERS[1]: ("decoder", "decoder ")}


def draw(patient: str, result: Result, _setup: Setup, report: Report) -> Rows:
    """Add where the electrodes lie to the report; returns its numbers."""
    report.add_heading(f"Anatomy: {patient}")
    facts, arrays = result.facts, result.arrays
    if not told(facts, report):
        return []
    unit = unit_of(facts["system"])
    names, distance = list(facts["electrodes"]), arrays["distance"]
    if facts["no_atlas"]:
        report.add_text(f"Regions are those of the file: {facts['no_atlas']}.")
    else:
        report.add_text("Regions are the nearest label of the atlas, with its distance; none beyond 10 mm.")
    rows = [
        {
            "electrode": name,
            "region": facts["regions"][e] or None,
            "distance (mm)": distance[e],
            **dict(zip("xyz", arrays["position"][e], strict=False)),
        }
        for e, name in enumerate(names)
    ]
    report.add_table(
        rows, f"Electrodes: places in {facts['system'] or 'coordinates without a name'} ({unit})", folded=True
    )
    return [
        _row(patient, name, facts["regions"][e], quantity, value)
        for e, name in enumerate(names)
        for quantity, value in (("distance_mm", distance[e].item()), *_xyz(arrays["position"][e], unit))
    ]


def _xyz(position: Doubles, unit: str) -> list[tuple[str, float]]:
    return [(f"{axis}_{unit}", float(value)) for axis, value in zip("xyz", position, strict=False)]


def _row(patient: str, electrode: str, of: str, quantity: str, value: Any) -> dict[str, Any]:
    return {"part": PART, "patient": patient, "electrode": electrode, "of": of, "quantity": quantity, "value": value}


def draw_together(found: Found, report: Report) -> Rows:
    """Maps of what the other parts found, and each quantity by region over patients; returns its numbers."""
    patients = [patient for patient, part in found if part == PART and "regions" in found[patient, part].facts]
    rows: Rows = []
    for title, unit, values in quantities(found, patients):
        report.add_heading(f"Maps: {title}")
        for patient in values:
            _map(report, patient, found[patient, PART], values[patient], title, unit)
        rows += _regions(report, found, values, title)
    return rows


def quantities(found: Found, patients: Sequence[str]) -> list[tuple[str, str, dict[str, Doubles]]]:
    """(title, label of the colours, values (electrodes,) by patient) of what the other parts found."""
    kinds: dict[str, tuple[str, dict[str, Doubles]]] = {}

    def add(title: str, unit: str, patient: str, values: Doubles) -> None:
        kinds.setdefault(title, (unit, {}))[1][patient] = np.asarray(values, np.float64)

    for patient in patients:
        layers, phonemes, attention = (found.get((patient, part)) for part in ("layers", "phonemes", "attention"))
        for model, hearing, _ in layers.facts.get("families", []) if layers else []:
            if layers is not None and hearing in STACKS:
                of, (stack, prefix) = f"{model} {hearing}", STACKS[hearing]
                sure = np.nan_to_num(layers.arrays[f"{prefix}p_fdr"], nan=1.0) <= 0.05
                r = np.fmax.reduce(layers.arrays[f"{of}/r"])  # NaN where no layer has one
                add(f"best r, Whisper {of}", "out-of-fold r", patient, r)
                best = np.where(sure, layers.arrays[f"{of}/best"], np.nan)
                add(f"best layer, Whisper {of}", f"{stack} layer (electrodes that follow one)", patient, best)
        if phonemes is not None and "index" in phonemes.arrays:
            told = phonemes.arrays["phonetic"] & phonemes.arrays["encodes"]
            index = np.where(told, phonemes.arrays["index"], np.nan)
            add("phoneme selectivity", "phoneme selectivity index (phonetic electrodes)", patient, index)
        if attention is not None and "latency_s" in attention.arrays:
            add("latency", "latency (ms)", patient, 1e3 * attention.arrays["latency_s"])
    return [(title, unit, values) for title, (unit, values) in kinds.items()]


def _map(report: Report, patient: str, where: Result, values: Doubles, title: str, unit: str) -> None:
    position = where.arrays["position"]
    placed = np.isfinite(position).all(axis=1)
    shown = placed & np.isfinite(values)
    if not shown.any():
        report.add_text(f"{patient}: no electrode of a known place has a value to draw.")
        return
    if (
        position.shape[1] == 3
        and "mni" in where.facts["system"].lower()
        and _glass(report, patient, position[shown], values[shown], title, unit)
    ):
        return
    figure = new_figure(6.5, 4.6)
    axes = figure.subplots()
    flat, labels = flat_places(position)
    axes.plot(*flat[placed & ~shown].T, "o", mfc="none", color="#bbbbbb", ms=8)
    picture = axes.scatter(flat[shown, 0], flat[shown, 1], c=values[shown], s=70, cmap="viridis")
    axes.set_title(patient)
    label_places(axes, where.facts["system"], labels)
    figure.colorbar(picture, label=unit)
    report.add_figure(figure, f"{title} at the electrodes' places ({patient}); empty circles: nothing to show.")


def _glass(report: Report, patient: str, xyz: Doubles, values: Doubles, title: str, unit: str) -> bool:
    """On a glass brain; False where nilearn is missing."""
    try:
        from nilearn import plotting
    except ImportError:
        return False
    figure = new_figure(10.0, 3.6)
    figure.set_layout_engine("none")  # nilearn places its own panels
    low, high = float(values.min()), float(values.max())
    plotting.plot_markers(
        values, xyz, node_size=30, node_cmap="viridis", node_vmin=low, node_vmax=high if high > low else low + 1e-6,
        display_mode="lyrz", figure=figure, axes=(0.0, 0.0, 0.92, 1.0), colorbar=True,
    )  # fmt: skip
    figure.axes[-1].set_ylabel(unit)  # the colour bar, which nilearn adds last
    report.add_figure(figure, f"{title} on a glass brain, MNI space ({patient}).")
    return True


def _regions(report: Report, found: Found, values: Mapping[str, Doubles], title: str) -> Rows:
    regions = [region for patient in values for region in found[patient, PART].facts["regions"]]
    if not any(regions):
        return []
    who = [patient for patient in values for _ in values[patient]]
    every = np.concatenate(list(values.values()))
    effects = region_effects(every, who, regions)
    if not effects:
        return []
    report.add_table(
        [
            {
                "region": one.region,
                "patients": one.patients,
                "electrodes": one.electrodes,
                "mean": one.mean,
                "holds in a patient left out": one.held,
            }
            for one in sorted(effects, key=lambda one: -one.mean)
        ],
        f"{title} by region: mean over patients of their own means. Last column: the share of patients, left out in "
        "turn, whose region lies on the side of their own average that the others' says.",
    )
    rows = [_row("all", "", f"{title}, {one.region}", "mean", one.mean) for one in effects]
    rows += [_row("all", "", f"{title}, {one.region}", "held", one.held) for one in effects]
    if len(values) > 1:
        agreement = left_out_agreement(every, who, regions)
        report.add_table(
            [{"patient left out": name, "Spearman's r over regions": r} for name, r in agreement.items()],
            f"{title}: each patient's regions against all others'; a dash where fewer than {LEAST_REGIONS} are shared.",
        )
        rows += [_row(name, "", title, "left_out_agreement", r) for name, r in agreement.items()]
    else:
        report.add_text("One patient: whether regions hold in others cannot be said.")
    return rows
