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


def r_squared(predicted: Doubles, observed: Doubles, bad: Mask) -> Doubles:
    ok = good(predicted, observed, bad)
    found = []
    for e in range(ok.shape[1]):
        p, o = predicted[ok[:, e], e].tolist(), observed[ok[:, e], e].tolist()
        if len(set(o)) < 2:
            found.append(float("nan"))
            continue
        mean = sum(o) / len(o)
        error = sum((x - y) ** 2 for x, y in zip(p, o, strict=True))
        found.append(1 - error / sum((y - mean) ** 2 for y in o))
    return np.array(found)


def standard(x: Doubles, ok: Mask) -> Doubles:
    """Centred over the good rows, zero elsewhere."""
    return np.where(ok, x - x[ok].mean(), 0.0)


def phase_randomised(predicted: Doubles, observed: Doubles, bad: Mask, angles: Doubles) -> Doubles:
    """Every surrogate is built by an inverse transform and correlated, row by row."""
    ok = good(predicted, observed, bad)
    rows, electrodes = ok.shape
    null = np.empty((len(angles), electrodes))
    for e in range(electrodes):
        if len(set(predicted[ok[:, e], e].tolist())) < 2 or len(set(observed[ok[:, e], e].tolist())) < 2:
            null[:, e] = np.nan
            continue
        p, o = standard(predicted[:, e], ok[:, e]), standard(observed[:, e], ok[:, e])
        for k, turned in enumerate(angles):
            spectrum = np.fft.rfft(p) * np.exp(1j * turned)
            spectrum[0] = 0.0
            surrogate = np.fft.irfft(spectrum, rows)
            spread = np.sqrt(np.sum(surrogate**2) * ok[:, e].sum() / rows)
            null[k, e] = np.sum(surrogate * o) / (spread * np.sqrt(np.sum(o**2)))
    return null


def match_mismatch(predicted: Doubles, observed: Doubles, bad: Mask, length: int) -> tuple[list[float], float]:
    """Accuracy of each electrode and of the mean over electrodes, by loops over pairs of segments."""
    ok = good(predicted, observed, bad)
    count, electrodes = len(predicted) // length, predicted.shape[1]
    parts = [slice(i * length, (i + 1) * length) for i in range(count)]

    def alike(i: int, j: int, e: int) -> float | None:
        values = []
        for x, other, part in ((predicted, observed, parts[i]), (observed, predicted, parts[j])):
            fine = ok[part, e]
            if 2 * fine.sum() < length or any(len(set(v[part, e][fine].tolist())) < 2 for v in (x, other)):
                return None
            values.append(standard(x[part, e], fine))
        a, b = values
        return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))

    table = {(i, j, e): alike(i, j, e) for i in range(count) for j in range(count) for e in range(electrodes)}

    def accuracy(values: dict[tuple[int, int], float | None]) -> float:
        won = []
        for i in range(count):
            for j in range(count):
                own, other = values[i, i], values[i, j]
                if i != j and own is not None and other is not None:
                    won.append(1.0 if own > other else 0.5 if own == other else 0.0)
        return sum(won) / len(won) if won else float("nan")

    pairs = [(i, j) for i in range(count) for j in range(count)]
    single = [accuracy({pair: table[(*pair, e)] for pair in pairs}) for e in range(electrodes)]
    mean: dict[tuple[int, int], float | None] = {}
    for pair in pairs:
        seen = [v for e in range(electrodes) if (v := table[(*pair, e)]) is not None]
        mean[pair] = sum(seen) / len(seen) if seen else None
    return single, accuracy(mean)


def block_r(predicted: Doubles, observed: Doubles, bad: Mask, counts: Doubles, length: int) -> Doubles:
    """Rows of the drawn blocks put one after the other, then correlated."""
    rows = []
    for drawn in counts:
        chosen = [i for i, times in enumerate(drawn) for _ in range(int(times))]
        index = np.concatenate([np.arange(len(predicted))[i * length : (i + 1) * length] for i in chosen])
        rows.append(correlation(predicted[index], observed[index], bad[index]))
    return np.array(rows)


def noise_ceiling(observed: Doubles, bad: Mask, source: list[int]) -> list[float]:
    """Mean product of all pairs of repeats of a moment, over moments, over the variance; its root."""
    moments: dict[int, list[int]] = {}
    for row, first in enumerate(source):
        moments.setdefault(first, []).append(row)
    repeated = [rows for rows in moments.values() if len(rows) > 1]
    found = []
    for e in range(observed.shape[1]):
        used = [[r for r in rows if not bad[r, e] and observed[r, e] == observed[r, e]] for rows in repeated]
        values = [observed[r, e] for rows in used for r in rows]
        if not values:
            found.append(float("nan"))
            continue
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        products = []
        for rows in used:
            pairs = [(a, b) for a in rows for b in rows if a != b]
            if pairs:
                products.append(sum((observed[a, e] - mean) * (observed[b, e] - mean) for a, b in pairs) / len(pairs))
        if len(products) < 250 or variance == 0:
            found.append(float("nan"))
            continue
        found.append(max(0.0, min(1.0, sum(products) / len(products) / variance)) ** 0.5)
    return found
