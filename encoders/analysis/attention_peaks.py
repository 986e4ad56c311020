"""Whether attention peaks fall on word onsets, phone boundaries and pauses more often than by chance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import find_peaks

from encoders.analysis.lagged import Fold
from encoders.analysis.phone_events import Speech, pauses
from encoders.phones import SILENCE, Timed
from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]
NEAR_ROWS = 2  # 40 ms to either side
LEAST_SHIFT_ROWS = 250  # 5 s, longer than what neighbouring rows have in common
PROMINENCE_SD = 1.0


@dataclass(frozen=True, slots=True)
class Coincidence:
    """count: peaks within NEAR_ROWS of an event, of `peaks`. expected, low, high: mean and middle 95 % of that count
    under circular shifts. p: two-sided."""

    peaks: int
    events: int
    count: int
    expected: float
    low: float
    high: float
    p: float


def received(weights: Sequence[Floats], folds: Sequence[Fold], segments: Sequence[int]) -> Doubles:
    """(rows, heads) how much attention each frame received from it and all later rows of its segment; 1 on average.

    weights: of each fold, (test rows, heads, lags), as the model that did not learn from them gave them.
    """
    starts = np.repeat(np.cumsum([0, *segments])[:-1], segments)
    total = np.zeros((int(sum(segments)), weights[0].shape[1]))
    for some, fold in zip(weights, folds, strict=True):
        for lag in range(some.shape[2]):
            there = fold.test - lag >= starts[fold.test]
            np.add.at(total, fold.test[there] - lag, some[there][:, :, lag])
    return total


def peaks_of(attention: Doubles, segments: Sequence[int]) -> Mask:
    """(rows,) True at the local maxima of a head's (rows,) that stand out by PROMINENCE_SD."""
    found = np.zeros(len(attention), bool)
    least = PROMINENCE_SD * float(attention.std())
    for a, b in itertools.pairwise(np.cumsum([0, *segments])):
        if least > 0:
            found[a + find_peaks(attention[a:b], prominence=least)[0]] = True
    return found


def event_rows(
    speech: Sequence[Speech | None], words: Sequence[Sequence[Timed]], segments: Sequence[int]
) -> dict[str, Mask]:
    """(rows,) True where a word or a phone begins, and where a pause does. speech: of each segment, None where no
    phones are known."""
    rows = int(sum(segments))
    found = {name: np.zeros(rows, bool) for name in ("word onsets", "phone boundaries", "pauses")}
    for (a, b), one, some in zip(itertools.pairwise(np.cumsum([0, *segments])), speech, words, strict=True):
        if one is None:
            continue
        times = {
            "word onsets": [start for _, start, _ in some],
            "phone boundaries": [start for label, start, _ in one.phones if label != SILENCE],
            "pauses": [start for start, _ in pauses(one.phones) if np.isfinite(start)],
        }
        for name, starts in times.items():
            at = a + np.searchsorted(one.times, np.asarray(starts, np.float64) - 0.01)
            found[name][at[(at >= a) & (at < b) & (np.asarray(starts) >= one.times[0] - 0.01)]] = True
    return found


def coincidence(peaks: Mask, events: Mask) -> Coincidence:
    """How many peaks lie near an event, against every circular shift of the peaks by 5 s and more.

    Raises ValueError where the recording is too short to shift.
    """
    rows = len(peaks)
    if rows < 3 * LEAST_SHIFT_ROWS:
        raise ValueError(f"{rows} rows cannot be shifted by {LEAST_SHIFT_ROWS} and more")
    near = np.convolve(events, np.ones(2 * NEAR_ROWS + 1), "same") > 0.5
    spectrum = np.fft.rfft(peaks.astype(float)).conj() * np.fft.rfft(near.astype(float))
    counts = np.round(np.fft.irfft(spectrum, rows)).astype(int)  # of each shift, 0 first
    null = counts[LEAST_SHIFT_ROWS : rows - LEAST_SHIFT_ROWS + 1]
    more = (1 + np.sum(null >= counts[0])) / (1 + len(null))
    fewer = (1 + np.sum(null <= counts[0])) / (1 + len(null))
    low, high = np.percentile(null, [2.5, 97.5])
    return Coincidence(
        int(peaks.sum()), int(events.sum()), int(counts[0]), float(null.mean()), float(low), float(high),
        float(min(1.0, 2 * min(more, fewer))),
    )  # fmt: skip
