"""Cross-validated lagged ridge, slowly: designs by loops, normal equations anew for every block, window and penalty."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from encoders.ridge import RidgeConfig, lag_basis, lag_windows

Doubles = npt.NDArray[np.float64]


def slow_predictions(
    projected: Doubles, y: Doubles, segments: list[int], training: list[int], test: list[int], config: RidgeConfig
) -> Doubles:
    """projected (rows, components), y (rows, electrodes), all rows good -> (test rows, electrodes)."""
    x = _design(projected, segments, lag_basis(config.lags, config.lag_functions).astype(float))
    x_mean, y_mean = x[training].mean(axis=0), y[training].mean(axis=0)
    blocks = [list(part)[: len(part) - _gap(len(training), config)] for part in np.array_split(training, 4)]
    out = np.zeros((len(test), y.shape[1]))
    for e in range(y.shape[1]):
        best = (np.inf, np.zeros(0), 0.0)
        for window in lag_windows(config):
            scale = np.repeat(window.astype(float), projected.shape[1])
            for alpha in config.alphas:
                error = 0.0
                for held_out in range(4):
                    rows = [row for i, block in enumerate(blocks) if i != held_out for row in block]
                    b = _ridge((x[rows] - x_mean) * scale, y[rows, e] - y_mean[e], alpha)
                    left = blocks[held_out]
                    error += np.sum((y[left, e] - y_mean[e] - ((x[left] - x_mean) * scale) @ b) ** 2)
                if error < best[0]:
                    best = (error, scale, alpha)
        b = _ridge((x[training] - x_mean) * best[1], y[training, e] - y_mean[e], best[2])
        out[:, e] = ((x[test] - x_mean) * best[1]) @ b + y_mean[e]
    return out


def _gap(rows: int, config: RidgeConfig) -> int:
    return min(config.gap_frames, rows // 16)


def _ridge(x: Doubles, y: Doubles, alpha: float) -> Doubles:
    return np.asarray(np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y))


def _design(projected: Doubles, segments: list[int], basis: Doubles) -> Doubles:
    lags, functions = basis.shape
    rows, first = [], 0
    for length in segments:
        for t in range(first, first + length):
            row = np.zeros((functions, projected.shape[1]))
            for lag in range(lags):
                if t - lag >= first:
                    row += basis[lag][:, None] * projected[t - lag]
            rows.append(row.ravel())
        first += length
    return np.array(rows)
