"""Correlations over stretches of time drawn anew, so that neighbouring rows are never taken for independent ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]


def r_draws(
    predicted: Floats, observed: Floats, bad: Mask, draws: int = 1000, seed: int = 0, block_rows: int = 500
) -> Doubles:
    """(draws, electrodes) Pearson's r over blocks of rows drawn with replacement (Künsch 1989, no overlap).

    predicted, observed, bad: (rows, electrodes). One seed draws the same blocks for whatever is predicted, so that
    draws of two models can be compared pair by pair. NaN without variance.
    """
    ok = np.isfinite(predicted) & np.isfinite(observed) & ~bad
    p, o = (_centred(np.where(ok, v, 0.0).astype(np.float64), ok) for v in (predicted, observed))
    each = np.stack([ok.astype(np.float64), p, o, p * p, o * o, p * o])  # (6, rows, electrodes)
    sums = np.add.reduceat(each, np.arange(0, len(p), block_rows), axis=1)  # (6, blocks, electrodes)
    blocks = sums.shape[1]
    counts = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), draws)
    n, sp, so, spp, soo, spo = np.tensordot(counts.astype(np.float64), sums, axes=(1, 1)).swapaxes(0, 1)
    n = np.maximum(n, 1.0)
    vp, vo = spp - sp * sp / n, soo - so * so / n
    varies = (vp > 1e-9) & (vo > 1e-9)
    r = (spo - sp * so / n) / np.sqrt(np.where(varies, vp * vo, 1.0))
    return np.where(varies, np.clip(r, -1.0, 1.0), np.nan)


def _centred(values: Doubles, ok: Mask) -> Doubles:
    """Minus the mean and over the SD of what counts; 0 elsewhere."""
    count = np.maximum(ok.sum(axis=0), 1)
    values = np.where(ok, values - values.sum(axis=0) / count, 0.0)
    sd = np.sqrt(np.sum(values**2, axis=0) / count)
    return values / np.where(sd > 1e-9, sd, np.inf)
