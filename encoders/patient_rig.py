"""What goes wrong around a simulated patient: sound in a cable, cautery, stimulation, interictal spikes; and blocks in
which the patient speaks, or does not hear the sound at all. All of it off unless `RigConfig` asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from encoders.patient_noise import Artefact

Values = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SPEAKING_GAIN = 0.3  # what is left of a response to one's own voice
FADE_S = 0.1  # over which a block begins and ends
CAUTERY_UV, CAUTERY_S, CAUTERY_HZ = (300.0, 3000.0), (0.5, 3.0), 120.0  # range of SD, of length; its modulation
PULSE_UV, PULSE_HZ, TRAIN_S = (500.0, 5000.0), 50.0, (0.5, 2.0)
PULSE_DECAY_S = 0.002  # of the electrode's recovery after a pulse
SPIKE_UV, SPIKE_S, WAVE_S = (400.0, 1200.0), 0.03, 0.2  # an interictal spike, and the slow wave after it
REACH_MM = 15.0  # of stimulation and spikes


@dataclass(frozen=True)
class RigConfig:
    """contaminated: electrodes, undriven ones beside driven ones, in whose cable the sound is heard at
    contamination_uv RMS. Cautery bursts, stimulation trains and interictal spikes: events a minute, each at
    random times."""

    contaminated: int = 0
    contamination_uv: float = 8.0
    cautery_per_min: float = 0.0
    stimulation_per_min: float = 0.0
    spikes_per_min: float = 0.0


@dataclass(frozen=True)
class SessionBlock:
    """A part of a recording. `speaking`: the patient speaks the sound, and responds less. `sham`: Whisper is given
    the sound, the patient does not hear it, and no loudspeaker plays it."""

    kind: Literal["speaking", "sham"]
    start_s: float
    end_s: float


def contaminated_electrodes(config: RigConfig, driven: Mask, alive: Mask, position_mm: Values, seed: int) -> list[int]:
    """Numbers of the electrodes with sound in their cable: alive, undriven, those first that have driven neighbours.

    Raises ValueError where there are too few.
    """
    candidates = np.flatnonzero(alive & ~driven)
    if len(candidates) < config.contaminated:
        raise ValueError(f"{len(candidates)} undriven electrodes, expected {config.contaminated} to contaminate")
    distance = np.linalg.norm(position_mm[:, None] - position_mm, axis=-1)
    spacing = np.min(distance[distance > 0], initial=np.inf)
    neighbours = (distance[:, driven] <= 1.5 * spacing).sum(axis=1)
    order = np.random.default_rng([seed, 3]).permutation(candidates)
    wanted = order[np.argsort(-np.minimum(neighbours[order], 1), kind="stable")]
    return sorted(wanted[: config.contaminated].tolist())


def heard(blocks: Sequence[SessionBlock], times_s: Values) -> Values:
    """1 where the patient listens, SPEAKING_GAIN where it speaks, 0 in a sham block; faded over FADE_S."""
    gain = np.ones(len(times_s))
    for block in blocks:
        inside = np.minimum(times_s - block.start_s, block.end_s - times_s) / FADE_S + 0.5
        left = SPEAKING_GAIN if block.kind == "speaking" else 0.0
        gain *= 1 - (1 - left) * np.clip(inside, 0, 1)
    return gain


def in_the_cable(
    sound: Float32s, sound_hz: int, rate_hz: float, samples: int, rms_uv: float, blocks: Sequence[SessionBlock]
) -> Float32s:
    """(samples,) the sound at the amplifier's rate, rms_uv over the whole; silent in a sham block."""
    ratio = Fraction(rate_hz / sound_hz).limit_denominator(10_000)
    slow = resample_poly(sound.astype(np.float64), ratio.numerator, ratio.denominator)
    slow = np.pad(slow, (0, max(0, samples - len(slow))))[:samples]
    shams = [block for block in blocks if block.kind == "sham"]
    slow *= heard(shams, np.arange(samples) / rate_hz)
    return (slow * (rms_uv / max(float(slow.std()), 1e-12))).astype(np.float32)


def rig_artefacts(
    rng: np.random.Generator, samples: int, rate_hz: float, config: RigConfig, alive: Mask, position_mm: Values
) -> list[Artefact]:
    """Cautery on all electrodes; stimulation and spikes about a random electrode each."""
    kinds = (
        (config.cautery_per_min, _cautery),
        (config.stimulation_per_min, _stimulation),
        (config.spikes_per_min, _spike),
    )
    found = []
    for per_min, make in kinds:
        for start in np.sort(rng.integers(0, samples, rng.poisson(per_min * samples / rate_hz / 60))):
            shape, size_uv = make(rng, rate_hz, position_mm)
            size_uv = np.where(alive, size_uv, 0.0)
            kept = shape[: samples - start].astype(np.float32)
            where = np.flatnonzero(size_uv).tolist()
            span = (float(start / rate_hz), float((start + len(kept)) / rate_hz), where)
            found.append(Artefact(int(start), kept, size_uv.astype(np.float32), span))
    return found


def _cautery(rng: np.random.Generator, rate_hz: float, position_mm: Values) -> tuple[Values, Values]:
    """Broadband noise in bursts twice a period of the mains."""
    t = np.arange(max(1, round(rng.uniform(*CAUTERY_S) * rate_hz))) / rate_hz
    shape = rng.standard_normal(len(t)) * np.abs(np.sin(np.pi * CAUTERY_HZ * t + rng.uniform(0, np.pi)))
    return shape, rng.uniform(*CAUTERY_UV) * rng.uniform(0.3, 1.0, len(position_mm))


def _stimulation(rng: np.random.Generator, rate_hz: float, position_mm: Values) -> tuple[Values, Values]:
    """Pulses with the electrode's exponential recovery after each, far electrodes less."""
    samples = max(2, round(rng.uniform(*TRAIN_S) * rate_hz))
    pulses = np.zeros(samples)
    pulses[:: round(rate_hz / PULSE_HZ)] = 1.0
    recovery = np.exp(-np.arange(round(0.015 * rate_hz)) / (PULSE_DECAY_S * rate_hz))
    near = _near(rng, position_mm)
    return np.convolve(pulses, recovery)[:samples], rng.choice([-1, 1]) * rng.uniform(*PULSE_UV) * near


def _spike(rng: np.random.Generator, rate_hz: float, position_mm: Values) -> tuple[Values, Values]:
    """A sharp wave and a slow one of the other sign, far electrodes less."""
    sharp, slow = np.hanning(max(3, round(SPIKE_S * rate_hz))), np.hanning(max(3, round(WAVE_S * rate_hz)))
    near = _near(rng, position_mm)
    return np.concatenate([sharp, -0.3 * slow]), rng.choice([-1, 1]) * rng.uniform(*SPIKE_UV) * near


def _near(rng: np.random.Generator, position_mm: Values) -> Values:
    """(electrodes,) 1 at a random electrode, less further away, 0 where it is under a twentieth."""
    away = np.linalg.norm(position_mm - position_mm[rng.integers(len(position_mm))], axis=1)
    near: Values = np.exp(-away / REACH_MM)
    return np.where(near < 0.05, 0.0, near)
