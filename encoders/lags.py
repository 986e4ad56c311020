"""How long after the sound each electrode answers, from the weights of a lagged ridge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from encoders.ridge import FRAME_S, LaggedRidge

Doubles = npt.NDArray[np.float64]

FINE_S = 0.001


def lag_profile(ridge: LaggedRidge) -> Doubles:
    """(L, E) share of each electrode's squared weights at each lag; zero where it has no weights."""
    energy = np.square(ridge.weights, dtype=np.float64).sum(axis=1)
    total = energy.sum(axis=0)
    share: Doubles = energy / np.where(total > 0, total, 1.0)
    return share


def best_lags(ridge: LaggedRidge) -> Doubles:
    """(E,) seconds by which activity follows the sound that it answers: the peak of the profile, plus the horizon.

    Between lags by a spline. NaN for an electrode without weights.
    """
    profile = lag_profile(ridge)
    lags_s = np.arange(len(profile)) * FRAME_S
    if len(profile) < 2:
        return np.where(profile.sum(axis=0) > 0, ridge.horizon_s, np.nan)
    fine_s = np.arange(0, lags_s[-1] + FINE_S / 2, FINE_S)
    peak_s = fine_s[np.argmax(CubicSpline(lags_s, profile)(fine_s), axis=0)]
    return np.where(profile.sum(axis=0) > 0, peak_s + ridge.horizon_s, np.nan)
