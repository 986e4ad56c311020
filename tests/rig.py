"""A small rig for tests: real speech and noise for ECoG in a recording, a model file, a configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from encoders.model_file import ModelHeader, save_model
from encoders.projection import fit_projection
from encoders.ridge import LaggedRidge
from encoders.speech import load_trials
from realtime.audio import Resample
from realtime.block import Block, Spec, regular
from realtime.commands import wiring
from realtime.config import Config, WhisperTable
from realtime.sources.recording import RecordedStream, Recording, save_folder
from realtime.subframes import FRAME_RATE_HZ, per_frame

ELECTRODES = tuple(f"A{i}" for i in range(1, 7))
SOUND_HZ, ECOG_HZ = 22050.0, 1000.0
TABLE = WhisperTable(model="tiny.en", layer=2, block_ms=100, delay_ms=40)


def speech(seconds: float) -> np.ndarray:
    """(samples,) of real speech at 22,050 Hz."""
    trial = load_trials()[0]
    sound = Resample(trial.rate_hz, SOUND_HZ).layer(regular(trial.sound[:, None], trial.rate_hz)).data[:, 0]
    return sound[: int(seconds * SOUND_HZ)]


def small_recording(seconds: float, prefix: str) -> Recording:
    """Two channels of sound, the second the speech; ECoG of noise with a NaN spell and an auxiliary channel."""
    rng = np.random.default_rng(0)
    words = speech(seconds)
    sound = np.stack([0.01 * rng.normal(size=len(words)), words], axis=1).astype(np.float32)
    ecog = (20 * rng.normal(size=(int(seconds * ECOG_HZ), len(ELECTRODES) + 1))).astype(np.float32)
    ecog[8000:8100, 2] = np.nan
    streams = {
        "sound": (Spec(f"{prefix} sound", SOUND_HZ, ("room", "stimulus")), sound, "Audio"),
        "ecog": (Spec(f"{prefix} ecog", ECOG_HZ, (*ELECTRODES, "AUX"), "microvolts"), ecog, "ECoG"),
    }
    return Recording(
        {
            name: RecordedStream(spec, data, np.arange(len(data)) / spec.rate_hz, type=type, source_id=spec.name)
            for name, (spec, data, type) in streams.items()
        }
    )


def with_sound_in_the_cable(recording: Recording, electrode: str) -> Recording:
    """The recording with the stimulus's sound in one electrode, half as large as its noise."""
    sound, ecog = recording.streams["sound"], recording.streams["ecog"]
    heard = resample_poly(np.asarray(sound.data[:, 1]), 20, 441)[: len(ecog.data)]
    data = np.array(ecog.data)
    data[: len(heard), ecog.spec.channels.index(electrode)] += (10 * heard / heard.std()).astype(np.float32)
    return replace(recording, streams={"sound": sound, "ecog": replace(ecog, data=data)})


def small_model(
    folder: Path, recording: Recording, embedding: wiring.Embedding, row_rate_hz: float = FRAME_RATE_HZ
) -> Path:
    """A model file with random ridge weights on real embeddings: what is tested is the way, not the fit."""
    rng = np.random.default_rng(1)
    some = rng.normal(size=(400, embedding.width)).astype(np.float32)
    projection = fit_projection(some, 16)
    columns = per_frame(row_rate_hz) * len(ELECTRODES)
    weights = (0.3 * rng.normal(size=(8, 16, columns))).astype(np.float32)
    model = LaggedRidge(projection, weights, np.zeros(columns, np.float32), horizon_s=0.04)
    spec = recording.streams["ecog"].spec
    header = ModelHeader(
        electrodes=ELECTRODES,
        rate_hz=spec.rate_hz,
        channels=spec.channels,
        baseline_median=np.full(len(ELECTRODES), 3.0),
        baseline_mad=np.full(len(ELECTRODES), 0.7),
        horizon_s=0.04,
        row_rate_hz=row_rate_hz,
        whisper=embedding.facts,
        ecog={"mains_hz": 50.0, "band_hz": [70.0, 150.0], "bad": [], "exclude": ["AUX"], "unit": spec.unit},
        training={"kind": "ridge", "simulated": True},
    )
    save_model(folder / "model.safetensors", model, header)
    return folder / "model.safetensors"


def small_config(prefix: str, model: Path | None, engine: str) -> Config:
    return Config.model_validate(
        {
            "sound": {"name": f"{prefix} sound", "channel": "stimulus"},
            "ecog": {"name": f"{prefix} ecog", "exclude": ["AUX"]},
            "whisper": TABLE.model_dump(include={"model", "layer", "block_ms", "delay_ms"}),
            "model": {"file": model} if model else {},
            "engine": {"name": engine, "wait_s": 20.0},
        }
    )


@contextmanager
def replaying(recording: Recording, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The recording over LSL from another process; it begins when every stream has a listener."""
    save_folder(recording, folder / "session")
    command = [sys.executable, "-m", "realtime.sources.replay", str(folder / "session"), "--wait", "120"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def await_state(process: subprocess.Popen[str], state: str) -> dict[str, object]:
    """Read what the replay says until it is in that state."""
    assert process.stdout is not None
    for line in process.stdout:
        said: dict[str, object] = json.loads(line)
        if said["state"] == state:
            return said
    raise AssertionError(f"the replay ended without being {state}")


def rows_of(blocks: list[Block]) -> tuple[np.ndarray, np.ndarray]:
    """Data and times of blocks in order."""
    return np.concatenate([b.data for b in blocks]), np.concatenate([b.times for b in blocks])
