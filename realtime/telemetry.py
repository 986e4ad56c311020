"""What the engine measures of itself, for every row that it publishes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from realtime.block import Block, Floats, Times
from realtime.lane import Step
from realtime.latency import Histogram
from realtime.lead import Leads

TELEMETRY = (
    "row_index",
    "newest_sample_index",
    "newest_sample_time",
    "arrival_time",
    "block_complete_time",
    "whisper_done_time",
    "model_done_time",
    "published_time",
    "sound_lost",
    "sound_skipped",
    "ecog_lost",
    "ecog_skipped",
)


@dataclass
class Latencies:
    """Milliseconds of one lane, a value per published row.

    wait: from the time that the row speaks of to the newest sample it used: the block's length and the look-ahead.
    transport: from that sample's stamp to its arrival. compute: from its arrival to the publication.
    to_publication: transport and compute. stages: when each stage ended, from the one before.
    """

    wait: Histogram = field(default_factory=Histogram)
    transport: Histogram = field(default_factory=Histogram)
    compute: Histogram = field(default_factory=Histogram)
    to_publication: Histogram = field(default_factory=Histogram)
    stages: dict[str, Histogram] = field(default_factory=dict)

    def add(self, times: Times, step: Step, published_s: float) -> None:
        """Rows that speak of `times`, made in one step."""
        rows = len(times)
        for time_s in times.tolist():
            self.wait.add((step.newest_time_s - time_s) * 1e3)
        self.transport.add((step.arrival_s - step.newest_time_s) * 1e3, rows)
        self.compute.add((published_s - step.arrival_s) * 1e3, rows)
        self.to_publication.add((published_s - step.newest_time_s) * 1e3, rows)
        before = step.taken_s
        self._stage("queue").add((before - step.arrival_s) * 1e3, rows)
        for name, done_s in {**step.done_s, "publish": published_s}.items():
            self._stage(name).add((done_s - before) * 1e3, rows)
            before = done_s

    def _stage(self, name: str) -> Histogram:
        return self.stages.setdefault(name, Histogram())

    def facts(self) -> dict[str, Any]:
        """Percentiles of each part, as JSON values."""
        return {
            "sound_to_prediction": self.to_publication.summary(),
            "compute": self.compute.summary(),
            "transport": self.transport.summary(),
            "wait_for_block": self.wait.summary(),
            "stages": {name: histogram.summary() for name, histogram in self.stages.items()},
        }


@dataclass
class Telemetry:
    """Both lanes' latencies, and the leads of the predictions. ecog: of observed rows, as the lane has them."""

    sound: Latencies = field(default_factory=Latencies)
    ecog: Latencies = field(default_factory=Latencies)
    leads: Leads = field(default_factory=Leads)

    def facts(self) -> dict[str, Any]:
        """Percentiles of everything, as JSON values; None where there is no value yet."""
        ecog = self.ecog.facts()
        ecog["ecog_to_observed"] = ecog.pop("sound_to_prediction")
        leads = {"lead_physical": self.leads.physical.summary(), "lead_display": self.leads.display.summary()}
        facts: dict[str, Any] = _known({**self.sound.facts(), "ecog": ecog, **leads})
        return facts


def telemetry_rows(y: Block, step: Step, published_s: float, counts: tuple[int, int, int, int]) -> Floats:
    """(rows, len(TELEMETRY)) float64 for predicted rows. counts: sound lost, skipped, ECoG lost, skipped."""
    done = step.done_s
    row = [
        0.0,
        step.newest_index,
        step.newest_time_s,
        step.arrival_s,
        step.taken_s,
        done.get("whisper", np.nan),
        done.get("model", np.nan),
        published_s,
        *counts,
    ]
    data = np.tile(np.array(row, np.float64), (len(y), 1))
    data[:, 0] = np.arange(y.index, y.end)
    return data


def _known(value: Any) -> Any:
    """JSON has no NaN: None."""
    if isinstance(value, dict):
        return {key: _known(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else round(value, 3)
