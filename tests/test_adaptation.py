"""The adapting read-out: against explicit least squares, in any chunks, over days, live and in replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from encoders.adaptation import ROWS, Adaptation, AdaptationConfig
from encoders.adapted import AdaptedModel
from encoders.projection import fit_projection
from encoders.ridge import LaggedRidge
from realtime.adapting import Adapter, run_adapting
from realtime.align import align
from realtime.block import Block, Floats, concat, regular
from tests.contract import random_cuts, verify_contract
from tests.oracles.adaptation import weights_at_each_second
from tests.test_lstm_attention import some_stage

SMALL = AdaptationConfig(components=4, lags=(0, 2, 5), memory_s=2.0, prior=5.0, window_s=3, enough_s=1.0)
K, E = 4, 3


def aligned(seed: int, rows: int, index: int = 0, bad_share: float = 0.15) -> Block:
    """Rows in which the first electrode follows a component that the fitted model misses, two rows late."""
    rng = np.random.default_rng(seed)
    components = rng.standard_normal((rows, K)).astype(np.float32)
    fitted = rng.standard_normal((rows, E)).astype(np.float32)
    observed = fitted + 0.5 * rng.standard_normal((rows, E)).astype(np.float32)
    observed[2:, 0] += components[:-2, 1]
    adapted = fitted + 0.1 * rng.standard_normal((rows, E)).astype(np.float32)
    bad = np.repeat(rng.random((rows // 5 + 1, E)) < bad_share, 5, axis=0)[:rows]
    observed[bad & (rng.random(bad.shape) < 0.5)] = np.nan
    learn = np.repeat(rng.random((rows // 20 + 1, 1)) < 0.9, 20, axis=0)[:rows]
    extra = {"bad": bad, "fitted": fitted, "adapted": adapted, "components": components, "learn": learn}
    return Block(np.stack([fitted, observed], axis=-1), 3.0 + np.arange(rows) / 50, index, extra)


def of(x: Block, name: str) -> Floats:
    return np.asarray(x.extra[name], np.float64)


def learner() -> Adaptation:
    return Adaptation(E, K, SMALL)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_against_explicit_weighted_least_squares(seed: int) -> None:
    x = aligned(seed, 250)
    x.extra["components"][30] = np.nan
    x.extra["bad"][60:75] = True
    stage = learner()
    heard = np.asarray(x.extra["learn"], bool)[:, 0] & np.isfinite(np.asarray(x.extra["components"])).all(axis=1)
    ok = ~np.asarray(x.extra["bad"], bool) & np.asarray(x.extra["learn"], bool) & np.isfinite(x.data[:, :, 1])
    missed = np.where(ok, x.data[:, :, 1] - np.asarray(x.extra["fitted"], np.float64), 0.0)
    components = np.nan_to_num(np.asarray(x.extra["components"], np.float64))
    expected, lags = weights_at_each_second(components, missed, ok, heard, list(SMALL.lags), stage.keep, SMALL.prior)
    state = stage.initial_state()
    for second in range(5):
        y, state = stage.step(x.rows(second * 50, second * 50 + 50), state)
        np.testing.assert_allclose(state.weights, expected[second], atol=1e-9)
        used = np.array([[m == lags[second][e] for e in range(E)] for m in range(3)])
        if second:  # before, all explain nothing
            np.testing.assert_allclose(y.extra["weights"][0], expected[second] * used[:, None], atol=1e-6)
    assert state.lag[0] == 1
    assert state.weights[1, 1, 0] == pytest.approx(1.0, abs=0.25)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 500))
def test_contract(seed: int, index: int) -> None:
    x = aligned(seed, 330, index)
    y = verify_contract(learner(), x, random_cuts(330, seed, 8), tolerance=1e-9)
    assert len(y) in (6, 7)
    assert y.index == index // ROWS
    assert np.isfinite(y.data[-1]).all()
    assert np.any(y.extra["weights"])


def test_scores_are_of_the_predictions_as_they_were_made() -> None:
    x = aligned(1, 400)
    y = learner().layer(x)
    ok = ~np.asarray(x.extra["bad"], bool) & np.asarray(x.extra["learn"], bool) & np.isfinite(x.data[:, :, 1])
    for second in (3, 7):
        now = slice(max(0, second - 2) * 50, (second + 1) * 50)
        for column, name in enumerate(("fitted", "adapted")):
            predicted = np.asarray(x.extra[name], np.float64)[now]
            r = [np.corrcoef(predicted[ok[now, e], e], x.data[now][ok[now, e], e, 1])[0, 1] for e in range(E)]
            assert y.data[second, column] == pytest.approx(np.mean(r), abs=1e-5)


def test_the_better_one_is_shown_with_hysteresis() -> None:
    rng = np.random.default_rng(0)
    rows = 30 * ROWS
    observed = rng.standard_normal((rows, E))
    share = np.full((rows, 1), 0.5)
    share[5 * ROWS : 15 * ROWS] = 0.9  # the adapted one is better, then equal, then worse
    share[20 * ROWS :] = 0.1
    noise = rng.standard_normal((rows, E))
    fitted = 0.5 * observed + np.sqrt(0.75) * noise
    adapted = share * observed + np.sqrt(1 - share**2) * noise
    extra = {"bad": np.zeros((rows, E), bool), "fitted": fitted, "adapted": adapted, "components": np.zeros((rows, K))}
    y = learner().layer(Block(np.stack([fitted, observed], axis=-1), np.arange(rows) / 50, 0, extra))
    shown = np.asarray(y.extra["shown"], bool)[:, 0].tolist()
    assert not any(shown[:5])
    assert all(shown[6:16])
    assert not any(shown[22:])
    assert np.abs(np.diff(np.array(shown, int))).sum() == 2


def test_an_electrode_that_is_not_claimed_does_not_decide() -> None:
    """One records the sound, which the adapted read-out learns at once; the two others get worse by it."""
    rng = np.random.default_rng(0)
    observed, noise = rng.standard_normal((2, 10 * ROWS, E))
    share = np.array([[1.0, 0.4, 0.4]])
    fitted = 0.5 * observed + np.sqrt(0.75) * noise
    adapted = share * observed + np.sqrt(1 - share**2) * noise
    extra = {"bad": np.zeros(observed.shape, bool), "fitted": fitted, "adapted": adapted}
    extra["components"] = np.zeros((len(observed), K))
    x = Block(np.stack([fitted, observed], axis=-1), np.arange(len(observed)) / 50, 0, extra)
    shown = []
    for claimed in (None, np.array([False, True, True]), np.zeros(E, bool)):
        stage = learner()
        stage.claimed = claimed
        y = stage.layer(x)
        shown.append(bool(y.extra["shown"][-1, 0]))
        counted = np.flatnonzero(np.ones(E, bool) if claimed is None else claimed)
        last = slice(7 * ROWS, None)
        for column, predicted in enumerate((fitted, adapted)):
            r = [np.corrcoef(predicted[last, e], observed[last, e])[0, 1] for e in counted]
            np.testing.assert_allclose(y.data[-1, column], np.mean(r) if r else np.nan, atol=1e-5)
    assert shown == [True, False, False]


def test_masked_rows_and_rows_outside_listening_change_nothing() -> None:
    stage, x = learner(), aligned(2, 300, bad_share=0.0)
    x.extra["learn"][:] = True
    _, state = stage.step(x, stage.initial_state())
    before = state.gram.copy(), state.cross.copy(), state.weights.copy(), state.learnt
    junk = aligned(3, 500, index=300)
    junk.extra["learn"][:] = False
    junk.data[:] = 1e6
    _, state = stage.step(junk, state)
    masked = aligned(4, 500, index=800)
    masked.extra["bad"][:] = True
    masked.extra["learn"][:] = True
    _, state = stage.step(masked, state)
    late = stage.history  # rows that the junk only followed
    assert state.learnt - before[3] <= late
    for found, was in ((state.gram, before[0]), (state.cross, before[1]), (state.weights, before[2])):
        np.testing.assert_allclose(found, was, atol=0.3 * np.abs(was).max())
    again = state.gram.copy()
    _, state = stage.step(Block(masked.data, masked.times, 1300, masked.extra), state)
    assert np.array_equal(state.gram, again)


def test_lost_rows_are_masked_rows() -> None:
    x, stage = aligned(5, 400), learner()
    _, state = stage.step(x.rows(0, 120), stage.initial_state())
    y, _ = stage.step(x.rows(210, 400), state)
    learn = x.extra["learn"].copy()
    learn[120:210] = False
    whole = stage.layer(Block(x.data, x.times, 0, {**x.extra, "learn": learn}))
    np.testing.assert_allclose(y.data, whole.data[4:], atol=1e-6)
    np.testing.assert_allclose(of(y, "weights"), of(whole, "weights")[4:], atol=1e-6)


@pytest.mark.parametrize("kind", ["huge", "constant", "one direction", "nothing"])
def test_it_stays_finite_symmetric_and_bounded(kind: str) -> None:
    """Ten memories of input that would blow up or starve a covariance."""
    stage = learner()
    state = stage.initial_state()
    rng = np.random.default_rng(0)
    for part in range(20):
        x = aligned(part, 50, index=part * 50, bad_share=0.0)
        x.extra["learn"][:] = True
        components: Any = x.extra["components"]
        if kind == "huge":
            components[:] *= 1e30
            x.data[:] *= 1e30
        elif kind == "constant":
            components[:] = 1.0
        elif kind == "one direction":
            components[:] = rng.standard_normal((50, 1))
        else:
            components[:], x.data[:] = 0.0, 0.0
        with np.errstate(all="raise"):
            _, state = stage.step(x, state)
    assert np.array_equal(state.gram, state.gram.T)
    assert np.linalg.eigvalsh(state.gram)[0] > -1e-9 * max(1.0, state.gram.max())
    assert np.abs(state.gram).max() <= 31.0**2 / (1 - stage.keep)
    assert np.abs(state.weights).max() < 1e3
    assert all(np.isfinite(a).all() for a in (state.cross, state.weights, state.sums))


def embeddings(rows: int, seed: int) -> Floats:
    x = np.random.default_rng(seed).standard_normal((rows + 2, 8))
    return ((x[2:] + x[1:-1] + x[:-2]) / 2).astype(np.float32)


def small_ridge() -> LaggedRidge:
    rng = np.random.default_rng(7)
    weights = 0.3 * rng.standard_normal((6, 5, E)).astype(np.float32)
    return LaggedRidge(fit_projection(embeddings(500, 0), 5), weights, np.zeros(E, np.float32), horizon_s=0.04)


def observed_rows(x: Block, seed: int) -> Block:
    """What three electrodes do: not at all what the model was fitted to."""
    rng = np.random.default_rng(seed)
    data = np.roll(x.data[:, :E], 4, axis=0) + 0.5 * rng.standard_normal((len(x), E))
    return Block(data.astype(np.float32), x.times + 0.011, 0, {"bad": rng.random((len(x), E)) < 0.02})


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=10), st.sampled_from(["ridge", "lstm"]), st.integers(0, 99))
def test_layer_and_step_of_an_adapted_model_agree(cuts: list[int], kind: str, seed: int) -> None:
    model = AdaptedModel(small_ridge() if kind == "ridge" else some_stage(), SMALL)
    rng = np.random.default_rng(seed)
    weights = 0.3 * rng.standard_normal((3, 4, E)).astype(np.float32)
    for first_row, shown in ((40, True), (90, False), (130, True)):
        model.publish(first_row, rng.random() * weights, shown)
    y = verify_contract(model, regular(embeddings(200, seed), 50.0, 7.0), cuts)
    fitted, adapted = of(y, "fitted"), of(y, "adapted")
    np.testing.assert_allclose(fitted, model.fitted.layer(regular(embeddings(200, seed), 50.0, 7.0)).data, atol=1e-5)
    shown_rows = np.r_[np.zeros(40), np.ones(50), np.zeros(40), np.ones(70)].astype(bool)[:, None]
    assert np.array_equal(y.data, np.where(shown_rows, adapted, fitted))
    assert np.array_equal(adapted[:40], fitted[:40])
    assert np.abs(adapted[40:] - fitted[40:]).mean() > 0.05


def test_adapted_predictions_row_by_row() -> None:
    """The oracle: one row, one lag, one electrode at a time."""
    model = AdaptedModel(small_ridge(), SMALL)
    weights = np.random.default_rng(3).standard_normal((3, 4, E)).astype(np.float32)
    model.publish(10, weights, True)
    x = embeddings(40, 5)
    y = model.layer(regular(x, 50.0))
    raw = model.fitted.projection.apply(x)[:, :4].astype(np.float64)
    padded = np.concatenate([np.zeros((2, 4)), raw])
    smooth = 0.25 * padded[2:] + 0.5 * padded[1:-1] + 0.25 * padded[:-2]
    np.testing.assert_allclose(of(y, "components"), smooth, atol=1e-5)
    for row in range(10, 40):
        for e in range(E):
            added = sum(smooth[row - lag] @ weights[m, :, e] for m, lag in enumerate(SMALL.lags) if row >= lag)
            assert y.data[row, e] == pytest.approx(float(of(y, "fitted")[row, e]) + added, abs=1e-4)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
@example(145)
def test_a_replay_gives_the_live_predictions_again(seed: int) -> None:
    """Live, predictions come in pieces of up to 29 rows, and what they teach up to 68 later, so none after the 100 that
    a read-out waits; switched off and on meanwhile."""
    rng = np.random.default_rng(seed)
    x = regular(embeddings(1500, seed), 50.0, 2.0)
    observed = observed_rows(x, seed)
    model = AdaptedModel(small_ridge(), SMALL)
    told: list[dict[str, Any]] = []
    adapter = Adapter(model, told.append, on=True)
    state, parts, waiting = model.initial_state(), [], []
    at = 0
    while at < len(x):
        count = int(rng.integers(1, 30))
        y, state = model.step(x.rows(at, at + count), state)
        at += count
        parts.append(y)
        waiting.append(align(y, observed))
        if at > 700 and len(told) < 4:
            adapter.switch(not adapter.on)
        while waiting and (waiting[0].end < at - int(rng.integers(0, 40)) or at >= len(x)):
            adapter.take(waiting.pop(0))
    live = concat(parts)
    assert model.late == 0
    switches = [(event["row"], event["on"]) for event in told if "adaptation o" in event["message"]]
    again = run_adapting(AdaptedModel(small_ridge(), SMALL), x, observed, switches)
    np.testing.assert_allclose(again.data, live.data, atol=1e-5)
    assert np.abs(live.data - of(live, "fitted")).max() > 0.3, "the adapted one was never shown"


def test_what_is_late_is_counted() -> None:
    model = AdaptedModel(small_ridge(), SMALL)
    model.layer(regular(embeddings(200, 0), 50.0))
    model.publish(250, None, False)
    assert model.late == 0
    model.publish(150, None, False)
    assert model.late == 1


def test_a_learner_that_fails_leaves_the_predictions() -> None:
    model = AdaptedModel(small_ridge(), SMALL)
    told: list[dict[str, Any]] = []
    adapter = Adapter(model, told.append, on=True)
    x = regular(embeddings(100, 0), 50.0)
    y = model.layer(x)
    rows: Any = align(y, observed_rows(x, 0))
    broken = Block(rows.data, rows.times, 0, {**rows.extra, "components": np.zeros((100, 2))})
    adapter.take(broken)
    assert told[-1]["event"] == "adaptation_failed"
    assert not adapter.on
    adapter.take(rows)
    assert len(told) == 2
