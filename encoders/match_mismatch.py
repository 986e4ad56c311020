"""Does the activity belong to the sound? A segment's prediction against its own activity and that of other segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.evaluation import masked_standard
from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MatchMismatch:
    """electrodes: (electrodes,) accuracy of each alone, NaN where it has under two usable segments. together: of
    the mean over electrodes of their correlations. segments: how many. Chance is 0.5."""

    electrodes: Doubles
    together: float
    segments: int


def match_mismatch(predicted: Floats, observed: Floats, bad: Mask, segment_rows: int = 250) -> MatchMismatch:
    """How often a segment's prediction correlates more with its own activity than with another segment's.

    predicted, observed, bad: (rows, electrodes), cut into segments of segment_rows, 5 s at 50 rows a second; over all
    ordered pairs of segments, a tie counting half. An electrode leaves out segments with under half of their rows good.
    Masked rows count as the segment's mean. The task is that of de Cheveigne et al. 2021.
    """
    count = len(predicted) // segment_rows
    shape = (count, segment_rows, predicted.shape[1])
    p, o = (np.asarray(x, np.float64)[: count * segment_rows].reshape(shape) for x in (predicted, observed))
    masked = np.asarray(bad, np.bool_)[: count * segment_rows].reshape(shape)
    alike = np.full((shape[2], count, count), np.nan)  # predicted segment, observed segment
    for e in range(shape[2]):
        x, y, ok = masked_standard(p[:, :, e].T, o[:, :, e].T, masked[:, :, e].T)  # (rows, segments)
        usable = (2 * ok.sum(axis=0) >= segment_rows) & np.any(x != 0, axis=0) & np.any(y != 0, axis=0)
        x, y = (v / np.sqrt(np.maximum(np.sum(v * v, axis=0), 1e-30)) for v in (x, y))
        alike[e] = np.where(usable[:, None] & usable, x.T @ y, np.nan)
    electrodes = np.array([_accuracy(one) for one in alike])
    seen = np.isfinite(alike)
    mean = np.where(seen, alike, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return MatchMismatch(electrodes, _accuracy(np.where(seen.any(axis=0), mean, np.nan)), count)


def _accuracy(alike: Doubles) -> float:
    """alike: (segments, segments) of predicted with observed, NaN where a pair is left out."""
    own = np.diag(alike)[:, None]
    pairs = np.isfinite(own) & np.isfinite(alike) & ~np.eye(len(alike), dtype=bool)
    won = np.where(pairs, (own > alike) + 0.5 * (own == alike), 0.0)
    return float(won.sum() / pairs.sum()) if pairs.any() else float("nan")
