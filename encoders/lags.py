"""How long after the sound each electrode answers: how well the embedding of a single lag explains its activity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from encoders.aligned import Aligned
from encoders.projection import Projection
from encoders.ridge import FRAME_S

Doubles = npt.NDArray[np.float64]

FINE_S = 0.001
SHRINKAGE = 0.1  # of the components' mean variance, added to each: keeps the smallest from being noise alone


def lag_profile(projection: Projection, segments: Sequence[Aligned], lags: int) -> Doubles:
    """(lags, E) share of each electrode's variance that a model's components explain at each lag alone.

    A ridge over all lags at once spreads its weights by its priors; a lag alone has no prior over lags. All lags share
    one covariance of the components, so that this is the squared cross-covariance, whitened. Bad targets
    count as the electrode's mean; an electrode without a good one is zero throughout.
    """
    width = projection.components
    rows = [projection.apply(s.embeddings).astype(np.float64) for s in segments]
    centre = np.concatenate(rows).mean(axis=0)
    good = [~s.bad & np.isfinite(s.observed) for s in segments]
    count = np.maximum(sum(g.sum(axis=0) for g in good), 1)
    mean = sum(np.where(g, s.observed, 0).sum(axis=0) for g, s in zip(good, segments, strict=True)) / count
    covariance, total = np.zeros((width, width)), np.zeros(len(count))
    moments = np.zeros((lags, width, len(count)))
    for x, g, s in zip(rows, good, segments, strict=True):
        x, y = x - centre, np.where(g, s.observed - mean, 0.0)
        covariance += x.T @ x
        total += np.sum(y * y, axis=0)
        for lag in range(min(lags, len(x))):
            moments[lag] += x[: len(x) - lag].T @ y[lag:]
    covariance += SHRINKAGE * np.trace(covariance) / width * np.eye(width)
    explained = np.sum(moments * np.linalg.solve(covariance, moments), axis=1)
    share: Doubles = explained / np.where(total > 0, total, 1.0)
    return share


def best_lags(profile: Doubles, horizon_s: float) -> Doubles:
    """(E,) seconds by which activity follows the sound that it answers: the profile's peak, plus the horizon.

    Between lags by a spline. NaN where the profile (L, E) is zero throughout.
    """
    known = profile.max(axis=0) > 0
    lags_s = np.arange(len(profile)) * FRAME_S
    if len(profile) < 2:
        return np.where(known, horizon_s, np.nan)
    fine_s = np.arange(0, lags_s[-1] + FINE_S / 2, FINE_S)
    peak_s = fine_s[np.argmax(CubicSpline(lags_s, profile)(fine_s), axis=0)]
    return np.where(known, peak_s + horizon_s, np.nan)
