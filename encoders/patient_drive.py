"""What a simulated electrode follows: an embedding's projection, the presence of phones, speech onsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.signal import lfilter
from scipy.special import expit, ndtr

from encoders.phones import PHONE_CLASS, Timed

Values = npt.NDArray[np.float64]

EMBEDDING_HZ = 50.0
COMPONENTS = 50
PAUSE_S, TRANSIENT_S, SUSTAINED = 0.2, 0.15, 0.3  # an onset follows a pause; what is left of it after adaptation
OPEN = 0.35  # share of the time that a gate is open
SOUND_HZ = 16_000
EDGE_S = 0.015  # SD of the smoothed edges of phones and onsets


@dataclass(frozen=True)
class Projection:
    """From one layer's embedding to its electrodes: (x - mean) @ weights. mean (dim,), weights (dim, electrodes)."""

    mean: Values
    weights: Values


def fit_projection(
    embeddings: Sequence[npt.NDArray[np.floating]], electrodes: int, rng: np.random.Generator
) -> Projection:
    """Random unit weights on the whitened leading principal components of a standardised embedding."""
    x = np.concatenate(embeddings).astype(np.float64)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    sd = np.where(sd > 1e-9, sd, 1.0)
    z = (x - mean) / sd
    power, axes = np.linalg.eigh(z.T @ z / len(z))
    keep = np.argsort(-power)[:COMPONENTS]
    keep = keep[power[keep] > 1e-9 * power.max()]
    signs = np.sign(axes[np.argmax(np.abs(axes), axis=0), np.arange(len(axes))])  # else they depend on the LAPACK
    whitening = (axes * signs)[:, keep] / np.sqrt(power[keep]) / sd[:, None]  # (dim, components)
    weights = rng.standard_normal((len(keep), electrodes))
    return Projection(mean, whitening @ (weights / np.linalg.norm(weights, axis=0)))


def project(projection: Projection, embedding: npt.NDArray[np.floating], times_s: Values, lags_s: Values) -> Values:
    """(times, electrodes) projections at each time minus each electrode's lag, between frames by cubic splines.

    embedding: (frames, dim) at 50 Hz. Before the first frame and after the last their values are held.
    """
    rows = (embedding - projection.mean) @ projection.weights
    frames_s = np.arange(len(rows)) / EMBEDDING_HZ
    out = np.empty((len(times_s), len(lags_s)))
    for e, lag_s in enumerate(lags_s):
        out[:, e] = CubicSpline(frames_s, rows[:, e])(np.clip(times_s - lag_s, 0.0, frames_s[-1]))
    return out


def spans(phones: Sequence[Timed], wanted: str) -> list[tuple[float, float]]:
    """(start_s, end_s) of the phones of one label or one manner class."""
    return [(start, end) for label, start, end in phones if wanted in (label, PHONE_CLASS[label])]


def presence(spans: Sequence[tuple[float, float]], t: Values) -> Values:
    """1 inside the spans and 0 outside, with smoothed edges."""
    total = np.zeros(len(t))
    for start, end in spans:
        total += ndtr((t - start) / EDGE_S) - ndtr((t - end) / EDGE_S)
    return total


def speech_runs(phones: Sequence[Timed]) -> list[tuple[float, float]]:
    """Stretches of speech that only pauses of PAUSE_S and more interrupt."""
    runs: list[tuple[float, float]] = []
    for label, start, end in phones:
        if PHONE_CLASS[label] == "silence":
            continue
        if runs and start - runs[-1][1] < PAUSE_S:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def onset_response(runs: Sequence[tuple[float, float]], t: Values) -> Values:
    """A transient at each onset that decays to a weaker response for as long as speech lasts."""
    total = np.zeros(len(t))
    for start, end in runs:
        adapted = SUSTAINED + (1 - SUSTAINED) * np.exp(-np.maximum(t - start, 0) / TRANSIENT_S)
        total += adapted * (ndtr((t - start) / EDGE_S) - ndtr((t - end) / EDGE_S))
    return total


def loudness(sound: npt.NDArray[np.floating]) -> Values:
    """(rows,) of 20 ms: the cube root of the sound's power at 16 kHz."""
    samples = SOUND_HZ // int(EMBEDDING_HZ)
    padded = np.pad(np.asarray(sound, np.float64), (0, -len(sound) % samples))
    loud: Values = np.cbrt(np.mean(padded.reshape(-1, samples) ** 2, axis=1))
    return loud


def slow_mean(rows: Values, memory_s: float) -> Values:
    """Leaky mean of the rows (rows,) so far, zero before the first: what came memory_s ago weighs 1/e."""
    share = 1.0 - np.exp(-1.0 / (memory_s * EMBEDDING_HZ))
    mean: Values = lfilter([share], [1.0, share - 1.0], rows)
    return mean


@dataclass(frozen=True)
class Gate:
    """Lets a response through by what was heard in the last seconds. after_speech: opens when that was loud, else
    when it was quiet. threshold, width: of the slow mean of loudness."""

    memory_s: float
    after_speech: bool
    threshold: float
    width: float

    def at(self, sound: npt.NDArray[np.floating], times_s: Values) -> Values:
        """0 (shut) to 1 (open) at each time."""
        slow = slow_mean(loudness(sound), self.memory_s)
        rows = np.interp(times_s, np.arange(len(slow)) / EMBEDDING_HZ, slow)
        opened: Values = expit((rows - self.threshold) / self.width * (1.0 if self.after_speech else -1.0))
        return opened


def fit_gate(sounds: Sequence[npt.NDArray[np.floating]], memory_s: float, after_speech: bool) -> Gate:
    """A gate that is open for OPEN of the time over these sounds."""
    slow = np.concatenate([slow_mean(loudness(sound), memory_s) for sound in sounds])
    threshold = float(np.quantile(slow, 1.0 - OPEN if after_speech else OPEN))
    return Gate(memory_s, after_speech, threshold, float(slow.std()) / 6.0)
