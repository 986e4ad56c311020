"""Responses to single phones: which phones count, and what the electrodes did at a time after each onset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.analysis.phone_classes import PHONES
from encoders.phones import SILENCE, Timed
from realtime.block import Floats, Mask, Times

Doubles = npt.NDArray[np.float64]
PAUSE_S = 0.2  # silence that is long enough for an onset response to follow it
AFTER_PAUSE_S = 0.5
WINDOW_S = (0.15, 0.20)  # after a phone's onset (Mesgarani et al. 2014)
ROW_S = 0.02


@dataclass(frozen=True, slots=True)
class Speech:
    """One recording's phones on the clock of its rows. times: (rows,) seconds. phones: `SIL` where nothing is said."""

    times: Times
    phones: Sequence[Timed]


@dataclass(frozen=True, slots=True)
class PhoneEvents:
    """Arrays (events,): labels, numbers in PHONES; onsets_s; part, the number of the recording."""

    labels: npt.NDArray[np.intp]
    onsets_s: Doubles
    part: npt.NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.labels)


def phone_events(
    speech: Sequence[Speech], window_s: tuple[float, float] = WINDOW_S, after_pause_s: float = AFTER_PAUSE_S
) -> PhoneEvents:
    """The phones that tell of phones alone: none within after_pause_s of a pause's end, none whose window a pause
    reaches. What follows a pause is an onset response, and what falls silent is its end; both would look phonetic."""
    labels, onsets, part = [], [], []
    for number, one in enumerate(speech):
        silent = pauses(one.phones)
        starts = np.array([start for start, _ in silent])
        ends = np.array([end for _, end in silent])
        for label, start_s, _ in one.phones:
            if label == SILENCE:
                continue
            before, after = ends[ends <= start_s + 1e-9], starts[starts > start_s - 1e-9]
            if len(before) and start_s - before[-1] < after_pause_s:
                continue
            if len(after) and after[0] < start_s + window_s[1]:
                continue
            labels.append(PHONES.index(label))
            onsets.append(start_s)
            part.append(number)
    return PhoneEvents(np.array(labels, np.intp), np.array(onsets, np.float64), np.array(part, np.intp))


def pauses(phones: Sequence[Timed]) -> list[tuple[float, float]]:
    """Silences of PAUSE_S or more, what lies before the first phone and after the last among them."""
    spoken = sorted((start, end) for label, start, end in phones if label != SILENCE)
    found, reached = [], -np.inf
    for start, end in spoken:
        if start - reached >= PAUSE_S:
            found.append((reached, start))
        reached = max(reached, end)
    return [*found, (reached, np.inf)]


def responses(
    events: PhoneEvents, speech: Sequence[Speech], observed: Sequence[Floats], bad: Sequence[Mask], lags_s: Doubles
) -> Doubles:
    """(events, lags, electrodes): observed rows at each time after each onset, between rows by a straight line.

    observed, bad: (rows, electrodes) of each recording. NaN where a row is missing, bad or after a gap.
    """
    found = np.full((len(events), len(lags_s), observed[0].shape[1]), np.nan)
    for number, (one, rows, mask) in enumerate(zip(speech, observed, bad, strict=True)):
        mine = events.part == number
        at = events.onsets_s[mine][:, None] + lags_s
        found[mine] = interpolated(one.times, np.where(mask, np.nan, rows), at)
    return found


def interpolated(times: Times, rows: Doubles, at: Doubles) -> Doubles:
    """rows (rows, electrodes) at times `at` (...): (..., electrodes), NaN outside and in gaps of the rows."""
    last = len(times) - 1
    lower = np.clip(np.searchsorted(times, at, side="right") - 1, 0, last)
    upper = np.minimum(lower + 1, last)
    apart = times[upper] - times[lower]
    weight = np.divide(at - times[lower], apart, out=np.zeros_like(at), where=apart > 0)
    inside = (at >= times[0]) & (at <= times[-1]) & ((apart <= 1.5 * ROW_S) | (weight == 0))
    low, high = rows[lower], rows[upper]
    high = np.where((weight == 0)[..., None], low, high)
    values: Doubles = np.where(inside[..., None], low + weight[..., None] * (high - low), np.nan)
    return values


def window_means(
    events: PhoneEvents,
    speech: Sequence[Speech],
    observed: Sequence[Floats],
    bad: Sequence[Mask],
    window_s: tuple[float, float] = WINDOW_S,
) -> Doubles:
    """(events, electrodes) mean response in the window after each onset; NaN where any of it is missing."""
    steps = max(2, round((window_s[1] - window_s[0]) / 0.01) + 1)
    at = np.linspace(*window_s, steps)
    mean: Doubles = responses(events, speech, observed, bad, at).mean(axis=1)
    return mean
