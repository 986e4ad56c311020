"""From what the outside client and the source noted to latencies, each part told apart. Milliseconds throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.processes import TooSlow
from realtime.block import Times
from realtime.errors import UserError
from realtime.telemetry import TELEMETRY

Arrays = Mapping[str, npt.NDArray[Any]]
COLUMN = {name: number for number, name in enumerate(TELEMETRY)}
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p999": 99.9, "max": 100.0}
Distribution = dict[str, float]


@dataclass(frozen=True)
class Parts:
    """One value per predicted row (observed rows: where there is one), milliseconds.

    wait: from the time that the row's embedding speaks of to the push of the newest sample it used: the block's
    length and the look-ahead. transport_in: from that push to the arrival in the engine. compute: from there to the
    publication, by the engine. whisper: from the step's begin to the embedding, a part of it. transport_out: from
    the publication to this client. end_to_end: from push to client, by clocks outside the engine alone. telemetry:
    what the engine says of itself, from the newest sample's time by its own clock to the publication. clock_error: that
    time minus the push. lead_physical: the time that the row speaks of minus its arrival. lead_display: arrival of the
    observed row minus that of the predicted one. arrived_s: when the row reached this client, seconds.
    """

    wait: Times
    transport_in: Times
    compute: Times
    whisper: Times
    transport_out: Times
    end_to_end: Times
    telemetry: Times
    clock_error: Times
    lead_physical: Times
    lead_display: Times
    arrived_s: Times
    lost: int
    skipped: int

    def whisper_p50(self, start_s: float, stop_s: float | None) -> float:
        """Median of `whisper` over a stretch of the measurement, counted from its begin, or (negative) its end."""
        since = self.arrived_s - (self.arrived_s.min() if start_s >= 0 else self.arrived_s.max())
        return float(np.median(self.whisper[(since >= start_s) & (since < (np.inf if stop_s is None else stop_s))]))


def parts(client: Arrays, source: Arrays, horizon_s: float) -> Parts:
    """client, source: what their processes saved. Raises UserError where the figures would mean nothing,
    TooSlow where that is because too little came through."""
    if int(client["resets"]) or int(client["counter_at_anchor"]) < 0:
        raise UserError("bench: the sound's samples could not be counted through (a reset, or no anchor): run again")
    if int(client["counter_missing"]):
        raise TooSlow(f"bench: {int(client['counter_missing'])} samples did not reach the client: run again")
    stamps, arrivals = client["predicted_stamps"], client["predicted_arrivals"]
    counted = (arrivals >= float(client["begin_s"])) & (arrivals < float(client["end_s"]))
    rows, places = _matched(stamps, client["telemetry_stamps"], counted)
    if not len(rows):
        raise TooSlow("bench: no predicted row has its telemetry: the measurement was too short; give --seconds more")
    told = client["telemetry"][places]
    stamps, arrivals = stamps[rows], arrivals[rows]
    pushed = push_times(told[:, COLUMN["newest_sample_index"]], int(client["counter_at_anchor"]), source)
    newest, arrived, published = (
        told[:, COLUMN[name]] for name in ("newest_sample_time", "arrival_time", "published_time")
    )
    lost = [_rise(told, name) for name in ("sound_lost", "ecog_lost")]
    skipped = [_rise(told, name) for name in ("sound_skipped", "ecog_skipped")]
    return Parts(
        wait=1e3 * (pushed - (stamps - horizon_s)),
        transport_in=1e3 * (arrived - pushed),
        compute=1e3 * (published - arrived),
        whisper=1e3 * (told[:, COLUMN["whisper_done_time"]] - told[:, COLUMN["block_complete_time"]]),
        transport_out=1e3 * (arrivals - published),
        end_to_end=1e3 * (arrivals - pushed),
        telemetry=1e3 * (published - newest),
        clock_error=1e3 * (newest - pushed),
        lead_physical=1e3 * (stamps - arrivals),
        lead_display=_lead_display(stamps, arrivals, client),
        arrived_s=arrivals,
        lost=sum(lost),
        skipped=sum(skipped),
    )


def push_times(newest_index: npt.NDArray[Any], counter_at_anchor: int, source: Arrays) -> Times:
    """When the source pushed the samples that the engine numbers newest_index, its first being the counter's value.

    source: ends, the counter after each push, and pushed_s.
    """
    counters = np.asarray(newest_index, np.int64) + counter_at_anchor
    chunks = np.searchsorted(source["ends"], counters, side="right")
    if len(chunks) and int(chunks.max()) >= len(source["ends"]):
        raise UserError("bench: the engine used samples that the source never pushed: their counts do not agree")
    times: Times = source["pushed_s"][chunks]
    return times


def distribution(values_ms: Times) -> Distribution:
    """p50, p95, p99, p999 and max of exact values (no bins); NaN without any."""
    if not len(values_ms):
        return dict.fromkeys(PERCENTILES, float("nan"))
    return {name: float(np.percentile(values_ms, share)) for name, share in PERCENTILES.items()}


def _matched(stamps: Times, others: Times, wanted: npt.NDArray[np.bool_]) -> tuple[Any, Any]:
    """Numbers of the wanted rows of `stamps` that `others` has too, and their places there. Equal to the bit."""
    _, rows, places = np.intersect1d(stamps, others, return_indices=True)
    kept = wanted[rows]
    return rows[kept], places[kept]


def _lead_display(stamps: Times, arrivals: Times, client: Arrays) -> Times:
    rows, places = _matched(stamps, client["observed_stamps"], np.ones(len(stamps), bool))
    lead: Times = 1e3 * (client["observed_arrivals"][places] - arrivals[rows])
    return lead


def _rise(told: npt.NDArray[Any], name: str) -> int:
    return int(told[-1, COLUMN[name]] - told[0, COLUMN[name]])
