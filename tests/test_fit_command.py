"""`corticast fit` and `corticast evaluate` on a recording whose ECoG is known to follow the sound."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from realtime.cli import main
from realtime.sources.recording import Recording, save_folder
from tests.rig import ECOG_HZ, SOUND_HZ, small_recording

SECONDS = 60.0
CONFIG = """
[sound]
name = "fit sound"
channel = "stimulus"
[ecog]
name = "fit ecog"
exclude = ["AUX"]
[whisper]
model = "tiny.en"
layer = 2
"""


def following(recording: Recording, electrode: int, lag_s: float = 0.1) -> Recording:
    """The recording with one electrode whose high gamma follows the loudness of the second sound channel."""
    sound, ecog = recording.streams["sound"], recording.streams["ecog"]
    loudness = np.abs(sound.data[:, 1])[:: round(SOUND_HZ / ECOG_HZ)][: len(ecog.data)]
    envelope = np.maximum(sosfiltfilt(butter(2, 8, fs=ECOG_HZ, output="sos"), loudness), 0)
    envelope = np.roll(np.resize(envelope, len(ecog.data)), round(lag_s * ECOG_HZ))
    carrier = sosfiltfilt(
        butter(4, (70, 150), "bandpass", fs=ECOG_HZ, output="sos"),
        np.random.default_rng(5).normal(size=len(ecog.data)),
    )
    data = np.nan_to_num(ecog.data)
    data[:, electrode] += 400 * carrier * envelope / envelope.std()
    return replace(recording, streams={"sound": sound, "ecog": replace(ecog, data=data.astype(np.float32))})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("fit")
    save_folder(following(small_recording(SECONDS, "fit"), electrode=3), folder / "calibration")
    (folder / "rig.toml").write_text(CONFIG)
    model, report = folder / "patient.safetensors", folder / "fit.json"
    words = ["fit", folder / "calibration", "--config", folder / "rig.toml", "--out", model, "--json", report]
    assert main([str(word) for word in words]) == 0
    return folder, model, json.loads(report.read_text())


def test_the_following_electrode_is_found(fitted: tuple[Path, Path, dict[str, Any]]) -> None:
    _, _, report = fitted
    assert report["electrodes"] == ["A1", "A2", "A3", "A4", "A5", "A6"]
    shown = report["training"]["validation_r"][report["training"]["kind"]]
    assert int(np.argmax(shown)) == 3
    assert shown[3] > 0.3


def test_the_model_is_evaluated_on_a_recording(fitted: tuple[Path, Path, dict[str, Any]], capsys: Any) -> None:
    folder, model, _ = fitted
    scores = folder / "scores.json"
    words = ["evaluate", folder / "calibration", "--model", model, "--channel", "stimulus", "--json", scores]
    assert main([str(word) for word in words]) == 0
    rows = {row["name"]: row for row in json.loads(scores.read_text())["electrodes"]}
    assert rows["A4"]["r"] > rows["A4"]["null_p99"]
    assert rows["A4"]["p_fdr"] < 0.05
    assert "A4" in capsys.readouterr().out


def test_the_other_channel_of_the_sound_predicts_nothing(fitted: tuple[Path, Path, dict[str, Any]]) -> None:
    folder, model, _ = fitted
    scores = folder / "other.json"
    words = ["evaluate", folder / "calibration", "--model", model, "--channel", "room", "--json", scores]
    assert main([str(word) for word in words]) == 0
    rows = {row["name"]: row for row in json.loads(scores.read_text())["electrodes"]}
    assert abs(rows["A4"]["r"]) < 0.15


def test_too_little_is_told(tmp_path: Path, capsys: Any) -> None:
    save_folder(small_recording(8.0, "fit"), tmp_path / "short")
    (tmp_path / "rig.toml").write_text(CONFIG)
    words = ["fit", tmp_path / "short", "--config", tmp_path / "rig.toml", "--out", tmp_path / "m.safetensors"]
    assert main([str(word) for word in words]) == 2
    assert "too little to fit on" in capsys.readouterr().err
    assert not (tmp_path / "m.safetensors").exists()
