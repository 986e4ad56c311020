"""What a lane notes of its steps, against an oracle that keeps every row's values in lists."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block
from realtime.lane import Step
from realtime.latency import Histogram
from realtime.telemetry import COUNTED_AT_ONCE, TELEMETRY, Latencies, Telemetry, telemetry_rows

NO_SOUND = Block(np.zeros((0, 1), np.float32), np.zeros(0), 0)


def same(found: Histogram, values_ms: list[float]) -> None:
    assert found.count == len(values_ms)
    if values_ms:
        assert found.max_ms == pytest.approx(max(values_ms), rel=1e-6)
        for share in (0.5, 0.99):
            expected = np.percentile(values_ms, 100 * share, method="inverted_cdf")
            assert found.percentile(share) == pytest.approx(expected, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 2 * COUNTED_AT_ONCE + 20),
    looks=st.sets(st.integers(0, 2 * COUNTED_AT_ONCE), max_size=4),
    order=st.permutations(("wait", "transport", "compute", "to_publication")),
)
def test_every_row_of_every_step_is_counted_once_whenever_somebody_looks(
    seed: int, count: int, looks: set[int], order: list[str]
) -> None:
    """Steps of any number of rows, 0 included; looked at in between, before and after steps are counted together."""
    random = np.random.default_rng(seed)
    latencies, kept = Latencies(), defaultdict[str, list[float]](list)
    arrival_s = 100.0
    for number, rows in enumerate(random.integers(0, 7, count)):
        transport_s, queue_s, whisper_s, model_s, publish_s = random.uniform(1e-4, 0.5, 5)
        arrival_s += 0.1
        newest_s, taken_s = arrival_s - transport_s, arrival_s + queue_s
        whisper_done_s = taken_s + whisper_s
        model_done_s = whisper_done_s + model_s
        published_s = model_done_s + publish_s
        times = newest_s - 0.05 - 0.02 * np.arange(rows)[::-1]
        step = Step(NO_SOUND, 0, newest_s, arrival_s, taken_s, {"whisper": whisper_done_s, "model": model_done_s})
        latencies.add(times, step, published_s)
        assert len(latencies._noted) < COUNTED_AT_ONCE
        for row in range(int(rows)):
            kept["wait"].append(1e3 * (newest_s - times[row]))
            kept["transport"].append(1e3 * transport_s)
            kept["compute"].append(1e3 * (published_s - arrival_s))
            kept["to_publication"].append(1e3 * (published_s - newest_s))
            for name, took_s in zip(
                ("queue", "whisper", "model", "publish"), (queue_s, whisper_s, model_s, publish_s), strict=True
            ):
                kept[name].append(1e3 * took_s)
        if number in looks:
            same(latencies.compute, kept["compute"])
    for name in order:
        same(getattr(latencies, name), kept[name])
    for name in ("queue", "whisper", "model", "publish") if count else ():
        same(latencies.stages[name], kept[name])


def rows_of(index: int, times: list[float]) -> Block:
    return Block(np.zeros((len(times), 1)), np.array(times), index, {"bad": np.zeros((len(times), 1), np.bool_)})


def test_how_long_a_pair_of_rows_waited_to_be_aligned() -> None:
    telemetry = Telemetry()
    assert telemetry.facts()["align"]["p50"] is None
    telemetry.leads.predicted(rows_of(0, [1.0, 1.02, 1.04]), 1.10)
    telemetry.leads.observed(rows_of(0, [1.0]), 1.05)  # before its prediction was out
    telemetry.leads.observed(rows_of(1, [1.02]), 1.20)
    telemetry.aligned(rows_of(0, [1.0, 1.02, 1.04]), 1.23)
    same(telemetry.align_ms, [130.0, 30.0])


def test_a_row_on_the_outlet_has_its_times_in_the_order_of_the_columns() -> None:
    step = Step(NO_SOUND, 7, 1.0, 1.1, 1.2, {"stem": 1.3, "whisper": 1.4, "model": 1.5})
    rows = telemetry_rows(rows_of(20, [1.0, 1.02]), step, 1.6, (1, 2, 3, 4))
    for number, row in enumerate(rows):
        found = dict(zip(TELEMETRY, row.tolist(), strict=True))
        assert found == {
            "row_index": 20 + number,
            "newest_sample_index": 7,
            "newest_sample_time": 1.0,
            "arrival_time": 1.1,
            "block_complete_time": 1.2,
            "stem_done_time": 1.3,
            "whisper_done_time": 1.4,
            "model_done_time": 1.5,
            "published_time": 1.6,
            "sound_lost": 1,
            "sound_skipped": 2,
            "ecog_lost": 3,
            "ecog_skipped": 4,
        }
