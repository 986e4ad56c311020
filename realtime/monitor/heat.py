"""Heat maps as plain arrays: rows laid on columns of equal time, values as numbers of colours. No Qt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from realtime.block import Floats, Times

COLOURS = 256  # number 0 is for no value; 1 to 255 are -limit to limit
LIMITS_SD = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0)
Numbers = npt.NDArray[np.uint8]
Order = npt.NDArray[np.intp]


def column_span(window_s: float, step_s: float, most: int) -> float:
    """How much time a column takes: a whole number of rows, so that `most` columns hold the window."""
    return step_s * max(1, int(np.ceil(window_s / step_s / most - 1e-9)))


def first_column(start_s: float, column_s: float, step_s: float, newest_s: float) -> float:
    """When the first column begins: at or just before start_s, on a grid fixed in time, rows in the middle of their
    steps (newest_s: of any row)."""
    phase_s = newest_s % step_s - 0.5 * step_s if np.isfinite(newest_s) else 0.0
    return float(np.floor((start_s - phase_s) / column_s) * column_s + phase_s)


def binned(times: Times, data: Floats, begin_s: float, count: int, column_s: float) -> Floats:
    """Mean of the rows in each column: (count, features) float32, NaN where there is none."""
    picture = np.full((count, data.shape[1]), np.nan, np.float32)
    column = np.floor((times - begin_s) / column_s).astype(np.intp)
    inside = (column >= 0) & (column < count)
    column, data = column[inside], data[inside]
    begins = np.flatnonzero(np.diff(column, prepend=-1))
    if len(begins) == len(column):
        picture[column] = data
    elif len(begins):
        known = np.isfinite(data)
        counts = np.add.reduceat(known, begins, axis=0, dtype=np.float32)
        sums = np.add.reduceat(np.where(known, data, 0.0), begins, axis=0, dtype=np.float32)
        picture[column[begins]] = np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
    return picture


def colour_numbers(picture: Floats, limit: float) -> Numbers:
    """Numbers of colours: 0 for NaN, else 1 (-limit and below) to 255 (limit and above), 128 for zero."""
    scaled = np.clip(picture * np.float32(127.0 / limit), -127.0, 127.0) + np.float32(128.5)
    return np.where(np.isnan(scaled), 0.0, scaled).astype(np.uint8)


def limit_for(picture: Floats) -> float:
    """The smallest of LIMITS_SD that 99 % of the values stay within."""
    known = np.abs(picture[np.isfinite(picture)])
    high = float(np.quantile(known, 0.99)) if len(known) else 0.0
    return next((limit for limit in LIMITS_SD if limit >= high), LIMITS_SD[-1])


def order_by_score(scores: Floats) -> Order:
    """Columns by falling score, those without one last."""
    return np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")


def order_by_grid(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Order:
    """Columns row by row of the grid."""
    place = {name: k for k, name in enumerate(names)}
    return np.array([place[name] for row in rows for name in row], np.intp)
