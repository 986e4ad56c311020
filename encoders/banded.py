"""Banded ridge over several kinds of features, each with a penalty of its own, and what each adds to the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from encoders.aligned import Aligned
from encoders.evaluation import r_squared
from encoders.projection import Projection, fit_projection
from encoders.ridge import RidgeConfig, fit_design, lag_basis, lagged_design
from realtime.block import Block, Floats, Mask

Doubles = npt.NDArray[np.float64]

WEIGHTS = (0.01, 0.1, 0.5, 0.9, 0.99)  # of the first of two bands, the rest being the second's; besides 0 and 1
CONFIG = RidgeConfig(lag_functions=7)


class BandedRidge:
    """Rows of several bands side by side -> predictions; for evaluation alone, so without state.

    bands: width of each in a row. projections: one for each. weights: (L, P, E) over the projected bands.
    """

    def __init__(
        self,
        bands: Sequence[int],
        projections: Sequence[Projection],
        basis: Floats,
        coefficients: Floats,
        intercept: Floats,
    ) -> None:
        self.bands, self.projections = tuple(bands), tuple(projections)
        self.basis, self.coefficients, self.intercept = basis, coefficients, intercept

    def layer(self, x: Block) -> Block:
        data = _design(x.data, self.bands, self.projections, self.basis) @ self.coefficients + self.intercept
        return Block(data, x.times, x.index)


def fit_banded(
    segments: Sequence[Aligned],
    bands: Sequence[int],
    components: Sequence[int],
    weightings: Sequence[Sequence[float]],
    config: RidgeConfig = CONFIG,
) -> BandedRidge:
    """segments: whose `embeddings` hold the bands side by side, of the widths `bands`; components: kept of each.

    weightings: candidates for the bands' shares of the prior variance, from which every electrode gets the one with
    the least error in contiguous-block cross-validation, with a penalty of its own (himalaya: Dupre la Tour et al.
    2022).
    """
    edges = np.cumsum([0, *bands])
    projections = [
        fit_projection([s.embeddings[:, a:b] for s in segments], kept)
        for (a, b), kept in zip(itertools.pairwise(edges), components, strict=True)
    ]
    basis = lag_basis(config.lags, config.lag_functions)
    x = np.concatenate([_design(s.embeddings, bands, projections, basis) for s in segments])
    y = np.concatenate([s.observed for s in segments]).astype(np.float32)
    good = ~np.concatenate([s.bad for s in segments]) & np.isfinite(y)
    widths = [p.components * config.lag_functions for p in projections]
    windows = np.stack([np.repeat(np.sqrt(weights), widths) for weights in weightings]).astype(np.float32)
    coefficients, intercept, _ = fit_design(x, y, good, windows, config)
    return BandedRidge(bands, projections, basis, coefficients, intercept)


def _design(rows: Floats, bands: Sequence[int], projections: Sequence[Projection], basis: Floats) -> Floats:
    """(T, sum of P K): the lagged designs of the bands side by side."""
    edges = np.cumsum([0, *bands])
    designs = [
        lagged_design(projection.apply(rows[:, a:b]), basis)
        for (a, b), projection in zip(itertools.pairwise(edges), projections, strict=True)
    ]
    return np.concatenate(designs, axis=1)


@dataclass(frozen=True)
class UniqueShares:
    """Share of variance, (electrodes,), of both bands together, and what each adds to the other."""

    together: Doubles
    first: Doubles
    second: Doubles


def unique_shares(together: Floats, first: Floats, second: Floats, observed: Floats, bad: Mask) -> UniqueShares:
    """From predictions (rows, electrodes) out of both bands, and of each alone."""
    joint, one, other = (r_squared(p, observed, bad) for p in (together, first, second))
    return UniqueShares(joint, joint - other, joint - one)


def pair_weightings() -> dict[str, list[tuple[float, float]]]:
    """Candidates for two bands together, and for each alone."""
    both = [(1.0, 0.0), (0.0, 1.0), *((w, 1 - w) for w in WEIGHTS)]
    return {"together": both, "first": [(1.0, 0.0)], "second": [(0.0, 1.0)]}


def side_by_side(first: Sequence[Floats], segments: Sequence[Aligned]) -> list[Aligned]:
    """The segments with another kind of features before their embeddings."""
    return [
        replace(s, embeddings=np.concatenate([features, s.embeddings], axis=1))
        for features, s in zip(first, segments, strict=True)
    ]
