"""Each stage of the ECoG chain, and the chain, against slow loops; what they promise about NaN, gaps and time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, concat, regular
from realtime.errors import UserError
from realtime.signals import (
    BROADBAND_HZ,
    EPSILON_UV2,
    BandPower,
    Notch,
    Reference,
    ZScore,
    baseline,
    ecog_chain,
    envelope_delay_s,
)
from realtime.stage import Stage
from tests.contract import random_cuts, verify_contract
from tests.oracles import signals as oracle

CUTS = st.lists(st.integers(0, 1100), max_size=8)


def ecog(seconds: float, rate_hz: float, channels: int = 3, seed: int = 0, bad_share: float = 0.0) -> Block:
    """A random walk with offset and hum, in microvolts."""
    rng = np.random.default_rng(seed)
    rows = int(seconds * rate_hz)
    walk = np.cumsum(rng.normal(0, 3, (rows, channels)), axis=0) + rng.normal(0, 300, channels)
    hum = 20 * np.sin(2 * np.pi * 50 * np.arange(rows) / rate_hz)[:, None]
    x = regular((walk + hum + rng.normal(0, 2, walk.shape)).astype(np.float32), rate_hz, 10.0)
    bad = rng.random(walk.shape) < bad_share
    return Block(x.data, x.times, x.index, {"bad": bad})


def bad_of(x: Block) -> npt.NDArray[np.bool_]:
    return np.asarray(x.extra["bad"], bool)


def floats(x: Block) -> npt.NDArray[np.float64]:
    return x.data.astype(np.float64)


def stepped(stage: Stage[Any], blocks: list[Block]) -> list[Block]:
    state, out = stage.initial_state(), []
    for block in blocks:
        result, state = stage.step(block, state)
        out.append(result)
    return out


def shifted(x: Block, index: int) -> Block:
    return Block(x.data, x.times, index, x.extra)


# --- reference -------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(CUTS, st.integers(0, 50))
def test_reference(cuts: list[int], seed: int) -> None:
    x = ecog(0.2, 1000, 7, seed, bad_share=0.4)
    groups = [[0, 1, 2], [6, 4]]
    found = verify_contract(Reference(groups, [1]), x, cuts)
    bad = bad_of(x).copy()
    bad[:, 1] = True
    np.testing.assert_allclose(np.asarray(found.data), oracle.reference(floats(x), bad, groups), rtol=0, atol=1e-9)
    assert np.array_equal(found.extra["bad"], bad)
    assert np.array_equal(found.data[:, [3, 5]], x.data[:, [3, 5]]), "a channel of no group was changed"


def test_reference_of_nothing_good() -> None:
    x = ecog(0.05, 1000, 3)
    found = Reference([[0, 1, 2]], [0, 1, 2]).layer(x)
    assert np.array_equal(found.data, x.data)


def test_reference_does_not_care_for_gaps() -> None:
    x = ecog(0.1, 1000)
    stage = Reference([[0, 1, 2]], [])
    out = stepped(stage, [x.rows(0, 50), shifted(x.rows(50, 100), 7000)])
    assert [b.index for b in out] == [0, 7000]
    assert np.array_equal(np.concatenate([b.data for b in out]), stage.layer(x).data)


# --- notch -----------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(CUTS, st.sampled_from([(512.0, 50.0), (1000.0, 60.0), (2000.0, 50.0)]))
def test_notch(cuts: list[int], setting: tuple[float, float]) -> None:
    rate_hz, mains_hz = setting
    x = ecog(0.4, rate_hz, 2)
    stage = Notch(rate_hz, mains_hz, 200.0)
    found = verify_contract(stage, x, cuts, tolerance=1e-9)
    for c in range(2):
        slow = oracle.notch(x.data[:, c].astype(float), rate_hz, list(stage.frequencies_hz), 30.0)
        np.testing.assert_allclose(found.data[:, c], slow, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("rate_hz", "mains_hz", "up_to_hz", "expected"),
    [
        (1000, 50, 200, (50, 100, 150)),
        (1000, 60, 210, (60, 120, 180)),
        (200, 50, 300, (50,)),
        (1000, 50, 40, ()),
        (512, 50, 1000, (50, 100, 150, 200, 250)),
    ],
)
def test_notch_frequencies(rate_hz: float, mains_hz: float, up_to_hz: float, expected: tuple[float, ...]) -> None:
    stage = Notch(rate_hz, mains_hz, up_to_hz)
    assert stage.frequencies_hz == expected
    hum = sum(np.sin(2 * np.pi * f * np.arange(int(4 * rate_hz)) / rate_hz) for f in expected)
    if expected:
        left = stage.layer(regular(np.asarray(hum)[:, None], rate_hz)).data[int(3.5 * rate_hz) :]
        assert np.abs(left).max() < 0.01


def test_notch_restarts_after_a_gap() -> None:
    x = ecog(0.6, 1000)
    stage = Notch(1000, 50, 200)
    out = stepped(stage, [x.rows(0, 300), x.rows(0, 0), shifted(x.rows(300, 600), 900)])
    assert out[2].index == 900
    assert np.array_equal(out[2].data, stage.layer(x.rows(300, 600)).data)


def test_an_offset_does_not_ring() -> None:
    """A constant of any size gives itself from notch, and no power, from the first sample on."""
    x = regular(np.full((500, 1), 1e4, np.float32), 1000)
    np.testing.assert_allclose(Notch(1000, 50, 200).layer(x).data, 1e4, atol=1e-6)
    np.testing.assert_allclose(BandPower(1000, 70, 150).layer(x).data, np.log(EPSILON_UV2), atol=1e-6)


# --- band power ------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    CUTS,
    st.sampled_from([512.0, 1000.0, 2048.0, 999.5]),
    st.sampled_from([(50.0, 1), (100.0, 1), (7.0, 1), (100.0, 2), (200.0, 4)]),
)
def test_band_power(cuts: list[int], rate_hz: float, rows: tuple[float, int]) -> None:
    row_rate_hz, window_rows = rows
    x = ecog(0.5, rate_hz, 2, bad_share=0.004)
    stage = BandPower(rate_hz, 70, 150, row_rate_hz, 0.021, 0.05, window_rows)
    found = verify_contract(stage, x, cuts)
    bounds = oracle.row_bounds(len(x), Fraction(rate_hz), Fraction(row_rate_hz))
    bounds = [(bounds[max(0, k - window_rows + 1)][0], last) for k, (_, last) in enumerate(bounds)]
    assert (found.index, len(found)) == (0, len(bounds))
    assert found.times.tolist() == [x.times[last] - 0.021 for _, last in bounds]
    assert stage.lag_s == 0.021
    for c in range(2):
        slow = oracle.log_power(oracle.band_pass(x.data[:, c].astype(float), rate_hz, 70, 150), bounds, EPSILON_UV2)
        np.testing.assert_allclose(found.data[:, c], slow, rtol=0, atol=1e-4)
        guard = int(np.ceil(0.05 * rate_hz))
        assert found.extra["bad"][:, c].tolist() == oracle.row_bad(x.extra["bad"][:, c].tolist(), bounds, guard)


@pytest.mark.parametrize("rate_hz", [512.0, 1000.0, 2048.0])
@pytest.mark.parametrize("index", [0, 1003, 4097, 5120])
@pytest.mark.parametrize(("row_rate_hz", "window_rows"), [(50, 1), (200, 4)])
def test_band_power_restarts_after_a_gap(rate_hz: float, index: int, row_rate_hz: int, window_rows: int) -> None:
    x = ecog(2.0, rate_hz, 2)
    stage = BandPower(rate_hz, 70, 150, row_rate_hz, window_rows=window_rows)
    before, after = x.rows(0, 357), shifted(x.rows(400, 1000), index)
    first, second = stepped(stage, [before, after])
    assert first.index == 0
    assert second.index == -(-index * row_rate_hz // int(rate_hz))
    pieces = [after.rows(start, start + 7) for start in range(0, len(after), 7)]
    by_pieces = concat(stepped(stage, [before, *pieces])[1:])
    assert by_pieces.index == second.index
    np.testing.assert_allclose(by_pieces.data, second.data, atol=1e-5)
    if index:
        assert second.index >= first.end, "row numbers went back"
    alone = stage.layer(after)
    assert np.array_equal(second.data, alone.data)
    assert np.array_equal(second.times, alone.times)
    assert np.array_equal(second.extra["bad"], alone.extra["bad"])
    assert second.extra["bad"][0].all(), "the band-pass cannot have settled"
    assert not second.extra["bad"][-1].any()


def test_the_guard_outlasts_the_ringing() -> None:
    """Past the guard a 10 mV spike has left nothing that counts beside a microvolt of noise."""
    rate_hz = 1000.0
    rng = np.random.default_rng(3)
    clean = rng.normal(0, 1, (2000, 1))
    spike = clean.copy()
    spike[1000] += 200.0
    stage = BandPower(rate_hz, 70, 150)
    bad = np.zeros(clean.shape, bool)
    bad[1000] = True
    x, y = regular(clean, rate_hz), regular(spike, rate_hz)
    good = stage.layer(x)
    hit = stage.layer(Block(y.data, y.times, 0, {"bad": bad}))
    marked = bad_of(hit)[:, 0] & ~bad_of(good)[:, 0]
    difference = np.abs(hit.data - good.data)[:, 0]
    assert difference[marked].max() > 3
    assert difference[~marked].max() < 0.5
    assert 2 <= np.count_nonzero(marked) <= 12


def step_seen_s(stage: Stage[Any], before: Stage[Any] | None, rate_hz: float, seed: int) -> float:
    """When the rows' mean RMS, by their own times, is halfway up a step in white noise: 0 if they tell the truth.

    Each channel is one trial with a step of its own, anywhere between samples and rows.
    """
    rng = np.random.default_rng(seed)
    trials, rows = 8000 if rate_hz <= 1000 else 4000, int(0.45 * rate_hz)
    step_s = rng.uniform(0.3, 0.34, trials)
    time_s = np.arange(rows) / rate_hz
    noise = rng.normal(0, 100, (rows, trials))
    x = regular(np.where(time_s[:, None] < step_s, noise, 1.2 * noise), rate_hz)
    still = regular(noise, rate_hz)
    if before is not None:
        x, still = before.layer(x), before.layer(still)
    found, without = stage.layer(x), stage.layer(still)
    gain = np.exp((found.data - without.data) / 2)  # RMS over what it had been without the step
    since = found.times[:, None] - step_s
    bins = np.arange(-0.05, 0.1, 0.002)
    centre = (bins[:-1] + bins[1:]) / 2
    weight = np.exp(without.data / 2)
    total, _ = np.histogram(since, bins, weights=gain * weight)
    norm, _ = np.histogram(since, bins, weights=weight)
    rise = (total / norm - 1) / 0.2
    crossing = int(np.argmax(rise >= 0.5))
    share = (0.5 - rise[crossing - 1]) / (rise[crossing] - rise[crossing - 1])
    return float(centre[crossing - 1] + share * 0.002)


@pytest.mark.parametrize("rate_hz", [512.0, 1000.0, 2000.0, 2048.0])
def test_row_times_tell_when_power_changed(rate_hz: float) -> None:
    chain = ecog_chain(rate_hz, 4)
    assert abs(step_seen_s(BandPower(rate_hz, 70, 150), None, rate_hz, 1)) < 1e-3
    notch, band_power = (chain.stages[chain.names.index(name)] for name in ("notch", "band_power"))
    assert abs(step_seen_s(band_power, notch, rate_hz, 2)) < 1e-3
    assert 0.020 < chain.lag_s < 0.035


def test_delay_of_a_pure_delay() -> None:
    """A filter that only waits 8 samples, and rows of 20 ms: 8 ms and half a row less half a sample."""
    wait = np.array([[0, 0, 1, 1, 0, 0.0]] * 4)
    found = envelope_delay_s([wait], 1000, 70, 150, 0.02)
    assert found == pytest.approx(0.008 + (0.02 - 0.001) / 2, abs=0.6e-3)


# --- the chain -------------------------------------------------------------------------------------


def some_baseline(rate_hz: float, channels: int, **settings_: Any) -> tuple[np.ndarray, np.ndarray]:
    chain = ecog_chain(rate_hz, channels, **settings_)
    x = ecog(4.0, rate_hz, channels, seed=99)
    for stage in chain.stages[:-1]:
        x = stage.layer(x)
    return baseline(x)


@settings(max_examples=6, deadline=None)
@given(CUTS, st.sampled_from([512.0, 1000.0, 2000.0]), st.sampled_from([(70.0, 150.0), BROADBAND_HZ]), st.booleans())
def test_chain(cuts: list[int], rate_hz: float, band_hz: tuple[float, float], given_baseline: bool) -> None:
    x = ecog(1.0, rate_hz, 4)
    x.data[100:120, 1] = np.nan
    x.data[300, 2] = np.inf
    scale = some_baseline(rate_hz, 4, band_hz=band_hz) if given_baseline else None
    chain = ecog_chain(rate_hz, 4, band_hz=band_hz, baseline=scale)
    assert chain.names == ("repair", "artefacts", "reference", "notch", "band_power", "z_score")
    found = verify_contract(chain, x, cuts)
    assert len(found) == 50
    assert found.data.dtype == np.float32
    assert np.all(np.isfinite(found.data))


def test_chain_like_the_oracles() -> None:
    rate_hz = 512.0
    x = ecog(1.5, rate_hz, 4)
    median, mad = some_baseline(rate_hz, 4)
    chain = ecog_chain(rate_hz, 4, groups=[[0, 1], [2, 3]], baseline=(median, mad))
    found = concat(stepped(chain, [x.rows(a, a + 37) for a in range(0, len(x), 37)]))
    none_bad = np.zeros(x.data.shape, bool)
    referenced = oracle.reference(floats(x), none_bad, [[0, 1], [2, 3]])
    bounds = oracle.row_bounds(len(x), Fraction(512), Fraction(50))
    for c in range(4):
        slow = oracle.notch(referenced[:, c], rate_hz, [50, 100, 150], 30)
        slow = oracle.log_power(oracle.band_pass(slow, rate_hz, 70, 150), bounds, 0.01)
        np.testing.assert_allclose(found.data[:, c], (slow - median[c]) / (1.4826 * mad[c]), rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.times + chain.lag_s, [x.times[last] for _, last in bounds], rtol=0, atol=1e-9)


def test_a_channel_of_nan_does_not_spread() -> None:
    """Channel 1 dies for good half-way: the others are as in a recording in which it was never used."""
    x = ecog(3.0, 1000, 4)
    half = len(x) // 2
    x.data[half:, 1] = np.nan
    scale = some_baseline(1000, 4)
    found = ecog_chain(1000, 4, baseline=scale).layer(x)
    without = ecog_chain(1000, 4, baseline=scale, groups=[[0, 2, 3]]).layer(x)
    settled = found.times > x.times[half] + 1.0
    others = [0, 2, 3]
    assert np.all(np.isfinite(found.data))
    assert found.extra["bad"][settled, 1].all()
    assert not found.extra["bad"][settled][:, others].any()
    np.testing.assert_allclose(found.data[settled][:, others], without.data[settled][:, others], atol=1e-3)


def test_a_dead_channel_says_nothing_and_leaves_the_reference() -> None:
    x = ecog(4.0, 1000, 4)
    x.data[:, 1] = 0.0
    chain = ecog_chain(1000, 4)
    for stage in chain.stages[:-1]:
        x = stage.layer(x)
    found = ZScore(collect_s=1.0).layer(x)
    assert found.extra["bad"][:, 1].all()
    assert np.all(found.data[:, 1] == 0)
    assert not found.extra["bad"][-50:, [0, 2, 3]].any()


def test_a_short_gap_costs_rows_but_no_restart() -> None:
    x = ecog(3.0, 1000, 4)
    scale = some_baseline(1000, 4)
    chain = ecog_chain(1000, 4, baseline=scale)
    out = concat([b for b in stepped(chain, [x.rows(0, 1013), x.rows(1213, 3000)]) if len(b)])
    whole = chain.layer(x)
    np.testing.assert_allclose(out.times, whole.times, rtol=0, atol=1e-9)
    touched = (whole.times + chain.lag_s > x.times[1013]) & (whole.times < x.times[1213])
    assert out.extra["bad"][touched].all()
    later = whole.times > x.times[1213] + 0.6
    np.testing.assert_allclose(out.data[later], whole.data[later], atol=0.05)
    assert not out.extra["bad"][later].any()


def test_a_long_gap_shows_downstream() -> None:
    x = ecog(4.0, 1000, 4)
    chain = ecog_chain(1000, 4, baseline=some_baseline(1000, 4))
    first, second = stepped(chain, [x.rows(0, 1013), x.rows(2005, 4000)])
    assert (first.end, second.index) == (50, 101)
    whole = chain.layer(x).rows(101, 200)  # on the same grid
    assert np.array_equal(second.times, whole.times)
    np.testing.assert_allclose(second.data[50:], whole.data[50:], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate_hz": 250.0}, ("250 Hz", "70 to 150 Hz")),
        ({"band_hz": (150.0, 70.0)}, ("150 to 70 Hz",)),
        ({"bad_channels": [9]}, ("channel 9", "0 to 3")),
        ({"groups": [[0, 1], [1, 2]]}, ("channel 1 twice",)),
        ({"baseline": (np.zeros(3), np.ones(3))}, ("(3,)", "(4,)")),
        ({"row_rate_hz": 0.0}, ("row rate of 0 Hz",)),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        ecog_chain(**{"rate_hz": 1000.0, "channels": 4, **arguments})
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_clinical_recording(recordings: Path) -> None:
    mne = pytest.importorskip("mne")
    raw = mne.io.read_raw_edf(recordings / "clinical_ecog.edf", verbose="error")
    rate_hz, data = float(raw.info["sfreq"]), (raw.get_data().T * 1e6).astype(np.float32)
    x = regular(data, rate_hz)
    chain = ecog_chain(rate_hz, data.shape[1], mains_hz=60.0)
    whole = verify_contract(chain, x, random_cuts(len(x), 0, 30))
    assert len(whole) == int(len(x) * 50 / rate_hz)

    power = x
    for stage in chain.stages[:-1]:
        power = stage.layer(power)
    median, mad = baseline(power)
    alive = np.isfinite(median) & (mad > 0)
    assert alive.sum() >= 64
    z = ecog_chain(rate_hz, data.shape[1], mains_hz=60.0, baseline=(median, mad)).layer(x)
    kept = np.where(bad_of(z), np.nan, floats(z))[:, alive]
    assert np.all(np.isfinite(z.data))
    assert np.abs(np.nanmedian(kept, axis=0)).max() < 1e-3
    assert 0.5 < float(np.median(np.nanstd(kept, axis=0))) < 2.0
