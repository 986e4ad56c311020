"""The causal encoder over a whole segment at once, with gradients: what `cached` mode computes, in parallel.

Frames that a tail encodes again stand in line once more, behind the committed ones, so that one pass under one mask
holds every block's own view of the newest frames. The silence behind each block is what the same blocks make of a
silent window (see `encoders.silence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import whisper.model
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK_FRAMES = 125  # queries handled together: fewer compute less that the mask hides

Silent = list[tuple[Tensor, Tensor]]  # of each block: keys and values (heads, positions, size) of silence


@dataclass(frozen=True)
class Chunk:
    """Consecutive blocks' queries. rows: theirs, the `committed` ones first. keys: rows that they look at.

    silent: positions of silence that they look at besides, counted from the segment's first frame. mask: (rows,
    keys + silent), True where a row may look; None: everywhere.
    """

    rows: Tensor
    committed: int
    keys: Tensor
    mask: Tensor | None
    silent: slice


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
            Chunk(
                c.rows.to(device),
                c.committed,
                c.keys.to(device),
                None if c.mask is None else c.mask.to(device),
                c.silent,
            )
            for c in self.chunks
        ]
        return Layout(self.committed, self.frames.to(device), tuple(chunks), self.order.to(device))


def layout(frames: int, block: int, tail: int, history: int, silence: int = 0) -> Layout:
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
    rows = _Rows(block, tail, history // block * block, silence, committed, frame, block_of)
    chunks = [_chunk(first, min(first + step, blocks), rows) for first in range(0, blocks, step)]
    joined = torch.cat([chunk.rows for chunk in chunks])
    return Layout(committed, frame, tuple(chunks), torch.argsort(joined))


@dataclass(frozen=True)
class _Rows:
    """frame, block_of: of each row, which frame stands in it and whose view it is. The rest as in `layout`."""

    block: int
    tail: int
    history: int
    silence: int
    committed: int
    frame: Tensor
    block_of: Tensor


def _chunk(first: int, stop: int, all_: _Rows) -> Chunk:
    """Blocks first to stop."""
    own = torch.arange(first * all_.block, stop * all_.block)
    tails = all_.committed + torch.arange(first * all_.tail, stop * all_.tail)
    rows = torch.cat([own, tails])
    keys = torch.cat([torch.arange(max(0, first * all_.block - all_.history), stop * all_.block), tails])
    start = (all_.block_of[rows] * all_.block)[:, None]
    frame = all_.frame[keys]
    earlier = (keys < all_.committed) & (frame < start) & (frame >= start - all_.history)
    seen = (all_.block_of[rows][:, None] == all_.block_of[keys]) | earlier
    if not all_.silence:
        return Chunk(rows, len(own), keys, seen, slice(0, 0))
    end = start + all_.block + all_.tail
    silent = slice((first + 1) * all_.block + all_.tail, stop * all_.block + all_.tail + all_.silence)
    position = torch.arange(silent.start, silent.stop)
    behind = (position >= end) & (position < end + all_.silence)
    return Chunk(rows, len(own), keys, torch.cat([seen, behind], dim=1), silent)


@torch.no_grad()
def silent_keys(blocks: Sequence[whisper.model.ResidualAttentionBlock] | nn.ModuleList, x: Tensor) -> Silent:
    """Keys and values of each block over a silent window: x (1500, width), its stem frames with positions added."""
    kept: Silent = []
    causal_states(blocks, x, _everything(x), keep=kept)
    return kept


def causal_states(
    blocks: Sequence[whisper.model.ResidualAttentionBlock] | nn.ModuleList,
    x: Tensor,
    at: Layout,
    silent: Silent | None = None,
    keep: Silent | None = None,
) -> list[Tensor]:
    """Hidden states (committed, width) after each block; x: (frames, width), stem frames with positions added.

    silent: of each block, from the segment's first position on; needed where the layout has silence. keep: takes each
    block's own keys and values.
    """
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
        if keep is not None:
            keep.append((k, v))
        context = _attend(q, k, v, at, last, silent[number] if silent else None).transpose(0, 1).flatten(1)
        x = x + block.attn.out(context)
        x = x + block.mlp(_norm(block.mlp_ln, x))
        states.append(x[: at.committed])
    return states


def _attend(
    q: Tensor, k: Tensor, v: Tensor, at: Layout, only_committed: bool, silent: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Contexts (heads, rows, size), of the committed rows alone where nobody reads the others."""
    contexts = []
    for chunk in at.chunks:
        count = chunk.committed if only_committed else len(chunk.rows)
        mask = None if chunk.mask is None else chunk.mask[:count]
        queries, keys, values = q[:, chunk.rows[:count]], k[:, chunk.keys], v[:, chunk.keys]
        if silent is not None:
            keys, values = (
                torch.cat([heard, quiet[:, chunk.silent]], dim=1)
                for heard, quiet in ((keys, silent[0]), (values, silent[1]))
            )
        contexts.append(F.scaled_dot_product_attention(queries[None], keys[None], values[None], attn_mask=mask)[0])
    joined = torch.cat(contexts, dim=1)
    return joined if only_committed else joined[:, at.order]


def offline_states(blocks: Sequence[whisper.model.ResidualAttentionBlock], x: Tensor) -> list[Tensor]:
    """Hidden states (frames, width) after each block when every frame sees all: the teacher."""
    return causal_states(blocks, x, _everything(x))


def _everything(x: Tensor) -> Layout:
    """Every frame sees all."""
    rows = torch.arange(len(x), device=x.device)
    return Layout(len(x), rows, (Chunk(rows, len(x), rows, None, slice(0, 0)),), rows)


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
