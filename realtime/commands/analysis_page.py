"""What the pages of an analysis have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from realtime.commands.report import Report


def told(facts: Mapping[str, Any], report: Report) -> bool:
    """Say where there is too little data, or which fits failed. Returns whether there is anything to show."""
    if "too_little" in facts:
        report.add_text(f"Too little data: {facts['too_little']}.")
        return False
    for name, reason in facts.get("failed", {}).items():
        report.add_text(f"Not computed: {name}: {reason}. Run the command again to try once more.")
    return True


def unit_of(system: str) -> str:
    """Of electrodes' positions: BIDS calls places on a 2-D picture Pixels, and n/a a unit that is not told."""
    if "pixel" in system.lower():
        return "pixels"
    return "units" if system.endswith(", n/a") else "mm"


def flat_places(position: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], tuple[str, str]]:
    """Places in the plane that they spread most in, x and y where they lie in it already; and the axes' names."""
    if position.shape[1] == 2 or np.nanmax(position[:, 2]) == np.nanmin(position[:, 2]):
        return position[:, :2], ("x", "y")
    centred = position - np.nanmean(position, axis=0)
    _, _, axes = np.linalg.svd(np.nan_to_num(centred), full_matrices=False)
    flat: npt.NDArray[np.float64] = centred @ axes[:2].T
    return flat, ("first axis", "second axis")


def label_places(axes: Axes, system: str, names: tuple[str, str] = ("x", "y")) -> None:
    """Label a flat map of places; a picture's pixels are counted from its top."""
    unit = unit_of(system)
    axes.set(xlabel=f"{names[0]} ({unit})", ylabel=f"{names[1]} ({unit})", aspect="equal")
    if unit == "pixels":
        axes.invert_yaxis()


def draw_profiles(
    axes: Axes,
    arrays: Any,
    chosen: npt.NDArray[np.bool_],
    model: str,
    layers: tuple[int, ...],
    colours: Mapping[str, str],
) -> npt.NDArray[np.bool_]:
    """Mean r by layer over the chosen electrodes, or all where none is, with its standard error: a line a hearing.

    Returns which electrodes are shown.
    """
    shown = chosen if chosen.any() else np.ones(len(chosen), bool)
    for hearing, colour in colours.items():
        r = arrays[f"{model} {hearing}/r"][:, shown]
        mean, error = np.nanmean(r, axis=1), np.nanstd(r, axis=1) / np.sqrt(max(shown.sum(), 1))
        axes.errorbar(layers, mean, error, color=colour, marker="o", capsize=3, label=hearing)
    return shown
