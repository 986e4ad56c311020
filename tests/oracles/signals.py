"""The ECoG chain written slowly: one sample at a time, in plain Python loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy.signal import butter

Values = npt.NDArray[np.float64]


def repair(
    rows: dict[int, list[float]], times: dict[int, float], fill_rows: int, hold: bool
) -> tuple[list[int], list[list[float]], list[list[bool]], list[float]]:
    """Rows by stream index to (indices, data, bad, times), gaps of up to fill_rows filled. Indices must rise."""
    indices, data, bad, out_times = [], [], [], []
    last: list[float] | None = None
    before: int | None = None
    for index in sorted(rows):
        if before is not None and index - before - 1 > fill_rows:
            last = None
        elif before is not None:
            for lost in range(before + 1, index):
                share = (lost - before) / (index - before)
                indices.append(lost)
                data.append(list(last) if hold and last is not None else [0.0] * len(rows[index]))
                bad.append([True] * len(rows[index]))
                out_times.append(times[before] + share * (times[index] - times[before]))
        row, marks = [], []
        for channel, value in enumerate(rows[index]):
            good = math.isfinite(value)
            row.append(value if good else (last[channel] if hold and last is not None else 0.0))
            marks.append(not good)
        last, before = row, index
        indices.append(index)
        data.append(row)
        bad.append(marks)
        out_times.append(times[index])
    return indices, data, bad, out_times


def reference(data: Values, bad: npt.NDArray[np.bool_], groups: list[list[int]]) -> Values:
    out = np.array(data, np.float64)
    for t in range(len(data)):
        for group in groups:
            good = [float(data[t, c]) for c in group if not bad[t, c]]
            mean = math.fsum(good) / len(good) if good else 0.0
            for c in group:
                out[t, c] = float(data[t, c]) - mean
    return out


def difference_equation(b: Values, a: Values, x: Values) -> Values:
    """a0 y[n] = sum b[k] x[n - k] - sum a[k] y[n - k] of one channel, direct form.

    Before its first sample x was that sample forever, and y what a filter gives for it.
    """
    gain = float(np.sum(b) / np.sum(a))
    y = np.zeros(len(x))
    for n in range(len(x)):
        total = 0.0
        for k in range(len(b)):
            total += b[k] * (x[n - k] if n >= k else x[0])
        for k in range(1, len(a)):
            total -= a[k] * (y[n - k] if n >= k else gain * x[0])
        y[n] = total / a[0]
    return y


def notch(x: Values, rate_hz: float, frequencies_hz: list[float], q: float) -> Values:
    """One channel through second-order notches, from the analogue prototype by the bilinear transform.

    H(s) = (s^2 + w^2) / (s^2 + s w / q + w^2), its bandwidth pre-warped as its centre is.
    """
    for frequency in frequencies_hz:
        w = 2 * math.pi * frequency / rate_hz
        beta = math.tan(w / q / 2)
        gain = 1 / (1 + beta)
        b = gain * np.array([1, -2 * math.cos(w), 1])
        a = np.array([1, -2 * gain * math.cos(w), 2 * gain - 1])
        x = difference_equation(b, a, x)
    return x


def band_pass(x: Values, rate_hz: float, low_hz: float, high_hz: float) -> Values:
    """One channel through the order-8 filter as one difference equation."""
    b, a = butter(4, [low_hz, high_hz], "bandpass", fs=rate_hz)
    return difference_equation(np.asarray(b), np.asarray(a), x)


def row_bounds(samples: int, rate: Fraction, row_rate: Fraction) -> list[tuple[int, int]]:
    """First and last sample of every complete row, in exact arithmetic."""
    bounds = []
    k = 0
    while math.ceil((k + 1) * rate / row_rate) <= samples:
        bounds.append((math.ceil(k * rate / row_rate), math.ceil((k + 1) * rate / row_rate) - 1))
        k += 1
    return bounds


def log_power(filtered: Values, bounds: list[tuple[int, int]], epsilon: float) -> Values:
    return np.array(
        [math.log(sum(float(v) ** 2 for v in filtered[a : b + 1]) / (b - a + 1) + epsilon) for a, b in bounds]
    )


def row_bad(bad: list[bool], bounds: list[tuple[int, int]], guard: int) -> list[bool]:
    """A row is bad with a bad sample in it or in the guard before it; samples before the start are bad."""
    marks = []
    for first, last in bounds:
        span = range(first - guard, last + 1)
        marks.append(any(i < 0 or bad[i] for i in span))
    return marks


def z_score(x: Values, bad: npt.NDArray[np.bool_], need: int) -> tuple[Values, npt.NDArray[np.bool_]]:
    """With no baseline: collected row by row; (z, bad)."""
    out, marks = np.zeros(x.shape), np.ones(x.shape, bool)
    for c in range(x.shape[1]):
        taken: list[float] = []
        for t in range(len(x)):
            if len(taken) >= need or (t >= 2 * need and len(taken) >= need / 2):
                median = float(np.median(taken))
                mad = float(np.median([abs(v - median) for v in taken]))
                if mad > 0:
                    out[t, c] = (x[t, c] - median) / (1.4826 * mad)
                    marks[t, c] = bad[t, c]
            elif not bad[t, c] and t < 2 * need:
                taken.append(float(x[t, c]))
    return out, marks
