"""Where electrodes are drawn, and which are in one row of the grid: from their positions or their names. No Qt."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.float64]
STRIP = 15  # a group of up to so many electrodes is drawn as one row


def places(
    names: Sequence[str],
    positions: Mapping[str, Sequence[float]] | None = None,
    groups: Mapping[str, str] | None = None,
) -> Places:
    """(names, 2) x, y of each electrode, neighbours about 1 apart, y upward.

    positions: of every electrode, 2 coordinates of a picture (y downward) or 3 in MNI space (mm: right, front, up),
    which are shown from the side of most electrodes. Unless every electrode has one, by group: a grid for each.
    groups: of electrodes, where they are known; otherwise G1, G2 ... are group G.
    """
    if positions and {len(positions.get(name, ())) for name in names} in ({2}, {3}):
        return _scaled(_projected(np.array([list(positions[name]) for name in names], np.float64)))
    return by_name(names, groups)


def _projected(points: Places) -> Places:
    if points.shape[1] == 2:
        return np.asarray(points * np.array([1.0, -1.0]))
    left = points[:, 0].mean() < 0
    return np.stack([-points[:, 1] if left else points[:, 1], points[:, 2]], axis=1)


def _scaled(points: Places) -> Places:
    """So that the nearest neighbour is 1 away at the median, centred on the mean."""
    points = points - points.mean(axis=0)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.min(axis=1) if len(points) > 1 else np.ones(1)
    step = float(np.median(nearest[np.isfinite(nearest)])) if np.isfinite(nearest).any() else 1.0
    return np.asarray(points / (step or 1.0))


def by_name(names: Sequence[str], groups: Mapping[str, str] | None = None) -> Places:
    """A near-square grid per group of names, in the names' order: left to right, top row first; groups downward."""
    where = np.zeros((len(names), 2))
    top = 0
    for members in _groups(names, groups or {}):
        width = len(members) if len(members) <= STRIP and len(members) < len(names) else _width(len(members))
        for order, member in enumerate(members):
            where[member] = order % width, -(top + order // width)
        top += 1 + (len(members) - 1) // width
    return where


def _groups(names: Sequence[str], known: Mapping[str, str]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        match = re.fullmatch(r"(.*?)\d+", name)
        groups.setdefault(known.get(name) or (match.group(1) if match else ""), []).append(k)
    return list(groups.values())


def _width(count: int) -> int:
    return max(1, math.ceil(math.sqrt(count)))


def grid_rows(names: Sequence[str], where: Places) -> list[list[str]]:
    """Electrodes of each row, top row first, left to right. Rows are at most half a step apart in height."""
    if not len(names):
        return []
    order = sorted(range(len(names)), key=lambda k: -where[k, 1])
    rows: list[list[int]] = []
    for k in order:
        if rows and where[rows[-1][0], 1] - where[k, 1] < 0.5:
            rows[-1].append(k)
        else:
            rows.append([k])
    return [[names[k] for k in sorted(row, key=lambda k: where[k, 0])] for row in rows]
