"""Rows of simulated patients without their raw ECoG: cheap enough for many seeds. Real speech, simulated responses."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.aligned import Aligned
from encoders.archive import atomic, cache_dir
from encoders.patient import ElectrodeTruth, PatientConfig, SimulatedPatient, Stimulus
from encoders.phones import PhoneAlignment, align_phones
from encoders.speech import load_trials
from encoders.whisper import offline_embedding
from realtime.audio import Resample
from realtime.block import Floats, regular
from realtime.commands import wiring
from realtime.config import WhisperTable

SOUND_HZ, ROW_HZ, PAUSE_S = 16_000.0, 50.0, 1.0
CALIBRATION_TRIALS = 8
LAYERS = (1, 2, 3)  # of the offline Whisper, that drive the patient
CAUSAL = WhisperTable(model="tiny.en", layer=2, block_ms=100, delay_ms=40)  # what the models read
KERNEL = (0.25, 0.5, 0.25)  # how the ECoG chain smooths a drive, roughly
VERSION = 1

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Speech:
    """stimulus: what a patient hears. embeddings: (rows, D) of the causal Whisper, row j at 0.02 j s."""

    stimulus: Stimulus
    embeddings: Floats

    @property
    def rows(self) -> int:
        return min(self.stimulus.rows, len(self.embeddings))


@dataclass(frozen=True)
class Responses:
    """observed: (rows, E) float32, drive and noise. clean: (rows, E), the drive alone, smoothed as observed is."""

    observed: Floats
    clean: Floats

    def aligned(self, speech: Speech) -> Aligned:
        rows = len(self.observed)
        return Aligned(speech.embeddings[:rows], self.observed, np.zeros(self.observed.shape, bool))


@functools.cache
def speech() -> tuple[Speech, Speech]:
    """Eight trials in a row to learn from and two that are held out; computed once, then kept in the cache."""
    path = cache_dir() / f"benchmark-rows-{VERSION}.npz"
    if not path.is_file():
        _compute(path)
    with np.load(path) as content:
        return _unpack(content, "learn"), _unpack(content, "test")


def _compute(path: Path) -> None:
    embedding = wiring.embedding_of(CAUSAL)
    trials = load_trials()
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, some in (("learn", trials[:CALIBRATION_TRIALS]), ("test", trials[CALIBRATION_TRIALS:])):
        pieces, phones, at = [], [], 0.0
        for trial in some:
            sound = Resample(trial.rate_hz, SOUND_HZ).layer(regular(trial.sound[:, None], trial.rate_hz)).data[:, 0]
            sound = np.concatenate([np.clip(sound, -1, 1), np.zeros(round(PAUSE_S * SOUND_HZ))]).astype(np.float32)
            phones += [(p, a + at, b + at) for p, a, b in align_phones(sound, trial.transcript).phones]
            pieces.append(sound)
            at += len(sound) / SOUND_HZ
        whole = np.concatenate(pieces)
        arrays[f"{name}.sound"] = whole
        arrays[f"{name}.phones"] = np.array(json.dumps(phones))
        arrays[f"{name}.causal"] = embedding.stages.layer(regular(whole[:, None], SOUND_HZ)).data
        for layer, rows in offline_embedding(embedding.whisper.model, whole, LAYERS).items():
            arrays[f"{name}.layer{layer}"] = np.asarray(rows, np.float32)
    with atomic(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _unpack(content: np.lib.npyio.NpzFile, name: str) -> Speech:
    phones = [(str(p), float(a), float(b)) for p, a, b in json.loads(str(content[f"{name}.phones"]))]
    layers = {layer: content[f"{name}.layer{layer}"] for layer in LAYERS}
    stimulus = Stimulus(content[f"{name}.sound"], layers, PhoneAlignment(phones, [], []))
    return Speech(stimulus, content[f"{name}.causal"])


def patient(config: PatientConfig) -> SimulatedPatient:
    return SimulatedPatient(config, [one.stimulus for one in speech()])


def respond(drive: Floats, truth: list[ElectrodeTruth], seed: int) -> Responses:
    """drive (rows, E), in SDs -> what is observed: at each electrode's ceiling the rest is noise, as smooth as high
    gamma is. An undriven electrode is noise alone."""
    rng = np.random.default_rng([seed, 11])
    clean = smooth(drive)
    clean = clean / np.where(clean.std(axis=0) > 1e-9, clean.std(axis=0), 1.0)
    noise = smooth(rng.standard_normal(drive.shape))
    noise /= noise.std(axis=0)
    ceiling = np.array([t.ceiling_drawn for t in truth])
    observed = ceiling * clean + np.sqrt(1 - ceiling**2) * noise
    return Responses(observed.astype(np.float32), clean.astype(np.float32))


def smooth(rows: Floats) -> Values:
    padded = np.pad(np.asarray(rows, np.float64), ((1, 1), (0, 0)), mode="edge")
    smoothed: Values = np.sum([w * padded[i : i + len(rows)] for i, w in enumerate(KERNEL)], axis=0)
    return smoothed
