"""The phoneme selectivity index (Mesgarani et al. 2014) and the F-ratio of responses to phones over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from encoders.analysis.phone_classes import MANNER, PHONES
from encoders.evaluation import benjamini_hochberg

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
Counts = npt.NDArray[np.float64]
Q = 0.01
LEAST = 10  # times that a phone must have been heard


@dataclass(frozen=True, slots=True)
class Selectivity:
    """For each electrode and phone, (electrodes, phones) in the order of PHONES; NaN for phones heard too rarely.

    vector: how many other phones its responses differ from; higher: from how many of them they are the stronger ones.
    """

    vector: Doubles
    higher: Doubles

    @property
    def index(self) -> Doubles:
        """(electrodes,) the mean of the vector."""
        return _row_means(self.vector)

    def top_phone(self) -> list[str | None]:
        """The phone of the largest `higher`, ties going to the larger `vector`; None where nothing differs."""
        score = np.nan_to_num(self.higher, nan=-1.0) + 1e-3 * np.nan_to_num(self.vector, nan=0.0)
        found = score.argmax(axis=1)
        return [PHONES[p] if self.higher[e, p] > 0 else None for e, p in enumerate(found)]

    def top_class(self, classes: dict[str, str] | None = None) -> list[str | None]:
        """The class (manner by default) whose phones have the largest mean of `higher`."""
        classes = MANNER if classes is None else classes
        names = sorted(set(classes.values()))
        means = np.stack(
            [_row_means(self.higher[:, [PHONES.index(p) for p in PHONES if classes[p] == n]]) for n in names], axis=1
        )
        best = np.nan_to_num(means, nan=-1.0).argmax(axis=1)
        return [names[b] if means[e, b] > 0 else None for e, b in enumerate(best)]


def selectivity(means: Doubles, labels: Labels, q: float = Q, least: int = LEAST) -> Selectivity:
    """means: (events, electrodes) of `window_means`; labels: (events,) numbers in PHONES.

    Two phones differ where a two-sided rank-sum test (normal approximation, ties and continuity corrected) has
    p <= q after Benjamini and Hochberg over all pairs of the electrode. NaN events count for nothing.
    """
    electrodes = means.shape[1]
    vector, higher = np.full((2, electrodes, len(PHONES)), np.nan)
    for e in range(electrodes):
        fine = np.isfinite(means[:, e])
        counts = np.bincount(labels[fine], minlength=len(PHONES))
        used = np.flatnonzero(counts >= max(least, 1))
        if len(used) < 2:
            continue
        p, stronger = rank_sum_pairs(means[fine, e], labels[fine], used)
        upper = np.triu_indices(len(used), 1)
        adjusted = np.ones_like(p)
        adjusted[upper] = benjamini_hochberg(p[upper])
        adjusted = np.minimum(adjusted, adjusted.T)
        differ = adjusted <= q
        vector[e, used] = differ.sum(axis=1)
        higher[e, used] = (differ & stronger).sum(axis=1)
    return Selectivity(vector, higher)


def rank_sum_pairs(values: Doubles, labels: Labels, used: Labels) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """All rank-sum tests between the classes `used`: p (classes, classes), and where the row's class ranks higher.

    From counts of each distinct value in each class, because U and its ties are sums of products of such counts:
    three matrix products serve all pairs. p is 1 where all values of a pair are the same.
    """
    _, code = np.unique(values, return_inverse=True)
    counts: Counts = np.zeros((len(used), int(code.max()) + 1))
    place = np.full(int(max(labels.max(), used.max())) + 1, -1)
    place[used] = np.arange(len(used))
    mine = place[labels] >= 0
    np.add.at(counts, (place[labels[mine]], code[mine]), 1)
    below = np.cumsum(counts, axis=1) - counts
    u = counts @ (below + 0.5 * counts).T  # of the row's class over the column's
    n = counts.sum(axis=1)
    na, nb, both = n[:, None], n[None, :], n[:, None] + n[None, :]
    squares, cubes = counts @ (counts**2).T, (counts**3).sum(axis=1)
    ties = cubes[:, None] + cubes[None, :] + 3 * (squares + squares.T) - both  # sum of t^3 - t over distinct values
    variance = na * nb / 12 * (both + 1 - ties / np.maximum(both * (both - 1), 1))
    excess = u - na * nb / 2
    z = np.maximum(np.abs(excess) - 0.5, 0) / np.sqrt(np.where(variance > 1e-9, variance, np.inf))
    return np.minimum(2 * norm.sf(z), 1.0), excess > 0


def f_ratio(values: Doubles, labels: Labels, least: int = LEAST) -> Doubles:
    """One-way F over phones of values (events, ...): (...). Phones heard under `least` times, and NaN, are left out."""
    flat = values.reshape(len(values), -1)
    return _f(_member(labels), _powers(flat), least).reshape(values.shape[1:])


def shifted_f_null(means: Doubles, labels: Labels, draws: int, seed: int, least: int = LEAST) -> Doubles:
    """(draws, electrodes) F-ratios with the labels turned round by as many phones, at least 5, for each draw: what
    slow changes of the response alone would give."""
    rng = np.random.default_rng(seed)
    possible = np.arange(5, max(len(labels) - 4, 6))
    shifts = rng.choice(possible, draws, replace=draws > len(possible))
    member, powers = _member(labels), _powers(means)
    return np.stack([_f(np.roll(member, int(shift), axis=1), powers, least) for shift in shifts])


def _member(labels: Labels) -> Doubles:
    """(phones, events) 1 where an event is that phone."""
    member: Doubles = (labels == np.arange(len(PHONES))[:, None]).astype(np.float64)
    return member


def _powers(values: Doubles) -> Doubles:
    """values (events, columns) -> (events, 3 columns): 1, value and its square, 0 where there is none."""
    ok = np.isfinite(values)
    centred = np.where(ok, values - np.where(ok, values, 0).sum(axis=0) / np.maximum(ok.sum(axis=0), 1), 0.0)
    return np.concatenate([ok.astype(np.float64), centred, centred**2], axis=1)


def _f(member: Doubles, powers: Doubles, least: int) -> Doubles:
    """(columns,) F from sums over each phone's events."""
    counts, sums, squares = np.split(member @ powers, 3, axis=1)  # each (phones, columns)
    used = counts >= least
    n, groups = np.where(used, counts, 0).sum(axis=0), used.sum(axis=0)
    total, means = np.where(used, sums, 0).sum(axis=0), np.where(used, sums**2 / np.maximum(counts, 1), 0).sum(axis=0)
    between = means - total**2 / np.maximum(n, 1)
    within = np.where(used, squares, 0).sum(axis=0) - means
    fine = (groups >= 2) & (n > groups) & (within > 1e-12)
    ratio = (between / np.maximum(groups - 1, 1)) / np.where(fine, within / np.maximum(n - groups, 1), 1.0)
    return np.where(fine, ratio, np.nan)


def class_means(means: Doubles, labels: Labels, classes: dict[str, str]) -> tuple[list[str], Doubles, Doubles]:
    """Names of the classes, (electrodes, classes) mean response, and its standard error; NaN where none was heard."""
    names = sorted(set(classes.values()))
    of = np.array([names.index(classes[phone]) for phone in PHONES])[labels]
    shape = (means.shape[1], len(names))
    mean, error = np.full(shape, np.nan), np.full(shape, np.nan)
    for c in range(len(names)):
        rows = means[of == c]
        ok = np.isfinite(rows)
        count = np.maximum(ok.sum(axis=0), 1)
        average = np.where(ok, rows, 0).sum(axis=0) / count
        spread = np.sqrt(np.where(ok, (rows - average) ** 2, 0).sum(axis=0) / np.maximum(count - 1, 1) / count)
        mean[:, c], error[:, c] = (np.where(ok.any(axis=0), v, np.nan) for v in (average, spread))
    return names, mean, error


def _row_means(values: Doubles) -> Doubles:
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known.any(axis=1), mean, np.nan)
