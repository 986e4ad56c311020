"""The running correlation, its mask and its null."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from realtime.block import Block
from realtime.score import Score
from tests.contract import random_cuts, verify_contract
from tests.oracles.score import score_at

FEW = settings(max_examples=10, deadline=None)
SMALL = {"row_rate_hz": 10.0, "window_s": 8.0, "enough_s": 4.0, "null_from_s": 1.0, "null_to_s": 3.4}


def smooth(rng: np.random.Generator, rows: int, electrodes: int) -> NDArray[np.float64]:
    """Noise that is alike over a few rows, as high gamma is; unit variance."""
    white = rng.standard_normal((rows + 4, electrodes))
    return sum(white[i : i + rows] for i in range(5)) / np.sqrt(5)  # type: ignore[no-any-return]


def aligned(
    seed: int, rows: int, electrodes: int, *, rate_hz: float = 50.0, bad_share: float = 0.1, offset: float = 0.0
) -> Block:
    """Predicted and observed that share half of their variance in the first electrode and none in the last."""
    rng = np.random.default_rng(seed)
    drive = smooth(rng, rows, electrodes)
    share = np.linspace(0.7, 0.0, electrodes)
    observed = share * drive + (1 - share) * smooth(rng, rows, electrodes)
    data = (np.stack([drive, observed], axis=-1) + offset).astype(np.float32)
    bad = np.repeat(rng.random((rows // 5 + 1, electrodes)) < bad_share, 5, axis=0)[:rows]
    data[bad & (rng.random(bad.shape) < 0.5)] = np.nan
    return Block(data, 50 + np.arange(rows) / rate_hz, 0, {"bad": bad})


def null_of(score: Block) -> NDArray[np.float32]:
    return np.asarray(score.extra["null_max_p95"], np.float32)


@FEW
@given(st.integers(0, 10_000), st.sampled_from([0.0, 3e6]), st.sampled_from([0.05, 0.4]))
def test_against_explicit_windows(seed: int, offset: float, bad_share: float) -> None:
    x = aligned(seed, 185, 3, rate_hz=10.0, bad_share=bad_share, offset=offset)
    x.data[40:50, 1, 0] = np.nan  # not marked bad
    stage = Score(**SMALL)
    y = stage.layer(x)
    assert len(y) == 18
    assert np.array_equal(y.times, x.times[9::10])
    delays = stage.delays[1:].tolist()
    assert delays == np.round(np.linspace(10, 34, 20)).tolist()
    for second in range(18):
        r, rows, null = score_at(x, second, 10, 8, 40, delays)
        np.testing.assert_allclose(y.data[second], r, atol=2e-6)
        assert np.array_equal(np.isnan(y.data[second]), np.isnan(r))
        np.testing.assert_allclose(y.extra["seconds"][second], np.array(rows) / 10, rtol=1e-6)
        assert np.array_equal(y.extra["enough"][second], np.array(rows) >= 40)
        assert y.extra["null_max_p95"][second, 0] == pytest.approx(null, abs=2e-6, nan_ok=True)
    if bad_share < 0.1:
        assert np.isfinite(y.data[-1]).all()
        assert np.isfinite(y.extra["null_max_p95"][-1]).all()


@FEW
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_contract(seed: int, index: int) -> None:
    x = aligned(seed, 150, 2, rate_hz=10.0)
    x = Block(x.data, x.times, index, x.extra)
    y = verify_contract(Score(**SMALL), x, random_cuts(150, seed, 10), tolerance=0.0)
    assert y.index == index // 10
    assert np.isfinite(y.data).any()


def test_at_full_size_one_second_against_numpy() -> None:
    x = aligned(3, 90 * 50, 4)
    y = Score().layer(x)
    for second in (29, 59, 60, 89):
        r, _, null = score_at(x, second, 50, 60, 1500, np.round(np.linspace(250, 1250, 20)).astype(int).tolist())
        np.testing.assert_allclose(y.data[second], r, atol=2e-6)
        assert y.extra["null_max_p95"][second, 0] == pytest.approx(null, abs=2e-6, nan_ok=True)
    assert not y.extra["enough"][28].any(), "29 seconds are not 30"


def test_what_left_the_window_does_not_count() -> None:
    x = aligned(1, 300, 2, rate_hz=10.0, bad_share=0.0)
    changed = x.data.copy()
    changed[: 300 - 80 - 34, ..., 1] *= -5
    changed[: 300 - 80, ..., 0] *= -5
    y, z = Score(**SMALL).layer(x), Score(**SMALL).layer(Block(changed, x.times, 0, x.extra))
    np.testing.assert_allclose(z.data[-1], y.data[-1], atol=1e-6)
    np.testing.assert_allclose(z.extra["null_max_p95"][-1], y.extra["null_max_p95"][-1], atol=1e-6)
    assert np.abs(z.data[24] - y.data[24]).max() > 0.1


@pytest.mark.parametrize(("lost_from", "lost_to"), [(62, 68), (64, 95), (77, 83), (60, 110), (50, 5000)])
def test_lost_rows_are_masked_rows(lost_from: int, lost_to: int) -> None:
    rows = lost_to + 60
    x = aligned(2, rows, 2, rate_hz=10.0, bad_share=0.0)
    stage = Score(**SMALL)
    _, state = stage.step(x.rows(0, lost_from), stage.initial_state())
    y, _ = stage.step(x.rows(lost_to, rows), state)
    bad = np.zeros((rows, 2), np.bool_)
    bad[lost_from:lost_to] = True
    whole = stage.layer(Block(x.data, x.times, 0, {"bad": bad}))
    assert y.index == lost_to // 10
    expected = whole.rows(y.index, len(whole))
    assert np.array_equal(y.times, expected.times)
    np.testing.assert_allclose(y.data, expected.data, atol=1e-6)
    np.testing.assert_allclose(null_of(y), null_of(expected), atol=1e-6)
    assert np.array_equal(y.extra["seconds"], expected.extra["seconds"])


def test_a_stream_that_starts_over_is_scored_anew() -> None:
    x = aligned(5, 150, 2, rate_hz=10.0)
    stage = Score(**SMALL)
    _, state = stage.step(x, stage.initial_state())
    again, _ = stage.step(x, state)
    expected = stage.layer(x)
    assert np.array_equal(again.data, expected.data, equal_nan=True)
    assert np.array_equal(again.extra["enough"], expected.extra["enough"])


def test_a_constant_or_dead_electrode_has_no_score_and_disturbs_no_other() -> None:
    x = aligned(4, 200, 3, rate_hz=10.0, bad_share=0.0)
    x.data[:, 0, 1] = 7.3
    x.extra["bad"][:, 1] = True
    y = Score(**SMALL).layer(x)
    assert np.isnan(y.data[:, :2]).all()
    assert not y.extra["enough"][:, 1].any()
    alone = Score(**SMALL).layer(Block(x.data[:, 2:], x.times, 0, {"bad": x.extra["bad"][:, 2:]}))
    np.testing.assert_allclose(y.data[:, 2:], alone.data)
    np.testing.assert_allclose(null_of(y), null_of(alone))


def test_the_null_is_of_the_electrodes_claimed_alone() -> None:
    x = aligned(4, 200, 3, rate_hz=10.0, bad_share=0.0)
    x.data[:, 0, 1] = np.roll(x.data[:, 0, 0], -20)  # perfect at one of the delays
    stage = Score(**SMALL)
    stage.claimed = np.array([False, True, True])
    y = stage.layer(x)
    rest = Score(**SMALL).layer(Block(x.data[:, 1:], x.times, 0, {"bad": x.extra["bad"][:, 1:]}))
    np.testing.assert_allclose(null_of(y), null_of(rest))
    assert np.nanmax(null_of(Score(**SMALL).layer(x)) - null_of(y)) > 0.05
    np.testing.assert_allclose(y.data, Score(**SMALL).layer(x).data)  # r is of every electrode all the same


def test_the_null_is_passed_by_what_is_predicted() -> None:
    predicted = aligned(6, 90 * 50, 8, bad_share=0.05)
    y = Score().layer(predicted)
    assert y.data[-1, 0] > y.extra["null_max_p95"][-1, 0] + 0.3


def passes(seed: int) -> bool:
    """Whether one of eight electrodes that have nothing to do with the predictions is above the null in the end.

    95 s: by then the shuffles have as much in common with the predictions as the score has.
    """
    rng, rows = np.random.default_rng(seed), 50 * 95
    data = np.stack([smooth(rng, rows, 8), smooth(rng, rows, 8)], axis=-1).astype(np.float32)
    y = Score().layer(Block(data, np.arange(rows) / 50))
    return bool(np.nanmax(y.data[-1]) > y.extra["null_max_p95"][-1, 0])


def test_the_best_of_unrelated_electrodes_passes_in_one_of_twenty_at_most() -> None:
    passed = sum(passes(seed) for seed in range(200))
    print(f"{passed} of 200 patients without a driven electrode have one above the null")
    assert 1 <= passed <= binom.ppf(0.99, 200, 0.05), "far more than chance allows, or blind"
