"""Regions: the nearest label as a slow search finds it; effects that hold in every patient are told from chance."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.analysis.regions import FARTHEST_MM, left_out_agreement, nearest_labels, region_effects
from realtime.commands.analysis_anatomy import load_atlas
from realtime.errors import UserError

NAMES = {1: "STG", 2: "STS", 5: "IFG"}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nearest_label_is_what_a_slow_search_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.choice([0, 1, 2, 5, 9], (5, 6, 4), p=[0.8, 0.06, 0.06, 0.04, 0.04])
    affine = np.eye(4)
    affine[:3, :3] = np.diag(rng.uniform(1, 4, 3)) @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    affine[:3, 3] = rng.uniform(-20, 20, 3)
    positions = (affine @ np.c_[rng.uniform(-6, 10, (8, 3)), np.ones(8)].T).T[:, :3]
    positions[0] = np.nan
    regions, distance = nearest_labels(image, affine, NAMES, positions)
    assert regions[0] == ""
    assert np.isnan(distance[0])
    for e in range(1, 8):
        best, name = np.inf, ""
        for voxel in np.ndindex(*image.shape):
            label = int(image[voxel])
            if label in NAMES:
                away = float(np.linalg.norm(affine[:3, :3] @ voxel + affine[:3, 3] - positions[e]))
                if away < best - 1e-9:
                    best, name = away, NAMES[label]
        if np.isfinite(best):
            assert distance[e] == pytest.approx(best)
            assert regions[e] == (name if best <= FARTHEST_MM else "") or abs(best - FARTHEST_MM) < 1e-6


def test_effects_that_hold_agree_and_those_that_do_not_do_not() -> None:
    rng = np.random.default_rng(0)
    regions = [f"r{i}" for i in range(8) for _ in range(5)] * 4
    patients = [f"sub-{p}" for p in range(4) for _ in range(40)]
    effect = np.array([int(region[1:]) for region in regions], float)
    strength = np.array([1.0 + int(patient[4:]) for patient in patients])
    real = strength + 0.2 * effect + 0.05 * rng.standard_normal(len(regions))
    assert all(r > 0.9 for r in left_out_agreement(real, patients, regions).values())
    held = {one.region: one.held for one in region_effects(real, patients, regions)}
    assert held["r0"] == held["r7"] == 1.0
    noise = [
        np.mean(list(left_out_agreement(rng.standard_normal(len(regions)), patients, regions).values()))
        for _ in range(20)
    ]
    assert abs(np.mean(noise)) < 0.25


def test_patients_count_alike_however_many_electrodes_they_have() -> None:
    (effect,) = region_effects(np.array([1.0, 2.0, 9.0, 3.0, 5.0]), ["a", "a", "a", "b", "b"], ["x", "x", "x", "x", ""])
    assert (effect.electrodes, effect.patients, effect.mean) == (4, 2, 3.5)


def test_one_patient_and_few_regions_say_nothing() -> None:
    values = np.array([0.1, 0.2, np.nan])
    effects = region_effects(values, ["a", "a", "a"], ["x", "y", "x"])
    assert [(one.region, one.electrodes, one.patients) for one in effects] == [("x", 1, 1), ("y", 1, 1)]
    assert all(np.isnan(one.held) for one in effects)
    assert np.isnan(left_out_agreement(np.array([1.0, 2.0]), ["a", "b"], ["x", "x"])["a"])


def test_an_atlas_in_a_file(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 4), np.int16)
    image[1, 2, 3] = 5
    path = tmp_path / "small.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])), path)  # type: ignore[no-untyped-call]
    with pytest.raises(UserError, match="number and name"):
        load_atlas(path)
    (tmp_path / "small.csv").write_text("number,name\n5,IFG\n")
    atlas = load_atlas(path)
    regions, distance = nearest_labels(atlas.image, atlas.affine, atlas.names, np.array([[2.0, 4.0, 7.0]]))
    assert regions == ["IFG"]
    assert distance[0] == pytest.approx(1.0)
