"""The clock against a slow row-by-row oracle, against the truth, and cut anywhere."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Times
from realtime.clock import INDEPENDENT, JITTER_WEIGHT, LEAST_NOISE_S, RATE_SD, RATE_WALK, Clock, ClockState, Span
from realtime.state import load_state, save_state


def stamped(raw: Times, clock: Clock, cuts: list[int] | None = None) -> tuple[Times, Times, list[Span], ClockState]:
    """Times and indices of all rows, the spans that begin with a break, and the state at the end."""
    state = clock.initial_state()
    times, indices, breaks = [], [], []
    bounds = [0, *sorted(cuts or []), len(raw)]
    for start, stop in itertools.pairwise(bounds):
        spans, state = clock.stamp(raw[start:stop], state)
        assert sum(len(s.times) for s in spans) == stop - start
        for span in spans:
            times.append(span.times)
            indices.append(span.index + np.arange(len(span.times)))
            if span.lost or span.reset:
                breaks.append(Span(span.start + start, span.index, span.times[:1], span.lost, span.reset, span.jump_s))
    return np.concatenate(times), np.concatenate(indices).astype(float), breaks, state


def truth(rows: int, rate_hz: float, ppm: float = 0.0, start_s: float = 100.0) -> Times:
    return start_s + np.arange(rows) / rate_hz * (1 + ppm * 1e-6)


def chunk_jitter(rows: int, chunk: int, seed: int, sd_s: float = 5e-3) -> Times:
    return np.repeat(np.random.default_rng(seed).normal(0, sd_s, rows // chunk + 1), chunk)[:rows]


@st.composite
def stamps(draw: st.DrawFn) -> tuple[Times, float]:
    """Drifting, jittered stamps with a pause and, at times, bursts or a clock set back."""
    rate = draw(st.sampled_from([50.0, 200.0, 441.0]))
    rows = draw(st.integers(int(2.2 * rate), int(5 * rate)))
    raw = truth(rows, rate, draw(st.floats(-200, 200)))
    raw = raw + chunk_jitter(rows, draw(st.integers(1, 40)), draw(st.integers(0, 99)), draw(st.sampled_from([0, 3e-3])))
    if draw(st.booleans()):
        chunk = draw(st.integers(2, 30))
        raw = raw[np.minimum((np.arange(rows) // chunk + 1) * chunk - 1, rows - 1)]
    raw[draw(st.integers(1, rows - 1)) :] += draw(st.sampled_from([0.0, 0.3, 3.0, -7.0]))
    return raw, rate


@settings(max_examples=25, deadline=None)
@given(stamps(), st.data())
def test_times_do_not_depend_on_how_stamps_were_pulled(example: tuple[Times, float], data: st.DataObject) -> None:
    raw, rate = example
    clock = Clock(rate)
    clock.set_offset(len(raw) // 3, 2e-3)
    clock.set_offset(len(raw) // 2, -1.5)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8))
    whole, pieces = stamped(raw, clock), stamped(raw, clock, cuts)
    single = stamped(raw, clock, list(range(1, len(raw))))
    for other in (pieces, single):
        assert np.array_equal(whole[0], other[0])
        assert np.array_equal(whole[1], other[1])
        assert [(b.start, b.index, b.lost, b.reset) for b in whole[2]] == [
            (b.start, b.index, b.lost, b.reset) for b in other[2]
        ]
        assert save_state(whole[3]) == save_state(other[3])


def earliest(held: list[float]) -> float:
    """Their lowest tenth ends here, interpolated."""
    ordered, place = sorted(held), 0.1 * (len(held) - 1)
    below = ordered[int(place)]
    return below + (place - int(place)) * (ordered[int(place) + 1] - below)


def slow_clock(raw: Times, rate_hz: float, gap_s: float = 0.05) -> tuple[list[float], list[int], int]:
    """Times, indices and rows lost, by the same method, row by row, for stamps without bursts.

    The filter as matrices (Kalman 1960).
    """
    nominal, rows = 1 / rate_hz, max(8, round(rate_hz))
    block_s = rows * nominal
    move = np.array([[1.0, block_s], [0.0, 1.0]])
    see = np.array([[1.0, 0.0]])
    times: list[float] = []
    indices: list[int] = []
    belief = np.diag([1.0, RATE_SD**2])
    index = anchor = blocks = 0
    fit = out = float(raw[0])
    period = slope = nominal
    variance = before = 0.0
    late = lost = unproven = 0
    held: list[float] = []
    waiting: float | None = None
    for stamp in raw:
        residual = float(stamp) - (fit + (index - anchor) * period)
        if residual > max(gap_s, nominal):
            missing = round(residual * rate_hz)
            index, lost, unproven = index + missing, lost + missing, unproven + missing
            anchor, fit = index, float(stamp)
            out = max(fit, times[-1] + nominal / 2)
            slope, held, waiting, residual, late = period, [], None, 0.0, 0
            belief = np.diag([1.0, belief[1, 1]])
        times.append(out + (index - anchor) * slope)
        indices.append(index)
        if waiting is not None:
            held.append(waiting)  # a row counts once the next one shows that it ended its burst
        waiting = residual
        index += 1
        if index < anchor + rows:
            continue
        belief = move @ belief @ move.T + np.diag([0.0, RATE_WALK**2 * block_s])
        error = statistics.median(held)
        tenth = earliest(held[len(held) // 2 :])
        sd = math.sqrt(min(variance, before) + belief[0, 0])
        if blocks >= 4 and tenth > max(3e-3, nominal / 2, 6 * sd):
            variance, late = min(variance, before), late + 1
            fit, out = fit + rows * period, out + rows * slope
            slope = (fit + rows * period - out) / rows
            anchor, held = index, []
            if late == 3:
                missing, late = round(error / nominal), 0
                anchor = index = index + missing
                fit, out, waiting = fit + missing * period, out + missing * slope, residual - missing * period
                lost += missing
            continue
        least = max(3e-3, nominal / 2, 6 * math.sqrt(variance))
        before, late = variance, 0
        if unproven and earliest(held) < -least:
            error = earliest(held)
            came = round(-error * rate_hz)
            lost -= unproven if (unproven - came) * nominal <= least else came
        else:
            variance += max(1 / max(1, blocks), JITTER_WEIGHT) * (
                math.fsum((h - error) ** 2 for h in held) / len(held) - variance
            )
        unproven = 0
        noise = variance / INDEPENDENT + LEAST_NOISE_S**2
        gain = belief @ see.T / (see @ belief @ see.T + noise)
        belief = (np.eye(2) - gain @ see) @ belief
        changed = period + float(gain[1, 0]) * error * nominal
        # The line passes the block's middle at what was predicted there plus the correction.
        middle = fit + rows / 2 * period + float(gain[0, 0]) * error
        reached = out + rows * slope
        fit, out, period = middle + rows / 2 * changed, reached, changed
        slope = min(max((fit + rows * period - out) / rows, nominal / 2), 1.5 * nominal)
        anchor, held, blocks = index, [], blocks + 1
    return times, indices, lost


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 999),
    st.sampled_from([100.0, 250.0]),
    st.sampled_from([0.0, 0.008, 0.03, 0.4, 2.0]),
    st.sampled_from([0.0, 0.02, 0.2, 0.7]),
)
def test_times_are_those_of_the_slow_oracle(seed: int, rate: float, pause_s: float, late_s: float) -> None:
    rows = int(20 * rate)
    raw = truth(rows, rate, 80) + np.random.default_rng(seed).uniform(-0.1, 0.1, rows) / rate
    raw[rows // 2 :] += pause_s
    after = np.arange(rows - rows // 2 - seed % 30)  # late rows, then those that wait behind them
    raw[-len(after) :] = np.maximum(raw[-len(after) :], raw[-len(after)] + late_s + 0.3 * after / rate)
    times, indices, _, state = stamped(raw, Clock(rate))
    expected_times, expected_indices, lost = slow_clock(raw, rate)
    assert np.array_equal(indices, expected_indices)
    assert state.lost == lost
    np.testing.assert_allclose(times, expected_times, rtol=0, atol=1e-8)


@pytest.mark.parametrize("jitter_s", [0.0, 1e-3, 5e-3])
def test_an_hour_of_drift_stays_within_two_milliseconds(jitter_s: float) -> None:
    rate = 100.0
    when = truth(int(3600 * rate), rate, ppm=50)
    raw = when + np.random.default_rng(3).normal(0, jitter_s, len(when))
    times, _, breaks, state = stamped(raw, Clock(rate))
    assert not breaks
    settled = int(rate)  # the first stamp's own error goes within the first second or two
    assert np.abs(times - when)[3 * settled :].max() < 2e-3
    assert np.all(np.diff(times) > 0)
    assert state.rate_deviation_ppm == pytest.approx(-50, abs=5)
    assert state.jitter_s == pytest.approx(jitter_s, rel=0.05, abs=1e-9)


def test_two_computers_stay_together_for_an_hour() -> None:
    """Their clocks run 50 ppm apart and are an hour apart; the offset is measured every 5 s, to 0.2 ms."""
    rng, rate = np.random.default_rng(7), 50.0
    when = truth(int(3600 * rate), rate)
    near = stamped(when + rng.normal(0, 5e-4, len(when)), Clock(rate))
    clock = Clock(rate)
    state, far = clock.initial_state(), []
    raw = when * (1 + 50e-6) + 3600.0 + rng.normal(0, 5e-4, len(when))
    for start in range(0, len(when), int(5 * rate)):
        clock.set_offset(state.index, -3600.0 - 50e-6 * when[start] + float(rng.normal(0, 2e-4)))
        spans, state = clock.stamp(raw[start : start + int(5 * rate)], state)
        far += [span.times for span in spans]
    assert (state.lost, state.resets, near[3].lost) == (0, 0, 0)
    apart = np.concatenate(far) - near[0]
    assert np.abs(apart[int(10 * rate) :]).max() < 2e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 100), st.integers(0, 10_000), st.floats(-100, 100))
def test_jittered_chunk_stamps_make_no_gap_and_little_jitter(chunk: int, seed: int, ppm: float) -> None:
    rate = 1000.0
    when = truth(90_000, rate, ppm)
    times, _, breaks, _ = stamped(when + chunk_jitter(len(when), chunk, seed), Clock(rate, gap_s=0.05))
    assert not breaks
    assert np.all(np.diff(times) > 0)
    error = times - when
    assert np.std(error[60_000:]) < 1e-3
    assert np.abs(error[60_000:]).max() < 2e-3


@pytest.mark.parametrize("jitter_s", [0.0, 2e-4])
@pytest.mark.parametrize("at", [1, 437, 1000, 25_000])
def test_a_pause_gives_the_lost_count(at: int, jitter_s: float) -> None:
    rate = 1000.0
    raw = truth(30_000, rate) + np.random.default_rng(1).normal(0, jitter_s, 30_000)
    raw = np.delete(raw, slice(at, at + 3000))
    times, indices, breaks, state = stamped(raw, Clock(rate))
    assert [b.start for b in breaks] == [at]
    assert abs(breaks[0].lost - 3000) <= 1
    assert not breaks[0].reset
    assert state.lost == breaks[0].lost
    assert indices[at] - indices[at - 1] == breaks[0].lost + 1
    assert times[at] == pytest.approx(raw[at], abs=1e-3)
    assert np.all(np.diff(times) > 0)


def test_a_clock_set_back_is_a_reset_that_shows_and_is_followed() -> None:
    raw = truth(4000, 500.0)
    raw[2000:] -= 60.0
    times, indices, breaks, state = stamped(raw, Clock(500.0))
    assert [(b.start, b.lost, b.reset) for b in breaks] == [(2000, 0, True)]
    assert breaks[0].jump_s == pytest.approx(-60.0, abs=1e-6)
    assert state.resets == 1
    assert state.lost == 0
    assert indices[2000] - indices[1999] == 2
    np.testing.assert_allclose(times, raw, atol=1e-6)


def test_another_clock_far_ahead_is_a_reset_not_a_million_lost_rows() -> None:
    raw = truth(2000, 500.0)
    raw[1000:] += 1e6
    _, indices, breaks, _ = stamped(raw, Clock(500.0))
    assert [(b.lost, b.reset) for b in breaks] == [(0, True)]
    assert indices[-1] == 2000


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 200), st.booleans())
def test_bursts_make_no_gap_and_settle_on_their_last_rows(chunk: int, pushed_singly: bool) -> None:
    rate, rows = 1000.0, 20_000
    when = truth(rows, rate)
    raw = when[np.minimum((np.arange(rows) // chunk + 1) * chunk - 1, rows - 1)]
    if pushed_singly:  # stamped as fast as a loop runs
        raw = raw + (np.arange(rows) % chunk) * 2e-6
    times, indices, breaks, _ = stamped(raw, Clock(rate))
    assert not breaks
    assert indices[-1] == rows - 1
    assert np.all(np.diff(times) > 0)
    assert np.abs(times - when)[5000 : rows - 2 * chunk].max() < 1e-3


def test_a_pause_between_bursts_is_counted_without_their_length() -> None:
    rate, chunk = 1000.0, 100
    when = truth(12_000, rate)
    raw = np.delete(when[(np.arange(12_000) // chunk + 1) * chunk - 1], slice(6000, 8000))
    _, _, breaks, _ = stamped(raw, Clock(rate))
    assert [b.start for b in breaks] == [6000]
    assert abs(breaks[0].lost - 2000) <= 1


def test_an_offset_counts_from_its_index_and_times_slew_to_it() -> None:
    raw = truth(10_000, 500.0)
    clock = Clock(500.0)
    clock.set_offset(0, 10.0)
    clock.set_offset(5000, 10.0004)
    times, _, breaks, _ = stamped(raw, clock)
    assert not breaks
    np.testing.assert_allclose(times[:5000], raw[:5000] + 10.0, atol=1e-6)
    assert np.abs(np.diff(times) - 1 / 500).max() < 1e-5
    assert times[-1] - raw[-1] == pytest.approx(10.0004, abs=1.5e-4)


def test_an_offset_of_another_clock_is_a_reset() -> None:
    raw = truth(3000, 500.0)
    clock = Clock(500.0)
    clock.set_offset(1500, 5.0)
    times, _, breaks, _ = stamped(raw, clock)
    assert [(b.start, b.lost, b.reset) for b in breaks] == [(1500, 0, True)]
    np.testing.assert_allclose(times[1500:], raw[1500:] + 5.0, atol=1e-6)


def test_a_source_off_its_nominal_rate_is_followed() -> None:
    raw = truth(60_000, 1000.0, ppm=3000)
    times, _, breaks, state = stamped(raw, Clock(1000.0))
    assert not breaks
    assert np.abs(times - raw)[10_000:].max() < 1e-3
    assert state.rate_deviation_ppm == pytest.approx(-2991, abs=5)


def test_a_saved_clock_goes_on_and_old_offsets_can_be_forgotten() -> None:
    raw = truth(5000, 500.0, 70) + chunk_jitter(5000, 25, 0)
    clock = Clock(500.0)
    clock.set_offset(0, 1.0)
    clock.set_offset(1000, 1.0005)
    expected = stamped(raw, clock)[0]
    spans, state = clock.stamp(raw[:2777], clock.initial_state())
    clock.forget_offsets(state.index)
    assert len(clock.offsets) == 1
    for other in (clock, Clock(500.0)):  # the offset in force travels in the state
        restored = load_state(save_state(state), clock.initial_state())
        rest, _ = other.stamp(raw[2777:], restored)
        assert np.array_equal(np.concatenate([s.times for s in [*spans, *rest]]), expected)


def test_nothing_in_nothing_out() -> None:
    clock = Clock(100.0)
    spans, state = clock.stamp(np.empty(0), clock.initial_state())
    assert spans == []
    assert not state.started
