"""The causal encoder in float64 NumPy, one frame and one head at a time over explicit key sets; no cache, no ring."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import erf, softmax

F64 = np.ndarray[Any, np.dtype[np.float64]]


def stem_frames(sound: F64, conv1: Any, conv2: Any, filters: F64, maxima: F64 | None) -> F64:
    """Whole-clip log-mel and convolutions; maxima (rows,) is the floor's maximum at each row, None: the clip's."""
    mel = log_mel(sound, filters, maxima)
    hidden = gelu(_conv(mel, conv1, stride=1))
    return gelu(_conv(hidden, conv2, stride=2))


def log_mel(sound: F64, filters: F64, maxima: F64 | None) -> F64:
    raw = raw_log_mel(sound, filters)
    top = raw.max() if maxima is None else maxima[:, None]
    return (np.maximum(raw, top - 8) + 4) / 4


def raw_log_mel(sound: F64, filters: F64) -> F64:
    padded = np.pad(np.asarray(sound, np.float64), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    rows = []
    for start in range(0, len(sound) // 160 * 160, 160):
        power = np.abs(np.fft.rfft(window * padded[start : start + 400])) ** 2
        rows.append(np.log10(np.maximum(filters @ power, 1e-10)))
    return np.array(rows)


def slow_maxima(raw: F64, start: float, fall_per_row: float) -> F64:
    maxima, current = [], start
    for row in raw:
        current = max(current - fall_per_row, row.max())
        maxima.append(current)
    return np.array(maxima)


def _conv(x: F64, conv: Any, stride: int) -> F64:
    weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
    padded = np.pad(x, ((1, 1), (0, 0)))
    return np.array([sum(weight[:, :, k] @ padded[t + k] for k in range(3)) + bias for t in range(0, len(x), stride)])


def gelu(x: F64) -> F64:
    result: F64 = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    return result


def silent_inputs(model: Any, depth: int, log_mel_value: float) -> list[F64]:
    """What enters each block, (1500, width), when a whole window of Whisper is silent."""
    encoder = model.encoder
    mel = np.full((3000, encoder.conv1.in_channels), log_mel_value)
    hidden = gelu(_conv(gelu(_conv(mel, encoder.conv1, stride=1)), encoder.conv2, stride=2))
    hidden = hidden + encoder.positional_embedding.double().numpy()
    entering = []
    for number in range(depth):
        entering.append(hidden)
        hidden = _layer(encoder.blocks[number], hidden, hidden)
    return entering


def encode(
    model: Any,
    frames: F64,
    depth: int,
    block: int,
    history: int,
    tail: int,
    silent: list[F64] | None = None,
    silence: int = 0,
    first: int = 0,
) -> F64:
    """Frames that have positions `first`, `first` + 1, ... to hidden states after `depth` blocks, block by block.

    Behind each block and its tail lie `silence` frames of a silent window (`silent_inputs`).
    """
    encoder = model.encoder
    x = frames + encoder.positional_embedding.double().numpy()[first : first + len(frames)]
    committed: list[list[F64]] = [[] for _ in range(depth)]  # each layer's inputs, as they were when committed
    results = []
    for start in range(0, (len(frames) - tail) // block * block, block):
        hidden = x[start : start + block + tail]
        for number in range(depth):
            visible = [*committed[number][max(0, start - history) : start], *hidden]
            end = first + start + block + tail
            visible += [*silent[number][end : end + silence]] if silent else []
            entering = hidden
            hidden = _layer(encoder.blocks[number], hidden, np.array(visible))
            committed[number].extend(entering[:block])
        results.append(hidden[:block])
    return np.concatenate(results)


def _norm(x: F64, module: Any) -> F64:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    result: F64 = scaled * module.weight.detach().double().numpy() + module.bias.detach().double().numpy()
    return result


def _linear(x: F64, module: Any) -> F64:
    y: F64 = x @ module.weight.detach().double().numpy().T
    if module.bias is not None:
        y += module.bias.detach().double().numpy()
    return y


def _layer(block: Any, queries: F64, visible: F64) -> F64:
    normed = _norm(visible, block.attn_ln)
    q = _linear(_norm(queries, block.attn_ln), block.attn.query)
    k, v = _linear(normed, block.attn.key), _linear(normed, block.attn.value)
    size = q.shape[1] // block.attn.n_head
    contexts = []
    for head in range(block.attn.n_head):
        part = slice(head * size, (head + 1) * size)
        contexts.append(softmax(q[:, part] @ k[:, part].T / np.sqrt(size), axis=-1) @ v[:, part])
    x = queries + _linear(np.concatenate(contexts, axis=1), block.attn.out)
    return x + _linear(gelu(_linear(_norm(x, block.mlp_ln), block.mlp[0])), block.mlp[2])


def encode_windows(model: Any, frames: F64, depth: int, block: int, window: int, tail: int) -> F64:
    """Each block out of a window of its own, with positions from 0 and all of it visible."""
    encoder = model.encoder
    positions = encoder.positional_embedding.double().numpy()
    results = []
    for start in range(0, (len(frames) - tail) // block * block, block):
        stop = start + block + tail
        hidden = frames[max(0, stop - window) : stop]
        hidden = hidden + positions[: len(hidden)]
        for number in range(depth):
            hidden = _layer(encoder.blocks[number], hidden, hidden)
        results.append(hidden[len(hidden) - tail - block : len(hidden) - tail])
    return np.concatenate(results)
