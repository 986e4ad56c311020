"""Lagged linear read-out of embeddings, one prediction per electrode and frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from himalaya.ridge import solve_group_ridge_random_search
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from encoders.projection import Projection, fit_projection
from realtime.block import Block, Floats, Mask
from realtime.errors import UserError

FRAME_S = 0.02


@dataclass(slots=True)
class RidgeState:
    """tail: (L - 1, P) the newest projected rows, oldest first, zero before the stream's start."""

    tail: Floats
    next_index: int  # -1 before the first row


class LaggedRidge:
    """Embeddings (time, D), 50 rows a second -> predictions (time, E) float32, one for each row.

    weights: (L, P, E) over lags of 0 to L - 1 frames into the past; intercept: (E,). Row i speaks of its
    embedding's time plus horizon_s. Rows before the stream's start count as the training mean, which is zero
    after projection. extra["attention"]: (time, 1, L) float32, the share of squared weight norm at each lag,
    averaged over electrodes: constant in time, shown where the attention of the other model is shown.
    Restarts after a gap.
    """

    def __init__(self, projection: Projection, weights: Floats, intercept: Floats, horizon_s: float = 0.0) -> None:
        if weights.ndim != 3 or weights.shape[1] != projection.components or intercept.shape != weights.shape[2:]:
            raise ValueError(
                f"weights {weights.shape} and intercept {intercept.shape} do not fit "
                f"(lags, {projection.components}, electrodes)"
            )
        self.projection = projection
        self.weights = np.ascontiguousarray(weights, np.float32)
        self.intercept = np.ascontiguousarray(intercept, np.float32)
        self.horizon_s = horizon_s
        self.attention = lag_energy(self.weights)
        self.choice: RidgeChoice | None = None  # how fit_ridge came to it

    @property
    def lag_s(self) -> float:
        return -self.horizon_s

    @property
    def lags(self) -> int:
        return int(self.weights.shape[0])

    def initial_state(self) -> RidgeState:
        return RidgeState(np.zeros((self.lags - 1, self.projection.components), np.float32), -1)

    def step(self, x: Block, state: RidgeState) -> tuple[Block, RidgeState]:
        if len(x) and state.next_index not in (-1, x.index):
            state = self.initial_state()
        rows = np.concatenate([state.tail, self.projection.apply(x.data)])  # (L - 1 + time, P)
        newest = self.lags - 1
        prediction = np.tile(self.intercept, (len(x), 1))
        for lag, weights in enumerate(self.weights):
            prediction += rows[newest - lag : newest - lag + len(x)] @ weights
        extra = {"attention": np.tile(self.attention, (len(x), 1, 1)), **x.carried("bad")}
        result = Block(prediction, x.times + self.horizon_s, x.index, extra)
        return result, RidgeState(rows[len(x) :].copy(), x.end if len(x) else state.next_index)

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]


def lag_energy(weights: Floats) -> Floats:
    """weights (L, P, E) -> (L,) float32 summing to 1: mean over electrodes of the squared norm at each lag."""
    energy = np.square(weights, dtype=np.float64).sum(axis=1)  # (L, E)
    mean = (energy / np.maximum(energy.sum(axis=0), 1e-30)).mean(axis=1)
    share: Floats = (mean / mean.sum() if mean.sum() > 0 else np.full(len(mean), 1 / len(mean))).astype(np.float32)
    return share


@dataclass(frozen=True, slots=True)
class RidgeConfig:
    """How a ridge is fitted.

    lags: frames of 20 ms, 0 to lags - 1 into the past. lag_functions: raised cosines over them, which make the
    weights smooth. window_frames: SD of the candidate lag windows (see `lag_windows`). alphas: penalties tried.
    folds: contiguous blocks of the cross-validation. gap_frames: rows purged between two of them.
    imputations: rounds of exact masking, each replacing bad targets by what the last one predicts there.
    moments: for each frame that targets hold, the electrodes of each in turn. What is chosen for an electrode at the
    first is taken for all: moments chosen apart would be drawn as a zigzag.
    """

    components: int = 80
    lags: int = 19
    lag_functions: int = 10
    window_frames: float = 2.5
    horizon_s: float = 0.0
    alphas: tuple[float, ...] = tuple(np.logspace(1, 6, 11).tolist())
    folds: int = 5
    gap_frames: int = 70
    imputations: int = 4
    moments: int = 1


@dataclass(frozen=True, slots=True)
class RidgeChoice:
    """What cross-validation chose: index of the lag window and penalty, each (E,)."""

    window: npt.NDArray[np.intp]
    alpha: npt.NDArray[np.float64]


def fit_ridge(
    embeddings: Sequence[Floats],
    targets: Sequence[Floats],
    bad: Sequence[Mask],
    config: RidgeConfig,
    choice: RidgeChoice | None = None,
    projection: Projection | None = None,
) -> LaggedRidge:
    """Fit on segments: embeddings (T_i, D), targets (T_i, E), bad (T_i, E), True where a target counts for nothing.

    No lag reaches from one segment into another. Each electrode's penalty and lag window have the least squared
    error in contiguous-block cross-validation (himalaya); for that, bad targets count as the electrode's mean.
    The final weights leave bad targets out exactly, up to `imputations` rounds. choice: of an earlier fit, to
    skip the cross-validation. An electrode with no good target predicts 0.
    """
    projection = projection or fit_projection(embeddings, config.components)
    basis = lag_basis(config.lags, config.lag_functions)
    x = np.concatenate([lagged_design(projection.apply(e), basis) for e in embeddings])
    y = np.concatenate(targets).astype(np.float32)
    good = ~np.concatenate(bad) & np.isfinite(y)
    kept = good.any(axis=1)
    x, y, good = x[kept], y[kept], good[kept]
    if len(x) < 2 * config.folds * config.gap_frames:
        raise UserError(
            f"too little to fit on: found {len(x) * FRAME_S:.1f} s of usable recording, "
            f"expected at least {2 * config.folds * config.gap_frames * FRAME_S:.0f} s; record a longer calibration"
        )
    coefficients, intercept, choice = fit_design(x, y, good, lag_windows(config), config, choice)
    shaped = coefficients.reshape(config.lag_functions, projection.components, -1)  # (K P, E) -> (K, P, E)
    weights = np.tensordot(basis, shaped, axes=1)  # (L, P, E)
    ridge = LaggedRidge(projection, weights, intercept, config.horizon_s)
    ridge.choice = choice
    return ridge


def fit_design(
    x: Floats, y: Floats, good: Mask, windows: Floats, config: RidgeConfig, choice: RidgeChoice | None = None
) -> tuple[Floats, Floats, RidgeChoice]:
    """Coefficients (C, E), intercept (E,) and what was chosen, for a design x (T, C), which is changed.

    y, good: (T, E). windows: (windows, W) candidate scales, each entry for C / W columns in a row; a column of scale
    zero is not used. Bands of features are windows too: the scale of each band under each candidate weighting.
    """
    x_mean, y_mean = x.mean(axis=0), _masked_mean(y, good)
    x -= x_mean
    y = np.where(good, y - y_mean, np.float32(0))
    with threadpool_limits(limits=1, user_api="blas"):  # more spin while another process holds a core
        if choice is None:
            first = _choose(x, y[:, : y.shape[1] // config.moments], windows, config)
            choice = RidgeChoice(np.tile(first.window, config.moments), np.tile(first.alpha, config.moments))
        coefficients = _solve(x, y, good, windows, choice, config.imputations)
    offset = _masked_mean(y - x @ coefficients, good)
    intercept = np.where(good.any(axis=0), y_mean + offset - x_mean @ coefficients, 0)
    return coefficients, intercept, choice


def lag_basis(lags: int, functions: int) -> Floats:
    """(lags, functions) float32 raised cosines of unit norm, evenly spaced; the identity when functions == lags."""
    if functions >= lags:
        return np.eye(lags, dtype=np.float32)
    centres = np.linspace(0, lags - 1, functions)
    width = 2 * (lags - 1) / max(functions - 1, 1)
    distance = np.abs(np.arange(lags)[:, None] - centres) / width
    basis = 0.5 * (1 + np.cos(np.pi * np.minimum(distance, 1)))
    unit: Floats = (basis / np.linalg.norm(basis, axis=0)).astype(np.float32)
    return unit


def lag_windows(config: RidgeConfig) -> Floats:
    """(windows, lag_functions) float32 scales of the lag functions: candidate priors over an electrode's lags.

    The first is flat; the others are Gaussians around lags two SDs apart, zero where below 0.1. An electrode
    follows sound at a latency of its own, so a window spares it most of the weights it would have to learn.
    """
    centres = np.linspace(0, config.lags - 1, config.lag_functions)
    step = 1.2 * config.window_frames
    middles = np.arange(step / 2, config.lags - 1, step)
    scales = np.exp(-0.5 * ((centres - middles[:, None]) / config.window_frames) ** 2)
    return np.concatenate([np.ones((1, len(centres))), np.where(scales < 0.1, 0, scales)]).astype(np.float32)


def lagged_design(projected: Floats, basis: Floats) -> Floats:
    """projected (T, P), basis (L, K) -> (T, K P) float32: past rows, zero before row 0, by lag function."""
    rows, width = projected.shape
    lags, functions = basis.shape
    padded = np.concatenate([np.zeros((lags - 1, width), np.float32), projected])
    design = np.zeros((rows, functions, width), np.float32)
    for lag, function in zip(*np.nonzero(basis), strict=True):
        design[:, function] += basis[lag, function] * padded[lags - 1 - lag : lags - 1 - lag + rows]
    return design.reshape(rows, functions * width)  # (T, K, P) -> (T, K P)


def _masked_mean(y: Floats, good: Mask) -> Floats:
    mean: Floats = np.where(good, y, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    return mean.astype(np.float32)


def _column_scales(window: Floats, columns: int) -> Floats:
    return np.repeat(window, columns // len(window))


def _choose(x: Floats, y: Floats, windows: Floats, config: RidgeConfig) -> RidgeChoice:
    """Window and penalty for each electrode, by himalaya's ridge over blocks compressed to as many rows as columns.

    |Xb - y|^2 = |Rb - z|^2 + constant for R'R = X'X and R'z = X'y, so the compressed blocks give the same choice
    as all the rows, in a fraction of the time.
    """
    edges = np.linspace(0, len(x), config.folds + 1).astype(int)
    blocks = [slice(a, b - config.gap_frames) for a, b in itertools.pairwise(edges)]
    grams = np.stack([x[b].T @ x[b] for b in blocks])
    moments = np.stack([x[b].T @ y[b] for b in blocks])
    pairs = []
    for fold in range(config.folds):
        pairs.append(_compress(grams.sum(axis=0) - grams[fold], moments.sum(axis=0) - moments[fold]))
        pairs.append(_compress(grams[fold], moments[fold]))
    rows, columns = np.concatenate([r for r, _ in pairs]), x.shape[1]
    values = np.concatenate([z for _, z in pairs])
    folds = PredefinedFolds(columns, config.folds)
    best = np.full(y.shape[1], -np.inf)
    window, alpha = np.zeros(y.shape[1], np.intp), np.zeros(y.shape[1])
    for i, scales in enumerate(windows):
        scale = _column_scales(scales, columns)
        scaled = rows[:, scale > 0] * scale[scale > 0]
        deltas, _, scores = solve_group_ridge_random_search(
            [scaled], values, n_iter=np.ones((1, 1), np.float32), alphas=np.asarray(config.alphas, np.float32),
            cv=folds, return_weights=False, progress_bar=False, warn=False,
        )  # fmt: skip
        better = scores[0] > best
        best[better], window[better], alpha[better] = scores[0][better], i, np.exp(-deltas[0][better])
    return RidgeChoice(window, alpha)


class PredefinedFolds:
    """scikit-learn's splitter interface: rows come as training part and test part of each fold, in turn."""

    def __init__(self, rows: int, folds: int) -> None:
        self.rows, self.folds = rows, folds

    def get_n_splits(self, *_: object) -> int:
        return self.folds

    def split(self, *_: object) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
        part = np.arange(self.rows)
        for fold in range(self.folds):
            yield part + 2 * fold * self.rows, part + (2 * fold + 1) * self.rows


def _compress(gram: Floats, moment: Floats) -> tuple[Floats, Floats]:
    """R and z with R'R = gram and R'z = moment. Directions that the rows do not span are left out as zeros."""
    values, vectors = eigh(gram.astype(np.float64))
    spanned = values > 1e-6 * max(values[-1], 1e-12)
    root = np.sqrt(np.where(spanned, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=spanned)
    r = root[:, None] * vectors.T
    z = inverse[:, None] * (vectors.T @ moment.astype(np.float64))
    return r.astype(np.float32), z.astype(np.float32)


def _solve(x: Floats, y: Floats, good: Mask, windows: Floats, choice: RidgeChoice, imputations: int) -> Floats:
    """(K P, E) coefficients for y (T, E), zero where not good; bad targets are left out by imputing predictions.

    A fixed point of the imputation solves (Xg'Xg + a I) b = Xg'yg over the good rows g alone.
    """
    gram = x.T @ x
    coefficients = np.zeros((x.shape[1], y.shape[1]), np.float32)
    for i in np.unique(choice.window):
        chosen = np.flatnonzero(choice.window == i)
        scale = _column_scales(windows[i], x.shape[1])
        used = np.flatnonzero(scale)
        scale = scale[used]
        values, vectors = eigh((gram[np.ix_(used, used)] * scale[:, None] * scale).astype(np.float64))
        shrunk = 1 / (np.maximum(values, 0)[:, None] + choice.alpha[chosen])
        design, target = x[:, used] * scale, y[:, chosen].copy()
        bad = ~good[:, chosen]
        for _ in range(1 + (imputations if bad.any() else 0)):
            b = (vectors @ (shrunk * (vectors.T @ (design.T @ target)))).astype(np.float32)
            target = np.where(bad, design @ b, target)
        coefficients[np.ix_(used, chosen)] = b * scale[:, None]
    return coefficients
