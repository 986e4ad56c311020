"""Cross-validated lagged ridge, fast: every electrode, penalty and lag window from a few shared Gram matrices.

Features are projected to as many whitened principal components whatever they are, found on the training rows alone,
so that a wide layer has no advantage over a narrow one. The weights are smooth over lags (raised cosines). An
electrode's penalty and lag window are those of least squared error in blocks of the training rows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from encoders.folds import Rows, purged_folds
from encoders.projection import fit_projection
from encoders.ridge import RidgeConfig, lag_basis, lag_windows, lagged_design
from realtime.block import Floats, Mask
from realtime.errors import UserError

Doubles = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.intp]

LAGGED = RidgeConfig(components=50, alphas=tuple(np.logspace(0, 6, 13).tolist()))
INNER_BLOCKS = 4
RARELY_BAD = 0.5  # a row that is bad at more than this share of the electrodes trains none


@dataclass(frozen=True, slots=True)
class Heard:
    """What was observed, at 50 rows a second. segments: rows of each run without a gap, in order.

    observed: (rows, electrodes) float32. bad: the same shape, True where it counts for nothing. source: (rows,) of
    `find_repeats`, where some of the sound is heard more than once.
    """

    segments: tuple[int, ...]
    observed: Floats
    bad: Mask
    source: Rows | None = None

    def electrodes(self, start: int, stop: int) -> Heard:
        return Heard(self.segments, self.observed[:, start:stop], self.bad[:, start:stop], self.source)


@dataclass(frozen=True, slots=True)
class Fold:
    training: Mask  # (rows,)
    test: Rows


def instantaneous(config: RidgeConfig = LAGGED) -> RidgeConfig:
    """The same without any lag."""
    return replace(config, lags=1, lag_functions=1)


def folds_of(heard: Heard, config: RidgeConfig = LAGGED) -> list[Fold]:
    """Contiguous folds, with as much left out around each as lags and a second reach; repeats together."""
    gap = min(config.gap_frames, sum(heard.segments) // (4 * config.folds))
    folds = purged_folds(heard.segments, config.folds, gap, heard.source)
    return [Fold(training, test) for training, test in folds]


def predict_fold(features: Floats, heard: Heard, fold: Fold, config: RidgeConfig = LAGGED) -> Floats:
    """Predictions (test rows, electrodes) float32 of a fit to the training rows.

    features: (rows, D), a row for each observed row. An electrode without a good training row is predicted as 0.
    Raises UserError where too few rows are left to train on.
    """
    good = ~heard.bad & np.isfinite(heard.observed)
    alive = good.any(axis=0)
    often_bad = (~good[:, alive]).mean(axis=1) > RARELY_BAD if alive.any() else np.ones(len(good), bool)
    rows = np.flatnonzero(fold.training & ~often_bad & np.isfinite(features).all(axis=1))
    if len(rows) < 4 * config.lags + 100:
        raise UserError(
            f"too little to fit on: found {len(rows) / 50:.1f} s of usable recording outside a fold, expected at "
            f"least {(4 * config.lags + 100) / 50:.0f} s; give a longer recording"
        )
    with threadpool_limits(limits=1, user_api="blas"):  # cells run side by side, one to a core
        design = _design(features, heard.segments, rows, config)
        x, y = design[rows], heard.observed[rows].astype(np.float32)
        x_mean = x.mean(axis=0)
        counts = np.maximum(good[rows].sum(axis=0), 1)
        y_mean = np.where(good[rows], y, 0).sum(axis=0) / counts
        weights = _fit(x - x_mean, np.where(good[rows], y - y_mean, np.float32(0)), config)
        predicted: Floats = ((design[fold.test] - x_mean) @ weights + y_mean).astype(np.float32)
    return predicted


def _design(features: Floats, segments: tuple[int, ...], training: Rows, config: RidgeConfig) -> Floats:
    projection = fit_projection(features[training], config.components, whitening=1.0)
    basis = lag_basis(config.lags, config.lag_functions)
    edges = np.cumsum([0, *segments])
    return np.concatenate([lagged_design(projection.apply(features[a:b]), basis) for a, b in itertools.pairwise(edges)])


def _fit(x: Floats, y: Floats, config: RidgeConfig) -> Floats:
    """(columns, electrodes) weights for centred x (rows, columns), y (rows, electrodes)."""
    parts = np.array_split(np.arange(len(x)), INNER_BLOCKS)
    gap = min(config.gap_frames, len(x) // (4 * INNER_BLOCKS))
    kept = [slice(part[0], part[-1] + 1 - gap) for part in parts]
    between = np.concatenate([part[len(part) - gap :] for part in parts])
    grams = np.stack([x[part].T @ x[part] for part in kept]).astype(np.float64)
    moments = np.stack([x[part].T @ y[part] for part in kept]).astype(np.float64)
    windows = lag_windows(config)
    window, alpha = _choose(grams, moments, windows, np.asarray(config.alphas))
    gram = grams.sum(axis=0) + x[between].T @ x[between]
    moment = moments.sum(axis=0) + x[between].T @ y[between]
    weights = np.zeros(moment.shape)
    for number in np.unique(window):
        scale, used = _columns(windows[number], len(gram))
        chosen = np.flatnonzero(window == number)
        values, vectors = eigh(gram[np.ix_(used, used)] * np.outer(scale, scale), driver="evd")
        spread = vectors.T @ (scale[:, None] * moment[np.ix_(used, chosen)])
        solved = vectors @ (spread / (np.maximum(values, 0)[:, None] + alpha[chosen]))
        weights[np.ix_(used, chosen)] = scale[:, None] * solved
    return weights.astype(np.float32)


def _choose(grams: Doubles, moments: Doubles, windows: Floats, alphas: Doubles) -> tuple[Chosen, Doubles]:
    """For each electrode the lag window and penalty with the least squared error in blocks held out in turn."""
    errors = np.zeros((len(windows), len(alphas), moments.shape[2]))
    for number, window in enumerate(windows):
        scale, used = _columns(window, grams.shape[1])
        scaled = grams[:, used][:, :, used] * np.outer(scale, scale)
        targets = moments[:, used] * scale[:, None]
        for held_out in range(len(grams)):
            values, vectors = eigh(scaled.sum(axis=0) - scaled[held_out], driver="evd")
            learnt = vectors.T @ (targets.sum(axis=0) - targets[held_out])  # (columns, electrodes)
            tested = vectors.T @ targets[held_out]
            gram = vectors.T @ scaled[held_out] @ vectors
            for i, alpha in enumerate(alphas):
                b = learnt / (np.maximum(values, 0)[:, None] + alpha)
                errors[number, i] += np.sum(b * (gram @ b - 2 * tested), axis=0)  # but for the constant y'y
    best = errors.reshape(-1, errors.shape[2]).argmin(axis=0)
    window, penalty = np.unravel_index(best, errors.shape[:2])
    return window.astype(np.intp), alphas[penalty]


def _columns(window: Floats, columns: int) -> tuple[Doubles, Rows]:
    """Scales of the design's columns under a lag window, and which columns it leaves in."""
    scale = np.repeat(window.astype(np.float64), columns // len(window))
    used = np.flatnonzero(scale).astype(np.intp)
    return scale[used], used
