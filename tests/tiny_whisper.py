"""A small Whisper of random weights, for what does not depend on what it has learnt, and frames for it."""

from __future__ import annotations

import numpy as np
import torch
import whisper.model

from realtime.block import Block, Floats, regular

TOLERANCE_SD = 3e-4
WIDTH = 24


def tiny_whisper() -> whisper.model.Whisper:
    torch.manual_seed(1)
    dims = whisper.model.ModelDimensions(80, 1500, WIDTH, 3, 3, 100, 16, WIDTH, 3, 1)
    model = whisper.model.Whisper(dims)
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(1.5)
    return model


def stem_block(frames: int, seed: int = 0, width: int = WIDTH) -> Block:
    data = np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)
    return regular(data, 50.0, start_s=10.0)


def in_sd(found: Floats, expected: Floats) -> float:
    """The largest difference, in SDs of its channel."""
    return float(np.max(np.abs(found - expected) / expected.std(axis=0)))
