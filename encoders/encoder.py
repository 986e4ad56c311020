"""Whisper's encoder up to the layer asked for, and the offline reference.

Attention is left to the caller, because openai-whisper's own, under SDPA, ignores a mask's values. Source of the
arithmetic: openai-whisper `model.py` (MIT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import whisper.model
from torch.nn import functional as F

from encoders.linear import Linear
from encoders.mel import Stem, whole_clip_log_mel, whole_clip_stem
from realtime.block import Floats
from realtime.errors import UserError

FRAME_S = 0.02
POSITIONS = 1500  # frames in Whisper's 30 s window
WINDOW_SAMPLES = 480_000

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Rows = slice | torch.Tensor


@dataclass(frozen=True)
class Layer:
    """The weights of one encoder block; query, key and value stacked. Norms are float32."""

    attn_norm: tuple[torch.Tensor, torch.Tensor]
    qkv: Linear
    out: Linear
    mlp_norm: tuple[torch.Tensor, torch.Tensor]
    up: Linear
    down: Linear


class Encoder:
    """The encoder of an openai-whisper model up to its block `depth`, each weight cast once.

    dtype is that of matrix products and attention. The residual stream and the norms stay float32: hidden states
    reach 500, where bfloat16's steps are 2 wide.
    """

    def __init__(
        self,
        model: whisper.model.Whisper,
        depth: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        encoder = model.encoder
        if not 1 <= depth <= len(encoder.blocks):
            raise UserError(f"Whisper layer {depth} does not exist: this model has layers 1 to {len(encoder.blocks)}")
        self.depth, self.device, self.dtype = depth, torch.device(device), dtype
        self.heads: int = encoder.blocks[0].attn.n_head
        self.width: int = encoder.positional_embedding.shape[1]
        self.mels: int = encoder.conv1.in_channels
        self.stem = Stem(encoder.conv1, encoder.conv2)
        self.positions = self._cast(encoder.positional_embedding, torch.float32)
        self.layers = [self._layer(block) for block in encoder.blocks[:depth]]

    def _cast(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return tensor.detach().to(self.device, dtype).contiguous()

    def _norm(self, module: torch.nn.LayerNorm) -> tuple[torch.Tensor, torch.Tensor]:
        return self._cast(module.weight, torch.float32), self._cast(module.bias, torch.float32)

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor) -> Linear:
        return Linear(self._cast(weight, self.dtype), self._cast(bias, self.dtype))

    def _layer(self, block: whisper.model.ResidualAttentionBlock) -> Layer:
        attn, up, down = block.attn, block.mlp[0], block.mlp[2]
        assert attn.query.bias is not None
        assert attn.value.bias is not None
        weight = torch.cat([attn.query.weight, attn.key.weight, attn.value.weight])
        bias = torch.cat([attn.query.bias, torch.zeros_like(attn.query.bias), attn.value.bias])
        return Layer(
            attn_norm=self._norm(block.attn_ln),
            qkv=self._linear(weight, bias),
            out=self._linear(attn.out.weight, attn.out.bias),
            mlp_norm=self._norm(block.mlp_ln),
            up=self._linear(up.weight, up.bias),
            down=self._linear(down.weight, down.bias),
        )

    def run(self, x: torch.Tensor, attend: Attend, keep: Sequence[int], rows: Rows = slice(None)) -> list[torch.Tensor]:
        """x (..., frames, width) float32, positions added, through the blocks; hidden states after those in `keep`.

        attend(layer, q, k, v), each (..., heads, frames, width / heads), gives the contexts in q's shape. rows: which
        frames are wanted in the end; the last block then computes nothing but keys and values for the others.
        """
        kept: list[torch.Tensor] = []
        for number, layer in enumerate(self.layers):
            qkv = layer.qkv(self._normed(x, layer.attn_norm))
            qkv = qkv.view(*x.shape[:-1], 3, self.heads, self.width // self.heads)
            q, k, v = qkv.movedim(-3, 0).transpose(-2, -3)  # each (..., heads, frames, size)
            if number + 1 == self.depth:
                q, x = q[..., rows, :], x[..., rows, :]
                kept = [hidden[..., rows, :] for hidden in kept]
            context = attend(number, q, k, v).transpose(-2, -3).flatten(-2)
            x = x + layer.out(context)
            x = x + layer.down(F.gelu(layer.up(self._normed(x, layer.mlp_norm))))
            if number + 1 in keep:
                kept.append(x)
        return kept

    def _normed(self, x: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.layer_norm(x, (self.width,), *norm).to(self.dtype)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax attention of q (heads, queries, size) over k and v (heads, keys, size); mask: True where it may look."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]


@torch.inference_mode()
def offline_embedding(
    model: whisper.model.Whisper, sound: Floats, layers: Sequence[int], margin_s: float = 5.0
) -> dict[int, Floats]:
    """Standard Whisper hidden states, which see the future: a reference and a teacher, not a stage.

    sound: (samples,) at 16 kHz. Returns (frames, width) for each layer, frame j centred on sample 320 j.
    Longer sounds than 30 s go through windows of 30 s, each keeping the frames that are `margin_s` from
    its edges; the log-mel floor is taken over the whole sound, as `whisper.transcribe` does.
    """
    encoder = Encoder(model, max(layers))
    padded = torch.from_numpy(np.pad(np.asarray(sound, np.float32), (0, WINDOW_SAMPLES)))
    stem_rows = whole_clip_log_mel(padded, encoder.mels)
    frames = -(-len(sound) // 320)
    margin = round(margin_s / FRAME_S)
    parts: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    done = 0
    while done < frames:
        start = max(0, done - margin)
        last = start + POSITIONS >= frames
        stop = frames if last else start + POSITIONS - margin
        window = whole_clip_stem(stem_rows[2 * start : 2 * (start + POSITIONS)], encoder.stem)
        hidden = encoder.run(window + encoder.positions, lambda _, q, k, v: attention(q, k, v), layers)
        for layer, state in zip(sorted(layers), hidden, strict=True):
            parts[layer].append(state[done - start : stop - start])
        done = stop
    return {layer: torch.cat(pieces).numpy() for layer, pieces in parts.items()}
