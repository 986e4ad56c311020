"""What goes wrong with streams, with exact accounting: received + lost + skipped = sent, by a counter in channel 0."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, Times
from realtime.clock import Clock
from realtime.repair import Repair
from realtime.ring import Ring
from realtime.sources.pump import Counts, Event, pump
from realtime.sources.recording import RecordedStream, to_blocks
from tests.scripted import RATE_HZ, Script, only, sent, without


@dataclass
class Outcome:
    counts: Counts
    events: list[Event]
    blocks: list[Block]

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event["event"] == name]

    @property
    def counter(self) -> list[int]:
        return [int(n) for b in self.blocks for n in b.data[:, 0]]

    @property
    def times(self) -> Times:
        return np.concatenate([b.times for b in self.blocks])


def run(script: Script) -> Outcome:
    """Through the pump, in this thread; then once more from what a recording would hold, which must be the same."""
    ring = Ring(len(script.stamps), (2,))
    cursor, events = ring.cursor(), list[Event]()
    counts = pump(script, Clock(script.spec.rate_hz), ring, events.append, script.stop)
    blocks = []
    while cursor.behind:
        blocks.append(cursor.read())
    outcome = Outcome(counts, events, blocks)
    _check_recorded(script, outcome)
    return outcome


def _check_recorded(script: Script, outcome: Outcome) -> None:
    data = np.stack([script.counter] * 2, axis=1).astype(np.float32)
    jumps = tuple(event["index"] for event in outcome.told("reset"))
    again = to_blocks(RecordedStream(script.spec, data, script.stamps, jumps=jumps))
    assert [(b.index, len(b)) for b in again] == [(b.index, len(b)) for b in outcome.blocks]
    assert np.array_equal(np.concatenate([b.times for b in again]), outcome.times)


# --- clocks, and what is lost ----------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 5, 1000])
@pytest.mark.parametrize("jump_s", [1.0, 0.2, -274.0])
def test_a_clock_that_jumps_loses_nothing(jump_s: float, chunk: int) -> None:
    script = sent(16.0)
    script.chunk = chunk
    script.stamps[4000:] += jump_s
    outcome = run(script)
    assert outcome.counts == Counts(received=8000, lost=0, resets=1)
    assert outcome.counter == list(range(8000))
    (reset,) = outcome.told("reset")
    assert (reset["index"], reset["jump_s"]) == (4001, pytest.approx(jump_s, abs=2.1 / RATE_HZ))
    np.testing.assert_allclose(outcome.times, script.stamps, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_three_seconds_lost_are_counted_to_the_row(chunk: int) -> None:
    script = without(sent(16.0), 4000, 5500)
    script.chunk = chunk
    outcome = run(script)
    assert outcome.counts == Counts(received=6500, lost=1500, resets=0)
    for block in outcome.blocks:  # the index is the counter: it passed over what was lost
        np.testing.assert_array_equal(block.data[:, 0], np.arange(block.index, block.end))


@pytest.mark.parametrize("chunk", [1, 5, 1000])
@pytest.mark.parametrize("rows", [2, 5, 10, 24])
def test_losses_of_milliseconds_are_counted_to_the_row(rows: int, chunk: int) -> None:
    """2 to 48 ms: less than a gap, and told once the stamps have stayed late for three seconds."""
    script = without(sent(20.0), 4000, 4000 + rows)
    script.chunk = chunk
    outcome = run(script)
    assert outcome.counts == Counts(received=10_000 - rows, lost=rows)
    (gap,) = outcome.told("gap")
    assert gap["lost"] == rows
    late = outcome.blocks[-1]
    np.testing.assert_array_equal(late.data[:, 0], np.arange(late.index, late.end))
    np.testing.assert_allclose(late.times, script.stamps[-len(late) :], atol=1e-3)


def test_a_source_that_stood_still_lost_nothing() -> None:
    """It stamps as it pushes: what looked like 0.4 s of lost rows came late."""
    script = sent(20.0)
    held = slice(4000, 4200)
    script.stamps[held] = np.maximum(script.stamps[held], script.stamps[4199])
    script.arrivals[held] = np.maximum(script.arrivals[held], script.arrivals[4199])
    script.chunk = 5
    outcome = run(script)
    assert outcome.counts == Counts(received=10_000)
    assert outcome.told("gap")[0]["lost"] == outcome.told("late")[0]["rows"] > 150
    np.testing.assert_allclose(outcome.times[-3000:], script.stamps[-3000:], atol=1e-3)


def test_a_source_that_rests_for_three_seconds_owes_their_rows() -> None:
    """It sampled nothing meanwhile, which nobody can see from outside: what its rate promised counts as lost."""
    script = sent(16.0)
    script.stamps[4000:] += 3.0
    script.arrivals[4000:] += 3.0
    outcome = run(script)
    assert outcome.counter == list(range(8000))
    assert outcome.counts == Counts(received=8000, lost=1500, resets=0)


def test_a_jump_while_nobody_read_counts_as_lost() -> None:
    """What cannot be told: rows read 2 s late arrived at no time of their own."""
    script = sent(16.0)
    script.stamps[4000:] += 1.0
    late = slice(3500, 4500)
    script.arrivals[late] = np.maximum(script.arrivals[late], script.arrivals[4500])
    outcome = run(script)
    assert outcome.counts == Counts(received=8000, lost=500, resets=0)


@settings(max_examples=12, deadline=None)
@given(
    faults=st.lists(st.sampled_from([1.0, -274.0, 0.3, "lost", "lost 80 ms"]), min_size=1, max_size=5),
    chunk=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_any_row_of_faults_is_told_apart(faults: list[float | str], chunk: int, seed: int) -> None:
    """3 s of good rows before each fault; rows come up to 30 ms late."""
    script, stretch = sent(3.0 * (len(faults) + 1)), round(3.0 * RATE_HZ)
    kept = np.ones(len(script.counter), bool)
    for number, fault in enumerate(faults, start=1):
        start = number * stretch
        if isinstance(fault, float):
            script.stamps[start:] += fault
        else:
            kept[start : start + (400 if fault == "lost" else 40)] = False
    script.arrivals += np.random.default_rng(seed).uniform(0.0, 0.03, len(kept))
    script.arrivals = np.maximum.accumulate(script.arrivals)
    only(script, kept).chunk = chunk
    outcome = run(script)
    assert outcome.counts.received + outcome.counts.lost == len(kept)
    assert outcome.counts.lost == np.count_nonzero(~kept)
    assert outcome.counts.resets == sum(isinstance(fault, float) for fault in faults)
    assert outcome.counter == np.flatnonzero(kept).tolist()


# --- chunks, stamps, rates -------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 1000])
@pytest.mark.parametrize("stamped", ["each", "by chunk"])
def test_chunks_of_one_and_of_a_thousand(chunk: int, stamped: str) -> None:
    script = sent(12.0)
    script.chunk = chunk
    if stamped == "by chunk":
        script.stamps = script.stamps[np.minimum((script.counter // chunk + 1) * chunk, len(script.counter)) - 1]
    outcome = run(script)
    assert outcome.counts == Counts(received=6000)
    assert outcome.counter == list(range(6000))
    assert np.all(np.diff(outcome.times) > 0)


@pytest.mark.parametrize("fault", ["duplicate", "backward", "both"])
def test_duplicate_and_backward_stamps_lose_nothing(fault: str) -> None:
    script, rows = sent(20.0), np.arange(2000, 8000, 37)
    true = script.stamps.copy()
    if fault != "backward":
        script.stamps[rows] = script.stamps[rows - 1]
    if fault != "duplicate":
        script.stamps[rows + 10] -= 0.02
    outcome = run(script)
    assert outcome.counts == Counts(received=10_000)
    assert np.all(np.diff(outcome.times) > 0)
    np.testing.assert_allclose(outcome.times, true, atol=1e-3)


@pytest.mark.parametrize("share", [-0.005, 0.005])
def test_a_rate_half_a_percent_off_is_followed(share: float) -> None:
    script = sent(60.0)
    script.stamps = 50.0 + script.counter / (RATE_HZ * (1 + share))
    script.arrivals = script.stamps + 0.003
    outcome = run(script)
    assert outcome.counts == Counts(received=30_000)
    settled = script.stamps > 60.0
    np.testing.assert_allclose(outcome.times[settled], script.stamps[settled], atol=1e-3)


@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_of_nan_is_masked_and_the_others_are_not(channel: int) -> None:
    repair = Repair(RATE_HZ, 0.5, hold=True)
    data = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    clean = data.copy()
    data[500:, channel] = np.nan
    blocks = [Block(data[a:b], np.arange(a, b) / RATE_HZ, a) for a, b in itertools.pairwise([0, 7, 700, 2000])]
    state, parts = repair.initial_state(), []
    for block in blocks:
        part, state = repair.step(block, state)
        parts.append(part)
    out, bad = (np.concatenate(arrays) for arrays in zip(*((p.data, p.extra["bad"]) for p in parts), strict=True))
    assert np.isfinite(out).all()
    assert state.nan_samples is not None
    assert state.nan_samples[channel] == bad[:, channel].sum() == 1500
    others = [c for c in range(3) if c != channel]
    assert not bad[:, others].any()
    np.testing.assert_array_equal(out[:, others], clean[:, others])
