"""Standardised principal components of embeddings: what both brain models read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from realtime.block import Floats

WHITENING = 0.5  # 0 keeps the components' variances, 1 makes them equal


@dataclass(frozen=True, slots=True)
class Projection:
    """Standardises embeddings and keeps their principal components.

    mean, sd: (D,) float32 of each embedding channel. matrix: (D, components) float32, orthogonal columns
    scaled so that a component's mean square over the training embeddings averages 1.
    """

    mean: Floats
    sd: Floats
    matrix: Floats

    @property
    def components(self) -> int:
        return int(self.matrix.shape[1])

    def apply(self, x: Floats) -> Floats:
        """x: (time, D) -> (time, components) float32. A value that is not finite counts as its training mean."""
        standard = (np.asarray(x, np.float32) - self.mean) / self.sd
        np.nan_to_num(standard, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        projected: Floats = standard @ self.matrix
        return projected


def fit_projection(embeddings: Floats | Sequence[Floats], components: int, whitening: float = WHITENING) -> Projection:
    """Mean, SD and principal components of embeddings (T, D), or of a list of such.

    components: how many to keep, at most D and at most the rank of the data. whitening: each component is
    divided by its variance to the power whitening / 2. Rows that are not finite are left out.
    Raises ValueError when fewer than two rows are finite.
    """
    x = np.concatenate([embeddings] if isinstance(embeddings, np.ndarray) else list(embeddings))
    x = np.asarray(x[np.isfinite(x).all(axis=1)], np.float64)
    if len(x) < 2:
        raise ValueError(f"a projection needs at least two finite embedding rows, found {len(x)}")
    mean = x.mean(axis=0)
    sd = x.std(axis=0)
    sd[sd < 1e-6 * max(sd.max(), 1e-30)] = np.inf  # a channel that never moves tells nothing
    standard = (x - mean) / sd
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(x))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    kept = max(1, min(components, int(np.count_nonzero(variances > 1e-6 * variances[0]))))
    scale = variances[:kept] ** (-whitening / 2)
    scale /= np.sqrt(np.mean(variances[:kept] * scale**2))
    f = np.float32
    return Projection(mean.astype(f), sd.astype(f), (vectors[:, :kept] * scale).astype(f))
