"""Whether one model predicts better than another: at each electrode, and over all of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import wilcoxon

Doubles = npt.NDArray[np.float64]


def paired_p(differences: Doubles) -> Doubles:
    """Two-sided p that a difference is 0, from its bootstrap draws (draws, ...); NaN where there are none.

    Twice the share of draws on the rarer side of 0, one draw more counted on each (Davison and Hinkley 1997).
    """
    valid = np.isfinite(differences)
    count = valid.sum(axis=0)
    below, above = (np.sum(valid & side, axis=0) for side in (differences <= 0, differences >= 0))
    p = np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (1 + count))
    return np.where(count > 0, p, np.nan)


def overall_p(difference: Doubles) -> float:
    """Two-sided p over electrodes, (electrodes,): Wilcoxon's signed-rank test; NaN with under 6 that differ."""
    known = difference[np.isfinite(difference) & (difference != 0)]
    return float(wilcoxon(known).pvalue) if len(known) >= 6 else float("nan")
