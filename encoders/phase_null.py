"""Correlations that chance reaches: predictions of the same spectrum, with random phases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from encoders.evaluation import masked_standard
from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]
Angles = npt.NDArray[np.float32]

DRAWS_AT_ONCE = 256


def phase_null(predicted: Floats, observed: Floats, bad: Mask, draws: int, seed: int) -> Doubles:
    """Correlations, (draws, electrodes), of phase-randomised predictions with the observations.

    predicted, observed, bad: (rows, electrodes). Both are centred and scaled over an electrode's good rows and zero
    elsewhere; each draw turns every frequency of the predictions by a random angle, the same for all electrodes, so
    that what electrodes share stays shared (Prichard and Theiler 1994). The surrogate spreads over masked rows too,
    which the scale takes back. By Parseval's theorem all draws are one matrix product; no surrogate is ever built.
    """
    p, o, ok = masked_standard(predicted, observed, bad)
    rows = len(p)
    weights = np.full(rows // 2 + 1, 2.0)
    weights[0] = 0.0  # the mean is zero and stays so
    if rows % 2 == 0:
        weights[-1] = 1.0
    cross = rfft(p, axis=0) * np.conj(rfft(o, axis=0)) * (weights / rows)[:, None]  # (frequencies, electrodes)
    count = np.maximum(ok.sum(axis=0), 1)
    norm = np.sqrt(np.sum(p * p, axis=0) * (count / rows) * np.sum(o * o, axis=0))
    cross = np.where(norm > 0, cross / np.where(norm > 0, norm, 1.0), np.nan)
    real, imaginary = cross.real.astype(np.float32), cross.imag.astype(np.float32)
    null = np.empty((draws, p.shape[1]))
    done = 0
    for angles in _angles(draws, rows, seed):
        null[done : done + len(angles)] = np.cos(angles) @ real - np.sin(angles) @ imaginary
        done += len(angles)
    return null


def drawn_angles(draws: int, rows: int, seed: int) -> Angles:
    """(draws, frequencies) the angles that `phase_null` turns by; a Nyquist frequency, being real, by 0 or pi."""
    return np.concatenate(list(_angles(draws, rows, seed)))


def _angles(draws: int, rows: int, seed: int) -> Iterator[Angles]:
    """The angles of DRAWS_AT_ONCE draws at a time, which bounds memory."""
    rng = np.random.default_rng(seed)
    for start in range(0, draws, DRAWS_AT_ONCE):
        angles = rng.random((min(DRAWS_AT_ONCE, draws - start), rows // 2 + 1), dtype=np.float32)
        angles *= np.float32(2 * np.pi)
        if rows % 2 == 0:
            angles[:, -1] = np.where(angles[:, -1] < np.pi, 0, np.pi)
        yield angles
