"""`Contamination`: which electrodes record the sound itself, through a cable or a plug, beside the brain.

After Roussel et al. 2020 (J. Neural Eng. 17, 056028): sound that leaks into an electrode makes its spectrogram follow
the sound's at the very same frequencies. Brain activity that follows speech does not: it is as broad as its band.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from realtime.block import Block, Mask, Times, bad_samples

Values = npt.NDArray[np.float64]

WINDOW_S = 0.1  # so bins are 10 Hz apart
LOWEST_HZ, HIGHEST_HZ = 70.0, 400.0
NYQUIST_SHARE = 0.9
CONTRAST_BINS = 2
NEAR = np.arange(-2, 3)  # frames by which delays not measured may put the two out of time
FAR = -np.round(np.linspace(100, 500, 20)).astype(np.int64)  # 5 to 25 s: pairings with nothing in common
LAGS = np.concatenate([NEAR, FAR])
BATCH = 20  # frames whose products are summed at once
QUIET_POWER = 1e-6  # mean square of full scale, -60 dB: below it there is nothing to be heard in an electrode
FLOOR = 1e-12
KEEP_S = 5.0  # of one stream, while the other is behind
ENOUGH_S = 30.0
Z_LIMIT, R_LIMIT = 6.0, 0.05


@dataclass(frozen=True)
class ContaminationResult:
    """Per electrode, (electrodes,), over everything heard so far; NaN where under ENOUGH_S count.

    r: mean correlation over same bins, at the best of the near pairings. z: r in SDs of the far ones. flagged: both
    over their limits. seconds: that counted. late_s: by how much the sound's frames were later in the best pairing.
    profile: (bins, electrodes) correlation of each bin with the same bin of the sound; bins_hz: their frequencies.
    """

    r: Values
    z: Values
    flagged: Mask
    seconds: Values
    late_s: Values
    profile: Values
    bins_hz: Values


@dataclass
class _Sums:
    """Over frames, for each lag: (lags, electrodes) n; (bins, lags, electrodes) all else. s: sound, e: ECoG."""

    n: Values
    s: Values
    ss: Values
    e: Values
    ee: Values
    se: Values

    def add(self, sound: Values, heard: Mask, ecog: Values, good: Mask) -> None:
        """sound (frames, lags, bins), heard (frames, lags); ecog (frames, bins, electrodes), good (frames,
        electrodes)."""
        weights, goods = heard.T.astype(np.float64), good.astype(np.float64)
        s, e = (sound * heard[..., None]).transpose(2, 1, 0), (ecog * good[:, None]).transpose(1, 0, 2)
        self.n += weights @ goods
        self.s += s @ goods
        self.ss += s**2 @ goods
        self.e += weights @ e
        self.ee += weights @ e**2
        self.se += s @ e

    def r(self) -> Values:
        """(bins, lags, electrodes) correlations."""
        n = np.maximum(self.n, 1)
        s, e = self.s / n, self.e / n
        variances = (self.ss / n - s**2) * (self.ee / n - e**2)
        r: Values = (self.se / n - s * e) / np.sqrt(np.maximum(variances, FLOOR))
        return r


class Contamination:
    """Takes sound and ECoG, before its reference, as they come in pieces of any length. Memory does not grow.
    One stream may be up to KEEP_S ahead of the other; frames that find no sound are counted in `without_sound`.

    Frames of 0.1 s, every 0.05 s, on the ECoG stream's own sample count; the sound's frame begins at the sample whose
    time is nearest. Of each frame the log power in 10 Hz bins from 70 to 400 Hz (or 0.45 of the ECoG's rate), minus the
    mean of the bins 20 Hz below and above: what is left is ripple in frequency, such as a voice's harmonics, and
    nothing that a broad response to loudness could share.

    For each electrode every bin is correlated with the same bin of the sound, and the correlations are averaged; the
    best of five pairings, the sound 0.1 s earlier to 0.1 s later, counts, for delays may not have been measured. The
    null is shuffled pairing: the sound of 5 to 25 s before, in 20 steps. z is r over their root mean square.

    Frames with a bad sample of an electrode do not count for it; bad or missing sound, or sound under -60 dB of full
    scale, counts for none.
    """

    def __init__(self, electrodes: int, ecog_rate_hz: float, sound_rate_hz: float) -> None:
        self.without_sound = 0
        self._hop = max(1, round(WINDOW_S * ecog_rate_hz / 2))
        self._hop_s = self._hop / ecog_rate_hz
        self._ecog = _Tail(2 * self._hop, ecog_rate_hz, electrodes)
        self._sound = _Tail(round(WINDOW_S * sound_rate_hz), sound_rate_hz, 1)
        top = min(HIGHEST_HZ, NYQUIST_SHARE * ecog_rate_hz / 2)
        self._bins = np.arange(round(LOWEST_HZ * WINDOW_S), int(top * WINDOW_S) + 1)
        self.bins_hz = self._bins / WINDOW_S
        shape = (len(self._bins), len(LAGS), electrodes)
        self._sums = _Sums(np.zeros(shape[1:]), *(np.zeros(shape) for _ in range(5)))
        self._frame = 0  # the next one
        kept = 1 + int(NEAR[-1]) - int(FAR[-1])
        self._ripples, self._heard = np.zeros((kept, len(self._bins))), np.zeros(kept, bool)
        self._numbers = np.full(kept, -1, np.int64)  # of the frames in there
        self._waiting: dict[int, tuple[Values, Mask]] = {}  # ECoG frames whose later sound is yet to come
        self._batch: list[tuple[Values, Mask, Values, Mask]] = []

    def begin(self) -> None:
        """Another recording follows: its rows do not go on from those before. What was counted stays."""
        self._sum_up()
        for tail in (self._ecog, self._sound):
            tail.forget(tail.end)
        self._start_anew()

    def add_sound(self, x: Block) -> None:
        """(rows, 1) at sound_rate_hz, full scale 1."""
        self._sound.add(x)
        self._work()

    def add_ecog(self, x: Block) -> None:
        """(rows, electrodes) at ecog_rate_hz, before the reference, which passes the sound on to all."""
        if x.index < self._ecog.start:
            self._start_anew()
        self._ecog.add(x)
        self._work()

    def result(self) -> ContaminationResult:
        self._sum_up()
        near = len(NEAR)
        r = self._sums.r()
        mean = r.mean(axis=0)
        best = np.argmax(mean[:near], axis=0)
        electrode = np.arange(mean.shape[1])
        same, profile = mean[best, electrode], r[:, best, electrode]
        z = same / np.maximum(np.sqrt(np.mean(np.square(mean[near:]), axis=0)), FLOOR)
        seconds = self._sums.n[best, electrode] * self._hop_s
        known = seconds >= ENOUGH_S
        unknown = np.where(known, 0.0, np.nan)
        flagged: Mask = known & (z > Z_LIMIT) & (same > R_LIMIT)
        late_s = NEAR[best] * self._hop_s
        return ContaminationResult(
            same + unknown, z + unknown, flagged, seconds, late_s, profile + unknown, self.bins_hz
        )

    def _start_anew(self) -> None:
        self._frame = 0
        self._numbers[:] = -1
        self._waiting.clear()

    def _work(self) -> None:
        """Every frame that both streams have."""
        while (start := self._next_start()) is not None:
            ecog, bad, times = self._ecog.take(start)
            at = self._sound.row_at(times[0])
            if at is None and self._ecog.newest_s - times[0] < KEEP_S:
                return  # the sound may still come
            frame = start // self._hop
            self._keep_sound(frame, at)
            self._waiting[frame] = _ripple(ecog, self._bins), ~np.any(bad, axis=0)
            self._pair(frame - int(NEAR[-1]))
            self._frame = frame + 1
            self._ecog.forget(start)
            self._sound.forget_before(times[0] - WINDOW_S)

    def _next_start(self) -> int | None:
        """Index of the first sample of the next frame, None where it is not all there."""
        first = max(self._frame, -(-self._ecog.start // self._hop))
        return first * self._hop if self._ecog.has(first * self._hop) else None

    def _keep_sound(self, frame: int, at: int | None) -> None:
        slot = frame % len(self._numbers)
        self._numbers[slot], self._heard[slot] = frame, False
        if at is None or at < 0:
            self.without_sound += 1
            return
        sound, bad, _ = self._sound.take(at)
        self._heard[slot] = not bad.any() and np.mean(sound**2) > QUIET_POWER
        self._ripples[slot] = _ripple(sound, self._bins)[:, 0]

    def _pair(self, frame: int) -> None:
        """An ECoG frame with the sound around it and the sound long before."""
        for old in [number for number in self._waiting if number < frame]:
            del self._waiting[old]  # before a gap
        if frame not in self._waiting:
            return
        ecog, good = self._waiting.pop(frame)
        wanted = frame + LAGS
        slots = wanted % len(self._numbers)
        heard = self._heard[slots] & (self._numbers[slots] == wanted)
        self._batch.append((self._ripples[slots], heard, ecog, good))
        if (frame + 1) % BATCH == 0:
            self._sum_up()

    def _sum_up(self) -> None:
        if self._batch:
            self._sums.add(*(np.stack(part) for part in zip(*self._batch, strict=True)))
            self._batch.clear()


class _Tail:
    """The newest rows of one stream, without a gap."""

    def __init__(self, window: int, rate_hz: float, channels: int) -> None:
        self._window, self._rate_hz, self._channels = window, rate_hz, channels
        self.start = 0
        self._data, self._bad = np.zeros((0, channels)), np.zeros((0, channels), bool)
        self._times: Times = np.zeros(0)

    @property
    def end(self) -> int:
        return self.start + len(self._times)

    @property
    def newest_s(self) -> float:
        return float(self._times[-1]) if len(self._times) else -np.inf

    def add(self, x: Block) -> None:
        if not len(x):
            return
        if not len(self._times) or x.index != self.end:
            self.start = x.index
            self._data, self._bad, self._times = self._data[:0], self._bad[:0], self._times[:0]
        self._data = np.concatenate([self._data, x.data])
        self._bad = np.concatenate([self._bad, bad_samples(x, self._channels)])
        self._times = np.concatenate([self._times, x.times])
        surplus = len(self._times) - round(2 * KEEP_S * self._rate_hz)
        if surplus > 0:
            self.forget(self.start + surplus)

    def has(self, start: int) -> bool:
        return self.start <= start and start + self._window <= self.end

    def take(self, start: int) -> tuple[Values, Mask, Times]:
        rows = slice(start - self.start, start - self.start + self._window)
        return self._data[rows], self._bad[rows], self._times[rows]

    def row_at(self, time_s: float) -> int | None:
        """Index of the row of this time, -1 where a gap or the start is in its window, None where it is yet to come."""
        if not len(self._times):
            return None
        row = int(np.searchsorted(self._times, time_s - 0.5 / self._rate_hz))
        if row + self._window > len(self._times):
            return None
        return self.start + row if abs(self._times[row] - time_s) <= 1.0 / self._rate_hz else -1

    def forget(self, start: int) -> None:
        """The rows before `start`."""
        gone = min(max(0, start - self.start), len(self._times))
        self.start += gone
        self._data, self._bad, self._times = self._data[gone:], self._bad[gone:], self._times[gone:]

    def forget_before(self, time_s: float) -> None:
        self.forget(self.start + int(np.searchsorted(self._times, time_s)))


def _ripple(x: Values, bins: npt.NDArray[np.int64]) -> Values:
    """(bins, channels) log power of one frame, minus the mean of the bins around."""
    window = np.hanning(len(x) + 1)[:-1, None]
    spectrum = scipy.fft.rfft(x * window, axis=0)[bins[0] - CONTRAST_BINS : bins[-1] + CONTRAST_BINS + 1]
    power = np.log(spectrum.real**2 + spectrum.imag**2 + FLOOR)
    ripple: Values = power[CONTRAST_BINS:-CONTRAST_BINS] - 0.5 * (
        power[: -2 * CONTRAST_BINS] + power[2 * CONTRAST_BINS :]
    )
    return ripple
