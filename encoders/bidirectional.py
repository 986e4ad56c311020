"""The paper's form, for comparison offline: a bidirectional LSTM and attention over the whole segment. Not a stage.

What the causal model cannot have: each row is predicted from what came before it and after it. Everything else is as
in `lstm_attention.py`: a linear path, here over lags on both sides, the gain on it, the read-out of state and contexts,
and the share of all that each electrode is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from encoders.aligned import Aligned, split
from encoders.descent import Descent, best_epoch
from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttentionConfig, remember
from encoders.ridge import LaggedRidge, fit_ridge
from encoders.training import FitConfig, masked_loss, masked_r, mean_r
from encoders.trust import trust
from realtime.block import Floats, regular

AHEAD = 10  # rows after a row that its linear path reads: 0.2 s
SEGMENT = 250  # rows that attention spans: 5 s
Doubles = npt.NDArray[np.float64]


class Bidirectional(nn.Module):
    """The network. config: as of the causal model; half of `hidden` for each direction."""

    def __init__(self, config: LstmAttentionConfig) -> None:
        super().__init__()
        c = self.config = config
        width = c.heads * c.head_width
        self.linear_in = nn.Linear(c.read, c.hidden)
        self.lstm = nn.LSTM(c.hidden, c.hidden // 2, batch_first=True, bidirectional=True)
        remember(self.lstm)
        self.query = nn.Linear(c.hidden, width)
        self.key = nn.Linear(c.components, width, bias=False)
        self.value = nn.Linear(c.components, width, bias=False)
        self.distance = nn.Parameter(torch.zeros(c.heads, 2 * SEGMENT - 1))
        self.dropout = nn.Dropout(c.dropout)
        self.readout = nn.Linear(c.hidden + width, c.electrodes)
        self.gain = nn.Linear(c.hidden, c.electrodes)
        for linear in (self.readout, self.gain):  # it begins as the ridge
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, frames: Tensor, linear: Tensor) -> Tensor:
        """frames (B, T, P), linear path (B, T, E), T at most SEGMENT -> predictions (B, T, E)."""
        c = self.config
        hidden, _ = self.lstm(self.linear_in(frames[..., : c.read]))  # (B, T, N)
        heads = (c.heads, c.head_width)
        query, key, value = (
            rows.unflatten(-1, heads).transpose(1, 2)  # (B, T, H d) -> (B, H, T, d)
            for rows in (self.query(hidden), self.key(frames), self.value(frames))
        )
        at = torch.arange(frames.shape[1])
        bias = self.distance[:, at[:, None] - at + SEGMENT - 1]  # (H, T, T)
        contexts = nn.functional.scaled_dot_product_attention(query, key, value, bias[None])  # (B, H, T, d)
        features = torch.cat([hidden, contexts.transpose(1, 2).flatten(2)], dim=-1)  # (B, T, N + H d)
        prediction: Tensor = linear * (1 + self.gain(self.dropout(hidden))) + self.readout(self.dropout(features))
        return prediction


@dataclass(frozen=True)
class Reference:
    """A fitted reference. shares: (E,) of what the network adds to the ridge that each electrode is given."""

    ridge: LaggedRidge
    network: Bidirectional
    shares: Doubles

    def predict(self, embeddings: Floats) -> Floats:
        """embeddings (T, D) of one stretch without a gap -> predictions (T, E), those of a row from all around it."""
        frames, linear = _inputs(embeddings, self.ridge)
        added = _whole(self.network, frames, linear) - linear
        predicted: Floats = linear + (self.shares * added).astype(np.float32)
        return predicted


def fit_reference(
    segments: Sequence[Aligned], config: FitConfig, tell: Callable[[float], None]
) -> tuple[Reference, Doubles]:
    """Fit on everything, as long and with the shares that the last part of the rows chose; and its r (E,) there.

    Raises UserError when the recording is too short.
    """
    wide, narrow = config.gaps
    parts = split(segments, config.validation, (wide + AHEAD, narrow + AHEAD))
    train, held_out = parts.train, parts.held_out
    ridge = _ridge(train, config)
    network, epochs = _train(train, held_out, ridge, config, lambda share: tell(0.5 * share))
    shares, r = _trusted(network, held_out, ridge, config)
    ridge = _ridge(segments, config, ridge)
    again = replace(config, epochs=epochs)
    network, _ = _train(segments, [], ridge, again, lambda share: tell(0.5 + 0.5 * share))
    return Reference(ridge, network, shares), r


def _ridge(segments: Sequence[Aligned], config: FitConfig, before: LaggedRidge | None = None) -> LaggedRidge:
    """A ridge over lags on both sides: row t reads embeddings to t + AHEAD."""
    both = replace(
        config.ridge, lags=config.ridge.lags + AHEAD, horizon_s=config.horizon_s,
        lag_functions=round(config.ridge.lag_functions * (config.ridge.lags + AHEAD) / config.ridge.lags),
    )  # fmt: skip
    long = [s for s in segments if len(s) > 2 * AHEAD]
    return fit_ridge(
        [s.embeddings[AHEAD:] for s in long], [s.observed[:-AHEAD] for s in long], [s.bad[:-AHEAD] for s in long],
        both, before.choice if before else None,
    )  # fmt: skip


def _inputs(embeddings: Floats, ridge: LaggedRidge) -> tuple[Floats, Floats]:
    """Projected frames (T, P), and the linear path (T, E). What lies beyond the end counts as the training mean."""
    mean = np.tile(ridge.projection.mean, (AHEAD, 1))
    later = regular(np.concatenate([embeddings, mean]).astype(np.float32), FRAME_RATE_HZ)
    return ridge.projection.apply(embeddings), ridge.layer(later).data[AHEAD:]


@torch.inference_mode()
def _whole(network: Bidirectional, frames: Floats, linear: Floats) -> Floats:
    """Predictions (T, E) from segments that overlap by half, of each its middle."""
    network.eval()
    rows, half = len(frames), SEGMENT // 2
    out = np.empty_like(linear)
    for start in range(0, max(rows - half, 1), half):
        part = slice(start, min(start + SEGMENT, rows))
        inputs = (torch.from_numpy(array[part])[None] for array in (frames, linear))
        begin = start and start + half // 2  # what the segment before predicted better
        out[begin : part.stop] = network(*inputs)[0].numpy()[begin - start :]
    return out


def _trusted(
    network: Bidirectional, segments: Sequence[Aligned], ridge: LaggedRidge, config: FitConfig
) -> tuple[Doubles, Doubles]:
    """(E,) shares of what the network adds, and r of the ridge with these shares added."""
    inputs = [_inputs(s.embeddings, ridge) for s in segments]
    whole = np.concatenate([_whole(network, *one) for one in inputs])
    linear = np.concatenate([rows for _, rows in inputs])
    observed = np.concatenate([s.observed for s in segments])
    good = np.concatenate([~s.bad for s in segments]) & np.isfinite(observed)
    shares = trust(linear, whole, observed, good, config.trust_errors)
    return shares, masked_r(linear + (shares * (whole - linear)).astype(np.float32), observed, good)


def _train(
    segments: Sequence[Aligned],
    held_out: Sequence[Aligned],
    ridge: LaggedRidge,
    config: FitConfig,
    tell: Callable[[float], None],
) -> tuple[Bidirectional, int]:
    """On segments drawn anywhere; returns the network after its best epoch, and which that was."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    electrodes = ridge.weights.shape[2]
    network = Bidirectional(replace(config.lstm, components=ridge.projection.components, electrodes=electrodes))
    segments = [s for s in segments if len(s) >= SEGMENT] or segments  # a part is no longer than the shortest
    good = [~s.bad & np.isfinite(s.observed) for s in segments]
    parts = [
        (*_inputs(s.embeddings, ridge), np.where(g, s.observed, 0).astype(np.float32), g)
        for s, g in zip(segments, good, strict=True)
    ]
    frames, linear, targets, fine = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
    rows = min(SEGMENT, *map(len, segments))
    ends = np.cumsum([len(s) for s in segments])
    starts = np.concatenate([np.arange(e - len(s), e - rows + 1) for s, e in zip(segments, ends, strict=True)])
    batches = max(1, round(len(frames) / (rows * config.batch)))
    descent = Descent(network, config.epochs * batches, config.learning_rate, config.weight_decay, config.averaging)
    mean = descent.mean
    assert isinstance(mean, Bidirectional)

    def epoch() -> float:
        network.train()
        losses = []
        for _ in range(batches):
            at = torch.from_numpy(rng.choice(starts, config.batch)[:, None] + np.arange(rows))
            loss = masked_loss(network(frames[at], linear[at]), targets[at], fine[at], config.correlation_weight)
            losses.append(descent.step(loss))
        return float(np.mean(losses))

    def validation_r() -> float:
        return mean_r(_trusted(mean, held_out, ridge, config)[1])

    history = best_epoch(mean, epoch, validation_r if held_out else None, config.epochs, config.patience, tell)
    return mean, max(range(len(history)), key=lambda i: history[i]["validation_r"])
