"""Where electrodes lie, in words, and whether what regions show is the same in every patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

Doubles = npt.NDArray[np.float64]
FARTHEST_MM = 10.0
LEAST_REGIONS = 4  # that two patients or more have in common, to say whether they agree


def nearest_labels(
    image: npt.NDArray[np.generic], affine: Doubles, names: Mapping[int, str], positions_mm: Doubles
) -> tuple[list[str], Doubles]:
    """Name of the labelled voxel nearest to each position, and how far it is, in mm.

    image: (x, y, z) label numbers, 0 or without a name for none. affine: (4, 4) from voxels to mm. positions_mm:
    (electrodes, 3). An electrode farther than FARTHEST_MM from any label, or of no known position, has no name.
    """
    labels = np.rint(np.asarray(image, np.float64)).astype(int)
    labelled = np.argwhere(np.isin(labels, [number for number in names if number]))
    found, distance = [""] * len(positions_mm), np.full(len(positions_mm), np.nan)
    known = np.flatnonzero(np.isfinite(positions_mm).all(axis=1))
    if not len(labelled) or not len(known):
        return found, distance
    centres = labelled @ affine[:3, :3].T + affine[:3, 3]
    apart, nearest = cKDTree(centres).query(positions_mm[known])
    distance[known] = apart
    for e, voxel in zip(known, np.asarray(nearest), strict=True):
        if distance[e] <= FARTHEST_MM:
            found[e] = names[int(labels[tuple(labelled[voxel])])]
    return found, distance


@dataclass(frozen=True, slots=True)
class RegionEffect:
    """One region over patients. mean: of the patients' own means. held: of the patients left out in turn, the share
    whose own mean lies on the side of their average that the others' means say; NaN with fewer than two patients."""

    region: str
    electrodes: int
    patients: int
    mean: float
    held: float


def region_effects(values: Doubles, patients: Sequence[str], regions: Sequence[str]) -> list[RegionEffect]:
    """Each region's effect and whether it holds in a patient left out. values: (electrodes,), NaN left out."""
    table = _table(values, patients, regions)
    relative = _relative(table)
    effects = []
    for region in sorted({region for region, _ in table}):
        mine = {patient: mean for (r, patient), mean in table.items() if r == region}
        sides = {patient: relative[region, patient] for patient in mine}
        held = [
            np.sign(sides[out]) == np.sign(np.mean([side for patient, side in sides.items() if patient != out]))
            for out in sides
            if len(sides) > 1
        ]
        count = sum(r == region and bool(np.isfinite(v)) for r, v in zip(regions, values, strict=True))
        share = float(np.mean(held)) if held else float("nan")
        effects.append(RegionEffect(region, count, len(mine), float(np.mean(list(mine.values()))), share))
    return effects


def left_out_agreement(values: Doubles, patients: Sequence[str], regions: Sequence[str]) -> dict[str, float]:
    """For each patient, Spearman's correlation over regions of its own means with those of all others together;
    NaN where it shares fewer than LEAST_REGIONS regions with them."""
    relative = _relative(_table(values, patients, regions))
    found = {}
    for out in dict.fromkeys(patients):
        mine, theirs = [], []
        for region in {region for region, patient in relative if patient == out}:
            others = [value for (r, patient), value in relative.items() if r == region and patient != out]
            if others:
                mine.append(relative[region, out])
                theirs.append(np.mean(others))
        varies = len(mine) >= LEAST_REGIONS and np.std(mine) > 0 and np.std(theirs) > 0
        found[out] = float(spearmanr(mine, theirs).statistic) if varies else float("nan")
    return found


def _table(values: Doubles, patients: Sequence[str], regions: Sequence[str]) -> dict[tuple[str, str], float]:
    """Mean of each patient's electrodes in each region."""
    of: dict[tuple[str, str], list[float]] = {}
    for value, patient, region in zip(values, patients, regions, strict=True):
        if region and np.isfinite(value):
            of.setdefault((region, patient), []).append(float(value))
    return {key: float(np.mean(some)) for key, some in of.items()}


def _relative(table: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Less each patient's mean over regions, so that patients with stronger signals count no more."""
    names = {patient for _, patient in table}
    average = {name: np.mean([value for (_, patient), value in table.items() if patient == name]) for name in names}
    return {(region, patient): float(value - average[patient]) for (region, patient), value in table.items()}
