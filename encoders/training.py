"""Fit both brain models on aligned segments and keep the one that predicts validation data better."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from encoders.aligned import Aligned, Split, split
from encoders.crops import Crops
from encoders.descent import Descent, best_epoch
from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.ridge import LaggedRidge, RidgeConfig, fit_ridge
from encoders.trust import give, trust
from realtime.block import Floats, Mask, regular

FILTER_S = 0.22  # for which the high-gamma filters ring
Kind = Literal["ridge", "lstm_attention"]
Precision = Literal["auto", "float32", "bfloat16"]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How both models are fitted.

    validation: share of all that is heard, at the end, that neither model learns from until the winner is refitted; its
    repeats are held out with it. context_s: how far back an embedding hears.
    margin: by how much mean validation r of the LSTM must exceed the ridge's, because its number of epochs was
    chosen on the same rows. crop_s: through how much is learnt at once; the LSTM's state is carried on into the next
    crop. warm_up_s: what has no loss where a lane begins anew. trust_errors: see `trust`; negative: trust all.
    averaging: of the weights over steps, the share that stays at each; what is kept and scored is their mean.
    correlation_weight: of 1 - r beside the masked squared error in the loss. threads: for torch; the ridge's
    linear algebra takes one, because several wait for each other at every step where the cores are shared.
    device: on which the LSTM is trained, `cpu` or `cuda`; what comes of it is on the CPU. precision: of attention and
    read-out while they are trained; auto: bfloat16 on CUDA, float32 elsewhere. Recurrence, loss, weights: float32.
    """

    ridge: RidgeConfig = field(default_factory=RidgeConfig)
    lstm: LstmAttentionConfig = field(default_factory=lambda: LstmAttentionConfig(reads=10, gain=True, head_width=8))
    kinds: tuple[Kind, ...] = ("ridge", "lstm_attention")
    horizon_s: float = 0.0
    context_s: float = 10.0
    validation: float = 0.25
    margin: float = 0.003
    epochs: int = 20
    patience: int = 8
    batch: int = 8
    crop_s: float = 5.0
    warm_up_s: float = 2.0
    trust_errors: float = 0.5
    learning_rate: float = 4e-3
    averaging: float = 0.95
    weight_decay: float = 0.05
    correlation_weight: float = 0.5
    threads: int = 1
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "auto"

    @property
    def mixed(self) -> bool:
        return self.precision == "bfloat16" or (self.precision == "auto" and self.device == "cuda")

    @property
    def gaps(self) -> tuple[int, int]:
        """Rows between training and held-out rows: lags, context and what filters ring; lags and a second alone."""
        lags = max(self.ridge.lags, self.lstm.lags)
        return lags + round((self.context_s + FILTER_S) * FRAME_RATE_HZ), lags + round(FRAME_RATE_HZ)


@dataclass(frozen=True, slots=True)
class FitResult:
    """model: the winner, refitted on everything. validation: r per electrode (E,) for each kind, NaN where an
    electrode has no good row. seconds: wall time of each part. history: of the LSTM, a row per epoch. chosen_on: what
    is known of the validation rows, see `Split`."""

    model: LaggedRidge | LstmAttentionStage
    kind: Kind
    validation: dict[str, npt.NDArray[np.float64]]
    seconds: dict[str, float]
    history: list[dict[str, float]]
    chosen_on: dict[str, float | bool] = field(default_factory=dict)


def fit(
    segments: Sequence[Aligned], config: FitConfig, progress: Progress | None = None, parts: Split | None = None
) -> FitResult:
    """Fit ridge and LSTM-attention, score both on the last part, refit the better one on everything.

    progress(what, share done) is told now and then. parts: another choice of what is held out. Raises UserError when
    the recording is too short.
    """
    tell = progress or (lambda _what, _share: None)
    with bounded(config.threads):
        return _fit(segments, parts or split(segments, config.validation, config.gaps), config, tell)


@contextmanager
def bounded(threads: int) -> Iterator[None]:
    """So many threads for torch, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit(segments: Sequence[Aligned], parts: Split, config: FitConfig, tell: Progress) -> FitResult:
    train, held_out = parts.train, parts.held_out
    seconds: dict[str, float] = {}
    validation: dict[str, npt.NDArray[np.float64]] = {}
    history: list[dict[str, float]] = []
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name], clock = time.perf_counter() - clock, time.perf_counter()

    tell("ridge", 0.0)
    ridge = _ridge(train, config)
    validation["ridge"] = score(ridge, held_out)
    lap("ridge")
    trained: Trained | None = None
    if "lstm_attention" in config.kinds:
        trained = learn_lstm(train, held_out, ridge, config, lambda share: tell("lstm_attention", share))
        validation["lstm_attention"] = score(trained.stage, held_out)
        history = trained.history
        lap("lstm_attention")
    kind = winner(validation, config)
    tell("refit", 0.0)
    linear = _ridge(segments, config, ridge)
    model: LaggedRidge | LstmAttentionStage = linear
    if kind == "lstm_attention":
        assert trained is not None
        model = refit_lstm(segments, linear, trained, config, lambda share: tell("refit", share))
    lap("refit")
    tell("done", 1.0)
    return FitResult(model, kind, validation, seconds, history, parts.facts())


@dataclass(frozen=True, slots=True)
class Trained:
    """An LSTM trained with rows held out. shares: (E,) of what it adds that each electrode is given, see `trust`.
    epochs: after so many it was best. history: as in FitResult."""

    stage: LstmAttentionStage
    shares: npt.NDArray[np.float64]
    epochs: int
    history: list[dict[str, float]]


def learn_lstm(
    train: Sequence[Aligned],
    held_out: Sequence[Aligned],
    ridge: LaggedRidge,
    config: FitConfig,
    tell: Callable[[float], None],
) -> Trained:
    """Train from the ridge on, stop where held-out rows say, and give each electrode the share that helps it there."""
    stage, history = train_lstm(train, held_out, ridge, config, tell)
    shares, _ = _trusted(stage, ridge, held_out, config)
    give(stage.model, ridge.intercept, shares)
    return Trained(stage, shares, max(range(len(history)), key=lambda i: history[i]["validation_r"]), history)


def refit_lstm(
    segments: Sequence[Aligned],
    ridge: LaggedRidge,
    trained: Trained,
    config: FitConfig,
    tell: Callable[[float], None],
) -> LstmAttentionStage:
    """Train again on everything, as long and with the same shares; ridge: of everything, too."""
    stage, _ = train_lstm(segments, [], ridge, replace(config, epochs=trained.epochs), tell)
    give(stage.model, ridge.intercept, trained.shares)
    return stage


def _trusted(
    stage: LstmAttentionStage, ridge: LaggedRidge, held_out: Sequence[Aligned], config: FitConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(E,) shares of what the LSTM adds, and r of the ridge with these shares added."""
    x = [regular(s.embeddings, FRAME_RATE_HZ) for s in held_out]
    linear, full = (np.concatenate([model.layer(block).data for block in x]) for model in (ridge, stage))
    observed = np.concatenate([s.observed for s in held_out])
    good = np.concatenate([~s.bad for s in held_out]) & np.isfinite(observed)
    if config.trust_errors < 0:
        return np.ones(linear.shape[1]), masked_r(full, observed, good)
    shares = trust(linear, full, observed, good, config.trust_errors)
    return shares, masked_r(linear + (shares * (full - linear)).astype(np.float32), observed, good)


def winner(validation: dict[str, npt.NDArray[np.float64]], config: FitConfig) -> Kind:
    """The kind of the better mean validation r. The LSTM must win by the margin, where the ridge is allowed."""
    if "ridge" not in config.kinds:
        return "lstm_attention"
    if "lstm_attention" not in config.kinds:
        return "ridge"
    gain = mean_r(validation["lstm_attention"]) - mean_r(validation["ridge"])
    return "lstm_attention" if gain > config.margin else "ridge"


def _ridge(segments: Sequence[Aligned], config: FitConfig, before: LaggedRidge | None = None) -> LaggedRidge:
    """Fit the ridge; before: of an earlier fit, whose choice of windows and penalties is kept."""
    return fit_ridge(
        [s.embeddings for s in segments],
        [s.observed for s in segments],
        [s.bad for s in segments],
        replace(config.ridge, horizon_s=config.horizon_s),
        before.choice if before else None,
    )


def score(stage: LaggedRidge | LstmAttentionStage, segments: Sequence[Aligned]) -> npt.NDArray[np.float64]:
    """Correlation per electrode (E,) of predictions with what was observed, over good rows."""
    predicted = [stage.layer(regular(s.embeddings, FRAME_RATE_HZ)).data for s in segments]
    good = np.concatenate([~s.bad & np.isfinite(s.observed) for s in segments])
    return masked_r(np.concatenate(predicted), np.concatenate([s.observed for s in segments]), good)


def masked_r(a: Floats, b: Floats, good: Mask) -> npt.NDArray[np.float64]:
    """Pearson's r per column of a and b, (T, E), over rows that are good; NaN where fewer than 3 are."""
    count = good.sum(axis=0)
    a, b = (np.where(good, v, 0).astype(np.float64) for v in (a, b))
    a, b = (np.where(good, v - v.sum(axis=0) / np.maximum(count, 1), 0) for v in (a, b))
    power = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    r = np.where(power > 1e-12, (a * b).sum(axis=0) / np.maximum(power, 1e-12), 0.0)
    return np.where(count >= 3, r, np.nan)


def mean_r(r: npt.NDArray[np.float64]) -> float:
    """Mean over electrodes that have any good row; 0 when none has."""
    return float(np.nanmean(r)) if np.isfinite(r).any() else 0.0


def train_lstm(
    segments: Sequence[Aligned],
    held_out: Sequence[Aligned],
    ridge: LaggedRidge,
    config: FitConfig,
    tell: Callable[[float], None],
) -> tuple[LstmAttentionStage, list[dict[str, float]]]:
    """Train on random crops, from the ridge's solution on, which is what the model predicts before its first epoch.

    Keeps the weights of the epoch with the best mean r on held_out, each electrode given its share (the ridge's own
    among them), and stops `patience` epochs after it; with nothing held out, runs all epochs. Returns the stage,
    which gives every electrode all, and, per epoch from epoch 0 (the ridge's), its loss and validation_r.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    model = _model_from_ridge(ridge, config).to(config.device)
    crops = _crops(segments, ridge, model.config.tail, config)
    steps = config.epochs * crops.batches
    descent = Descent(model, steps, config.learning_rate, config.weight_decay, config.averaging)
    assert isinstance(descent.mean, LstmAttention)
    stage = LstmAttentionStage(descent.mean, ridge.projection)
    history = best_epoch(
        descent.mean,
        lambda: _epoch(model, crops, descent, rng, config),
        (lambda: mean_r(_trusted(stage, ridge, held_out, config)[1])) if held_out else None,
        config.epochs,
        config.patience,
        tell,
    )
    descent.mean.to("cpu")
    return stage, history


def _model_from_ridge(ridge: LaggedRidge, config: FitConfig) -> LstmAttention:
    shape = replace(
        config.lstm,
        components=ridge.projection.components,
        electrodes=ridge.weights.shape[2],
        skip_lags=ridge.lags,
        horizon_s=config.horizon_s,
    )
    model = LstmAttention(shape)
    model.set_skip(ridge.weights, ridge.intercept)
    return model


def _crops(segments: Sequence[Aligned], ridge: LaggedRidge, tail: int, config: FitConfig) -> Crops:
    rows = round(config.crop_s * FRAME_RATE_HZ)
    long = [s for s in segments if len(s) >= rows] or segments  # a crop is no longer than the shortest segment
    fine = [~s.bad & np.isfinite(s.observed) for s in long]
    return Crops(
        [ridge.projection.apply(s.embeddings) for s in long],
        [np.where(f, s.observed, 0).astype(np.float32) for s, f in zip(long, fine, strict=True)],
        fine,
        tail=tail,
        rows=rows,
        warm_up=round(config.warm_up_s * FRAME_RATE_HZ),
        batch=config.batch,
        device=config.device,
    )


def _epoch(model: LstmAttention, crops: Crops, descent: Descent, rng: np.random.Generator, config: FitConfig) -> float:
    model.train()
    losses = []
    state: tuple[Tensor, Tensor] | None = None
    for _ in range(crops.batches):
        crop = crops.draw(rng)
        if state is not None:  # carried from crop to crop, but learnt through one crop alone
            h, c = (part.detach() * ~crop.fresh[None, :, None] for part in state)
            state = h, c
        hidden, state = model.follow(crop.frames, state)
        with torch.autocast(config.device, torch.bfloat16, enabled=config.mixed):
            predicted, _ = model.read(hidden, crop.frames, crop.valid)
        loss = masked_loss(predicted.float(), crop.targets, crop.good, config.correlation_weight)
        losses.append(descent.step(loss))
    model.eval()
    return float(np.mean(losses))


def masked_loss(predicted: Tensor, target: Tensor, good: Tensor, correlation_weight: float) -> Tensor:
    """Mean squared error over good values plus correlation_weight times 1 - r, averaged over electrodes.

    predicted, target, good: (B, T, E).
    """
    weight = good.flatten(0, 1).to(predicted.dtype)  # (B, T, E) -> (B T, E)
    a, b = predicted.flatten(0, 1), target.flatten(0, 1)
    count = weight.sum(dim=0).clamp(min=1)
    error = (weight * (a - b) ** 2).sum() / weight.sum().clamp(min=1)
    a = weight * (a - (weight * a).sum(dim=0) / count)
    b = weight * (b - (weight * b).sum(dim=0) / count)
    r = (a * b).sum(dim=0) / ((a**2).sum(dim=0) * (b**2).sum(dim=0) + 1e-8).sqrt()
    return error + correlation_weight * (1 - r).mean()
