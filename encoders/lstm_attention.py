"""Causal LSTM with attention over recent embedding frames: one prediction per electrode and frame.

At each frame a unidirectional LSTM reads the leading components of the projected embedding. From its state, H query
vectors attend softly over the embedding frames of the last A frames, the current one included; state and contexts go
to a linear read-out per electrode. A linear skip path over the same lags, set from the ridge solution, carries what is
linear, so that a short recording has only the rest to teach; and the state sets each electrode's gain on that path,
so that what only comes and goes with the last seconds need not be learnt twice. Its units begin as leaky means over
0.1 to 5 s (Tallec and Ollivier 2018): from an ordinary start no gradient finds what lies seconds back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from encoders.projection import Projection
from realtime.block import Block, Floats, concat

FRAME_RATE_HZ = 50.0
LAYER_ROWS = 4096
MEMORY_S = (0.1, 5.0)  # of the LSTM's units before training


@dataclass(frozen=True, slots=True)
class LstmAttentionConfig:
    """Shape of the model. components: width of the projected embedding; electrodes: width of the prediction.

    reads: leading components that the LSTM reads, 0 for all; attention and skip path read all. remembers: its units
    begin as leaky means.
    """

    components: int = 80  # P
    electrodes: int = 64  # E
    hidden: int = 96  # N
    layers: int = 1
    heads: int = 4  # H
    head_width: int = 16  # d
    attention_s: float = 0.5
    skip_lags: int = 0  # frames of the linear skip path, 0 for none
    reads: int = 0
    remembers: bool = True
    gain: bool = False  # the LSTM's state scales the skip path, electrode by electrode
    dropout: float = 0.3
    horizon_s: float = 0.0

    @property
    def lags(self) -> int:
        """A: frames attended over, the current one included."""
        return max(1, round(self.attention_s * FRAME_RATE_HZ))

    @property
    def read(self) -> int:
        """Components that the LSTM reads."""
        return min(self.reads, self.components) or self.components

    @property
    def tail(self) -> int:
        """Past frames that a step needs beside its own."""
        return max(self.lags, self.skip_lags) - 1


class LstmAttention(nn.Module):
    """The network alone; `LstmAttentionStage` makes it a stage."""

    def __init__(self, config: LstmAttentionConfig) -> None:
        super().__init__()
        c = self.config = config
        self.linear_in = nn.Linear(c.read, c.hidden)
        self.lstm = nn.LSTM(c.hidden, c.hidden, c.layers, batch_first=True)
        if c.remembers:
            remember(self.lstm)
        self.query = nn.Linear(c.hidden, c.heads * c.head_width)
        self.key = nn.Linear(c.components, c.heads * c.head_width, bias=False)
        self.value = nn.Linear(c.components, c.heads * c.head_width, bias=False)
        self.lag_embedding = nn.Parameter(0.1 * torch.randn(c.heads, c.head_width, c.lags))
        self.lag_bias = nn.Parameter(torch.zeros(c.heads, c.lags))
        self.dropout = nn.Dropout(c.dropout)
        self.readout = nn.Linear(c.hidden + c.heads * c.head_width, c.electrodes)
        # a buffer, because training it further would undo the regularisation that the ridge was chosen with
        self.register_buffer("skip", torch.zeros(c.skip_lags, c.components, c.electrodes))
        self.skip: Tensor
        self.gain = nn.Linear(c.hidden, c.electrodes) if c.gain else None
        for linear in filter(None, (self.readout, self.gain)):  # it begins as the ridge
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def set_skip(self, weights: Floats, intercept: Floats) -> None:
        """Start from a linear solution: weights (skip_lags, P, E), intercept (E,)."""
        with torch.no_grad():
            self.skip.copy_(torch.as_tensor(weights))
            self.readout.bias.copy_(torch.as_tensor(intercept))

    def forward(
        self, frames: Tensor, valid: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Predictions for the last T of (tail + T) frames.

        frames: (B, tail + T, P). valid: (B, tail + T) bool, False before the stream's start, where frames must
        be zero. state: (h, c), each (layers, B, N). Returns predictions (B, T, E), attention (B, T, H, A) over
        lags 0 to A - 1, and the new state.
        """
        hidden, state = self.follow(frames, state)
        return *self.read(hidden, frames, valid), state

    def follow(
        self, frames: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The LSTM's states (B, T, N), and the last: the first half of `forward`."""
        c = self.config
        now = frames[:, c.tail :]  # (B, T, P)
        hidden, state = self.lstm(self.linear_in(now[..., : c.read]), state)
        return hidden, state

    def read(self, hidden: Tensor, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and attention from the LSTM's states (B, T, N): the second half of `forward`."""
        c = self.config
        recent = slice(c.tail - (c.lags - 1), None)
        attention, contexts = self._attend(hidden, frames[:, recent], valid[:, recent])
        features = torch.cat([hidden, contexts], dim=-1)  # (B, T, N + H d)
        prediction = self.readout(self.dropout(features))  # (B, T, E)
        if not c.skip_lags:
            return prediction, attention
        lagged = (frames[:, c.tail - lag : frames.shape[1] - lag] @ self.skip[lag] for lag in range(c.skip_lags))
        linear = sum(lagged, torch.zeros_like(prediction, dtype=frames.dtype))  # (B, T, E)
        if self.gain is not None:
            linear = linear * (1 + self.gain(self.dropout(hidden)))
        return prediction + linear, attention

    def _attend(self, hidden: Tensor, frames: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """hidden (B, T, N), frames (B, A - 1 + T, P) -> attention (B, T, H, A), contexts (B, T, H d)."""
        c = self.config
        batch, rows, _ = hidden.shape
        heads = (c.heads, c.head_width)
        query = self.query(hidden).unflatten(-1, heads)  # (B, T, H d) -> (B, T, H, d)
        # windows run from the oldest frame to the current one; flipped, they run over lags 0 to A - 1
        key = self.key(frames).unflatten(-1, heads).unfold(1, c.lags, 1).flip(-1)  # (B, T, H, d, A)
        value = self.value(frames).unflatten(-1, heads).unfold(1, c.lags, 1).flip(-1)  # (B, T, H, d, A)
        seen = valid.unfold(1, c.lags, 1).flip(-1)[:, :, None]  # (B, T, 1, A)
        logits = torch.einsum("bthd,bthda->btha", query, key) + torch.einsum(
            "bthd,hda->btha", query, self.lag_embedding
        )
        logits = (logits / c.head_width**0.5 + self.lag_bias).masked_fill(~seen, -torch.inf)
        attention = logits.softmax(dim=-1)  # the current frame is always there, so no row is all -inf
        contexts = torch.einsum("btha,bthda->bthd", attention, value)
        return attention, contexts.reshape(batch, rows, c.heads * c.head_width)  # (B, T, H, d) -> (B, T, H d)


def remember(lstm: nn.LSTM) -> None:
    """Make each unit a leaky mean of its input, over times from MEMORY_S in random order."""
    shortest, longest = (math.log(memory_s * FRAME_RATE_HZ) for memory_s in MEMORY_S)
    n = lstm.hidden_size
    ways = ("", "_reverse")[: 1 + lstm.bidirectional]
    with torch.no_grad():
        for which in (f"l{layer}{way}" for layer in range(lstm.num_layers) for way in ways):
            log_frames = torch.linspace(shortest, longest, n)[torch.randperm(n)]
            weight_in, weight_on, bias, other_bias = (
                getattr(lstm, f"{kind}_{which}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            weight_on.mul_(0.1)
            weight_in[: 2 * n].mul_(0.1)  # input and forget gate hardly depend on the input
            weight_in[3 * n :].mul_(0.1)  # neither does the output gate
            other_bias.zero_()
            bias.zero_()
            bias[:n], bias[n : 2 * n], bias[3 * n :] = -log_frames, log_frames, 1.0


@dataclass(slots=True)
class LstmAttentionState:
    """h, c: (layers, 1, N). tail: (tail, P) newest projected frames; `valid` of them are of this stream."""

    h: Tensor
    c: Tensor
    tail: Tensor
    valid: int
    next_index: int  # -1 before the first row


class LstmAttentionStage:
    """Embeddings (time, D), 50 rows a second -> predictions (time, electrodes) float32, one for each row.

    Row i speaks of its embedding's time plus horizon_s. extra["attention"]: (time, H, A) float32 over lags of
    20 ms, zero where a frame would lie before the stream's start. Restarts after a gap.
    """

    def __init__(self, model: LstmAttention, projection: Projection) -> None:
        if model.config.components != projection.components:
            raise ValueError(
                f"the model reads {model.config.components} components, the projection gives {projection.components}"
            )
        self.model = model.eval()
        self.projection = projection

    @property
    def lag_s(self) -> float:
        return -self.model.config.horizon_s

    def initial_state(self) -> LstmAttentionState:
        c = self.model.config
        empty = self.model.lag_bias.detach()
        h = empty.new_zeros(c.layers, 1, c.hidden)
        tail = empty.new_zeros(c.tail, c.components)
        return LstmAttentionState(h, torch.zeros_like(h), tail, 0, -1)

    @torch.inference_mode()
    def step(self, x: Block, state: LstmAttentionState) -> tuple[Block, LstmAttentionState]:
        c = self.model.config
        times = x.times + c.horizon_s
        if not len(x):
            attention = np.zeros((0, c.heads, c.lags), np.float32)
            return Block(
                np.zeros((0, c.electrodes), np.float32), times, x.index, {"attention": attention, **x.carried("bad")}
            ), state
        if state.next_index not in (-1, x.index):
            state = self.initial_state()
        new = torch.from_numpy(self.projection.apply(x.data)).to(state.tail.device)
        frames = torch.cat([state.tail, new])  # (tail + T, P)
        valid = torch.arange(len(frames), device=frames.device) >= c.tail - state.valid  # (tail + T,)
        prediction, attention, (h, cell) = self.model(frames[None], valid[None], (state.h, state.c))
        tail = frames[len(frames) - c.tail :].clone()
        after = LstmAttentionState(h, cell, tail, min(c.tail, state.valid + len(x)), x.end)
        extra = {"attention": _numpy(attention), **x.carried("bad")}
        return Block(_numpy(prediction), times, x.index, extra), after

    def layer(self, x: Block) -> Block:
        """In parts of LAYER_ROWS, to bound the memory that the attention windows take."""
        state, parts = self.initial_state(), []
        for start in range(0, max(len(x), 1), LAYER_ROWS):
            part, state = self.step(x.rows(start, start + LAYER_ROWS), state)
            parts.append(part)
        return concat(parts)


def _numpy(batch_of_one: Tensor) -> Floats:
    """(1, T, ...) -> (T, ...) float32, on the CPU."""
    array: Floats = batch_of_one[0].cpu().numpy()
    return array
