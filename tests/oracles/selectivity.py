"""The phoneme selectivity vector, slowly: one SciPy rank-sum test for each pair, Benjamini and Hochberg by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

Doubles = npt.NDArray[np.float64]


def slow_vectors(
    means: Doubles, labels: npt.NDArray[np.intp], classes: int, q: float, least: int
) -> tuple[Doubles, Doubles]:
    """vector and higher, (electrodes, classes), NaN for classes of under `least` events."""
    vector = np.full((means.shape[1], classes), np.nan)
    higher = np.full((means.shape[1], classes), np.nan)
    for e in range(means.shape[1]):
        groups = {}
        for c in range(classes):
            values = [means[i, e] for i in range(len(labels)) if labels[i] == c and not np.isnan(means[i, e])]
            if len(values) >= least:
                groups[c] = np.array(values)
        if len(groups) < 2:
            continue
        pairs = sorted((rank_sum(groups[a], groups[b]), a, b) for a in groups for b in groups if a < b)
        passed = 0  # the largest number of pairs whose last p is at most q k / m
        for k, (p, _, _) in enumerate(pairs, start=1):
            if p <= q * k / len(pairs) * (1 + 1e-12):
                passed = k
        for c in groups:
            vector[e, c] = higher[e, c] = 0
        for _, a, b in pairs[:passed]:
            vector[e, a] += 1
            vector[e, b] += 1
            wins = sum((x > y) + 0.5 * (x == y) for x in groups[a] for y in groups[b])
            half = len(groups[a]) * len(groups[b]) / 2
            higher[e, a] += wins > half
            higher[e, b] += wins < half
    return vector, higher


def rank_sum(a: Doubles, b: Doubles) -> float:
    if len(set(a.tolist()) | set(b.tolist())) == 1:
        return 1.0
    return float(mannwhitneyu(a, b, method="asymptotic", use_continuity=True).pvalue)
