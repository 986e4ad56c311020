"""The LSTM with attention as a stage: contract, oracle, start of the stream, gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.lstm_attention import LAYER_ROWS, LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.projection import fit_projection
from realtime.block import Floats, regular
from tests.contract import verify_contract
from tests.oracles import lstm_attention as oracle
from tests.oracles.ridge import project


def embeddings(rows: int, seed: int) -> Floats:
    x = np.random.default_rng(seed).standard_normal((rows + 2, 8)) + 2
    return ((x[2:] + x[1:-1] + x[:-2]) / 2).astype(np.float32)


def some_stage(seed: int = 0, layers: int = 1, skip_lags: int = 4, attention_s: float = 0.12) -> LstmAttentionStage:
    torch.manual_seed(seed)
    config = LstmAttentionConfig(
        components=5, electrodes=3, hidden=7, layers=layers, heads=2, head_width=4,
        attention_s=attention_s, skip_lags=skip_lags, reads=3 * (skip_lags > 4), gain=skip_lags > 4, horizon_s=0.06,
    )  # fmt: skip
    model = LstmAttention(config)
    with torch.no_grad():
        for tensor in (*model.parameters(), model.skip):
            tensor.normal_(0.0, 0.4)
    return LstmAttentionStage(model, fit_projection(embeddings(300, seed), 5))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 120), max_size=12), st.integers(0, 3), st.sampled_from([(1, 4), (2, 0), (1, 9)]))
def test_contract(cuts: list[int], seed: int, shape: tuple[int, int]) -> None:
    stage = some_stage(seed, *shape)
    result = verify_contract(stage, regular(embeddings(120, seed + 9), 50.0, 7.25, index=11), cuts)
    assert len(result) == 120
    assert result.times[0] == 7.25 + 0.06
    assert result.extra["attention"].shape == (120, 2, 6)
    assert result.extra["attention"].dtype == np.float32


@pytest.mark.parametrize(("layers", "skip_lags", "attention_s"), [(1, 4, 0.12), (2, 9, 0.12), (1, 0, 0.02)])
def test_equals_the_frame_by_frame_oracle_from_the_first_row(layers: int, skip_lags: int, attention_s: float) -> None:
    stage, x = some_stage(1, layers, skip_lags, attention_s), embeddings(40, 3)
    p = stage.projection
    prediction, attention = oracle.predict(stage.model, project(x, p.mean, p.sd, p.matrix))
    found = stage.layer(regular(x, 50.0))
    np.testing.assert_allclose(found.data, prediction, atol=2e-5)
    np.testing.assert_allclose(np.asarray(found.extra["attention"], np.float64), attention, atol=1e-5)


def test_attention_is_shared_among_frames_of_this_stream_only() -> None:
    attention = np.asarray(some_stage().layer(regular(embeddings(20, 1), 50.0)).extra["attention"], np.float64)
    np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)
    for row in range(5):
        assert not attention[row, :, row + 1 :].any()
        assert np.all(attention[row, :, : row + 1] > 0)


def test_units_begin_as_leaky_means_over_0_1_to_5_seconds() -> None:
    torch.manual_seed(0)
    left, norm = {}, {}
    for remembers in (True, False):
        lstm = LstmAttention(LstmAttentionConfig(hidden=64, remembers=remembers)).lstm
        _, (h, c) = lstm(torch.ones(1, 500, 64))
        _, (_, later) = lstm(torch.zeros(1, 50, 64), (h, c))
        left[remembers] = np.sort((later / c)[0, 0].detach().numpy())
        norm[remembers] = float(later.detach().norm() / c.detach().norm())
    assert left[True][3] < 0.05, "a memory of 0.1 s has nothing left after one"
    assert left[True][-4] == pytest.approx(np.exp(-1 / 5), abs=0.15)
    assert norm[False] < 0.2 < 0.3 < norm[True]


def test_a_gap_restarts() -> None:
    stage, x = some_stage(), embeddings(40, 2)
    _, state = stage.step(regular(x[:20], 50.0), stage.initial_state())
    after, _ = stage.step(regular(x[20:], 50.0, 1.0, index=25), state)
    np.testing.assert_array_equal(after.data, stage.layer(regular(x[20:], 50.0)).data)
    assert after.index == 25


def test_nan_does_not_spread() -> None:
    stage, x = some_stage(), embeddings(40, 2)
    broken, filled = x.copy(), x.copy()
    broken[10, 3], filled[10, 3] = np.nan, stage.projection.mean[3]
    found = stage.layer(regular(broken, 50.0)).data
    np.testing.assert_allclose(found, stage.layer(regular(filled, 50.0)).data, atol=1e-5)


def test_a_long_recording_is_one_stream() -> None:
    stage, x = some_stage(), embeddings(LAYER_ROWS + 50, 2)
    one, _ = stage.step(regular(x, 50.0), stage.initial_state())
    np.testing.assert_allclose(stage.layer(regular(x, 50.0)).data, one.data, atol=1e-5)
