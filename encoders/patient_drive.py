"""What a simulated electrode follows: an embedding's projection, the presence of phones, speech onsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

from encoders.phones import PHONE_CLASS, Timed

Values = npt.NDArray[np.float64]

EMBEDDING_HZ = 50.0
COMPONENTS = 50
PAUSE_S, TRANSIENT_S, SUSTAINED = 0.2, 0.15, 0.3  # an onset follows a pause; what is left of it after adaptation
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
