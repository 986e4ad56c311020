"""How sure a correlation is: intervals from blocks of rows drawn again with replacement."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from encoders.evaluation import masked_standard
from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]


def r_draws(
    predicted: Floats, observed: Floats, bad: Mask, draws: int = 1000, seed: int = 0, block_rows: int = 250
) -> Doubles:
    """Correlations, (draws, electrodes), over blocks of rows drawn with replacement.

    predicted, observed, bad: (rows, electrodes). A block of block_rows, 5 s at 50 rows a second, is longer than
    what neighbouring rows have in common (moving blocks would be finer: Kuensch 1989); the last may be shorter. Every
    draw takes the same blocks for all electrodes. NaN where a draw has no variance.
    """
    p, o, ok = masked_standard(predicted, observed, bad)
    starts = np.arange(0, len(p), block_rows)
    terms = np.stack([ok.astype(np.float64), p, p * p, o, o * o, p * o])  # (6, rows, electrodes)
    sums = np.add.reduceat(terms, starts, axis=1)  # (6, blocks, electrodes)
    counts = drawn_counts(len(starts), draws, seed)
    n, sp, spp, so, soo, spo = np.einsum("db,kbe->kde", counts, sums, optimize=True)
    n = np.maximum(n, 1.0)
    var_p, var_o = spp - sp * sp / n, soo - so * so / n
    varies = (var_p > 1e-9) & (var_o > 1e-9)
    r = (spo - sp * so / n) / np.sqrt(np.where(varies, var_p * var_o, 1.0))
    return np.where(varies, np.clip(r, -1.0, 1.0), np.nan)


def drawn_counts(blocks: int, draws: int, seed: int) -> Doubles:
    """(draws, blocks) how often each block is in each draw of `r_draws`."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), draws).astype(np.float64)


def interval(draws: Doubles, level: float = 0.95) -> Doubles:
    """(2, ...) the lower and upper end of the middle `level` of draws (draws, ...), NaN left out."""
    tail = 100 * (1 - level) / 2
    ends = np.full((2, *draws.shape[1:]), np.nan)
    had = np.isfinite(draws).any(axis=0)
    ends[:, had] = np.nanpercentile(draws[:, had], [tail, 100 - tail], axis=0)
    return ends
