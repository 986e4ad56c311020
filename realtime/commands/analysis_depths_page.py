"""What the report shows of early, middle and late layers by region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from encoders.analysis.layers import DEPTHS, depth_of
from realtime.commands.analysis_store import Result
from realtime.commands.report import Report

Rows = list[dict[str, Any]]
Found = Mapping[tuple[str, str], Result]
HEARINGS = ("offline", "causal")
NO_REGION = "no region known"
TOGETHER = "all"  # in place of a patient


def draw_depths(found: Found, of_file: Mapping[str, Mapping[str, str]], report: Report) -> Rows:
    """Add how many electrodes of each region follow early, middle and late layers; returns the counts.

    found: results by patient and part. of_file: each patient's regions by electrode, used where the part `anatomy`,
    which knows the atlas, was not asked for or has no place.
    """
    patients = [name for name, part in found if part == "layers" and "families" in found[name, part].facts]
    every = [family for name in patients for family in found[name, "layers"].facts["families"]]
    families = {(model, hearing): len(layers) for model, hearing, layers in every if hearing in HEARINGS}
    regions = {name: _regions(found, name, of_file.get(name, {})) for name in patients}
    tables = {family: _table(found, regions, *family, count) for family, count in families.items()}
    if any(tables.values()):
        report.add_heading("Early, middle and late layers by region")
    rows: Rows = []
    for (model, hearing), table in tables.items():
        if not table:
            continue
        report.add_table(
            table,
            f"Best {hearing} layer of the electrodes that follow one, by thirds of the {families[model, hearing]} "
            f"layers of Whisper {model}.",
        )
        rows += [
            {"part": "layers", "patient": one["patient"], "electrode": "", "of": f"{model} {hearing}, {one['region']}",
             "quantity": quantity, "value": value}
            for one in table
            for quantity, value in one.items()
            if quantity not in ("patient", "region")
        ]  # fmt: skip
    return rows


def _regions(found: Found, patient: str, of_file: Mapping[str, str]) -> Sequence[str]:
    """By electrode: the anatomy's, else the file's."""
    anatomy = found.get((patient, "anatomy"))
    if anatomy is not None and "regions" in anatomy.facts:
        return list(anatomy.facts["regions"])
    return [of_file.get(name, "") for name in found[patient, "layers"].facts["electrodes"]]


def _table(found: Found, regions: Mapping[str, Sequence[str]], model: str, hearing: str, count: int) -> Rows:
    """A row for each patient and region; with several patients, first one for each region over all of them."""
    groups: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for patient, of in regions.items():
        arrays = found[patient, "layers"].arrays
        best = arrays[f"{model} {hearing}/best"]
        r = np.fmax.reduce(arrays[f"{model} {hearing}/r"])
        for e in map(int, np.flatnonzero((np.nan_to_num(arrays["p_fdr"], nan=1.0) <= 0.05) & (best > 0))):
            for who in (patient, TOGETHER) if len(regions) > 1 else (patient,):
                follows = depth_of(int(best[e]), count), float(r[e])
                groups.setdefault((who, of[e] or NO_REGION), []).append(follows)

    def order(group: tuple[str, str]) -> tuple[bool, str, bool, str]:
        return group[0] != TOGETHER, group[0], group[1] == NO_REGION, group[1]

    rows: Rows = []
    for who, name in sorted(groups, key=order):
        depths, r_best = zip(*groups[who, name], strict=True)
        counts = {depth: depths.count(depth) for depth in DEPTHS}
        rows.append({"patient": who, "region": name, "electrodes": len(depths), **counts,
                     "mean best r": float(np.mean(r_best))})  # fmt: skip
    return rows
