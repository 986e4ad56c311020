"""What the engine measures of itself, for every row that it publishes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    "stem_done_time",  # last, so that the others stand where they stand in older recordings
)

COUNTED_AT_ONCE = 64  # steps


class Latencies:
    """Milliseconds of one lane, a value per published row.

    wait: from the time that the row speaks of to the newest sample it used: the block's length and the look-ahead.
    transport: from that sample's stamp to its arrival. compute: from its arrival to the publication.
    to_publication: transport and compute. stages: when each stage ended, from the one before.
    Steps are noted as they come, and counted many at once or when somebody looks: a lane has other things to do.
    """

    def __init__(self) -> None:
        self._wait, self._transport, self._compute, self._whole = (Histogram() for _ in range(4))
        self._stages: dict[str, Histogram] = {}
        self._noted: list[Noted] = []
        self._names: tuple[str, ...] = ()  # of the stages, the same for every step of a lane
        self._lock = threading.Lock()

    def add(self, times: Times, step: Step, published_s: float) -> None:
        """Rows that speak of `times`, made in one step."""
        stamps_s = (step.arrival_s, step.taken_s, *step.done_s.values(), published_s)
        with self._lock:
            self._names = ("queue", *step.done_s, "publish")
            self._noted.append(Noted(times, step.newest_time_s, stamps_s))
            if len(self._noted) >= COUNTED_AT_ONCE:
                self._count()

    @property
    def wait(self) -> Histogram:
        return self._counted()._wait

    @property
    def transport(self) -> Histogram:
        return self._counted()._transport

    @property
    def compute(self) -> Histogram:
        return self._counted()._compute

    @property
    def to_publication(self) -> Histogram:
        return self._counted()._whole

    @property
    def stages(self) -> dict[str, Histogram]:
        return self._counted()._stages

    def _counted(self) -> Latencies:
        with self._lock:
            self._count()
        return self

    def _count(self) -> None:
        """With the lock held."""
        noted, self._noted = self._noted, []
        if not noted:
            return
        rows = np.array([len(one.times) for one in noted], np.int64)
        speaks_of = np.concatenate([one.times for one in noted])
        newest_s = np.array([one.newest_s for one in noted])
        stamps_s = np.array([one.stamps_s for one in noted])
        arrival_s, published_s = stamps_s[:, 0], stamps_s[:, -1]
        self._wait.add((np.repeat(newest_s, rows) - speaks_of) * 1e3)
        self._transport.add((arrival_s - newest_s) * 1e3, rows)
        self._compute.add((published_s - arrival_s) * 1e3, rows)
        self._whole.add((published_s - newest_s) * 1e3, rows)
        for name, took_s in zip(self._names, np.diff(stamps_s, axis=1).T, strict=True):
            self._stages.setdefault(name, Histogram()).add(1e3 * took_s, rows)

    def facts(self) -> dict[str, Any]:
        """Percentiles of each part, as JSON values."""
        return {
            "sound_to_prediction": self.to_publication.summary(),
            "compute": self.compute.summary(),
            "transport": self.transport.summary(),
            "wait_for_block": self.wait.summary(),
            "stages": {name: histogram.summary() for name, histogram in self.stages.items()},
        }


class Noted(NamedTuple):
    """What is known of one step once its rows are out. Times on LSL's clock, seconds.

    stamps_s: arrival, the step's begin, the end of each stage, publication.
    """

    times: Times
    newest_s: float
    stamps_s: tuple[float, ...]


@dataclass
class Telemetry:
    """Both lanes' latencies, and the leads of the predictions. ecog: of observed rows, as the lane has them.

    align_ms: from when both rows of a pair were there to when the observed one was out, by the thread that scores.
    """

    sound: Latencies = field(default_factory=Latencies)
    ecog: Latencies = field(default_factory=Latencies)
    leads: Leads = field(default_factory=Leads)
    align_ms: Histogram = field(default_factory=Histogram)

    def aligned(self, block: Block, published_s: float) -> None:
        """Predicted rows whose observed ones are out since published_s."""
        there_s = self.leads.aligned(block)
        self.align_ms.add(1e3 * (published_s - there_s[np.isfinite(there_s)]))

    def facts(self) -> dict[str, Any]:
        """Percentiles of everything, as JSON values; None where there is no value yet."""
        ecog = self.ecog.facts()
        ecog["ecog_to_observed"] = ecog.pop("sound_to_prediction")
        leads = {"lead_physical": self.leads.physical.summary(), "lead_display": self.leads.display.summary()}
        facts: dict[str, Any] = _known({**self.sound.facts(), "align": self.align_ms.summary(), "ecog": ecog, **leads})
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
        done.get("stem", np.nan),
    ]
    data = np.empty((len(y), len(row)))
    data[:] = row
    data[:, 0] = np.arange(y.index, y.end)
    return data


def _known(value: Any) -> Any:
    """JSON has no NaN: None."""
    if isinstance(value, dict):
        return {key: _known(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else round(value, 3)
