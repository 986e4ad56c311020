"""Lagged ridge, row by row and electrode by electrode, in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def project(x: Array, mean: Array, sd: Array, matrix: Array) -> Array:
    """One row at a time; what is not finite counts as its mean."""
    rows = []
    for row in np.asarray(x, np.float64):
        z = np.array([(v - m) / s if np.isfinite(v) else 0.0 for v, m, s in zip(row, mean, sd, strict=True)])
        rows.append(z @ np.asarray(matrix, np.float64))
    return np.array(rows)


def predict(projected: Array, weights: Array, intercept: Array) -> Array:
    """projected (T, P), weights (L, P, E) -> (T, E). A row before the first counts as zero."""
    lags, _, electrodes = weights.shape
    out = np.zeros((len(projected), electrodes))
    for t in range(len(projected)):
        for e in range(electrodes):
            out[t, e] = intercept[e] + sum(projected[t - lag] @ weights[lag, :, e] for lag in range(min(lags, t + 1)))
    return out


def masked_ridge(x: Array, y: Array, good: Array, alpha: float) -> Array:
    """Coefficients (F,) for one electrode from its good rows alone: least squares with penalty rows appended."""
    features = x.shape[1]
    a = np.concatenate([x[good], np.sqrt(alpha) * np.eye(features)]).astype(np.float64)
    b = np.concatenate([y[good], np.zeros(features)]).astype(np.float64)
    return np.asarray(np.linalg.lstsq(a, b, rcond=None)[0])


def best_alpha(x: Array, y: Array, alphas: list[float], folds: int, gap: int) -> float:
    """The penalty with the least squared error over contiguous folds of all the rows, `gap` rows purged after each."""
    edges = np.linspace(0, len(x), folds + 1).astype(int)
    blocks = [np.arange(a, b - gap) for a, b in itertools.pairwise(edges)]
    errors = []
    for alpha in alphas:
        error = 0.0
        for i, test in enumerate(blocks):
            train = np.concatenate([b for j, b in enumerate(blocks) if j != i])
            b = masked_ridge(x[train], y[train], np.ones(len(train), bool), alpha)
            error += float(np.sum((y[test] - x[test] @ b) ** 2))
        errors.append(error)
    return alphas[int(np.argmin(errors))]
