"""The running score from whole recordings: every window cut out and given to `np.corrcoef`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realtime.block import Block

Doubles = NDArray[np.float64]


def masked_r(a: Doubles, b: Doubles, ok: NDArray[np.bool_]) -> float:
    a, b = a[ok], b[ok]
    if len(a) < 2 or a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def score_at(
    x: Block, second: int, rows: int, window: int, enough_rows: float, delays: list[int]
) -> tuple[list[float], list[int], float]:
    """r and counted rows of each electrode, and the null, in the window that ends with `second` of a whole recording.

    x: aligned rows, index 0, no gap.
    """
    predicted, observed = x.data[..., 0].astype(float), x.data[..., 1].astype(float)
    ok = ~np.asarray(x.extra["bad"], bool) & np.isfinite(predicted) & np.isfinite(observed)
    window_rows = range(max(0, (second + 1 - window) * rows), (second + 1) * rows)
    now = np.array(window_rows)
    counts = [int(ok[now, e].sum()) for e in range(x.data.shape[1])]
    score = [
        masked_r(predicted[now, e], observed[now, e], ok[now, e]) if counts[e] >= enough_rows else float("nan")
        for e in range(x.data.shape[1])
    ]
    largest = []
    for delay in delays:
        pairs = [(t, t - delay) for t in window_rows if t - delay >= 0]
        values = []
        for e in range(x.data.shape[1]):
            both = [(t, u) for t, u in pairs if ok[t, e] and ok[u, e]]
            if counts[e] >= enough_rows and len(both) >= enough_rows / 2:
                t, u = np.array(both).T
                values.append(masked_r(predicted[t, e], observed[u, e], np.ones(len(t), bool)))
        values = [value for value in values if value == value]
        if values:
            largest.append(max(values))
    null = float(np.percentile(largest, 95, method="weibull")) if 2 * len(largest) >= len(delays) else float("nan")
    return score, counts, null
