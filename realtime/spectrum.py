"""The power spectrum of every electrode's raw signal, for eyes: computed beside the lanes, never in their way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.signal import welch

from realtime.block import Block, Floats
from realtime.ring import Ring

EVERY_S = 2.0
NEWEST_S = 4.0
SEGMENT_S = 0.5  # bins 2 Hz apart
HIGHEST_HZ = 250.0
AT_ONCE = 16  # electrodes: a lane that wants the core waits no longer than these take
LEAST_POWER = 1e-12
Columns = npt.NDArray[np.intp]


def spectrum_bins(rate_hz: float) -> Floats:
    """Frequencies (bins,) in Hz of what `spectrum_db` gives."""
    rows = round(SEGMENT_S * rate_hz)
    bins: Floats = np.fft.rfftfreq(rows, 1.0 / rate_hz)
    return bins[bins <= HIGHEST_HZ]


def spectrum_db(data: Floats, rate_hz: float, columns: Columns | None = None) -> Floats:
    """Power density of columns of data (rows, channels), by default of all: (bins, columns) float32, dB of the unit
    squared per Hz. NaN where a sample is no number, and where there is less than one segment.

    Welch's method (1967): Hann windows of SEGMENT_S, half overlapping, their means taken off.
    """
    columns = np.arange(data.shape[1]) if columns is None else columns
    rows, bins = round(SEGMENT_S * rate_hz), len(spectrum_bins(rate_hz))
    powers = np.full((bins, len(columns)), np.nan, np.float32)
    for first in range(0, len(columns) if len(data) >= rows else 0, AT_ONCE):
        some = np.ascontiguousarray(data[:, columns[first : first + AT_ONCE]].T)
        density = welch(some, rate_hz, nperseg=rows)[1][:, :bins]
        powers[:, first : first + AT_ONCE] = 10.0 * np.log10(np.maximum(density.T, LEAST_POWER))
    return powers


class SpectrumWatch:
    """Every EVERY_S, while somebody wants them, the spectra of a ring's newest rows, in a thread of its own.

    columns: of the ring's rows, whose spectra go to publish(time_s, powers). wanted: asked before each.
    """

    def __init__(
        self,
        ring: Ring,
        rate_hz: float,
        columns: Columns,
        publish: Callable[[float, Floats], None],
        wanted: Callable[[], bool],
    ) -> None:
        self._ring, self._rate_hz, self._columns = ring, rate_hz, columns
        self._publish, self._wanted = publish, wanted
        self._thread: threading.Thread | None = None

    def start(self, stop: threading.Event) -> None:
        self._thread = threading.Thread(target=self._run, args=(stop,), name="spectrum", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY_S):
            if self._wanted():
                block = newest(self._ring, round(NEWEST_S * self._rate_hz))
                if len(block):
                    self._publish(float(block.times[-1]), spectrum_db(block.data, self._rate_hz, self._columns))


def newest(ring: Ring, rows: int) -> Block:
    """Copies of the newest rows that a ring holds, at most `rows` and none before the last gap."""
    cursor = ring.cursor(from_start=True)
    cursor.skip_to(rows)
    block = cursor.read()
    while cursor.behind:
        after = cursor.read()
        if after.index == block.end:  # came while we read
            break
        block = after
    return block
