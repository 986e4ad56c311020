"""The z-score against slow loops: how it comes by its baseline, and keeps it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block
from realtime.signals import ZScore, baseline
from tests.contract import verify_contract
from tests.oracles import signals as oracle
from tests.test_signals import bad_of, floats, shifted, stepped


def power_rows(seed: int, rows: int = 160, electrodes: int = 4) -> Block:
    rng = np.random.default_rng(seed)
    data = rng.normal(3, 2, (rows, electrodes)).astype(np.float32)
    data[:, 2] = 1.5
    bad = rng.random(data.shape) < np.array([0.0, 0.3, 0.0, 0.85])
    return Block(data, np.arange(rows) / 50.0, 0, {"bad": bad})


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 160), max_size=8), st.integers(0, 200))
def test_z_score_collects_its_baseline(cuts: list[int], seed: int) -> None:
    x = power_rows(seed)
    stage = ZScore(collect_s=0.8)
    found = verify_contract(stage, x, cuts)
    z, bad = oracle.z_score(floats(x), bad_of(x), 40)
    np.testing.assert_allclose(found.data, z, rtol=1e-5, atol=1e-5)
    assert np.array_equal(found.extra["bad"], bad)
    assert bad[:, 2].all(), "a constant electrode is dead"
    assert not bad[60:, 0].any()


def test_z_score_says_when_it_is_frozen() -> None:
    x = power_rows(0)
    stage = ZScore(collect_s=0.8)
    state = stage.initial_state()
    frozen = []
    for i in range(len(x)):
        _, state = stage.step(x.rows(i, i + 1), state)
        frozen.append(state.frozen)
    assert frozen == [i >= 79 for i in range(160)], "an electrode is mostly bad here: frozen at twice collect_s"
    good = Block(x.data, x.times)
    assert [stage.step(good.rows(0, n), stage.initial_state())[1].frozen for n in (39, 40)] == [False, True]
    assert ZScore(np.zeros(4), np.ones(4)).initial_state().frozen


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 160), max_size=8), st.integers(0, 50))
def test_z_score_of_a_given_baseline(cuts: list[int], seed: int) -> None:
    x = power_rows(seed)
    median, mad = np.array([1.0, -2.0, 0.0, np.nan]), np.array([0.5, 2.0, 0.0, np.nan])
    found = verify_contract(ZScore(median, mad), x, cuts)
    for c in range(2):
        np.testing.assert_allclose(found.data[:, c], (x.data[:, c] - median[c]) / (1.4826 * mad[c]), rtol=1e-6)
        assert np.array_equal(found.extra["bad"][:, c], x.extra["bad"][:, c])
    assert np.all(found.data[:, 2:] == 0), "a dead electrode says something"
    assert found.extra["bad"][:, 2:].all()


def test_baseline_counts_unmasked_rows_alone() -> None:
    x = power_rows(4)
    x.extra["bad"][:, 3] = True
    x.data[x.extra["bad"]] = 1e6
    median, mad = baseline(x)
    for c in range(3):
        kept = np.array([v for v, b in zip(x.data[:, c], x.extra["bad"][:, c], strict=True) if not b], float)
        assert median[c] == np.median(kept)
        assert mad[c] == pytest.approx(np.median(np.abs(kept - np.median(kept))))
    assert np.isnan(median[3])
    assert np.isnan(mad[3])


def test_a_gap_keeps_the_baseline() -> None:
    x = power_rows(1)
    whole = ZScore(collect_s=0.8).layer(x)
    out = stepped(ZScore(collect_s=0.8), [x.rows(0, 30), shifted(x.rows(30, 90), 500), shifted(x.rows(90, 160), 9)])
    assert [b.index for b in out] == [0, 500, 9]
    assert np.array_equal(np.concatenate([b.data for b in out]), whole.data)
