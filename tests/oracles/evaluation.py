"""Evaluation by explicit loops: `np.roll`, `np.corrcoef` and counting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]


def electrode_r(predicted: Doubles, observed: Doubles, ok: Mask) -> float:
    p, o = predicted[ok], observed[ok]
    if len(p) < 2 or len(set(p.tolist())) == 1 or len(set(o.tolist())) == 1:
        return float("nan")
    return float(np.corrcoef(p, o)[0, 1])


def good(predicted: Doubles, observed: Doubles, bad: Mask) -> Mask:
    return ~bad & ~np.isnan(predicted) & ~np.isnan(observed)


def correlation(predicted: Doubles, observed: Doubles, bad: Mask) -> Doubles:
    ok = good(predicted, observed, bad)
    electrodes = range(predicted.shape[1])
    return np.array([electrode_r(predicted[:, e], observed[:, e], ok[:, e]) for e in electrodes])


def rolled(predicted: Doubles, observed: Doubles, bad: Mask, shifts: list[int]) -> Doubles:
    ok = good(predicted, observed, bad)
    rows = []
    for shift in shifts:
        both = ok & np.roll(ok, shift, axis=0)
        later = np.roll(observed, shift, axis=0)
        rows.append([electrode_r(predicted[:, e], later[:, e], both[:, e]) for e in range(ok.shape[1])])
    return np.array(rows)


def p_value(r: float, draws: list[float]) -> float:
    kept = [draw for draw in draws if draw == draw]
    if r != r or not kept:
        return float("nan")
    return (1 + sum(draw >= r for draw in kept)) / (1 + len(kept))


def step_up(p: list[float]) -> list[float]:
    """Benjamini-Hochberg: for each p, the smallest level at which it would be among the discoveries."""
    ranked = sorted(p)
    return [min(1.0, *(len(p) * q / (rank + 1) for rank, q in enumerate(ranked) if q >= mine)) for mine in p]
