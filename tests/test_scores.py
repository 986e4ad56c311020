"""Nulls, intervals, match-mismatch and ceilings against slow oracles; false discoveries over many patients."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from encoders.aligned import Aligned
from encoders.bootstrap import drawn_counts, interval, r_draws
from encoders.evaluation import benjamini_hochberg, correlation
from encoders.folds import purged_folds
from encoders.match_mismatch import match_mismatch
from encoders.nested import out_of_fold
from encoders.phase_null import drawn_angles, phase_null
from encoders.repeats import find_repeats, noise_ceiling
from encoders.ridge import LaggedRidge, RidgeConfig, fit_ridge
from encoders.scores import score_predictions
from tests.oracles import evaluation as oracle
from tests.test_evaluation import example

FEW = settings(max_examples=15, deadline=None)
Doubles = NDArray[np.float64]


def smooth(rng: np.random.Generator, rows: int, width: int, over: int = 8) -> Doubles:
    """Rows that are alike over some 160 ms, as high gamma's are."""
    white = rng.standard_normal((rows + over - 1, width))
    mean: Doubles = np.mean([white[i : rows + i] for i in range(over)], axis=0) * np.sqrt(over)
    return mean


@FEW
@given(st.integers(0, 10_000), st.integers(4, 90), st.sampled_from([0.0, 1e4]))
def test_phase_null_is_the_correlation_of_surrogates(seed: int, rows: int, offset: float) -> None:
    predicted, observed, bad = example(seed, rows, 4, offset)
    observed[:, 1] = 0.1
    bad[:, 2] = True
    found = phase_null(predicted, observed, bad, 7, seed)
    expected = oracle.phase_randomised(predicted, observed, bad, drawn_angles(7, rows, seed).astype(np.float64))
    assert np.isnan(found[:, 1:3]).all()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_ten_thousand_draws_of_256_electrodes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    predicted, observed = smooth(rng, 3000, 256), smooth(rng, 3000, 256)
    started = time.process_time()
    null = phase_null(predicted, observed, np.zeros(predicted.shape, bool), 10_240, 0)
    assert time.process_time() - started < 60
    assert null.shape == (10_240, 256)
    spread = np.std(null) * np.sqrt(3000)
    assert 1.5 < spread < 5, "wider than of white rows: these have fewer independent ones"


@FEW
@given(st.integers(0, 10_000), st.integers(40, 130))
def test_bootstrap_is_drawing_blocks_and_correlating(seed: int, rows: int) -> None:
    predicted, observed, bad = example(seed, rows, 3)
    found = r_draws(predicted, observed, bad, 12, seed, block_rows=20)
    counts = drawn_counts(-(-rows // 20), 12, seed)
    np.testing.assert_allclose(found, oracle.block_r(predicted, observed, bad, counts, 20), atol=1e-7)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    signal = smooth(rng, 6000, 200)
    observed = 0.6 * signal + 0.8 * smooth(rng, 6000, 200)
    low, high = interval(r_draws(signal, observed, np.zeros(signal.shape, bool), 400))
    assert 0.88 < np.mean((low < 0.6) & (high > 0.6)) < 0.99


@FEW
@given(st.integers(0, 10_000), st.integers(30, 110))
def test_match_mismatch_is_comparing_all_pairs(seed: int, rows: int) -> None:
    predicted, observed, bad = example(seed, rows, 3)
    bad[:20, 0] = True
    found = match_mismatch(predicted, observed, bad, 12)
    single, together = oracle.match_mismatch(predicted, observed, bad, 12)
    np.testing.assert_allclose(found.electrodes, single, atol=1e-9)
    assert found.together == pytest.approx(together, nan_ok=True)
    assert found.segments == rows // 12


@FEW
@given(st.integers(0, 10_000))
def test_ceiling_is_the_root_of_what_repeats_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = np.concatenate([np.arange(300), np.arange(300), 600 + np.arange(40), np.arange(50, 250)])
    observed = rng.standard_normal((300, 4))[source % 300] + rng.uniform(0.2, 2, 4) * rng.standard_normal((840, 4))
    bad = rng.random(observed.shape) < 0.02
    bad[:, 3] = True
    np.testing.assert_allclose(
        noise_ceiling(observed, bad, source), oracle.noise_ceiling(observed, bad, source.tolist()), atol=1e-9
    )


def test_the_ceiling_is_what_the_true_response_reaches() -> None:
    rng = np.random.default_rng(5)
    signal, noise = smooth(rng, 3000, 20), np.linspace(0.3, 3, 20)
    observed = np.concatenate([signal, signal]) + noise * smooth(rng, 6000, 20)
    found = noise_ceiling(observed, np.zeros(observed.shape, bool), np.tile(np.arange(3000), 2))
    reached = correlation(np.concatenate([signal, signal]), observed, np.zeros(observed.shape, bool))
    np.testing.assert_allclose(found, reached, atol=0.2)
    assert abs(np.mean(found - reached)) < 0.02
    assert np.isnan(noise_ceiling(observed, np.zeros(observed.shape, bool), np.arange(6000))).all()


@FEW
@given(st.integers(0, 10_000), st.integers(220, 500), st.integers(0, 700))
def test_planted_repeats_are_found_and_nothing_else(seed: int, length: int, silence: int) -> None:
    rng = np.random.default_rng(seed)
    sound = smooth(rng, 2000, 20)
    again = sound[300 : 300 + length] + 0.02 * rng.standard_normal((length, 20))
    spectrogram = np.concatenate([sound, np.full((silence, 20), -5.0), again, smooth(rng, 200, 20)])
    source = find_repeats(spectrogram, 50.0)
    start = 2000 + silence
    repeated = np.flatnonzero(source != np.arange(len(source)))
    assert set(repeated.tolist()) <= set(range(start - 10, start + length + 10)), "a window may spill a little"
    assert np.all(repeated - source[repeated] == start - 300)
    assert len(repeated) >= length - 100, "half a window at either end may be missed"
    assert np.array_equal(source[source], source)


def test_a_repeat_of_a_repeat_goes_back_to_the_first() -> None:
    rng = np.random.default_rng(0)
    one = smooth(rng, 600, 20)
    source = find_repeats(np.concatenate([one, smooth(rng, 300, 20), one, one]), 50.0)
    assert np.array_equal(source[source], source)
    inside = np.r_[950:1450, 1550:2050]
    assert np.all(source[inside] < 600)


# ---------------------------------------------------------------- many patients


CONFIG = RidgeConfig(
    components=8, lags=8, lag_functions=4, folds=3, gap_frames=20, alphas=(1e1, 1e3, 1e5), imputations=0
)


def patient(seed: int, electrodes: int, driven: int) -> Aligned:
    """Embeddings that are alike over time, and electrodes that follow them 60 ms later, weakly, or not at all."""
    rng = np.random.default_rng(seed)
    embeddings = smooth(rng, 4000, 8)
    drive = np.roll(embeddings, 3, axis=0) @ rng.standard_normal((8, electrodes)) / np.sqrt(8)
    drive[:, driven:] = 0
    observed = rng.uniform(0.05, 0.4, electrodes) * drive + smooth(rng, 4000, electrodes, 5)
    bad = np.repeat(rng.random((100, electrodes)) < 0.03, 40, axis=0)
    return Aligned(embeddings.astype(np.float32), observed.astype(np.float32), bad)


def discoveries(seed: int, electrodes: int, driven: int) -> NDArray[np.bool_]:
    """Electrodes found at a false discovery rate of 5 %, by the whole way: folds, fits, nulls, step-up rule."""

    def fitted(parts: list[Aligned]) -> LaggedRidge:
        return fit_ridge([s.embeddings for s in parts], [s.observed for s in parts], [s.bad for s in parts], CONFIG)

    one = patient(seed, electrodes, driven)
    (predicted,) = out_of_fold([([one], fitted)], purged_folds([4000], 3, 30), 1)
    return np.nan_to_num(score_predictions(predicted, one.observed, one.bad).p_fdr, nan=1.0) < 0.05


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_false_discoveries_over_a_hundred_patients() -> None:
    """Mean false discovery proportion at most 0.05 with half of the electrodes driven, some of them hardly."""
    proportions, power = [], []
    for seed in range(100):
        found = discoveries(seed, electrodes=24, driven=12)
        proportions.append(found[12:].sum() / max(found.sum(), 1))
        power.append(found[:12].mean())
    print(f"mean share of false discoveries {np.mean(proportions):.3f}, of the driven found {np.mean(power):.2f}")
    assert np.mean(proportions) <= 0.05
    assert np.mean(power) > 0.4, "a test that finds nothing makes no false discovery either"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_scrambled_patients_have_a_hit_in_one_of_twenty_at_most() -> None:
    hits = sum(discoveries(1000 + seed, electrodes=24, driven=0).any() for seed in range(200))
    print(f"{hits} of 200 patients with nothing driven have a hit")
    assert hits <= binom.ppf(0.99, 200, 0.05)
    assert hits >= 1, "never a hit: the test would be blind"


def test_what_is_not_claimed_is_not_found_and_counts_among_nobody() -> None:
    """One electrode is the sound itself: with it left out the others' figures are those of a patient without it."""
    predicted, observed, bad = example(3, 1500, 4)
    observed[:, 1] = predicted[:, 1]
    claimed = np.array([True, False, True, True])
    found = score_predictions(predicted, observed, bad, claimed=claimed)
    everyone = score_predictions(predicted, observed, bad)
    others = benjamini_hochberg(everyone.p[claimed])
    assert everyone.p_fdr[1] < 0.05
    assert np.isnan(found.p[1])
    assert np.isnan(found.p_fdr[1])
    np.testing.assert_array_equal(found.r, everyone.r)
    np.testing.assert_allclose(found.p_fdr[claimed], others)
    alone = match_mismatch(predicted[:, claimed], observed[:, claimed], bad[:, claimed])
    assert found.match.together == alone.together
    assert found.match.together != everyone.match.together
