"""Weights, models, settings and recordings that do not fit, through the command line, as in `test_bad_input`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from encoders.archive import cache_dir
from realtime.sources.recording import save_folder
from tests.mistakes import Fails, Rig, fails, rig, still, whole_rig, write
from tests.rig import ELECTRODES

__all__ = ["fails", "rig", "still", "whole_rig", "write"]  # fixtures

# --- weights and models ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("w.pt", "is damaged or no openai-whisper .pt file"),
        ("model.bin", "is not a whole CTranslate2 Whisper model.bin: its version is"),
        ("w.safetensors", "is not a whole safetensors file"),
        ("w.txt", "expected .pt, .bin (CTranslate2) or .safetensors"),
    ],
)
@pytest.mark.usefixtures("still")
def test_damaged_weights(name: str, words: str, fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(bytes(range(256)) * 40)
    line = fails("run", write(keys={"whisper.file": file}), quiet=False)
    assert str(file) in line
    assert words in line
    assert len(line) < 400


@pytest.mark.usefixtures("still")
def test_weights_cut_short(fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    (whole,) = cache_dir().glob("whisper-tiny.en-*.safetensors")
    short = tmp_path / "short.safetensors"
    with whole.open("rb") as file:
        short.write_bytes(file.read(3_000_000))
    assert str(short) in fails("run", write(keys={"whisper.file": short}), quiet=False)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"whisper.file": "nowhere.pt"}, "no Whisper weights at"),
        ({"whisper.model": "tiny.em"}, "unknown Whisper model 'tiny.em', did you mean 'tiny.en'?"),
        ({"whisper.layer": 9}, "Whisper layer 9 does not exist: this model has layers 1 to 4"),
        ({"whisper.block_ms": 30.0}, "block of 30 ms and delay of 40 ms must be multiples of 20 ms"),
        ({"ecog.band_hz": [150.0, 70.0]}, "band of 150 to 70 Hz"),
        ({"ecog.band_hz": [70.0, 600.0]}, "between 0 and 500 Hz"),
        ({"ecog.exclude": [*ELECTRODES, "AUX"]}, "exclude leaves no electrode"),
    ],
)
@pytest.mark.usefixtures("still")
def test_settings_that_do_not_fit(keys: dict[str, Any], words: str, fails: Fails, write: Callable[..., Path]) -> None:
    assert words in fails("run", write(keys=keys), quiet=False)


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "flipped", "absent", "weights"])
def test_a_damaged_model_file(damage: str, rig: Rig, fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    content = bytearray(rig.model.read_bytes())
    content[-5] ^= 1
    path = tmp_path / "m.safetensors"
    contents = {
        "garbage": b"not a model" * 99,
        "empty": b"",
        "cut": bytes(content[: len(content) // 2]),
        "flipped": bytes(content),
        "weights": save({"weights": np.zeros(3)}),
    }
    if damage in contents:
        path.write_bytes(contents[damage])
    line = fails("run", write("nowhere", "nowhere", {"model.file": path}))
    assert str(path) in line
    assert any(word in line for word in ("damaged", "does not exist", "is not a model"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"whisper.layer": 3}, "[whisper] layer = 3, but the model was fitted with 2: leave the key out"),
        ({"whisper.delay_ms": 0.0}, "[whisper] delay_ms = 0.0, but the model was fitted with 40"),
        ({"ecog.mains_hz": 60}, "[ecog] mains_hz = 60.0, but the model was fitted with 50.0"),
        ({"ecog.bad": ["A2"]}, "[ecog] bad = ('A2',), but the model was fitted with ()"),
    ],
)
@pytest.mark.usefixtures("still")
def test_settings_that_the_model_was_not_fitted_with(
    keys: dict[str, Any], words: str, rig: Rig, fails: Fails, write: Callable[..., Path]
) -> None:
    assert words in fails("run", write(keys={"model.file": rig.model, **keys}), quiet=False)


def test_a_recording_that_has_no_place(rig: Rig, fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keys = {"record.file": tmp_path / "file" / "x.xdf", "model.file": rig.model}
    assert "of the recording cannot be made (" in fails("run", write(keys=keys), "--no-monitor", quiet=False)


# --- recordings ------------------------------------------------------------------------------------


@pytest.fixture
def folder(rig: Rig, tmp_path: Path) -> Path:
    save_folder(rig.recording, tmp_path / "session")
    return tmp_path / "session"


def test_evaluate_what_cannot_be(rig: Rig, fails: Fails, folder: Path, tmp_path: Path) -> None:
    model = ["--model", rig.model]
    assert "no.xdf' does not exist" in fails("evaluate", tmp_path / "no.xdf", *model, quiet=False)
    assert "no.safetensors does not exist" in fails("evaluate", folder, "--model", tmp_path / "no.safetensors")
    line = fails("evaluate", folder, *model, "--json", tmp_path / "no" / "x.json")
    assert "--json: found" in line
    assert "expected a file name in a folder that exists" in line
    line = fails("evaluate", folder, *model, "--ecog", "egoc", quiet=False)
    assert "the recording has no stream 'egoc', did you mean 'ecog'?; it has: sound, ecog" in line
    line = fails("evaluate", folder, *model, "--channel", "stimulis", quiet=False)
    assert "has no channel 'stimulis', did you mean 'stimulus'?" in line
    line = fails("evaluate", folder, *model, "--channel", "stimulus", quiet=False)
    assert "s to evaluate found, at least" in line
    assert "evaluate a longer recording" in line


def test_replay_of_nothing(fails: Fails, tmp_path: Path) -> None:
    assert "no.xdf' does not exist: give an .xdf file" in fails("replay", tmp_path / "no.xdf")
    (tmp_path / "bad.xdf").write_bytes(b"no XDF at all")
    assert "cannot be read as XDF" in fails("replay", tmp_path / "bad.xdf")
