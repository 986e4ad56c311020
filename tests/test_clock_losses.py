"""What the clock counts as lost: losses of milliseconds, and not chunks that only come late or offsets that waver."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import Clock
from tests.test_clock import stamped, truth


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([100.0, 500.0, 2000.0]),
    st.lists(st.floats(4e-3, 0.049), min_size=1, max_size=3),
    st.integers(0, 99),
    st.floats(0.0, 1e-4),
)
def test_losses_too_short_for_a_gap_are_counted_to_the_row(
    rate: float, losses_s: list[float], seed: int, jitter_s: float
) -> None:
    """Where they are told apart from chunks that come late: some 3 s after them."""
    rng = np.random.default_rng(seed)
    when = truth(int((8.0 + 6.0 * len(losses_s)) * rate), rate, float(rng.uniform(-100, 100)))
    kept = np.ones(len(when), bool)
    for number, loss_s in enumerate(losses_s):
        start = int((6.5 + 6.0 * number + rng.uniform(0, 1)) * rate)
        kept[start : start + max(1, round(loss_s * rate))] = False
    raw = (when + rng.normal(0, jitter_s, len(when)))[kept]
    times, indices, breaks, state = stamped(raw, Clock(rate))
    assert state.lost == np.count_nonzero(~kept)
    assert [b.reset for b in breaks] == [False] * len(losses_s)
    assert np.all(np.diff(times) > 0)
    last = int(rate)
    np.testing.assert_array_equal(indices[-last:], np.flatnonzero(kept)[-last:])
    assert np.abs(times - when[kept])[-last:].max() < 5e-4


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from([10, 30, 100]),
    st.floats(0, 0.6),
    st.just(0) | st.integers(10, 300),
    st.booleans(),
)
def test_rows_later_than_a_gap_are_told_and_taken_off_again(
    seed: int, chunk: int, late_s: float, gone: int, one_stamp: bool
) -> None:
    """A source that stood still for late_s, some of the time with rows that are really lost; it stamps as it pushes."""
    rng, rate = np.random.default_rng(seed), 1000.0
    when = truth(40_000, rate)
    pushed = when[chunk - 1 :: chunk] + np.abs(rng.normal(0, 1e-4, len(when) // chunk))
    at = 30_000 // chunk
    pushed[at:] = np.maximum(pushed[at:], pushed[at] + late_s)
    raw = np.repeat(pushed, chunk) - (0 if one_stamp else np.tile(np.arange(chunk)[::-1], len(pushed)) / rate)
    when = when[: len(raw)]
    kept = np.ones(len(when), bool)
    kept[30_000 : 30_000 + gone] = False
    times, _, breaks, state = stamped(raw[kept], Clock(rate))
    assert not any(b.reset for b in breaks)
    assert abs(state.lost - gone) <= (chunk if one_stamp else 3)  # a loss within a burst shortens it
    assert np.abs(times - when[kept])[-3000:].max() < 3e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(0.0, 0.5), st.sampled_from([2e-3, 5e-3, 1e-2]))
def test_chunks_that_come_late_are_no_loss(seed: int, share: float, late_s: float) -> None:
    """A busy machine: a share of the chunks late, by times that are now and then long."""
    rng, rate, chunk = np.random.default_rng(seed), 1000.0, 10
    when = truth(40_000, rate, 30)
    late = rng.random(4000) < share
    late[:1000] = False  # quiet at first
    lateness = np.minimum(np.where(late, rng.exponential(late_s, 4000), 0.0), 0.045)
    raw = np.maximum.accumulate(when + np.repeat(lateness + np.abs(rng.normal(0, 1e-4, 4000)), chunk))
    _, _, breaks, _ = stamped(raw, Clock(rate))
    assert not breaks


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.sampled_from([2e-4, 1e-3, 3e-3]))
def test_clock_offsets_that_waver_are_no_loss(seed: int, sd_s: float) -> None:
    """Another computer's clock, 50 ppm off, measured every 5 s to no better than sd_s."""
    rng, rate = np.random.default_rng(seed), 200.0
    when = truth(int(120 * rate), rate)
    raw = when * (1 + 50e-6) + 1234.0 + rng.normal(0, 2e-4, len(when))
    clock = Clock(rate)
    for index in range(0, len(when), int(5 * rate)):
        clock.set_offset(index, -1234.0 - 50e-6 * when[index] + float(rng.normal(0, sd_s)))
    _, _, breaks, _ = stamped(raw, clock)
    assert not breaks
