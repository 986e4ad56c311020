"""How late a chain of filters shows a change of amplitude, and how long it rings: both measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.signal import sosfilt

Sections = npt.NDArray[np.float64]

STEP = 1.2  # a small step: RMS, power and log power then rise together
CARRIERS, PHASES = 64, 8
RING_ENERGY = 0.999


def envelope_delay_s(
    sos_list: Sequence[Sections], rate_hz: float, low_hz: float, high_hz: float, row_s: float
) -> float:
    """Seconds from a step of amplitude until the envelope of the filtered rows has risen halfway.

    sos_list: the filters in a row, each (sections, 6). low_hz, high_hz: carriers are spread evenly over
    this band, in several phases. row_s: the root mean square is taken over this long up to the newest
    sample, as the rows are.

    The carriers step from 1 to 1.2 and their root mean squares, evaluated at every sample, are averaged.
    The step falls anywhere between two samples, on average half a sample before the first larger one.
    """
    settle, after = _settling(sos_list, rate_hz, 0.3), int((0.5 + row_s) * rate_hz)
    sample = np.arange(settle + after)
    share = (np.arange(CARRIERS) + 0.5) / CARRIERS  # midpoints: a carrier right on a notch would say nothing
    frequency = (low_hz + share * (high_hz - low_hz))[:, None]
    phase = np.arange(PHASES) * (2 * np.pi / PHASES)
    turns = 2 * np.pi * sample[:, None, None] / rate_hz
    carriers = np.cos(turns * frequency + phase).reshape(len(sample), -1)  # (time, carriers x phases)
    carriers[settle:] *= STEP
    for sos in sos_list:
        carriers = sosfilt(sos, carriers, axis=0)

    newest = np.arange(settle - int(0.1 * rate_hz), len(sample))
    envelope = _trailing_rms(carriers, newest, row_s * rate_hz).mean(axis=1)
    before = envelope[newest < settle].mean()
    rise = (envelope - before) / (envelope[-after // 2 :].mean() - before)
    at = int(np.argmax((rise >= 0.5) & (newest >= settle)))
    halfway = newest[at - 1] + (0.5 - rise[at - 1]) / (rise[at] - rise[at - 1])
    return float((halfway - (settle - 0.5)) / rate_hz)


def ring_s(sos_list: Sequence[Sections], rate_hz: float) -> float:
    """Seconds until 99.9 % of the energy of the filters' common impulse response has come out."""
    impulse = np.zeros(_settling(sos_list, rate_hz, 0.1))
    impulse[0] = 1.0
    for sos in sos_list:
        impulse = sosfilt(sos, impulse)
    energy = np.cumsum(impulse**2)
    return float(np.searchsorted(energy, RING_ENERGY * energy[-1]) + 1) / rate_hz


def _trailing_rms(y: npt.NDArray[np.float64], newest: npt.NDArray[np.int64], width: float) -> npt.NDArray[np.float64]:
    """Root mean square over the `width` samples up to each `newest`; width need not be whole."""
    total = np.concatenate([np.zeros((1, y.shape[1])), np.cumsum(y**2, axis=0)])
    start = newest + 1 - width
    whole = np.floor(start).astype(np.int64)
    share = (start - whole)[:, None]
    upto = (1 - share) * total[whole] + share * total[whole + 1]
    rms: npt.NDArray[np.float64] = np.sqrt(np.maximum(total[newest + 1] - upto, 0.0) / width)
    return rms


def _settling(sos_list: Sequence[Sections], rate_hz: float, at_least_s: float) -> int:
    """Samples until the slowest pole has decayed to a millionth, at most 20 s."""
    poles = np.concatenate([np.roots(section[3:]) for sos in sos_list for section in sos] or [np.zeros(1)])
    slowest = min(float(np.abs(poles).max(initial=0.0)), 1 - 1e-9)
    decay = np.log(1e-6) / np.log(slowest) if slowest > 0 else 0.0
    return int(min(max(decay, at_least_s * rate_hz), 20.0 * rate_hz)) + 1
