"""What an analysis was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from encoders.weights import LoadedWhisper
from encoders.whisper import StreamingSettings


@dataclass(frozen=True)
class Truth:
    """What drives a simulated electrode. kind: layer, phone, onset, undriven or dead."""

    kind: str
    layer: int | None = None
    phone_class: str | None = None
    ceiling: float | None = None


@dataclass(frozen=True)
class Setup:
    """whispers: the models. streaming: how the causal ones hear. workers, scheduler: see `sweep.run_cells`.

    window_s: after a phone's onset. percentile: of r, above which electrodes count as encoding instead of by the false
    discovery rate. truth: of a simulated patient's electrodes, by name; empty for a real one. crop_s: of sound after a
    word's end that decoder layers still hear, the last of context_s seconds that they hear; None leaves them out.
    """

    whispers: tuple[LoadedWhisper, ...]
    streaming: StreamingSettings
    workers: int | None = None
    scheduler: str | None = None
    window_s: tuple[float, float] = (0.15, 0.20)
    percentile: float | None = None
    epochs: int = 8
    regions: dict[str, str] = field(default_factory=dict)
    positions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    system: str = ""
    truth: dict[str, Truth] = field(default_factory=dict)
    atlas: str = "destrieux"
    crop_s: float | None = 0.0
    context_s: float = 10.0

    def for_patient(self, positions: dict[str, tuple[float, ...]], regions: dict[str, str], system: str) -> Setup:
        """With the places of one patient's electrodes, whose names others may have too, in this system."""
        return replace(self, positions=self.positions | positions, regions=self.regions | regions, system=system)

    def facts(self) -> list[Any]:
        return [[[one.name, one.sha256] for one in self.whispers], str(self.streaming)]
