"""Power spectra as an engine sends them, and what is wrong with a channel by its spectrum. No Qt."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from realtime.block import Floats, Times

DEAD_DB, NOISY_DB, HUM_DB = -20.0, 10.0, 10.0
MAINS_HZ = (50.0, 60.0)
BAND_HZ = (4.0, 200.0)
BESIDE_HZ = (6.0, 14.0)  # from the mains' line: what its height is measured against
NAMED = 4


class Spectra:
    """The newest spectrum of each channel. One thread adds, any thread reads.

    names: of the channels. written: spectra so far; a change says that there is something new to draw.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.written = 0
        self._stamp_s = np.nan
        self._growing: Floats = np.zeros((0, 1 + len(self.names)), np.float32)
        self._whole = self._growing
        self._lock = threading.Lock()

    def add(self, times: Times, values: Floats) -> None:
        """Rows (rows, 1 + channels): frequency in Hz, then dB. Rows of one stamp are one spectrum."""
        for stamp_s in dict.fromkeys(times.tolist()):
            rows = values[times == stamp_s]
            self._growing = rows if stamp_s != self._stamp_s else np.concatenate([self._growing, rows])
            self._stamp_s = stamp_s
            with self._lock:
                if len(self._growing) >= len(self._whole):
                    self._whole = self._growing
                    self.written += 1

    def latest(self) -> tuple[Floats, Floats]:
        """Frequencies (bins,) in Hz and power (bins, channels) in dB; no bins before the first."""
        with self._lock:
            return self._whole[:, 0], self._whole[:, 1:]


def verdicts(names: Sequence[str], bins_hz: Floats, powers: Floats) -> dict[str, str]:
    """What is wrong with a channel: "no numbers", "dead", "noisy" or "50 Hz hum" by name; nothing where it is well.

    powers: (bins, channels) in dB. Dead and noisy are told from the median channel: its power is a hundredth, or ten
    times, of that one's. Hum: the line of the mains stands out of its surroundings tenfold.
    """
    if not len(bins_hz):
        return {}
    found: dict[str, str] = {}
    level = _level_db(bins_hz, powers)
    known = np.isfinite(level)
    typical = float(np.median(level[known])) if known.any() else np.nan
    mains_hz, hum = _hum_db(bins_hz, powers)
    for k, name in enumerate(names):
        if not known[k]:
            found[name] = "no numbers"
        elif level[k] < typical + DEAD_DB:
            found[name] = "dead"
        elif level[k] > typical + NOISY_DB:
            found[name] = "noisy"
        elif hum[k] > HUM_DB:
            found[name] = f"{mains_hz:g} Hz hum"
    return found


def verdict_words(found: dict[str, str], channels: int) -> str:
    """Which channels have what, the rarer first; empty where all is well."""
    by_verdict: dict[str, list[str]] = {}
    for name, verdict in found.items():
        by_verdict.setdefault(verdict, []).append(name)
    parts = []
    for verdict, names in sorted(by_verdict.items(), key=lambda entry: len(entry[1])):
        few = ", ".join(names) if len(names) <= NAMED else f"{len(names)} of {channels}"
        parts.append(f"{verdict}: {few}")
    return "; ".join(parts)


def _level_db(bins_hz: Floats, powers: Floats) -> Floats:
    """(channels,) mean over the band, the mains' lines left out."""
    inside = (bins_hz >= BAND_HZ[0]) & (bins_hz <= BAND_HZ[1])
    for mains_hz in MAINS_HZ:
        inside &= np.abs(bins_hz - mains_hz * np.round(bins_hz / mains_hz)) > 2.0
    level: Floats = powers[inside].mean(axis=0) if inside.any() else np.full(powers.shape[1], np.nan)
    return level


def _hum_db(bins_hz: Floats, powers: Floats) -> tuple[float, Floats]:
    """The mains' frequency, whichever stands out more, and (channels,) by how much it does."""
    best: tuple[float, Floats] = (MAINS_HZ[0], np.full(powers.shape[1], -np.inf))
    for mains_hz in MAINS_HZ:
        away_hz = np.abs(bins_hz - mains_hz)
        line, beside = away_hz <= 1.0, (away_hz >= BESIDE_HZ[0]) & (away_hz <= BESIDE_HZ[1])
        if line.any() and beside.any():
            stands = powers[line].max(axis=0) - np.median(powers[beside], axis=0)
            stands = np.where(np.isfinite(stands), stands, -np.inf)
            if np.median(stands) > np.median(best[1]):
                best = (mains_hz, stands)
    return best
