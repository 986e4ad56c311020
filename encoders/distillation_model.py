"""The causal encoder over a whole segment at once, with gradients: what `cached` mode computes, in parallel.

Frames that a tail encodes again stand in line once more, behind the committed ones, so that one pass under one mask
holds every block's own view of the newest frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import whisper.model
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK_FRAMES = 125  # queries handled together: fewer compute less that the mask hides


@dataclass(frozen=True)
class Chunk:
    """Consecutive blocks' queries. rows: theirs, the `committed` ones first. keys: rows that they look at.

    mask: (rows, keys), True where a row may look; None: everywhere.
    """

    rows: Tensor
    committed: int
    keys: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Layout:
    """One segment's rows: first `committed` frames in order, then every block's tail.

    frames: (rows,) which frame stands in a row. order: where each row is found in the chunks' rows, joined.
    """

    committed: int
    frames: Tensor
    chunks: tuple[Chunk, ...]
    order: Tensor

    def to(self, device: torch.device) -> Layout:
        chunks = [
            Chunk(c.rows.to(device), c.committed, c.keys.to(device), None if c.mask is None else c.mask.to(device))
            for c in self.chunks
        ]
        return Layout(self.committed, self.frames.to(device), tuple(chunks), self.order.to(device))


def layout(frames: int, block: int, tail: int, history: int) -> Layout:
    """The rows of a segment of so many frames, of which whole blocks with their tails are taken. Raises ValueError."""
    blocks = (frames - tail) // block
    if blocks < 1:
        raise ValueError(f"{frames} frames hold no block of {block} with a tail of {tail}")
    committed = blocks * block
    of_tail = torch.arange(blocks * tail) // max(tail, 1)
    place = torch.arange(blocks * tail) % max(tail, 1)
    block_of = torch.cat([torch.arange(committed) // block, of_tail])
    frame = torch.cat([torch.arange(committed), (of_tail + 1) * block + place])
    step = max(1, CHUNK_FRAMES // block)
    chunks = [
        _chunk(first, min(first + step, blocks), block, tail, history // block * block, committed, frame, block_of)
        for first in range(0, blocks, step)
    ]
    joined = torch.cat([chunk.rows for chunk in chunks])
    return Layout(committed, frame, tuple(chunks), torch.argsort(joined))


def _chunk(
    first: int, stop: int, block: int, tail: int, history: int, committed: int, frame: Tensor, block_of: Tensor
) -> Chunk:
    """Blocks first to stop."""
    own = torch.arange(first * block, stop * block)
    tails = committed + torch.arange(first * tail, stop * tail)
    rows = torch.cat([own, tails])
    keys = torch.cat([torch.arange(max(0, first * block - history), stop * block), tails])
    start = (block_of[rows] * block)[:, None]
    earlier = (keys < committed) & (frame[keys] < start) & (frame[keys] >= start - history)
    return Chunk(rows, len(own), keys, (block_of[rows][:, None] == block_of[keys]) | earlier)


def causal_states(
    blocks: Sequence[whisper.model.ResidualAttentionBlock] | nn.ModuleList, x: Tensor, at: Layout
) -> list[Tensor]:
    """Hidden states (committed, width) after each block; x: (frames, width), stem frames with positions added."""
    states = []
    for number, block in enumerate(blocks):
        last = number + 1 == len(blocks)
        normed = _norm(block.attn_ln, x)
        q, k, v = (getattr(block.attn, name)(normed) for name in ("query", "key", "value"))
        if number == 0:  # a frame's copies differ only after the first block
            q, k, v, x = (each[at.frames] for each in (q, k, v, x))
        if last:
            x = x[: at.committed]
        q, k, v = (each.unflatten(1, (block.attn.n_head, -1)).transpose(0, 1) for each in (q, k, v))
        context = _attend(q, k, v, at, last).transpose(0, 1).flatten(1)
        x = x + block.attn.out(context)
        x = x + block.mlp(_norm(block.mlp_ln, x))
        states.append(x[: at.committed])
    return states


def _attend(q: Tensor, k: Tensor, v: Tensor, at: Layout, only_committed: bool) -> Tensor:
    """Contexts (heads, rows, size), of the committed rows alone where nobody reads the others."""
    contexts = []
    for chunk in at.chunks:
        count = chunk.committed if only_committed else len(chunk.rows)
        mask = None if chunk.mask is None else chunk.mask[:count]
        queries, keys, values = q[:, chunk.rows[:count]], k[:, chunk.keys], v[:, chunk.keys]
        contexts.append(F.scaled_dot_product_attention(queries[None], keys[None], values[None], attn_mask=mask)[0])
    joined = torch.cat(contexts, dim=1)
    return joined if only_committed else joined[:, at.order]


def offline_states(blocks: Sequence[whisper.model.ResidualAttentionBlock], x: Tensor) -> list[Tensor]:
    """Hidden states (frames, width) after each block when every frame sees all: the teacher."""
    rows = torch.arange(len(x), device=x.device)
    return causal_states(blocks, x, Layout(len(x), rows, (Chunk(rows, len(x), rows, None),), rows))


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
