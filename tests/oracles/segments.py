"""Epochs cut by hand: one event, one lag and one electrode at a time."""

from __future__ import annotations

import math

import numpy as np


def value_at(times: np.ndarray, values: np.ndarray, at_s: float) -> float | None:
    """Within a microsecond of a row that row, between two by a straight line; None outside, and in a gap of 30 ms."""
    for i in range(len(times)):
        if abs(times[i] - at_s) < 1e-6:
            return float(values[i])
    for i in range(len(times) - 1):
        if times[i] < at_s < times[i + 1]:
            if times[i + 1] - times[i] > 0.03:
                return None
            share = (at_s - times[i]) / (times[i + 1] - times[i])
            return float((1 - share) * values[i] + share * values[i + 1])
    return None


def cut_by_hand(
    times: np.ndarray,
    observed: np.ndarray,
    predicted: np.ndarray,
    onset_s: float,
    first: int,
    last: int,
    base: tuple[int, int],
    mode: str,
    bad_share: float,
    counted: list[int],
) -> tuple[str, np.ndarray]:
    """One event: why it is dropped, or "", and (electrodes, lags, 2) observed and predicted.

    observed is NaN where masked. first, last, base: rows of 20 ms after the onset.
    """
    electrodes, lags = observed.shape[1], last - first + 1
    epoch = np.full((electrodes, lags, 2), np.nan)
    for e in range(electrodes):
        for k in range(lags):
            at_s = onset_s + (first + k) / 50
            seen, guess = value_at(times, observed[:, e], at_s), value_at(times, predicted[:, e], at_s)
            if seen is None or guess is None:
                return "NO_DATA", epoch
            epoch[e, k] = (seen, guess) if not math.isnan(seen) else (math.nan, math.nan)
    masked = [math.isnan(epoch[e, k, 0]) for e in counted for k in range(lags)]
    if masked and sum(masked) / len(masked) > bad_share:
        return "ARTEFACT", epoch
    for e in range(electrodes) if mode != "none" else ():
        for kind in (0, 1):
            inside = [epoch[e, k, kind] for k in range(lags) if base[0] <= first + k <= base[1]]
            inside = [value for value in inside if not math.isnan(value)]
            spread = np.std(inside) if inside else 0.0
            if not inside or (mode == "zscore" and spread == 0):
                if e in counted:
                    return "BASELINE", epoch
                continue
            epoch[e, :, kind] -= np.mean(inside)
            if mode == "zscore":
                epoch[e, :, kind] /= spread
    return "", epoch
