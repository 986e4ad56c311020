"""Which layer an electrode follows, how sure that is, and what is early, middle and late."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.evaluation import benjamini_hochberg, p_values

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
DEPTHS = ("early", "middle", "late")


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """r: (layers, electrodes). best, low, high: (electrodes,) layer numbers, 0 where there is no r: the layer of
    the highest r and the 95 % interval of that layer over resampled blocks. agreement: (electrodes,) share of
    the draws that chose `best`."""

    r: Doubles
    best: Numbers
    low: Numbers
    high: Numbers
    agreement: Doubles


def choose_layer(r: Doubles, draws: Doubles, layers: tuple[int, ...]) -> LayerChoice:
    """r: (layers, electrodes), in the order of `layers`. draws: (layers, draws, electrodes) of `r_draws`
    with one seed, so that a draw is the same stretches of time for every layer."""
    numbers = np.asarray(layers, np.intp)
    known = np.isfinite(r).any(axis=0)
    best = np.where(known, numbers[_argmax(r)], 0)
    drawn = numbers[_argmax(draws)]  # (draws, electrodes)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0, method="inverted_cdf")
    agreement = np.where(known, (drawn == best).mean(axis=0), np.nan)
    return LayerChoice(r, best, np.where(known, low, 0), np.where(known, high, 0), agreement)


def _argmax(r: Doubles) -> Numbers:
    found: Numbers = np.where(np.isfinite(r), r, -np.inf).argmax(axis=0)
    return found


def depth_of(layer: int, layers: int) -> str:
    """`early`, `middle` or `late`: the third of the model's layers that layer 1 to `layers` lies in."""
    return DEPTHS[min(2, 3 * (layer - 1) // layers)]


def best_of_all(r: Doubles, null: Doubles) -> tuple[Doubles, Doubles]:
    """p and p adjusted for the false discovery rate, each (electrodes,), of the best of several models.

    r: (models, electrodes). null: (models, draws, electrodes), a draw being the same shift for every model. The best
    r is held against the best of each draw, so that choosing among models is paid for.
    """
    with np.errstate(invalid="ignore"):
        best = np.where(np.isfinite(r).any(axis=0), np.nan_to_num(r, nan=-2.0).max(axis=0), np.nan)
        drawn = np.nan_to_num(null, nan=-2.0).max(axis=0)
    drawn = np.where(drawn > -2.0, drawn, np.nan)
    p = p_values(best, drawn)
    return p, benjamini_hochberg(p)


def confusion(true: Numbers, found: Numbers, layers: tuple[int, ...]) -> Numbers:
    """(layers, layers) counts: row the true layer, column the one found."""
    counts = np.zeros((len(layers), len(layers)), np.intp)
    for a, b in zip(true, found, strict=True):
        if a in layers and b in layers:
            counts[layers.index(int(a)), layers.index(int(b))] += 1
    return counts
