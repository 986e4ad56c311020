"""What the panels draw, as plain arrays: which electrodes, where, in which lane. No Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from realtime.block import Floats, Times

LABEL_WIDE, LABEL_HIGH = 0.08, 0.14  # of a plot: what a label of one digit takes, and some air
STICKY, HIGH_TOO = 1.5, 0.25
LANE_HEIGHTS_SD = (2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0)


def choose(
    names: Sequence[str],
    scores: Floats,
    pinned: Sequence[str],
    shown: Sequence[str],
    count: int,
    margin: float = 0.05,
) -> list[str]:
    """The electrodes to show: those pinned, then the best by score, `count` in all.

    An electrode already shown keeps its place until another beats it by `margin`, so that traces stay put.
    scores: (names,), NaN where there is none yet.
    """
    rank = {name: -math.inf if math.isnan(r) else float(r) for name, r in zip(names, scores, strict=True)}
    held = {name: rank[name] + margin for name in shown if name in rank}
    best = sorted(rank, key=lambda name: (name not in pinned, -held.get(name, rank[name])))[: max(count, len(pinned))]
    if not any(name in best for name in shown):
        return best
    newcomers = iter([name for name in best if name not in shown])
    kept = [name if name in best else next(newcomers, None) for name in shown]
    return [name for name in [*kept, *newcomers] if name is not None]


def lane_height(values: Sequence[Floats]) -> float:
    """The smallest of LANE_HEIGHTS_SD in which 99 % of the values stay within their lane."""
    finite = [np.abs(v[np.isfinite(v)]) for v in values]
    spread = 2 * max((float(np.quantile(v, 0.99)) for v in finite if len(v)), default=0.0)
    return next((h for h in LANE_HEIGHTS_SD if h >= spread), LANE_HEIGHTS_SD[-1])


def lane_heights(values: Sequence[Floats], traces: int) -> Floats:
    """A height for each trace, as lane_height gives one for all. values: each (rows, traces)."""
    return np.array([lane_height([v[:, k] for v in values]) for k in range(traces)])


def thin(times: Times, data: Floats, step_s: float, most: int) -> tuple[Times, Floats, float]:
    """Rows drawn as at most about `most`: each bin's smallest and largest value, on a grid of bins fixed in time.

    Gives times, data and the step between rows beyond which a line is broken. A bin without a number is NaN.
    """
    if len(times) <= most:
        return times, data, step_s
    bin_s = 2 * step_s * 2 ** math.ceil(math.log2(len(times) / most))
    which = np.floor(times / bin_s).astype(np.int64)
    begins = np.flatnonzero(np.diff(which, prepend=which[0] - 1))
    at_s = which[begins] * bin_s
    thinned = np.empty((2 * len(begins), data.shape[1]), data.dtype)
    thinned[0::2] = np.fmin.reduceat(data, begins, axis=0)
    thinned[1::2] = np.fmax.reduceat(data, begins, axis=0)
    return np.stack([at_s, at_s + bin_s / 2], axis=1).ravel(), thinned, bin_s / 2


def polyline(
    times: Times, data: Floats, height_sd: float | Floats, step_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """All traces as one line: x, y and, per point, 1 where it joins the next one.

    data: (rows, traces), in SD. Trace k is drawn in lane -k, one lane being height_sd, of all or of each. The
    line breaks between traces, at NaN and where two rows are further apart than 1.5 step_s.
    """
    rows, traces = data.shape
    if not rows:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int32)
    x = np.tile(times, traces)
    y = (data / height_sd - np.arange(traces)).T  # (traces, rows)
    finite = np.isfinite(y)
    joined = np.zeros((traces, rows), np.int32)
    joined[:, :-1] = finite[:, :-1] & finite[:, 1:] & (np.diff(times) < 1.5 * step_s)
    return x, np.where(finite, y, 0.0).ravel(), joined.ravel()


def mean_weights(names: Sequence[str], data: Floats) -> Floats:
    """Mean attention over rows: (heads, lags). names: "head{h}_lag{l}", one per column of data (rows, columns)."""
    places = [tuple(int(part) for part in name.removeprefix("head").split("_lag")) for name in names]
    heads, lags = (1 + max(place[axis] for place in places) for axis in (0, 1))
    weights = np.full((heads, lags), np.nan)
    complete = data[np.isfinite(data).all(axis=1)]
    if len(complete):
        for (head, lag), value in zip(places, complete.mean(axis=0, dtype=np.float64), strict=True):
            weights[head, lag] = value
    return weights


def label_lags(weights: Floats, before: Sequence[int] = ()) -> list[int]:
    """The lag at which each head's curve, (heads, lags), is best labelled: where it is far from the others, and high.

    Labels keep LABEL_WIDE of the lags or LABEL_HIGH of the largest weight apart, as far as there is room. before: the
    lags of the last time, which stay until another place is STICKY times as far away from the other curves.
    """
    heads, lags = weights.shape
    y = weights / max(float(weights.max()), 1e-12)
    inside = np.arange(lags)
    edge = round(LABEL_WIDE / 2 * lags) if lags > 4 else 0
    apart = np.abs(y[:, None] - y[None])  # (heads, heads, lags)
    apart[np.arange(heads), np.arange(heads)] = np.inf
    free = np.minimum(apart.min(axis=1), 1.0) * (HIGH_TOO + y)
    free[:, (inside < edge) | (inside >= lags - edge)] = 0.0
    found: list[int] = []
    for head in range(heads):
        room = np.ones(lags, bool)
        for other, lag in enumerate(found):
            room &= (np.abs(inside - lag) > LABEL_WIDE * lags) | (np.abs(y[head] - y[other, lag]) > LABEL_HIGH)
        values = np.where(room, free[head], -1.0)
        best = int(values.argmax())
        if len(before) == heads and before[head] < lags and STICKY * values[before[head]] >= values[best] > 0:
            best = before[head]
        found.append(best)
    return found


def columns_by_time(times: Times, data: Floats, stop_s: float, count: int, step_s: float) -> Floats:
    """Rows laid on a picture's `count` columns, the last one at stop_s: (count, features), NaN where no row is."""
    picture = np.full((count, data.shape[1]), np.nan, np.float32)
    at = count - 1 - np.rint((stop_s - times) / step_s).astype(np.intp)
    inside = (at >= 0) & (at < count)
    picture[at[inside]] = data[inside]
    return picture


def value_at(times: Times, values: Floats, time_s: float, within_s: float = 0.02) -> float:
    """The value of the row nearest to time_s; NaN where there is none within within_s."""
    if not len(times):
        return math.nan
    after = int(np.searchsorted(times, time_s))
    nearest = min((k for k in (after - 1, after) if 0 <= k < len(times)), key=lambda k: abs(times[k] - time_s))
    return float(values[nearest]) if abs(times[nearest] - time_s) <= within_s else math.nan
