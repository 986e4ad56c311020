"""A simulated patient, drawn row by row, whose tuning turns in mid-session, and the model fitted before it did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoders.projection import fit_projection
from encoders.ridge import LaggedRidge
from realtime.block import Block, Floats, regular

DIMENSIONS = 64  # of the embedding
LAGS = 13


@dataclass(frozen=True)
class Drifting:
    """x: embeddings, 50 rows a second. observed: what E electrodes do; their tuning turns at `turned` (row)."""

    model: LaggedRidge
    x: Block
    observed: Block
    turned: int


def embeddings(rng: np.random.Generator, rows: int) -> Floats:
    """Smooth over some 100 ms, the leading directions strongest, as Whisper's are."""
    white = rng.standard_normal((rows + 12, DIMENSIONS))
    window = np.hanning(14)[1:-1]
    smooth = np.stack([np.convolve(column, window, "valid")[:rows] for column in white.T], axis=1)
    mixing = np.linalg.qr(rng.standard_normal((DIMENSIONS, DIMENSIONS)))[0]
    return np.asarray((smooth * np.arange(1, DIMENSIONS + 1) ** -0.5) @ mixing, np.float32)


def drifting(
    seed: int, minutes: float, turn_at: float, degrees: float, electrodes: int = 24, tuned: int = 30
) -> Drifting:
    """turn_at: minutes. tuned: leading whitened components that electrodes are tuned to.

    The fitted model knows the tuning before the turn, lags and gains exactly: a fit of perfect data.
    """
    rng = np.random.default_rng([seed, 5])
    rows, turned = round(minutes * 3000), round(turn_at * 3000)
    x = embeddings(rng, rows)
    projection = fit_projection(x, DIMENSIONS)
    z = projection.apply(x)[:, :tuned].astype(np.float64)
    whitening = 1 / z.std(axis=0)
    before, across = _tunings(rng, tuned, electrodes)
    before, across = whitening[:, None] * before, whitening[:, None] * across
    after = np.cos(np.deg2rad(degrees)) * before + np.sin(np.deg2rad(degrees)) * across
    lags = rng.integers(2, LAGS, electrodes)
    ceiling = rng.uniform(0.3, 0.8, electrodes)
    drive = np.where(np.arange(rows)[:, None] < turned, z @ before, z @ after)
    drive = np.stack([np.roll(column, lag) for column, lag in zip(drive.T, lags, strict=True)], axis=1)
    noise = np.stack([np.convolve(c, (0.4, 0.8, 0.4), "same") for c in rng.standard_normal((electrodes, rows))], axis=1)
    noise /= noise.std(axis=0)
    observed = ceiling * drive + np.sqrt(1 - ceiling**2) * noise
    weights = np.zeros((LAGS, DIMENSIONS, electrodes), np.float32)
    weights[lags, :tuned, np.arange(electrodes)] = (ceiling * before).T
    model = LaggedRidge(projection, weights, np.zeros(electrodes, np.float32))
    bad = {"bad": rng.random(observed.shape) < 0.01}
    block = regular(x, 50.0)
    return Drifting(model, block, Block(observed.astype(np.float32), block.times, 0, bad), turned)


def _tunings(rng: np.random.Generator, tuned: int, electrodes: int) -> tuple[Floats, Floats]:
    """Two unit vectors (tuned, electrodes) each, at right angles to each other."""
    first = rng.standard_normal((tuned, electrodes))
    first /= np.linalg.norm(first, axis=0)
    second = rng.standard_normal((tuned, electrodes))
    second -= first * (first * second).sum(axis=0)
    return first, second / np.linalg.norm(second, axis=0)


def mean_r(predicted: Floats, observed: Block, start: int, stop: int) -> float:
    """Over electrodes, of some rows."""
    now = slice(start, stop)
    good = ~np.asarray(observed.extra["bad"], bool)[now]
    p, o = predicted[now], observed.data[now]
    return float(np.mean([np.corrcoef(p[good[:, e], e], o[good[:, e], e])[0, 1] for e in range(p.shape[1])]))
