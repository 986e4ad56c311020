"""Fit both brain models on aligned segments and keep the one that predicts validation data better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.ridge import LaggedRidge, RidgeConfig, fit_ridge
from realtime.block import Floats, Mask, regular
from realtime.errors import UserError

Kind = Literal["ridge", "lstm_attention"]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Aligned:
    """One contiguous segment at 50 rows a second, one row of each for each embedding.

    embeddings: (T, D) float32. observed: (T, E) float32, row i at the time of embedding row i plus the horizon.
    bad: (T, E) bool, True where observed counts for nothing.
    """

    embeddings: Floats
    observed: Floats
    bad: Mask

    def __post_init__(self) -> None:
        if not (len(self.embeddings) == len(self.observed) == len(self.bad) and self.observed.shape == self.bad.shape):
            raise ValueError(
                f"segment arrays differ: embeddings {self.embeddings.shape}, observed {self.observed.shape}, "
                f"bad {self.bad.shape}"
            )

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, start: int, stop: int) -> Aligned:
        return Aligned(self.embeddings[start:stop], self.observed[start:stop], self.bad[start:stop])


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How both models are fitted.

    validation: share of all rows, at the end, that neither model learns from until the winner is refitted.
    margin: by how much mean validation r of the LSTM must exceed the ridge's, because its number of epochs was
    chosen on the same rows. crop_s, warm_up_s: length of a training crop, and what at its start has no loss.
    correlation_weight: of 1 - r beside the masked squared error in the loss. threads: for torch; the ridge's
    linear algebra takes one, because several wait for each other at every step where the cores are shared.
    """

    ridge: RidgeConfig = field(default_factory=RidgeConfig)
    lstm: LstmAttentionConfig = field(default_factory=LstmAttentionConfig)
    kinds: tuple[Kind, ...] = ("ridge", "lstm_attention")
    horizon_s: float = 0.0
    validation: float = 0.15
    margin: float = 0.003
    epochs: int = 20
    patience: int = 4
    batch: int = 16
    crop_s: float = 5.0
    warm_up_s: float = 1.0
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    correlation_weight: float = 0.5
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FitResult:
    """model: the winner, refitted on everything. validation: r per electrode (E,) for each kind, NaN where an
    electrode has no good row. seconds: wall time of each part. history: of the LSTM, a row per epoch."""

    model: LaggedRidge | LstmAttentionStage
    kind: Kind
    validation: dict[str, npt.NDArray[np.float64]]
    seconds: dict[str, float]
    history: list[dict[str, float]]


def fit(segments: Sequence[Aligned], config: FitConfig, progress: Progress | None = None) -> FitResult:
    """Fit ridge and LSTM-attention, score both on the last part, refit the better one on everything.

    progress(what, share done) is told now and then. Raises UserError when the recording is too short.
    """
    tell = progress or (lambda _what, _share: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        return _fit(segments, config, tell)
    finally:
        torch.set_num_threads(threads)


def _fit(segments: Sequence[Aligned], config: FitConfig, tell: Progress) -> FitResult:
    gap = max(config.ridge.lags, config.lstm.lags) + round(FRAME_RATE_HZ)
    train, held_out = split(segments, config.validation, gap)
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
    epochs = 0
    if "lstm_attention" in config.kinds:
        stage, history = train_lstm(train, held_out, ridge, config, lambda share: tell("lstm_attention", share))
        validation["lstm_attention"] = score(stage, held_out)
        epochs = max(range(len(history)), key=lambda i: history[i]["validation_r"]) if history else 0
        lap("lstm_attention")
    kind = winner(validation, config)
    tell("refit", 0.0)
    model: LaggedRidge | LstmAttentionStage = _ridge(segments, config, ridge)
    if kind == "lstm_attention":
        assert isinstance(model, LaggedRidge)
        again = replace(config, epochs=epochs)
        model, _ = train_lstm(segments, [], model, again, lambda share: tell("refit", share))
    lap("refit")
    tell("done", 1.0)
    return FitResult(model, kind, validation, seconds, history)


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


def split(segments: Sequence[Aligned], share: float, gap: int) -> tuple[list[Aligned], list[Aligned]]:
    """The last share of all rows for validation, the rest without its last `gap` rows for training."""
    total = sum(len(s) for s in segments)
    cut = round(total * (1 - share))
    train, held_out, at = [], [], 0
    for segment in segments:
        before = min(max(cut - gap - at, 0), len(segment))
        after = min(max(cut - at, 0), len(segment))
        if before:
            train.append(segment.rows(0, before))
        if after < len(segment):
            held_out.append(segment.rows(after, len(segment)))
        at += len(segment)
    if not train or not held_out:
        raise UserError(
            f"too little to fit on: found {total / FRAME_RATE_HZ:.1f} s of recording, which leaves nothing after "
            f"{gap / FRAME_RATE_HZ:.1f} s between training and validation; record a longer calibration"
        )
    return train, held_out


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

    Keeps the weights of the epoch with the best mean r on held_out (the ridge's own among them) and stops
    `patience` epochs after it; with nothing held out, runs all epochs. Returns the stage and, per epoch from
    epoch 0 (the ridge's), its loss and validation_r.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    model = _model_from_ridge(ridge, config)
    stage = LstmAttentionStage(model, ridge.projection)
    crops = Crops(segments, stage, config)
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    total = max(config.epochs * crops.batches, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: 0.5 * (1 + math.cos(math.pi * min(i / total, 1))))
    history: list[dict[str, float]] = []
    best, best_weights = -math.inf, model.state_dict()
    for epoch in range(config.epochs + 1):
        loss = _epoch(model, crops, optimiser, schedule, rng, config) if epoch else math.nan
        r = mean_r(score(stage, held_out)) if held_out else float(epoch)
        history.append({"epoch": epoch, "loss": loss, "validation_r": r})
        if r > best:
            best, best_epoch = r, epoch
            best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        tell(epoch / max(config.epochs, 1))
        if epoch - best_epoch >= config.patience:
            break
    model.load_state_dict(best_weights)
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


class Crops:
    """Training segments as one row of frames, from which crops are cut.

    Before each segment come `tail` rows of zeros, not valid, as before a stream's start.
    """

    def __init__(self, segments: Sequence[Aligned], stage: LstmAttentionStage, config: FitConfig) -> None:
        tail = self.tail = stage.model.config.tail
        self.rows = min(round(config.crop_s * FRAME_RATE_HZ), min(len(s) for s in segments))
        self.warm_up = min(round(config.warm_up_s * FRAME_RATE_HZ), self.rows // 3)
        self.batch = config.batch
        frames, targets, good, valid, starts, at = [], [], [], [], [], 0
        for segment in segments:
            pad = ((tail, 0), (0, 0))
            fine = ~segment.bad & np.isfinite(segment.observed)
            frames.append(np.pad(stage.projection.apply(segment.embeddings), pad))
            targets.append(np.pad(np.where(fine, segment.observed, 0).astype(np.float32), pad))
            good.append(np.pad(fine, pad))
            valid.append(np.arange(tail + len(segment)) >= tail)
            starts.append(at + np.arange(len(segment) - self.rows + 1))
            at += tail + len(segment)
        self.frames = torch.from_numpy(np.concatenate(frames))
        self.targets = torch.from_numpy(np.concatenate(targets))
        self.good = torch.from_numpy(np.concatenate(good))
        self.valid = torch.from_numpy(np.concatenate(valid))
        self.starts = np.concatenate(starts)
        used = self.rows - self.warm_up
        self.batches = max(1, math.ceil(sum(len(s) for s in segments) / (used * self.batch)))

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """frames (B, tail + T, P), valid (B, tail + T), targets and good (B, T, E)."""
        starts = torch.from_numpy(rng.choice(self.starts, self.batch))
        rows = starts[:, None] + torch.arange(self.tail + self.rows)  # (B, tail + T)
        now = rows[:, self.tail :]  # (B, T)
        return self.frames[rows], self.valid[rows], self.targets[now], self.good[now]


def _epoch(
    model: LstmAttention,
    crops: Crops,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rng: np.random.Generator,
    config: FitConfig,
) -> float:
    model.train()
    losses = []
    for _ in range(crops.batches):
        frames, valid, targets, good = crops.draw(rng)
        predicted, _, _ = model(frames, valid)
        late = slice(crops.warm_up, None)
        loss = masked_loss(predicted[:, late], targets[:, late], good[:, late], config.correlation_weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
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
