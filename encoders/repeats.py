"""Which parts of a recording's sound were heard before, found in the sound itself, and the noise ceiling they give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

BANDS = 16  # of the spectrogram that is compared
ALIKE = 0.95  # correlation of two stretches that are the same sound
LEAST_PAIRS_S = 5.0  # of repeats, for a ceiling


def find_repeats(spectrogram: Floats, rate_hz: float, window_s: float = 2.0) -> Rows:
    """For each row the first row with the same sound, (rows,); a row heard for the first time is its own.

    spectrogram: (rows, bands) log-mel. Windows of window_s, half a window apart, are held against all earlier ones;
    a repeat is at least two in a row that match at the same distance (within a row), so its first and last half
    window may be missed. Silence matches nothing.
    """
    rows, window = len(spectrogram), round(window_s * rate_hz)
    source = np.arange(rows, dtype=np.intp)
    if rows < 3 * window:
        return source
    z = _pooled(spectrogram)
    starts = np.arange(window, rows - window + 1, window // 2)
    earlier = _earliest_matches(z, starts, window)
    for i in range(len(starts) - 1):
        if earlier[i] < 0 or earlier[i + 1] < 0:
            continue
        distance, following = starts[i] - earlier[i], starts[i + 1] - earlier[i + 1]
        if abs(distance - following) <= 1:
            repeat = np.arange(starts[i], starts[i + 1] + window)
            source[repeat] = source[repeat - distance]
    while np.any(source[source] != source):  # a later match may have moved what an earlier one points at
        source = source[source]
    return source


def noise_ceiling(observed: Floats, bad: Mask, source: Rows, rate_hz: float = 50.0) -> Doubles:
    """(electrodes,) the r that a perfect model of the stimulus would reach: root of the correlation between repeats.

    observed, bad: (rows, electrodes), at rate_hz. source: (rows,) as `find_repeats`. Signal variance is the mean
    product of two different repeats of the same moment, over all pairs (Schoppe et al. 2016); NaN with under 5 s of
    repeated rows.
    """
    ok = np.isfinite(observed) & ~np.asarray(bad, np.bool_)
    repeated = np.bincount(source, minlength=len(source)) > 1
    inside = repeated[source]
    ok, y, group = ok[inside], observed[inside].astype(np.float64), source[inside]
    mean = np.where(ok, y, 0).sum(axis=0) / np.maximum(ok.sum(axis=0), 1)
    y = np.where(ok, y - mean, 0)
    result = np.full(observed.shape[1], np.nan)
    for e in range(observed.shape[1]):
        sums = np.bincount(group, y[:, e], len(source))
        squares = np.bincount(group, y[:, e] ** 2, len(source))
        counts = np.bincount(group, ok[:, e], len(source))
        pairs = counts * (counts - 1)
        moments = counts >= 2
        total = squares.sum() / max(counts.sum(), 1)
        if moments.sum() >= LEAST_PAIRS_S * rate_hz and total > 0:
            signal = np.mean((sums[moments] ** 2 - squares[moments]) / pairs[moments])
            result[e] = np.sqrt(np.clip(signal / total, 0, 1))
    return result


def _pooled(spectrogram: Floats) -> Doubles:
    """(rows, bands) standardised means of neighbouring bands."""
    bands = np.array_split(np.asarray(spectrogram, np.float64), min(BANDS, spectrogram.shape[1]), axis=1)
    pooled = np.stack([band.mean(axis=1) for band in bands], axis=1)
    z: Doubles = (pooled - pooled.mean(axis=0)) / np.maximum(pooled.std(axis=0), 1e-9)
    return z


def _earliest_matches(z: Doubles, starts: Rows, window: int) -> Rows:
    """For each start the earliest start, a window or more before it, of a window that is alike; -1 for none."""
    rows, bands = z.shape
    size = next_fast_len(rows + window, real=True)
    spectra = rfft(z, size, axis=0)
    sums, squares = (_moving_sum(x, window) for x in (z.sum(axis=1), (z * z).sum(axis=1)))
    energy = squares - sums**2 / (window * bands)
    enough = 0.1 * np.median(energy)
    earlier = np.full(len(starts), -1, np.intp)
    for i, start in enumerate(starts):
        if energy[start] < enough:
            continue
        query = z[start : start + window] - sums[start] / (window * bands)
        products = irfft((spectra * np.conj(rfft(query, size, axis=0))).sum(axis=1), size)[: start - window + 1]
        norms = np.sqrt(np.maximum(energy[: len(products)], enough) * energy[start])
        alike = np.flatnonzero(products > ALIKE * norms)
        if len(alike):
            near = alike[alike < alike[0] + window]
            earlier[i] = near[np.argmax(products[near] / norms[near])]
    return earlier


def _moving_sum(x: Doubles, window: int) -> Doubles:
    total = np.concatenate([[0.0], np.cumsum(x)])
    moving: Doubles = total[window:] - total[:-window]
    return moving
