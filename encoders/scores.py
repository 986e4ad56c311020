"""Everything that is said of predictions of rows that no model was fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.bootstrap import interval, r_draws
from encoders.evaluation import benjamini_hochberg, correlation, p_values, r_squared, shift_null
from encoders.match_mismatch import MatchMismatch, match_mismatch
from encoders.phase_null import phase_null
from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]

DRAWS_PER_ELECTRODE = 40  # so that the smallest p is half of what the step-up rule asks of a single discovery
LEAST_DRAWS = 500


@dataclass(frozen=True)
class Scores:
    """Of each electrode, (electrodes,): r, r2, the interval of r (2, electrodes), null_p95 and null_p99 (the higher
    of both nulls), p (the larger of both) and p_fdr. match: the match-mismatch task. draws: of each null."""

    r: Doubles
    r2: Doubles
    r_interval: Doubles
    null_p95: Doubles
    null_p99: Doubles
    p: Doubles
    p_fdr: Doubles
    match: MatchMismatch
    draws: int

    def rows(self, electrodes: tuple[str, ...]) -> list[dict[str, Any]]:
        """One JSON row for each electrode, None where a number cannot be had."""
        columns = {
            "r": self.r,
            "r_low": self.r_interval[0],
            "r_high": self.r_interval[1],
            "r2": self.r2,
            "null_p95": self.null_p95,
            "null_p99": self.null_p99,
            "p": self.p,
            "p_fdr": self.p_fdr,
            "match_mismatch": self.match.electrodes,
        }
        return [
            {"name": name, **{key: number(values[i]) for key, values in columns.items()}}
            for i, name in enumerate(electrodes)
        ]


def score_predictions(
    predicted: Floats,
    observed: Floats,
    bad: Mask,
    rate_hz: float = 50.0,
    seed: int = 0,
    claimed: Mask | None = None,
) -> Scores:
    """predicted, observed, bad: (rows, electrodes) at rate_hz, in the order of time.

    claimed: (electrodes,), None: all. The others have an r and a null, but no p: they are neither found nor among those
    tested, and count in no match-mismatch of all together.

    Two nulls, circular shifts and random phases, each with 40 draws for every electrode tested; what counts is the
    less favourable of the two. Raises UserError where the rows are too few to shift.
    """
    claimed = np.ones(predicted.shape[1], np.bool_) if claimed is None else claimed
    r = correlation(predicted, observed, bad)
    draws = max(LEAST_DRAWS, DRAWS_PER_ELECTRODE * int(np.isfinite(r).sum()))
    nulls = [
        shift_null(predicted, observed, bad, rate_hz, draws, seed),
        phase_null(predicted, observed, bad, draws, seed),
    ]
    p = np.where(claimed, np.maximum(*(p_values(r, null) for null in nulls)), np.nan)
    p95, p99 = np.maximum(*(_percentiles(null) for null in nulls))
    return Scores(
        r=r,
        r2=r_squared(predicted, observed, bad),
        r_interval=interval(r_draws(predicted, observed, bad, seed=seed, block_rows=round(5 * rate_hz))),
        null_p95=p95,
        null_p99=p99,
        p=p,
        p_fdr=benjamini_hochberg(p),
        match=match_mismatch(predicted, observed, np.asarray(bad, np.bool_) | ~claimed, round(5 * rate_hz)),
        draws=draws,
    )


def number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _percentiles(null: Doubles) -> Doubles:
    """(2, electrodes) the 95th and 99th percentile of each electrode's draws; a dead electrode has none."""
    tested = np.isfinite(null).any(axis=0)
    found = np.full((2, null.shape[1]), np.nan)
    found[:, tested] = np.nanpercentile(null[:, tested], [95, 99], axis=0)
    return found
