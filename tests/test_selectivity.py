"""The phoneme selectivity index against a slow oracle; F-ratios against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway

from encoders.analysis.phone_classes import MANNER, PHONE_PLACE, PHONES, arpabet
from encoders.analysis.selectivity import class_means, f_ratio, selectivity, shifted_f_null
from encoders.phones import PHONE_CLASS
from tests.oracles.selectivity import slow_vectors


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 25), min_size=2, max_size=6),
    step=st.sampled_from([0.0, 0.5, 2.0]),
    effect=st.sampled_from([0.0, 1.0, 4.0]),
    least=st.sampled_from([1, 2, 10]),
)
def test_equals_the_slow_oracle(seed: int, sizes: list[int], step: float, effect: float, least: int) -> None:
    """Ties (values rounded to `step`), tiny classes and missing responses among them."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.intp)
    means = rng.standard_normal((len(labels), 2)) + effect * (labels[:, None] % 3)
    if step:
        means = np.round(means / step) * step
    means[rng.random(means.shape) < 0.1] = np.nan
    found = selectivity(means, labels, q=0.05, least=least)
    vector, higher = slow_vectors(means, labels, len(PHONES), 0.05, least)
    np.testing.assert_array_equal(found.vector, vector)
    np.testing.assert_array_equal(found.higher, higher)
    if np.isfinite(vector).any():
        known = np.isfinite(vector).any(axis=1)
        np.testing.assert_allclose(found.index[known], np.nanmean(vector[known], axis=1))


def test_a_phone_that_drives_is_the_top_of_the_vector() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(PHONES), 4000).astype(np.intp)
    phone, nasals = PHONES.index("S"), [PHONES.index(p) for p in ("M", "N", "NG")]
    means = rng.standard_normal((4000, 3))
    means[:, 0] += 2 * (labels == phone)
    means[:, 1] += 2 * np.isin(labels, nasals)
    found = selectivity(means, labels)
    assert found.top_phone()[0] == "S"
    assert found.top_class()[1] == "nasal"
    assert found.vector[0, phone] == len(PHONES) - 1
    assert np.all(found.vector[1, nasals] == len(PHONES) - 3)
    assert found.top_phone()[2] is None
    assert found.top_class()[2] is None
    assert found.index[2] == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(2, 5))
def test_f_ratio_is_scipys(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, groups, 80).astype(np.intp)
    values = rng.standard_normal((80, 2, 3)) * 3 + labels[:, None, None]
    values[rng.random(values.shape) < 0.05] = np.nan
    found = f_ratio(values, labels, least=2)
    for place in np.ndindex(2, 3):
        column = values[(slice(None), *place)]
        parts = [column[(labels == g) & np.isfinite(column)] for g in range(groups)]
        expected = f_oneway(*[part for part in parts if len(part) >= 2]).statistic
        assert found[place] == pytest.approx(expected)


def test_slow_drift_alone_is_not_phonetic() -> None:
    """Labels that come in stretches and a response that drifts: an F test would cry wolf, the turned labels do not."""
    rng = np.random.default_rng(1)
    labels = np.repeat(rng.integers(0, 8, 100), 20).astype(np.intp)
    drift = np.cumsum(rng.standard_normal((len(labels), 20)), axis=0)
    parts = [drift[labels == g, 0] for g in range(8)]
    assert f_oneway(*parts).pvalue < 1e-6
    p = np.mean(shifted_f_null(drift, labels, 400, seed=0) >= f_ratio(drift, labels), axis=0)
    assert np.mean(p <= 0.05) <= 0.25


def test_class_means_are_means() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, len(PHONES), 500).astype(np.intp)
    means = rng.standard_normal((500, 2))
    means[3, 0] = np.nan
    names, mean, error = class_means(means, labels, MANNER)
    for c, name in enumerate(names):
        mine = np.array([MANNER[PHONES[label]] == name for label in labels])
        values = means[mine, 0]
        values = values[np.isfinite(values)]
        assert mean[0, c] == pytest.approx(values.mean())
        assert error[0, c] == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)))


def test_every_phone_has_a_manner_and_a_place() -> None:
    assert set(PHONES) == set(PHONE_PLACE) == set(PHONE_CLASS) - {"SIL"}
    assert [arpabet(label) for label in ("AH0", "ax-h", "tcl", "h#", "", "ZH", "T_B", "nonsense")] == [
        "AH", "AH", "T", "SIL", "SIL", "ZH", "T", None,
    ]  # fmt: skip
