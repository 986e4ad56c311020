"""What the demo needs before it can go live: speech, a simulated patient, a calibrated model, held-out trials."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoders.archive import cache_dir
from encoders.evaluation import correlation
from encoders.model_file import save_model
from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.patient_ceiling import Response, ceilings
from encoders.phones import PhoneAlignment, align_phones
from encoders.ridge import RidgeConfig, fit_ridge
from encoders.speech import Trial, load_trials
from encoders.training import FitConfig
from encoders.whisper import FRAME_S, offline_embedding
from realtime.align import put_on_grid
from realtime.audio import Resample
from realtime.block import Block, Floats, Spec, bad_samples, regular
from realtime.commands import wiring
from realtime.commands.console import say, working
from realtime.commands.fitting import Calibration, fit_recordings
from realtime.config import WhisperTable
from realtime.offline import run_chain
from realtime.sources.recording import RecordedStream, Recording, save_folder

SOUND_HZ = 16000.0
PAUSE_S = 1.0
KERNEL_ROWS = 5
VERSION = 4  # of what is kept in the cache
SOUND, ECOG = "demo sound", "demo ECoG (simulated)"


@dataclass(frozen=True)
class DemoSettings:
    """layers: of the offline Whisper that drive the simulated patient. repeats: for the noise ceiling."""

    whisper: str = "base"
    layer: int = 3
    block_ms: float = 100.0
    delay_ms: float = 0.0
    calibration_trials: int = 8
    held_out_trials: int = 2
    electrodes: int = 64
    layers: tuple[int, ...] = (2, 3, 4)
    repeats: int = 50
    seed: int = 0


@dataclass(frozen=True)
class DemoSession:
    """model: the fitted model's file. recording: folder of the held-out session. electrodes: the truth of each."""

    model: Path
    recording: Path
    electrodes: list[dict[str, Any]]
    training: dict[str, Any]


def prepare(settings: DemoSettings) -> DemoSession:
    """The session in the cache, made first where it is not there yet; nothing half-made ever carries its name."""
    table = WhisperTable(
        model=settings.whisper, layer=settings.layer, block_ms=settings.block_ms, delay_ms=settings.delay_ms
    )
    with working(f"Whisper {settings.whisper}: weights"):
        embedding = wiring.embedding_of(table)
    folder = session_folder(_key(settings, embedding))
    if not (folder / "session.json").exists():
        say("first run: simulating a patient and fitting a model; the next run starts at once")
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        try:
            _make(aside, settings, embedding)
            shutil.rmtree(folder, ignore_errors=True)
            aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    content = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    return DemoSession(folder / "model.safetensors", folder / "held_out", content["electrodes"], content["training"])


def session_folder(key: str) -> Path:
    """Where a prepared session is kept."""
    return cache_dir() / "demo" / key


def _key(settings: DemoSettings, embedding: wiring.Embedding) -> str:
    text = json.dumps([VERSION, asdict(settings), embedding.facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Simulation:
    """A simulated patient, what it heard while calibrated and what was held out, and both as recorded."""

    patient: SimulatedPatient
    calibration: Stimulus
    held_out: Stimulus
    recorded: Recording
    heard: Recording


def simulate(settings: DemoSettings, embedding: wiring.Embedding) -> Simulation:
    """Speech, its phones, what an offline Whisper hears, and a patient that follows them."""
    with working("speech"):
        trials = load_trials()
    used = trials[: settings.calibration_trials + settings.held_out_trials]
    calibration, held_out = _stimuli(used, settings, embedding)
    with working("simulating the patient's responses"):
        patient = SimulatedPatient(_patient_config(settings), [calibration, held_out])
        names, rate_hz = tuple(truth.name for truth in patient.truth), patient.config.rate_hz
        patient.calibrate(wiring.ecog_lane(Spec(ECOG, rate_hz, names), wiring.EcogPlan()), held_out)
        recorded = _recording(patient, calibration, seed=settings.seed + 1)
        heard = _recording(patient, held_out, seed=settings.seed + 2)
    return Simulation(patient, calibration, held_out, recorded, heard)


def _make(folder: Path, settings: DemoSettings, embedding: wiring.Embedding) -> None:
    made = simulate(settings, embedding)
    one = Calibration(made.recorded.streams["sound"], made.recorded.streams["ecog"])
    facts = {"simulated": True, "patient": "simulated from real speech"}
    config = FitConfig(seed=settings.seed)
    result, header, embeddings = fit_recordings([one], embedding, wiring.EcogPlan(), config, facts)
    save_model(folder / "model.safetensors", result.model, header)
    save_folder(made.heard, folder / "held_out")
    electrodes = truth_of(made, embeddings, embedding, settings)
    content = {"electrodes": electrodes, "training": header.training}
    (folder / "session.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _patient_config(settings: DemoSettings) -> PatientConfig:
    return PatientConfig(electrodes=settings.electrodes, seed=settings.seed)


def _stimuli(trials: Sequence[Trial], settings: DemoSettings, embedding: wiring.Embedding) -> tuple[Stimulus, Stimulus]:
    """One continuous session of the first trials, one of the held-out ones."""
    sounds, alignments = [], []
    with working("phones and words of the speech") as progress:
        for number, trial in enumerate(trials):
            sound = _at_16_khz(trial)
            sounds.append(sound)
            alignments.append(align_phones(sound, trial.transcript))
            progress((number + 1) / len(trials))
    cut = settings.calibration_trials
    parts = []
    with working("what an offline Whisper hears, to drive the patient"):
        for some in (slice(0, cut), slice(cut, None)):
            sound, alignment = _joined(sounds[some], alignments[some])
            layers = offline_embedding(embedding.whisper.model, sound, settings.layers)
            parts.append(Stimulus(sound, layers, alignment))
    return parts[0], parts[1]


def _at_16_khz(trial: Trial) -> Floats:
    sound: Floats = Resample(trial.rate_hz, SOUND_HZ).layer(regular(trial.sound[:, None], trial.rate_hz)).data[:, 0]
    return np.clip(sound, -1.0, 1.0)


def _joined(sounds: Sequence[Floats], alignments: Sequence[PhoneAlignment]) -> tuple[Floats, PhoneAlignment]:
    pause = np.zeros(round(PAUSE_S * SOUND_HZ), np.float32)
    pieces, phones, words, missing, at = [], [], [], [], 0.0
    for sound, alignment in zip(sounds, alignments, strict=True):
        pieces += [sound, pause]
        phones += [(label, start + at, end + at) for label, start, end in alignment.phones]
        words += [(word, start + at, end + at) for word, start, end in alignment.words]
        missing += alignment.missing_words
        at += (len(sound) + len(pause)) / SOUND_HZ
    return np.concatenate(pieces), PhoneAlignment(phones, words, missing)


def _recording(patient: SimulatedPatient, stimulus: Stimulus, seed: int) -> Recording:
    ecog = patient.record(stimulus, seed)
    names = tuple(truth.name for truth in patient.truth)
    rate_hz = patient.config.rate_hz
    sound = stimulus.sound[:, None].astype(np.float32)
    return Recording(
        {
            "sound": _stream(Spec(SOUND, SOUND_HZ, ("sound",)), sound, "Audio"),
            "ecog": _stream(Spec(ECOG, rate_hz, names, "microvolts"), ecog, "ECoG"),
        }
    )


def _stream(spec: Spec, data: Floats, type: str) -> RecordedStream:
    stamps = np.arange(len(data), dtype=np.float64) / spec.rate_hz
    return RecordedStream(spec, data, stamps, type=type, source_id=spec.name)


def truth_of(
    made: Simulation, embeddings: list[Block], embedding: wiring.Embedding, settings: DemoSettings
) -> list[dict[str, Any]]:
    """Per electrode: its kind, measured noise ceiling and attainable r, which held-out speech gives."""
    patient, calibration, held_out, heard = made.patient, made.calibration, made.held_out, made.heard
    ecog, plan = heard.streams["ecog"], wiring.EcogPlan()
    with working(f"noise ceilings from {settings.repeats} repeats") as progress:
        (response,) = patient.responses(
            [held_out],
            lambda: wiring.ecog_lane(ecog.spec, plan),
            settings.repeats,
            settings.seed + 3,
            lambda done, total: progress(done / total),
        )
    with working("what is attainable without noise"):
        features = run_chain(heard.streams["sound"], wiring.sound_lane(heard.streams["sound"].spec, 0, embedding))
        response = _on_grid(response, held_out)
        kernel = _chain_kernel(patient, held_out, response)
        learnt, unseen = (_smoothed(patient.drive(s), kernel) for s in (calibration, held_out))
        noise_free = _noise_free_r(embeddings, learnt, features, unseen)
        ceiling = ceilings([response])
    return [
        {
            "name": truth.name,
            "kind": truth.kind,
            "layer": truth.layer,
            "driven": truth.driven,
            "lag_ms": round(truth.lag_s * 1e3, 1) if truth.driven else None,
            "ceiling": float(ceiling[i]) if truth.driven else None,
            "attainable": float(noise_free[i] * ceiling[i]) if truth.driven else None,
        }
        for i, truth in enumerate(patient.truth)
    ]


def _on_grid(response: Response, stimulus: Stimulus) -> Response:
    """A response on the frames' times, where live rows are scored: interpolation averages noise away, too."""
    times = np.arange(stimulus.rows, dtype=np.float64) * FRAME_S
    bad = {"bad": ~response.used}
    rows = response.observed
    observed = put_on_grid(Block(rows.data, rows.times, 0, bad), times)
    mean = put_on_grid(Block(response.mean, rows.times, 0, bad), times)
    return Response(observed, mean.data.astype(np.float64), ~bad_samples(observed))


def _chain_kernel(patient: SimulatedPatient, stimulus: Stimulus, response: Response) -> Floats:
    """(taps,) what the chain makes of a noise-free drive, least squares over the driven electrodes.

    The chain smooths over some 40 ms, and what it leaves is easier to predict than the drive itself: held against the
    drive, the attainable r would come out too low.
    """
    drive, designs, targets = patient.drive(stimulus), [], []
    for e in np.flatnonzero([truth.driven for truth in patient.truth]):
        good = response.used[:, e]
        design, target = _taps(drive[:, e])[good], response.mean[good, e]
        designs.append(design - design.mean(axis=0))
        targets.append((target - target.mean()) / target.std())
    kernel: Floats = np.linalg.lstsq(np.concatenate(designs), np.concatenate(targets), rcond=None)[0]
    return kernel


def _taps(drive: Floats) -> Floats:
    """(rows, taps) the drive from KERNEL_ROWS before to KERNEL_ROWS after each row."""
    padded = np.pad(drive, KERNEL_ROWS, mode="edge")
    taps: Floats = np.lib.stride_tricks.sliding_window_view(padded, 2 * KERNEL_ROWS + 1)
    return taps


def _smoothed(drive: Floats, kernel: Floats) -> Floats:
    smoothed: Floats = np.stack([_taps(column) @ kernel for column in drive.T], axis=1).astype(np.float32)
    return smoothed


def _noise_free_r(
    embeddings: Sequence[Block], learnt_drive: Floats, features: Sequence[Block], unseen_drive: Floats
) -> Any:
    """r on held-out speech of the ridge fitted to the noise-free drive, from the same causal embeddings."""
    learnt, drives = _with_drive(embeddings, learnt_drive)
    model = fit_ridge(learnt, drives, [np.zeros(d.shape, bool) for d in drives], RidgeConfig())
    unseen, truth = _with_drive(features, unseen_drive)
    predicted = np.concatenate([model.layer(regular(x, 1 / FRAME_S)).data for x in unseen])
    expected = np.concatenate(truth)
    return correlation(predicted, expected, np.zeros(expected.shape, bool))


def _with_drive(blocks: Sequence[Block], drive: Floats) -> tuple[list[Floats], list[Floats]]:
    embeddings, targets = [], []
    for block in blocks:
        rows = np.round(block.times / FRAME_S).astype(int)
        inside = rows < len(drive)
        embeddings.append(block.data[inside])
        targets.append(drive[rows[inside]].astype(np.float32))
    return embeddings, targets
