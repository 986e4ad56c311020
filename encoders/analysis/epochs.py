"""Rows cut to events: what is missing or masked drops an epoch, a window before the event is its baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from encoders.analysis.phone_events import interpolated
from realtime.block import Floats, Mask, Times

Doubles = npt.NDArray[np.float64]
BaselineMode = Literal["mean", "zscore", "none"]
NO_DATA, ARTEFACT, BASELINE = "NO_DATA", "ARTEFACT", "BASELINE"
SAME_S = 1e-6
AT_ONCE = 256  # events, so that memory grows with what is kept alone


@dataclass(frozen=True, slots=True)
class Rules:
    """window_s, baseline_s: from, to, seconds after the event, both ends in. bad_share: of an epoch's rows and
    electrodes, above which it is dropped."""

    window_s: tuple[float, float] = (-0.2, 0.6)
    baseline_s: tuple[float, float] = (-0.2, 0.0)
    mode: BaselineMode = "mean"
    bad_share: float = 0.1
    row_hz: float = 50.0

    @property
    def lags_s(self) -> Doubles:
        """(lags,) of the rows of an epoch."""
        first, last = (round(edge_s * self.row_hz) for edge_s in self.window_s)
        return np.arange(first, last + 1) / self.row_hz


@dataclass(frozen=True, slots=True)
class Cut:
    """data: (kept, lags, electrodes, kinds), NaN where masked. reasons: of each event; empty: it is kept."""

    data: Floats
    reasons: tuple[str, ...]


def cut(times: Times, rows: Floats, bad: Mask, onsets_s: Doubles, rules: Rules, counted: Mask) -> Cut:
    """Rows at each lag after each event, between two rows by a straight line.

    times: (rows,). rows: (rows, electrodes, kinds), of which the first kind is observed; where `bad` (rows,
    electrodes) masks it, all are masked. onsets_s: (events,). counted: (electrodes,), those that can drop an epoch.
    An epoch is dropped where any of its rows is missing (NO_DATA), where more than bad_share of its counted rows are
    masked (ARTEFACT), or where a counted electrode has no baseline (BASELINE; for zscore, no spread in it).
    """
    masked = np.where(bad[:, :, None], np.nan, rows.astype(np.float64))
    there = np.ones((len(times), 1))
    kept, reasons = [], []
    for start in range(0, len(onsets_s), AT_ONCE):
        at = _on_rows(times, onsets_s[start : start + AT_ONCE, None] + rules.lags_s)
        missing = np.isnan(interpolated(times, there, at)).any(axis=(1, 2))
        flat = interpolated(times, masked.reshape(len(times), -1), at)
        found = flat.reshape(*at.shape, *rows.shape[1:])
        share = np.isnan(found[:, :, counted, 0]).mean(axis=(1, 2)) if counted.any() else np.zeros(len(at))
        found, without = _from_baseline(found, rules)
        no_baseline = without[:, counted].any(axis=(1, 2))
        why = np.select([missing, share > rules.bad_share, no_baseline], [NO_DATA, ARTEFACT, BASELINE], "")
        kept.append(found[why == ""].astype(np.float32))
        reasons += why.tolist()
    empty = np.empty((0, len(rules.lags_s), *rows.shape[1:]), np.float32)
    return Cut(np.concatenate([empty, *kept]), tuple(reasons))


def _on_rows(times: Times, at: Doubles) -> Doubles:
    """A time within SAME_S of a row is that row's: rounding must not bring its neighbour in."""
    upper = np.clip(np.searchsorted(times, at), 1, len(times) - 1)
    nearest = np.where(at - times[upper - 1] < times[upper] - at, times[upper - 1], times[upper])
    return np.where(np.abs(at - nearest) < SAME_S, nearest, at)


def _from_baseline(found: Doubles, rules: Rules) -> tuple[Doubles, Mask]:
    """Epochs (events, lags, electrodes, kinds) less the mean of their baseline, or in its SDs; and where it lacks."""
    if rules.mode == "none":
        return found, np.zeros((len(found), *found.shape[2:]), bool)
    low, high = (round(edge_s * rules.row_hz) for edge_s in rules.baseline_s)
    lag = np.round(rules.lags_s * rules.row_hz)
    window = found[:, (lag >= low) & (lag <= high)]
    known = ~np.isnan(window)
    count = known.sum(axis=1)
    mean = np.where(known, window, 0).sum(axis=1) / np.maximum(count, 1)
    spread = np.sqrt((np.where(known, window - mean[:, None], 0) ** 2).sum(axis=1) / np.maximum(count, 1))
    without = count == 0
    if rules.mode == "mean":
        return found - mean[:, None], without
    without = without | ~(spread > 0)
    return (found - mean[:, None]) / np.where(without, np.nan, spread)[:, None], without
