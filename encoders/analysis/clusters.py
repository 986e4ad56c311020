"""Clusters of electrodes by what they prefer, and whether such clusters lie together in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
MOST = 6
LEAST_ELECTRODES = 6


@dataclass(frozen=True, slots=True)
class Clusters:
    """labels: (electrodes,) from 1 on. tree: SciPy's linkage. silhouette: of the number of clusters that was chosen."""

    labels: Labels
    tree: Doubles
    silhouette: float


def cluster_profiles(profiles: Doubles, most: int = MOST) -> Clusters:
    """Ward's clusters of profiles (electrodes, features), each centred and scaled to unit length; 2 to `most` of them,
    as many as have the best mean silhouette (Rousseeuw 1987). NaN counts as the electrode's mean."""
    centred = profiles - np.nanmean(profiles, axis=1, keepdims=True)
    centred = np.nan_to_num(centred)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    tree = linkage(unit, "ward")
    distances = squareform(pdist(unit))
    best: tuple[float, Labels] = (-np.inf, np.ones(len(unit), np.intp))
    for count in range(2, min(most, len(unit) - 1) + 1):
        labels = fcluster(tree, count, "maxclust").astype(np.intp)
        score = mean_silhouette(distances, labels)
        if score > best[0]:
            best = (score, labels)
    return Clusters(best[1], tree, best[0])


def mean_silhouette(distances: Doubles, labels: Labels) -> float:
    """Mean silhouette of a clustering from (electrodes, electrodes) distances; a cluster of one counts 0."""
    names = np.unique(labels)
    if len(names) < 2:
        return -1.0
    member = labels[:, None] == names  # (electrodes, clusters)
    sizes = member.sum(axis=0)
    to = distances @ member  # summed distance to each cluster
    own = member.argmax(axis=1)
    rows = np.arange(len(labels))
    inside = to[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = to / sizes
    means[rows, own] = np.inf
    outside = means.min(axis=1)
    score = np.where(sizes[own] > 1, (outside - inside) / np.maximum(np.maximum(outside, inside), 1e-12), 0.0)
    return float(score.mean())


@dataclass(frozen=True, slots=True)
class Compactness:
    """spread: mean distance of two electrodes of one cluster. expected: its mean under permutation. p: the share
    of permutations that are as compact, (1 + such) / (1 + draws)."""

    spread: float
    expected: float
    p: float


def spatial_compactness(labels: Labels, positions: Doubles, draws: int = 2000, seed: int = 0) -> Compactness | None:
    """Whether electrodes of one cluster lie nearer to each other than if the labels were dealt out anew.

    positions: (electrodes, 2 or 3), in a unit that the distances then have. Only electrodes of a known position take
    part. None where no cluster has two of them, or there is only one cluster.
    """
    known = np.isfinite(positions).all(axis=1)
    labels, positions = labels[known], positions[known]
    if len(np.unique(labels)) < 2 or len(labels) == len(np.unique(labels)):
        return None
    distances = squareform(pdist(positions))
    rng = np.random.default_rng(seed)
    found = _spread(distances, labels)
    drawn = np.array([_spread(distances, rng.permutation(labels)) for _ in range(draws)])
    p = (1 + np.sum(drawn <= found + 1e-9)) / (1 + draws)
    return Compactness(found, float(drawn.mean()), float(p))


def _spread(distances: Doubles, labels: Labels) -> float:
    same = labels[:, None] == labels
    return float((distances * same).sum() / (same.sum() - len(labels)))
