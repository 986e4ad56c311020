"""Paired tests of two models: what they are by definition, how often they err, and what they find."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import wilcoxon

from encoders.analysis.paired import overall_p, paired_p
from encoders.bootstrap import r_draws

ROWS, ELECTRODES, BLOCK_ROWS = 5000, 400, 125


@given(st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0, float("nan")]), min_size=1, max_size=60))
def test_p_of_an_electrode_counts_draws_on_the_rarer_side(draws: list[float]) -> None:
    known = [d for d in draws if d == d]
    rarer = min(sum(d <= 0 for d in known), sum(d >= 0 for d in known))
    expected = min(1.0, 2 * (rarer + 1) / (len(known) + 1)) if known else float("nan")
    table = np.array([draws, [-d for d in draws]]).T  # two electrodes, the second the other way round
    np.testing.assert_allclose(paired_p(table), [expected, expected])


def test_no_number_of_draws_gives_a_p_of_nothing() -> None:
    np.testing.assert_allclose(paired_p(np.ones((999, 1))), 2 / 1000)


def signed_rank_p(values: np.ndarray) -> float:
    """Every way of signing the ranks, one by one: two-sided."""
    ranks = 1 + np.argsort(np.argsort(np.abs(values)))
    sums = [sum(r for r, sign in zip(ranks, signs, strict=True) if sign) for signs in
            itertools.product((0, 1), repeat=len(values))]  # fmt: skip
    found = sum(r for r, v in zip(ranks, values, strict=True) if v > 0)
    extreme = min(found, ranks.sum() - found)
    return min(1.0, 2 * float(np.mean(np.array(sums) <= extreme)))


@pytest.mark.parametrize("seed", range(4))
def test_p_over_electrodes_is_the_signed_rank_test(seed: int) -> None:
    """Enumerated for a few, SciPy's for many; electrodes that do not differ, or have no r, are left out."""
    rng = np.random.default_rng(seed)
    few, many = rng.normal(0.3, 1.0, 6 + seed), rng.normal(0.1, 1.0, 80)
    assert overall_p(few) == pytest.approx(signed_rank_p(few), rel=1e-9)
    assert overall_p(many) == pytest.approx(float(wilcoxon(many).pvalue), rel=1e-9)
    assert overall_p(np.concatenate([few, [np.nan, 0.0, 0.0]])) == overall_p(few)
    assert np.isnan(overall_p(np.concatenate([few[:5], np.zeros(5)])))


@pytest.mark.parametrize(("gain", "least", "most"), [(0.0, 0.0, 0.065), (0.6, 0.8, 1.0)])
def test_how_often_a_gain_over_electrodes_is_found(gain: float, least: float, most: float) -> None:
    """Heavy-tailed differences of 30 electrodes; in 1000 rounds, with none in truth and with one of 0.6 SD."""
    rng = np.random.default_rng(1)
    rounds = rng.standard_t(3, (1000, 30)) / np.sqrt(3) + gain
    rate = np.mean([overall_p(one) <= 0.05 for one in rounds])
    print(f"gain {gain} SD: found in {rate:.1%} of rounds")
    assert least <= rate <= most


def predictions(noises: tuple[float, float], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is observed at each electrode, and two predictions with errors of their own, all of them slow."""
    white = np.random.default_rng(seed).standard_normal((4, ROWS, ELECTRODES))
    signal, *errors = lfilter([0.5], [1.0, -0.85], white, axis=1)
    observed = signal + errors[0]
    one, other = (signal + noise * error for noise, error in zip(noises, errors[1:], strict=True))
    return observed, one, other


@pytest.mark.parametrize(("noises", "least", "most"), [((1.0, 1.0), 0.02, 0.09), ((1.0, 1.6), 0.9, 1.0)])
def test_how_often_a_gain_of_an_electrode_is_found(noises: tuple[float, float], least: float, most: float) -> None:
    """By the draws of `analyze`, of 40 blocks: two equally good predictions, and one that is worse by 0.11 in r."""
    observed, one, other = predictions(noises, 0)
    bad = np.zeros(observed.shape, bool)
    draws = [r_draws(p, observed, bad, 500, seed=0, block_rows=BLOCK_ROWS) for p in (one, other)]
    rate = np.mean(paired_p(draws[0] - draws[1]) <= 0.05)
    r = [np.mean([np.corrcoef(p[:, e], observed[:, e])[0, 1] for e in range(20)]) for p in (one, other)]
    print(f"r {r[0]:.2f} and {r[1]:.2f}: a gain is found at {rate:.1%} of electrodes")
    assert least <= rate <= most
