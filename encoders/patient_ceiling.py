"""How well a simulated patient's electrodes could be predicted at best: from repeats in other noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import Block, Mask, bad_samples

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Response:
    """observed: one recording through the chain. mean: (rows, electrodes) over repeats. used: where both count."""

    observed: Block
    mean: Values
    used: Mask


def ceilings(responses: Sequence[Response]) -> Values:
    """(electrodes,) correlation of what was observed with the mean over repeats, over all responses' used rows."""
    observed = np.concatenate([r.observed.data.astype(np.float64) for r in responses])
    mean, used = (np.concatenate([getattr(r, name) for r in responses]) for name in ("mean", "used"))
    return np.array([_correlation(observed[u, e], mean[u, e]) for e, u in enumerate(used.T)])


def reliability(repeats: Iterator[Block]) -> Values:
    """(electrodes,) root of the mean correlation between two repeats, from running sums over rows good in all."""
    blocks = 0
    rows = squares = np.zeros(0)
    good = np.zeros(0, bool)
    for block in repeats:
        data = block.data.astype(np.float64)
        rows, squares = (rows + data, squares + data**2) if blocks else (data, data**2)
        good = (good & ~bad_samples(block)) if blocks else ~bad_samples(block)
        blocks += 1
    count = np.maximum(good.sum(axis=0), 1)
    mean = np.where(good, rows, 0).sum(axis=0) / count / blocks
    within = np.where(good, squares - rows**2 / blocks, 0).sum(axis=0) / count / (blocks - 1)  # noise variance
    signal = np.where(good, (rows / blocks - mean) ** 2, 0).sum(axis=0) / count - within / blocks
    share: Values = np.clip(signal / np.maximum(signal + within, 1e-12), 0, 1)
    return np.sqrt(share)


def ratio(ceiling: Values) -> Values:
    """Signal SD over noise SD that gives a ceiling."""
    of_sds: Values = ceiling / np.sqrt(1 - ceiling**2)
    return of_sds


def _correlation(a: Values, b: Values) -> float:
    if len(a) < 3 or a.std() < 1e-9 or b.std() < 1e-9:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
