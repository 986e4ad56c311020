"""The engine's outlets: what every other program, the monitor first, gets to see."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from realtime.block import ROW_RATE_HZ, Block, Floats, Spec, Times
from realtime.messages import with_message
from realtime.sinks.lsl import Outlet
from realtime.sources.pump import Event
from realtime.telemetry import TELEMETRY

SOUND_ROW_HZ = 50.0
MELS = 80


class Results:
    """Outlets `{engine}.predicted`, `.attention`, `.observed`, `.score`, `.sound`, `.telemetry`, `.status`, `.markers`.

    Their source_ids follow from the engine's name alone, so that a restarted engine is found again.
    attention: (heads, lags), None where there is no model; then nothing is predicted or scored either. row_rate_hz: of
    what is predicted and observed, and of what is told of each predicted row.
    """

    def __init__(
        self,
        engine: str,
        electrodes: Sequence[str],
        attention: tuple[int, int] | None,
        row_rate_hz: float = ROW_RATE_HZ,
    ):
        self.engine = engine
        self._lock = threading.Lock()
        self._outlets: dict[str, Outlet] = {}
        self.status = self._outlet("status", "Markers", 0.0, ("status",), text=True)
        self.markers = self._outlet("markers", "Markers", 0.0, ("marker",), text=True)
        self.observed = self._outlet("observed", "HighGamma", row_rate_hz, electrodes, "SD")
        self.sound = self._outlet("sound", "Sound", SOUND_ROW_HZ, ("level_db", *(f"mel{i}" for i in range(MELS))))
        if attention is not None:
            heads, lags = attention
            names = [f"head{h}_lag{i}" for h in range(heads) for i in range(lags)]
            self.predicted = self._outlet("predicted", "HighGamma", row_rate_hz, electrodes, "SD")
            self.attention = self._outlet("attention", "Attention", row_rate_hz, names)
            self.score = self._outlet("score", "Score", 1.0, (*electrodes, "null_max_p95"), "r")
            self.telemetry = self._outlet("telemetry", "Telemetry", row_rate_hz, TELEMETRY, double=True)

    def _outlet(
        self,
        what: str,
        type: str,
        rate_hz: float,
        channels: Sequence[str],
        unit: str = "",
        text: bool = False,
        double: bool = False,
    ) -> Outlet:
        name = f"{self.engine}.{what}"
        self._outlets[name] = Outlet(Spec(name, rate_hz, tuple(channels), unit), type, name, text, double=double)
        return self._outlets[name]

    def open_spectrum(self, channels: Sequence[str]) -> None:
        """Add `{engine}.spectrum`: rows of one stamp are one spectrum, a row for each frequency, `hz` and then dB."""
        self.spectrum = self._outlet("spectrum", "Spectrum", 0.0, ("hz", *channels), "dB")

    def push_spectrum(self, time_s: float, bins_hz: Floats, powers: Floats) -> None:
        """powers: (bins, channels), of the samples up to time_s."""
        rows = np.concatenate([bins_hz[:, None], powers], axis=1).astype(np.float32)
        self.spectrum.push(Block(rows, np.full(len(rows), time_s)))

    def names(self) -> tuple[str, ...]:
        """Of all outlets that this engine has."""
        return tuple(self._outlets)

    def wait_for_consumers(self, names: Sequence[str], timeout_s: float) -> bool:
        """True as soon as somebody listens to each of these outlets, such as a recorder that finds them again."""
        until = time.monotonic() + timeout_s
        return all(self._outlets[n].wait_for_consumers(max(0.01, until - time.monotonic())) for n in names)

    def tell(self, event: Event, time_s: float) -> None:
        """Send one status event; from any thread."""
        content = {"time": time_s, **with_message(event)}
        with self._lock:
            self.status.push_text(json.dumps(content, default=_plain), time_s)

    def mark(self, text: str, time_s: float) -> None:
        """Send an operator's marker, stamped with the moment that it speaks of; from any thread."""
        with self._lock:
            self.markers.push_text(text, time_s)

    def push_score(self, score: Block) -> None:
        null = score.extra["null_max_p95"].astype(np.float32)
        self.score.push(replace(score, data=np.concatenate([score.data, null], axis=1), extra={}))

    def push_sound(self, level_db: float, mel: Block) -> None:
        """Every second log-mel row, 50 a second, beside the level of the newest samples."""
        rows = slice(mel.index % 2, None, 2)
        data: Floats = np.zeros((len(mel.times[rows]), 1 + MELS), np.float32)
        data[:, 0] = level_db
        shown = min(MELS, mel.data.shape[1])
        data[:, 1 : 1 + shown] = mel.data[rows, :shown]
        times: Times = mel.times[rows]
        self.sound.push(Block(data, times))


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)
