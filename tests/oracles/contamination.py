"""Acoustic contamination written slowly: every frame, electrode and pair of bins by itself, with whole recordings."""

from __future__ import annotations

import cmath
import math

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
BINS = range(7, 41)


def ripples(x: Values, starts: list[int], window: int, bins: list[int]) -> Values:
    """(frames, bins) of one channel, by the definition of the transform."""
    found = []
    n = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    for start in starts:
        frame = x[start : start + window] * hann
        power = {
            b: math.log(abs(sum(frame * np.exp(-2j * cmath.pi * b * n / window))) ** 2 + 1e-12)
            for b in range(bins[0] - 2, bins[-1] + 3)
        }
        found.append([power[b] - 0.5 * (power[b - 2] + power[b + 2]) for b in bins])
    return np.array(found)


def contamination(
    sound: Values, sound_hz: float, ecog: Values, ecog_hz: float, bad: npt.NDArray[np.bool_], late: int
) -> tuple[Values, Values, Values]:
    """(r, z, frames) per electrode. late: samples that the sound begins before the ECoG."""
    hop, window_s = round(0.1 * ecog_hz / 2), round(0.1 * sound_hz)
    bins = [b for b in BINS if 10 * b <= 0.45 * ecog_hz]
    count = (len(ecog) - 2 * hop) // hop + 1
    at = [late + round(k * hop / ecog_hz * sound_hz) for k in range(count)]
    heard = [
        row >= 0 and row + window_s <= len(sound) and np.mean(sound[row : row + window_s] ** 2) > 1e-6 for row in at
    ]
    s = ripples(sound, [row if row + window_s <= len(sound) else 0 for row in at], window_s, bins)
    far = [-round(100 + 400 * i / 19) for i in range(20)]
    r, z, frames = [], [], []
    for c in range(ecog.shape[1]):
        e = ripples(ecog[:, c], [k * hop for k in range(count)], 2 * hop, bins)
        good = [not bad[k * hop : k * hop + 2 * hop, c].any() for k in range(count)]
        means, used = [], []
        for lag in (-2, -1, 0, 1, 2, *far):
            pairs = [(k, k + lag) for k in range(count - 2) if 0 <= k + lag < count and good[k] and heard[k + lag]]
            mine, its = [k for k, _ in pairs], [k for _, k in pairs]
            means.append(float(np.mean([np.corrcoef(e[mine, b], s[its, b])[0, 1] for b in range(len(bins))])))
            used.append(len(pairs))
        best = int(np.argmax(means[:5]))
        r.append(means[best])
        z.append(means[best] / math.sqrt(float(np.mean(np.square(means[5:])))))
        frames.append(used[best])
    return np.array(r), np.array(z), np.array(frames)
