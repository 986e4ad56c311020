"""Where electrodes lie, from the recording itself: regions that it names, and an atlas where its space is known."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pytest

from realtime.block import Spec
from realtime.cli import main
from realtime.commands import analysis_anatomy, analyze
from realtime.commands.analysis_anatomy import Atlas
from realtime.commands.analysis_data import load_patients
from realtime.config import Config, load_config
from realtime.sources.recording import RecordedStream, Recording, save_folder
from tests.written import write_nwb

NAMES = ("LA1", "LA2", "LA3")


def regions_in(out: Path) -> dict[str, str]:
    with (out / "numbers.csv").open(newline="", encoding="utf-8") as file:
        return {row["electrode"]: row["of"] for row in csv.DictReader(file) if row["quantity"] == "distance_mm"}


@pytest.mark.parametrize(
    ("axes", "regions", "said"),
    [
        ("x in MNI152 space, mm", ["atlas"] * 3, "nearest label of the atlas"),
        ("", ["STG", "STG", ""], "positions are in coordinates of the NWB file, n/a, and the atlas needs"),
    ],
)
def test_regions_of_an_nwb_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: str, regions: list[str], said: str
) -> None:
    """The default atlas where the columns say that they are in MNI space, else the file's own locations."""
    image = np.ones((20, 20, 20), np.int16)
    affine = np.eye(4)
    affine[:3, 3] = -10
    monkeypatch.setattr(analysis_anatomy, "destrieux", lambda: Atlas(image, affine, {1: "atlas"}))
    rows = np.random.default_rng(0).standard_normal((3000, 3))
    path = write_nwb(tmp_path / "a.nwb", rows, 50.0, NAMES, axes=axes)
    command = ["analyze", str(path), "--high-gamma", "ecog", "--parts", "anatomy", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert regions_in(tmp_path / "out") == dict(zip(NAMES, regions, strict=True))
    assert said in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def places(
    folder: Path, config: Config | None, montage: str
) -> tuple[dict[str, tuple[float, ...]], dict[str, str], str]:
    """What `analyze` knows of a recording's electrodes. montage: the text of a table, empty for none."""
    parser = argparse.ArgumentParser()
    analyze.add_arguments(parser)
    words = [str(folder / "session"), "--out", str(folder), "--ecog", "ecog"]
    if montage:
        (folder / "montage.csv").write_text(montage)
        words += ["--montage", str(folder / "montage.csv")]
    (patient,) = load_patients(parser.parse_args(words), config)
    return patient.positions, patient.regions, patient.system


def test_the_montage_counts_before_the_recording(tmp_path: Path) -> None:
    """Each of positions and regions is the montage's where it has any, under its names and in its pairs."""
    noise = 20 * np.random.default_rng(0).standard_normal((8000, 3)).astype(np.float32)
    told = {"LA1": (1.0, 0.0, 0.0), "LA2": (3.0, 0.0, 0.0), "LA3": (5.0, 0.0, 0.0)}
    regions = {"LA1": "STG", "LA2": "MTG"}
    ecog = RecordedStream(
        Spec("ecog", 1000.0, NAMES, "microvolts"), noise, np.arange(8000) / 1000, positions=told,
        coordinates="MNI152, mm", regions=regions,
    )  # fmt: skip
    save_folder(Recording({"ecog": ecog}), tmp_path / "session")
    assert places(tmp_path, None, "") == (told, regions, "MNI152, mm")
    named = "channel,electrode,group\nLA1,E1,A\nLA2,E2,A\nLA3,E3,A\n"
    renamed = dict(zip(("E1", "E2", "E3"), told.values(), strict=True))
    assert places(tmp_path, None, named) == (renamed, {"E1": "STG", "E2": "MTG"}, "MNI152, mm")
    placed = "channel,x,y,z,system,region\nLA1,9,9,9,ACPC,IFG\nLA2,,,,,\nLA3,,,,,\n"
    assert places(tmp_path, None, placed) == ({"LA1": (9.0, 9.0, 9.0)}, {"LA1": "IFG"}, "ACPC")
    (tmp_path / "a.toml").write_text('[sound]\nname = "sound"\n[ecog]\nname = "ecog"\nreference = "bipolar"\n')
    pairs = places(tmp_path, load_config(tmp_path / "a.toml"), named)
    assert pairs[0] == {"E1-E2": (2.0, 0.0, 0.0), "E2-E3": (4.0, 0.0, 0.0)}
    assert pairs[1] == {"E1-E2": "STG/MTG", "E2-E3": "MTG"}
