"""The artefact stage written slowly: one sample and one channel at a time, from its description."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def artefacts(x: Values, given: Mask, rate_hz: float, mains_hz: float, threshold_sd: float) -> tuple[Mask, Values]:
    """(samples, channels) to what is bad, and the bridged samples."""
    samples, channels = x.shape
    period, width = round(rate_hz / mains_hz), round(0.05 * rate_hz)
    hold, flat, rail = round(0.05 * rate_hz), round(0.05 * rate_hz), round(0.005 * rate_hz)
    bad = np.zeros(x.shape, bool)
    last_hit = [-math.inf] * channels
    scale = [[0.0, 0.0, 0.0] for _ in range(channels)]
    bins = [0] * channels
    for t in range(samples):
        largest = [_largest(x[:, c], t, period, width, scale[c], bins[c]) for c in range(channels)]
        known = sum(b >= 4 for b in bins)
        over = [value > 4.0 for value in largest]
        any_hit = any(value > threshold_sd for value in largest)
        common = 2 * sum(over) >= max(8, known)
        for c in range(channels):
            stands = _stands_still(x[:, c], t, flat, rail)
            if largest[c] > threshold_sd or (over[c] and any_hit) or common or stands:
                last_hit[c] = t
            bad[t, c] = given[t, c] or t - last_hit[c] <= hold
        if (t + 1) % width == 0:
            first = t + 1 - width
            for c in range(channels):
                _close_bin(x[:, c], first, t, period, width, bool(bad[first : t + 1, c].any()), scale, bins, c)
    return bad, _bridged(x, bad)


def _differences(x: Values, t: int, period: int, width: int) -> tuple[float, float, float]:
    ago = t // width - 4
    mean = float(np.mean(x[ago * width : (ago + 1) * width])) if ago >= 0 else x[0]
    return abs(x[t] - x[max(t - 1, 0)]), abs(x[t] - x[max(t - period, 0)]), abs(x[t] - mean)


def _largest(x: Values, t: int, period: int, width: int, scale: list[float], bins: int) -> float:
    if bins < 4:
        return 0.0
    found = _differences(x, t, period, width)
    return max(d / (1.2533 * max(s, 1e-9)) for d, s in zip(found, scale, strict=True))


def _stands_still(x: Values, t: int, flat: int, rail: int) -> bool:
    before = [x[max(t - k, 0)] for k in range(flat + 1)]
    run = next((k for k, value in enumerate(before) if value != x[t]), flat + 1) - 1
    run = min(run, t + 1)  # the first sample is taken to have been there before
    return run >= flat or (run >= rail and (x[t] >= max(x[: t + 1]) or x[t] <= min(x[: t + 1])))


def _close_bin(
    x: Values,
    first: int,
    last: int,
    period: int,
    width: int,
    was_bad: bool,
    scale: list[list[float]],
    bins: list[int],
    c: int,
) -> None:
    found = [0.0, 0.0, 0.0]
    for t in range(first, last + 1):
        for i, d in enumerate(_differences(x, t, period, width)):
            found[i] += d / width
    gain = 0.001 if was_bad and bins[c] > 0 else max(1 / (bins[c] + 1), 0.02)
    for i in range(3):
        if bins[c] == 0:
            scale[c][i] = found[i]
        else:
            ratio = math.log(max(found[i], 1e-9) / max(scale[c][i], 1e-9))
            scale[c][i] *= math.exp(gain * min(max(ratio, -1.0), 1.0))
    if found[0] <= 0 or (bins[c] == 0 and was_bad):
        bins[c] = 0
    else:
        bins[c] += 1


def _bridged(x: Values, bad: Mask) -> Values:
    """The sum of the steps between good neighbours."""
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        for t in range(1, len(x)):
            both_good = not bad[t, c] and not bad[t - 1, c]
            y[t, c] = y[t - 1, c] + (x[t, c] - x[t - 1, c] if both_good else 0.0)
    return y
