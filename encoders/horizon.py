"""How far ahead predictions can point before they get worse, beside what the activity's own past predicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.aligned import Aligned, split
from encoders.evaluation import correlation
from encoders.ridge import FRAME_S, RidgeConfig, fit_ridge
from realtime.block import Floats, Mask, regular

Doubles = npt.NDArray[np.float64]

HORIZONS_S = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
WITHIN = 0.02  # of the best r is as good as it
FOLLOWS_R = 0.1  # an electrode that no horizon predicts this well says nothing about horizons
OWN_ROWS = 15  # of its own past that the autoregression reads: 0.3 s
HELD_OUT = 0.25


@dataclass(frozen=True)
class HorizonCurve:
    """r (horizons, electrodes) on held-out rows, of the model, of an autoregression on the electrode's own rows up to
    one before the newest sound, and of the newest of these alone. used: electrodes that the means are over.
    recommended_s: the largest horizon whose mean r is within 2 % of the best."""

    horizons_s: tuple[float, ...]
    model: Doubles
    autoregressive: Doubles
    persistence: Doubles
    used: Mask
    recommended_s: float

    def means(self) -> dict[str, list[float]]:
        """Mean r over the electrodes used, per horizon."""
        parts = {"model": self.model, "autoregressive": self.autoregressive, "persistence": self.persistence}
        return {name: _means(r, self.used).tolist() for name, r in parts.items()}


def horizon_curve(
    segments: Sequence[Aligned],
    ahead: Sequence[Aligned],
    horizons_s: Sequence[float],
    config: RidgeConfig,
    gaps: tuple[int, int],
) -> HorizonCurve:
    """Fit a ridge for each horizon and score it on the last quarter of what is heard, see `split`.

    segments: at horizon 0. ahead: the same rows, observed (T, horizons x E) at each horizon in turn. All horizons
    share one design, so that they cost little more than one.
    """
    count = len(horizons_s)
    parts = split(ahead, HELD_OUT, gaps)
    train, held_out = parts.train, parts.held_out
    ridge = fit_ridge([s.embeddings for s in train], [s.observed for s in train], [s.bad for s in train], config)
    predicted = np.concatenate([ridge.layer(regular(s.embeddings, 1 / FRAME_S)).data for s in held_out])
    observed, bad = (np.concatenate([getattr(s, name) for s in held_out]) for name in ("observed", "bad"))
    model = correlation(predicted, observed, bad).reshape(count, -1)
    now = split(segments, HELD_OUT, gaps)
    past_train, past = (_joined_past(part) for part in (now.train, now.held_out))
    target_train = [np.concatenate([getattr(s, name) for s in train]) for name in ("observed", "bad")]
    electrodes = model.shape[1]
    own, newest = np.full((2, count, electrodes), np.nan)
    for i in range(count * electrodes):
        h, e = divmod(i, electrodes)
        design, unknown = past[0][:, e], past[1][:, e]
        guess = _autoregression(past_train[0][:, e], past_train[1][:, e], target_train[0][:, i], target_train[1][:, i])
        columns = np.stack([guess(design), design[:, 0]], axis=1)
        both = np.repeat(observed[:, i : i + 1], 2, axis=1)
        own[h, e], newest[h, e] = correlation(columns, both, np.repeat((unknown | bad[:, i])[:, None], 2, axis=1))
    used = np.max(np.nan_to_num(model, nan=-1.0), axis=0) >= FOLLOWS_R
    return HorizonCurve(tuple(horizons_s), model, own, newest, used, recommended(horizons_s, _means(model, used)))


def recommended(horizons_s: Sequence[float], mean_r: Doubles) -> float:
    """The largest horizon within 2 % of the best mean r; 0 where nothing is predicted."""
    if not np.isfinite(mean_r).any() or np.nanmax(mean_r) <= 0:
        return 0.0
    enough = np.flatnonzero(np.nan_to_num(mean_r, nan=-1.0) >= (1 - WITHIN) * np.nanmax(mean_r))
    return float(horizons_s[enough[-1]])


def _means(r: Doubles, used: Mask) -> Doubles:
    count = np.isfinite(r[:, used]).sum(axis=1)
    return np.where(count > 0, np.nansum(r[:, used], axis=1) / np.maximum(count, 1), np.nan)


def _joined_past(segments: Sequence[Aligned]) -> tuple[Floats, Mask]:
    """(T, E, OWN_ROWS) each row's own past, the newest first and that one row old; (T, E) where any of it is bad."""
    pasts, unknown = [], []
    for s in segments:
        values = np.pad(np.where(s.bad, 0, s.observed), ((OWN_ROWS, 0), (0, 0)))[:-1]
        bad = np.pad(s.bad, ((OWN_ROWS, 0), (0, 0)), constant_values=True)[:-1]
        window = np.lib.stride_tricks.sliding_window_view
        pasts.append(window(values, OWN_ROWS, axis=0)[:, :, ::-1])
        unknown.append(window(bad, OWN_ROWS, axis=0).any(axis=2))
    return np.concatenate(pasts).astype(np.float32), np.concatenate(unknown)


def _autoregression(past: Floats, unknown: Mask, target: Floats, bad: Mask) -> Callable[[Floats], Floats]:
    """Least squares of a target (T,) on its electrode's own past (T, OWN_ROWS), over rows where all of it is good."""
    good = ~(unknown | bad) & np.isfinite(target)
    if good.sum() < 10 * OWN_ROWS:
        return lambda rows: np.zeros(len(rows), np.float32)
    x, y = past[good].astype(np.float64), target[good].astype(np.float64)
    mean, level = x.mean(axis=0), y.mean()
    x = x - mean
    weights = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(OWN_ROWS), x.T @ (y - level))
    return lambda rows: ((rows - mean) @ weights + level).astype(np.float32)
