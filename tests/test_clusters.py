"""Clusters of electrodes: found where planted, and compact in space only where that was planted too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from encoders.analysis.clusters import cluster_profiles, mean_silhouette, spatial_compactness

SEEDS = range(20)
GRID = np.array([(10.0 * x, 10.0 * y) for x in range(6) for y in range(6)])


def planted(seed: int, in_space: bool) -> tuple[np.ndarray, np.ndarray]:
    """Noisy profiles of three kinds of electrodes on a grid: in three stripes, or dealt out anywhere."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat([0, 1, 2], 12)
    if not in_space:
        kinds = rng.permutation(kinds)
    centres = rng.standard_normal((3, 39))
    return kinds, centres[kinds] + 0.7 * rng.standard_normal((36, 39))


def test_planted_clusters_are_found() -> None:
    for seed in SEEDS:
        kinds, profiles = planted(seed, in_space=True)
        labels = cluster_profiles(profiles).labels
        assert len({(a, b) for a, b in zip(kinds, labels, strict=True)}) == len(set(labels.tolist())) == 3


def test_spatial_clusters_are_found_where_planted_alone() -> None:
    """20 seeds each way: 20 of 20 planted ones found; of the unplanted ones no more than chance lets through."""
    p: dict[bool, list[float]] = {True: [], False: []}
    for seed in SEEDS:
        for in_space in (True, False):
            _, profiles = planted(seed, in_space)
            found = spatial_compactness(cluster_profiles(profiles).labels, GRID, draws=500, seed=seed)
            assert found is not None
            p[in_space].append(found.p)
    found_rate, false_rate = (float(np.mean(np.array(p[k]) <= 0.05)) for k in (True, False))
    print(f"planted spatial clusters found: {found_rate:.2f}; unplanted called spatial: {false_rate:.2f}")
    assert found_rate == 1.0
    assert false_rate <= 0.15
    assert np.mean(p[False]) == pytest.approx(0.5, abs=0.2)


def test_silhouette_by_hand() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 2))
    labels = np.array([1, 1, 1, 2, 2, 2, 2, 3, 1])
    distances = cdist(x, x)
    scores = []
    for i in range(9):
        mine = [j for j in range(9) if labels[j] == labels[i] and j != i]
        if not mine:
            scores.append(0.0)
            continue
        a = np.mean([distances[i, j] for j in mine])
        b = min(np.mean([distances[i, j] for j in range(9) if labels[j] == k]) for k in {1, 2, 3} - {labels[i]})
        scores.append((b - a) / max(a, b))
    assert mean_silhouette(distances, labels) == pytest.approx(np.mean(scores))


def test_electrodes_without_a_place_take_no_part() -> None:
    labels = np.array([1, 1, 2, 2, 1, 2])
    positions = np.array([[0, 0], [1, 0], [9, 9], [9, 8], [np.nan, np.nan], [np.nan, np.nan]])
    found = spatial_compactness(labels, positions, draws=99)
    assert found is not None
    assert found.spread == pytest.approx(1.0)
    assert spatial_compactness(np.ones(6, int), positions) is None
    assert spatial_compactness(np.array([1, 2, 3, 4, 4, 4]), positions) is None
