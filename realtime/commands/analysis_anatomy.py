"""The part `anatomy` of an analysis: where each electrode lies, from an atlas where one can be had."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.analysis.regions import nearest_labels
from realtime.commands.analysis_data import Patient
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result, Store
from realtime.commands.console import say, working
from realtime.errors import UserError

ATLASES = ("destrieux", "none")


@dataclass(frozen=True, slots=True)
class Atlas:
    """image: (x, y, z) label numbers. affine: to mm of MNI space. names: of the numbers."""

    image: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    names: dict[int, str]


def compute(patient: Patient, setup: Setup, _store: Store) -> Result:
    """Positions, regions, and how far each region's label is; what is missing is said."""
    names = patient.electrodes
    places = [setup.positions.get(name) for name in names]
    width = max((len(place) for place in places if place), default=0)
    facts: dict[str, Any] = {"electrodes": names, "system": patient.system}
    if not width and not setup.regions:
        return Result({**facts, "too_little": "no positions and no regions of electrodes: give --montage"})
    xyz = np.array([place or (np.nan,) * max(width, 2) for place in places], np.float64)
    atlas, reason = _atlas(setup.atlas, patient.system, width)
    if atlas is None:
        regions, distance = [setup.regions.get(name, "") for name in names], np.full(len(names), np.nan)
    else:
        regions, distance = nearest_labels(atlas.image, atlas.affine, atlas.names, xyz)
    return Result({**facts, "regions": regions, "no_atlas": reason}, {"position": xyz, "distance": distance})


def _atlas(wanted: str, system: str, width: int) -> tuple[Atlas | None, str]:
    """The atlas, or why there is none."""
    if wanted == "none":
        return None, "no atlas was asked for"
    if width != 3 or (wanted in ATLASES and "mni" not in system.lower()):
        return None, (
            f"positions are in {system or 'a system without a name'}, and the atlas needs all three coordinates in MNI "
            "space: give --montage with its system, or --atlas FILE of the same space"
        )
    if wanted not in ATLASES:
        return load_atlas(Path(wanted)), ""
    try:
        return destrieux(), ""
    except UserError as error:
        say(str(error))
        return None, str(error)


def load_atlas(path: Path) -> Atlas:
    """A label image (NIfTI) with its names beside it, FILE.csv with columns number and name."""
    labels = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".csv")
    try:
        with labels.open(encoding="utf-8-sig", newline="") as file:
            names = {int(row["number"]): row["name"] for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"atlas {str(path)!r}: its names {str(labels)!r} cannot be read ({type(error).__name__}: {error}); "
            "give columns number and name"
        ) from None
    try:
        image = _nilearn().image.load_img(str(path))
        return Atlas(np.asarray(image.dataobj), np.asarray(image.affine, np.float64), names)
    except (OSError, ValueError) as error:
        raise UserError(f"atlas {str(path)!r} cannot be read ({error}): give a NIfTI label image") from None


@functools.cache
def destrieux() -> Atlas:
    """Destrieux's 2009 atlas through nilearn, which fetches it once. Raises UserError where it cannot be had."""
    nilearn = _nilearn()
    with working("Destrieux atlas"):
        try:
            found = nilearn.datasets.fetch_atlas_destrieux_2009(lateralized=True, verbose=0)
            image = nilearn.image.load_img(found.maps)
        except Exception as error:  # nilearn raises whatever its downloads do
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise UserError(
                f"the Destrieux atlas cannot be fetched ({reason}): regions come from the file; give --atlas FILE for "
                "a local one"
            ) from None
    names = {int(number): str(name) for number, name in zip(found.lut["index"], found.lut["name"], strict=True)}
    return Atlas(np.asarray(image.dataobj), np.asarray(image.affine, np.float64), names)


def _nilearn() -> Any:
    try:
        import nilearn.datasets
        import nilearn.image
    except ImportError:
        raise UserError(
            "an atlas needs nilearn, which is missing: pip install 'corticast[analysis]'; regions come from the file"
        ) from None
    return nilearn
