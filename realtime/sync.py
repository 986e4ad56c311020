"""`measure_sync`: how much later one stream stamps a sound than another that carries the same sound."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.signal import resample_poly
from scipy.stats import theilslopes

from realtime.block import Times

Values = npt.NDArray[np.float64]

BAND_HZ = 1000.0  # below which sounds are compared
OVERSAMPLED = 4  # so that neither interpolation nor the peak's parabola misleads
SEGMENT_S = 5.0
LARGEST_S = 1.0  # delay that is looked for
LEAST_PEAK = 0.15  # correlation; two recordings of one sound have more
PEAK_TO_REST = 2.5  # over the largest correlation further away than NEAR_S
NEAR_S = 0.03
AGREE_S = 0.002  # of a segment with the line through all
LEAST_SHARE, LEAST_SEGMENTS = 0.5, 3
LEAST_DRIFT_S = 60.0  # a shorter stretch says nothing of clocks


@dataclass(frozen=True)
class SyncReport:
    """offset_s: how much later the first stream stamps the sound than the second, in the middle of the recording.

    spread_s: SD of single segments about the line through all, robust. drift_ppm: by how much the offset grows, in
    millionths of the time that passes; NaN under a minute. correlation: median over the segments. times_s, offsets_s:
    of each segment in which the sound was found; segments: that had sound in both.
    """

    offset_s: float
    spread_s: float
    drift_ppm: float
    correlation: float
    times_s: Values
    offsets_s: Values
    segments: int

    @property
    def drift_ms_per_min(self) -> float:
        return self.drift_ppm * 0.06


@dataclass(frozen=True)
class NotMeasurable:
    """Why no offset can be given, in words for the user."""

    reason: str


def measure_sync(first: Values, first_times: Times, second: Values, second_times: Times) -> SyncReport | NotMeasurable:
    """Offset, spread and drift between two recordings of one sound, (samples,) each with the stamps of their samples.

    Both are limited to what the slower one can hold, put on a common grid of four times its rate, differenced (which
    takes out drift and hum's weight), and cut into segments of 5 s. In each the normalised cross-correlation within a
    second is searched for its largest absolute value (a plug may turn the sign), refined by a parabola.
    A segment counts where that peak is
    over LEAST_PEAK and stands out PEAK_TO_REST times; a line through the offsets over time (Theil and Sen) gives offset
    and drift. Where under half of the segments that have sound agree with it, there is no shared signal.
    """
    slower_hz = min(2 * BAND_HZ, _rate(first_times), _rate(second_times))
    rate_hz = OVERSAMPLED * slower_hz
    start, stop = max(first_times[0], second_times[0]), min(first_times[-1], second_times[-1])
    if not stop - start >= LEAST_SEGMENTS * SEGMENT_S:
        return NotMeasurable(
            f"the streams have {max(0.0, stop - start):.0f} s in common, at least {LEAST_SEGMENTS * SEGMENT_S:.0f} s "
            "are needed: record for longer"
        )
    grid = start + np.arange(int((stop - start) * rate_hz)) / rate_hz
    a, b = (np.diff(_on_grid(x, t, grid, slower_hz)) for x, t in ((first, first_times), (second, second_times)))
    if min(a.std(), b.std()) < 1e-12:
        which = "first" if a.std() < 1e-12 else "second"
        return NotMeasurable(f"the {which} stream's channel is silent: play sound, and check which channel it is")
    times, offsets, peaks, segments = _segments(a, b, grid, rate_hz)
    return _line(times, offsets, peaks, segments)


def _rate(times: Times) -> float:
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 and times[-1] > times[0] else 1.0


def _on_grid(x: Values, times: Times, grid: Times, slower_hz: float) -> Values:
    """Limited to half of slower_hz, and at the grid's times."""
    ratio = Fraction(slower_hz / _rate(times)).limit_denominator(200)
    up, down = (1, 1) if ratio >= 1 else (ratio.numerator, ratio.denominator)
    finer = resample_poly(resample_poly(x.astype(np.float64), up, down), OVERSAMPLED, 1)
    at = np.arange(len(finer)) * (down / up / OVERSAMPLED)
    at_times = np.interp(at, np.arange(len(times)), times)
    found: Values = np.interp(grid, at_times, finer)
    return found


def _segments(a: Values, b: Values, grid: Times, rate_hz: float) -> tuple[Values, Values, Values, int]:
    """Times, offsets and peaks of the segments in which one sound was found, and how many had any sound."""
    rows, largest = round(SEGMENT_S * rate_hz), round(LARGEST_S * rate_hz)
    loud_a, loud_b = (_loud(x, rows) for x in (a, b))
    found, segments = [], 0
    for number in range(len(a) // rows):
        if not (loud_a[number] and loud_b[number]):
            continue
        segments += 1
        part = slice(number * rows, (number + 1) * rows)
        peak = _peak(a[part], b[part], largest, round(NEAR_S * rate_hz))
        if peak is not None:
            found.append((grid[part].mean(), peak[0] / rate_hz, peak[1]))
    times, offsets, peaks = np.array(found).reshape(-1, 3).T
    return times, offsets, peaks, segments


def _loud(x: Values, rows: int) -> npt.NDArray[np.bool_]:
    """Which segments are not silent beside the others."""
    power = np.square(x[: len(x) // rows * rows].reshape(-1, rows)).mean(axis=1)
    return np.asarray(power > 1e-3 * power.max())


def _peak(a: Values, b: Values, largest: int, near: int) -> tuple[float, float] | None:
    """(samples that a is later than b, correlation) of the largest correlation, None where it does not stand out."""
    count = scipy.fft.next_fast_len(2 * len(a), real=True)
    cross = scipy.fft.rfft(a - a.mean(), count) * np.conj(scipy.fft.rfft(b - b.mean(), count))
    r = scipy.fft.irfft(cross, count) / (len(a) * a.std() * b.std())
    r = np.concatenate([r[-largest:], r[: largest + 1]])
    size = np.abs(r)
    at = int(np.argmax(size))
    rest = np.concatenate([size[: max(0, at - near)], size[at + near + 1 :]])
    if size[at] < LEAST_PEAK or size[at] < PEAK_TO_REST * rest.max() or not 0 < at < len(r) - 1:
        return None
    before, here, after = size[at - 1 : at + 2]
    share = 0.5 * (before - after) / min(before - 2 * here + after, -1e-12)
    return at + share - largest, float(r[at])


def _line(times: Values, offsets: Values, peaks: Values, segments: int) -> SyncReport | NotMeasurable:
    none = NotMeasurable(
        f"no shared signal: the same sound was found in {len(times)} of {segments} stretches of {SEGMENT_S:g} s; "
        "feed the loudspeaker's signal into the amplifier's auxiliary input, check the channels, and play speech"
    )
    if len(times) < LEAST_SEGMENTS or len(times) < LEAST_SHARE * segments:
        return none
    slope, intercept, *_ = theilslopes(offsets, times - times.mean())
    off = offsets - (intercept + slope * (times - times.mean()))
    agrees = np.abs(off) < AGREE_S
    if agrees.sum() < max(LEAST_SEGMENTS, LEAST_SHARE * segments):
        return none
    times, offsets, peaks = times[agrees], offsets[agrees], peaks[agrees]
    span_s = float(times[-1] - times[0])
    middle = times.mean()
    slope, intercept, *_ = theilslopes(offsets, times - middle)
    known = span_s >= LEAST_DRIFT_S
    off = offsets - (intercept + slope * (times - middle) if known else np.median(offsets))
    return SyncReport(
        offset_s=float(intercept if known else np.median(offsets)),
        spread_s=float(1.4826 * np.median(np.abs(off - np.median(off)))),
        drift_ppm=float(slope * 1e6) if known else float("nan"),
        correlation=float(np.median(peaks)),
        times_s=times,
        offsets_s=offsets,
        segments=segments,
    )
