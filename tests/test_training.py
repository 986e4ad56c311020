"""Training: the split, the scores, what each model learns, and who wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from encoders.aligned import Aligned
from encoders.lstm_attention import LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.ridge import LaggedRidge, RidgeConfig, fit_ridge
from encoders.training import FitConfig, fit, masked_loss, masked_r, score, train_lstm, winner
from realtime.block import Floats, regular

SMALL = FitConfig(  # the toy's gate is of 60 ms: no unit need begin with a memory of seconds
    ridge=RidgeConfig(components=6, lags=8, lag_functions=8, window_frames=3.0, folds=4, gap_frames=30),
    lstm=LstmAttentionConfig(hidden=24, heads=2, head_width=8, attention_s=0.16, dropout=0.0, remembers=False),
    epochs=30, batch=8, crop_s=2.0, warm_up_s=0.4, learning_rate=1e-2, threads=1,
)  # fmt: skip


def embeddings(rows: int, seed: int) -> Floats:
    x = np.random.default_rng(seed).standard_normal((rows + 1, 6))
    return (x[1:] + 0.5 * x[:-1]).astype(np.float32)


def recording(rows: int, seed: int, gated: bool, noise: float = 0.5) -> Aligned:
    """Two electrodes: linear at a lag of 3 frames, or gated: one channel passes only where another is positive."""
    rng = np.random.default_rng(seed + 100)
    x = embeddings(rows, seed)
    late = np.roll(x, 3, axis=0)
    drives = (late[:, 0] * (late[:, 1] > 0), late[:, 2] * (late[:, 3] > 0)) if gated else late[:, :2].T
    y = np.stack(list(drives), axis=1)
    observed = (y / y.std(axis=0) + noise * rng.standard_normal(y.shape)).astype(np.float32)
    return Aligned(x, observed, rng.random(y.shape) < 0.02)


def test_a_linear_relation_is_the_ridges() -> None:
    told: list[tuple[str, float]] = []
    segments = [recording(1500, 0, gated=False), recording(1500, 1, gated=False)]
    result = fit(segments, replace(SMALL, epochs=2), lambda what, share: told.append((what, share)))
    assert result.kind == "ridge"
    assert isinstance(result.model, LaggedRidge)
    best = 1 / np.sqrt(1 + 0.5**2)  # correlation of the drive with what was observed
    assert np.all(result.validation["ridge"] > 0.97 * best)
    assert np.all(score(result.model, [recording(1000, 5, gated=False)]) > 0.97 * best)
    assert told[-1] == ("done", 1.0)
    assert {"ridge", "lstm_attention", "refit"} <= result.seconds.keys()


def test_a_gated_relation_is_the_lstms() -> None:
    segments = [recording(2500, 2, gated=True), recording(2500, 3, gated=True)]
    result = fit(segments, SMALL)
    assert result.kind == "lstm_attention"
    assert isinstance(result.model, LstmAttentionStage)
    assert np.all(result.validation["lstm_attention"] > result.validation["ridge"] + 0.05)
    held_out = recording(1000, 6, gated=True)
    linear = fit(segments, replace(SMALL, kinds=("ridge",))).model
    assert np.all(score(result.model, [held_out]) > score(linear, [held_out]) + 0.05)
    shuffled = replace(held_out, observed=np.roll(held_out.observed, 200, axis=0))
    assert np.all(np.abs(score(result.model, [shuffled])) < 0.2)
    r = [row["validation_r"] for row in result.history]
    assert max(r) == pytest.approx(np.mean(result.validation["lstm_attention"]), abs=1e-5)


def test_mixed_precision_learns_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, whose autocast is another than CUDA's: what is proven is the way, not the device."""
    segments, held_out = [recording(2500, seed, gated=True) for seed in (2, 3)], recording(1000, 6, gated=True)
    ridge = fit(segments, replace(SMALL, kinds=("ridge",))).model
    assert isinstance(ridge, LaggedRidge)
    norms: list[float] = []
    types: list[torch.dtype] = []

    def noting_norm(*given: Any) -> torch.Tensor:
        norms.append(float(clip(*given)))
        return torch.tensor(norms[-1])

    def noting_type(predicted: torch.Tensor, *given: Any) -> torch.Tensor:
        types.append(predicted.dtype)
        return masked_loss(predicted, *given)

    def noting_read(model: LstmAttention, hidden: torch.Tensor, *given: Any) -> Any:
        types.append(hidden.dtype)
        return read(model, hidden, *given)

    clip, read = torch.nn.utils.clip_grad_norm_, LstmAttention.read
    monkeypatch.setattr(LstmAttention, "read", noting_read)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noting_norm)
    monkeypatch.setattr("encoders.training.masked_loss", noting_type)
    stages = {}
    for precision in ("float32", "bfloat16"):
        config = replace(SMALL, precision=precision)  # type: ignore[arg-type]
        stages[precision], _ = train_lstm(segments, [], ridge, config, lambda _share: None)
    assert len(norms) > 50
    assert np.isfinite(norms).all()
    assert set(types) == {torch.float32}, "recurrence or loss in less"
    assert all(p.dtype == torch.float32 for p in stages["bfloat16"].model.parameters())
    full, mixed = (score(stage, [held_out]) for stage in stages.values())
    assert not np.array_equal(full, mixed), "nothing was mixed"
    np.testing.assert_allclose(mixed, full, atol=0.02)
    assert np.all(mixed > score(ridge, [held_out]) + 0.05), mixed - full


def test_precision_is_mixed_on_cuda_alone_unless_asked_for() -> None:
    assert not FitConfig().mixed
    assert FitConfig(device="cuda").mixed
    assert not FitConfig(device="cuda", precision="float32").mixed
    assert FitConfig(precision="bfloat16").mixed


def lstm_after_two_epochs(segment: Aligned, config: FitConfig) -> Floats:
    """Predictions of the LSTM after training on one segment with nothing held out."""
    ridge = fit_ridge([segment.embeddings], [segment.observed], [segment.bad], config.ridge)
    stage, history = train_lstm([segment], [], ridge, replace(config, epochs=2), lambda _share: None)
    assert len(history) == 3
    x = regular(embeddings(50, 9), 50.0)
    assert np.abs(stage.layer(x).data - ridge.layer(x).data).max() > 1e-4, "nothing was learnt"
    return stage.layer(x).data


def test_the_same_seed_gives_the_same_model() -> None:
    segment = recording(1200, 2, gated=True)
    one, two, other = (lstm_after_two_epochs(segment, replace(SMALL, seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_bad_and_missing_targets_change_nothing() -> None:
    clean = recording(1200, 4, gated=False)
    junk = clean.observed.copy()
    junk[clean.bad] = np.nan
    junk[100:140], clean.observed[100:140] = 1e6, 0.0
    clean.bad[100:140] = True
    one, two = (lstm_after_two_epochs(replace(clean, observed=o), SMALL) for o in (clean.observed, junk))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_the_horizon_is_the_models() -> None:
    result = fit([recording(1200, 4, gated=False)], replace(SMALL, horizon_s=0.12, kinds=("ridge",)))
    assert result.model.lag_s == -0.12
    assert list(result.validation) == ["ridge"]


def test_winner_needs_the_margin() -> None:
    ridge = np.array([0.3, np.nan])
    for gain, kind in ((0.002, "ridge"), (0.004, "lstm_attention"), (-0.1, "ridge")):
        assert winner({"ridge": ridge, "lstm_attention": ridge + gain}, SMALL) == kind


def test_masked_r_is_pearsons_over_good_rows() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50, 3)).astype(np.float32)
    good = rng.random((50, 3)) < 0.7
    good[:, 2] = False
    b[~good] = np.nan
    r = masked_r(a, b, good)
    for e in range(2):
        assert r[e] == pytest.approx(np.corrcoef(a[good[:, e], e], b[good[:, e], e])[0, 1], abs=1e-6)
    assert np.isnan(r[2])
    assert masked_r(np.ones((50, 1)), a[:, :1], np.ones((50, 1), bool))[0] == 0


def test_masked_loss_is_squared_error_and_correlation_over_good_values() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 30, 2)).astype(np.float32)
    good = rng.random(a.shape) < 0.6
    error = np.mean((a[good] - b[good]) ** 2)
    r = [np.corrcoef(a[..., e][good[..., e]], b[..., e][good[..., e]])[0, 1] for e in range(2)]
    found = masked_loss(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(good), 0.5)
    assert float(found) == pytest.approx(error + 0.5 * (1 - np.mean(r)), abs=1e-5)
