"""What an amplifier records besides high gamma: 1/f background, drift, mains hum, artefacts; and Gaussian carriers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.interpolate import CubicSpline

Values = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]

CARRIER_HZ, CARRIER_EDGE_HZ = (60.0, 170.0), 10.0
BACKGROUND_UV, EXPONENT, KNEE_HZ = 40.0, 2.5, 1.0  # median SD; power falls as 1 / (1 + (f / knee)^exponent)
SHARED, REACH_MM = 0.5, 30.0  # share of the background's power that neighbours have in common, and how far
DRIFT_HZ, DRIFT_UV = 0.1, 40.0
HUM_UV, HUM_HARMONICS = 15.0, (1.0, 0.15, 0.3, 0.05, 0.1)
ARTEFACTS_PER_MIN = 3.0


@dataclass(frozen=True)
class Artefact:
    """shape (samples,) times size_uv (electrodes,), from sample start on."""

    start: int
    shape: Float32s
    size_uv: Float32s
    span: tuple[float, float, list[int]]


def artefacts(rng: np.random.Generator, samples: int, rate_hz: float, alive: npt.NDArray[np.bool_]) -> list[Artefact]:
    """Spikes on every electrode, and movement steps on eight neighbours that the amplifier's high-pass takes back."""
    found = []
    for start in np.sort(rng.integers(0, samples, rng.poisson(ARTEFACTS_PER_MIN * samples / rate_hz / 60))):
        if rng.random() < 0.5:
            shape = np.hanning(max(3, round(rng.uniform(0.01, 0.03) * rate_hz)))
            size_uv = rng.uniform(500, 1500) * rng.uniform(0.5, 1.0, len(alive))
        else:
            shape = np.exp(-np.arange(round(1.0 * rate_hz)) / (0.2 * rate_hz))
            near = np.roll(np.arange(len(alive)) < 8, rng.integers(len(alive)))
            size_uv = np.where(near, rng.choice([-1, 1]) * rng.uniform(200, 600), 0.0)
        size_uv = np.where(alive, size_uv, 0.0)
        kept = shape[: samples - start].astype(np.float32)
        span = (float(start / rate_hz), float((start + len(kept)) / rate_hz), np.flatnonzero(size_uv).tolist())
        found.append(Artefact(int(start), kept, size_uv.astype(np.float32), span))
    return found


def mixing(position_mm: Values) -> Values:
    """(electrodes, electrodes) triangular: white sources to a background that neighbours share in part."""
    distance = np.linalg.norm(position_mm[:, None] - position_mm, axis=-1)
    mixing: Values = np.linalg.cholesky(SHARED * np.exp(-distance / REACH_MM) + (1 - SHARED) * np.eye(len(distance)))
    return mixing


def carrier_spectrum(count: int, rate_hz: float) -> Values:
    """Amplitude over the frequencies of a real transform of `count` samples: a band with cosine edges, of SD 1."""
    f = scipy.fft.rfftfreq(count, 1 / rate_hz)
    inside = np.minimum(f - CARRIER_HZ[0], CARRIER_HZ[1] - f) / CARRIER_EDGE_HZ
    return _unit_sd(np.sin(np.pi / 2 * np.clip(inside + 0.5, 0, 1)) ** 2, count)


def background_spectrum(count: int, rate_hz: float) -> Values:
    """As `carrier_spectrum`: 1/f noise of SD 1 and, in proportion, the drift below it."""
    f = scipy.fft.rfftfreq(count, 1 / rate_hz)
    noise = _unit_sd(1 / np.sqrt(1 + (f / KNEE_HZ) ** EXPONENT), count)
    slow = ((f > 0) & (f < DRIFT_HZ)).astype(np.float64)
    drift = _unit_sd(slow, count) if slow.any() else slow
    return np.hypot(noise, DRIFT_UV / BACKGROUND_UV * drift)


def _unit_sd(amplitude: Values, count: int) -> Values:
    """Scaled so that complex noise of unit variance per part, times it, transforms to noise of SD 1."""
    scaled: Values = amplitude * (count / np.sqrt(4 * np.sum(amplitude**2)))
    return scaled


def noise(
    rng: np.random.Generator,
    count: int,
    electrodes: int,
    amplitude: Values,
    workers: int,
    mixing: Float32s | None = None,
) -> Float32s:
    """(count, electrodes) Gaussian noise drawn in the frequency domain, where filtering costs a product."""
    bins = np.flatnonzero(amplitude)
    first, last = bins[0], bins[-1] + 1
    white = rng.standard_normal((2 * (last - first), electrodes), dtype=np.float32)
    if mixing is not None:
        white = white @ mixing.T
    spectrum = np.zeros((len(amplitude), electrodes), np.complex64)
    shaped = spectrum[first:last]
    scale = amplitude[first:last, None].astype(np.float32)
    shaped.real, shaped.imag = white[0::2] * scale, white[1::2] * scale
    drawn: Float32s = scipy.fft.irfft(spectrum, count, axis=0, overwrite_x=True, workers=workers)
    return drawn


def hum(rng: np.random.Generator, samples: int, rate_hz: float, mains_hz: float) -> Float32s:
    """(samples, harmonics) of unit amplitude that wavers by a fifth within some 10 s; silent past the Nyquist rate."""
    t = np.arange(samples) / rate_hz
    knots = np.arange(0, max(t[-1], 0) + 20, 10.0)
    waver = CubicSpline(knots, 1 + 0.2 * rng.standard_normal((len(knots), len(HUM_HARMONICS))))(t)
    order = np.arange(1, len(HUM_HARMONICS) + 1)
    phase = rng.uniform(0, 2 * np.pi, len(order))
    turns = 2 * np.pi * mains_hz * t[:, None] * order + phase
    heard = np.where(order * mains_hz < rate_hz / 2, waver * np.cos(turns), 0.0)
    return heard.astype(np.float32)
