"""Prediction: `torch.nn.LSTM` over all that was heard so far at each hop, against our step with carried state."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.peers import Contender, Run, processor_ms
from encoders.lstm_attention import LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.projection import Projection
from realtime.block import Floats, regular

HOP_MS = 100.0
ROWS_PER_HOP, HOPS_PER_S, FRAME_HZ = 5, 10, 50.0
HISTORY_S, FAST_HISTORY_S = 60.0, 5.0
OURS_S = 5


def lstm_contenders(fast: bool) -> tuple[Run, list[Contender]]:
    """Same width, depth and projected embeddings; ours has the attention as well."""
    config = LstmAttentionConfig()
    rng = np.random.default_rng(0)
    history_s = FAST_HISTORY_S if fast else HISTORY_S
    embeddings = rng.normal(size=(round(120 * FRAME_HZ), config.components)).astype(np.float32)
    return _ours(config, embeddings), [_whole_history(config, embeddings[: round(history_s * FRAME_HZ)], history_s)]


def _ours(config: LstmAttentionConfig, embeddings: Floats) -> Run:
    width = config.components
    same = Projection(np.zeros(width, np.float32), np.ones(width, np.float32), np.eye(width, dtype=np.float32))
    stage = LstmAttentionStage(LstmAttention(config), same)
    stream, state, at = regular(embeddings, FRAME_HZ), stage.initial_state(), 0

    def some_seconds() -> None:
        nonlocal state, at
        for _ in range(OURS_S * HOPS_PER_S):
            if at >= len(stream):
                state, at = stage.initial_state(), 0
            _, state = stage.step(stream.rows(at, at + ROWS_PER_HOP), state)
            at += ROWS_PER_HOP

    return lambda: processor_ms(some_seconds) / OURS_S


def _whole_history(config: LstmAttentionConfig, embeddings: Floats, history_s: float) -> Contender:
    lstm = nn.LSTM(config.components, config.hidden, config.layers, batch_first=True).eval()
    readout = nn.Linear(config.hidden, config.electrodes).eval()
    frames = torch.from_numpy(embeddings)[None]

    @torch.inference_mode()
    def hop() -> None:
        readout(lstm(frames)[0][:, -ROWS_PER_HOP:])

    what = f"over the whole history, here {history_s:g} s, every {HOP_MS:g} ms (ours has attention too)"
    return Contender("torch.nn.LSTM", what, lambda: processor_ms(hop) * HOPS_PER_S)
