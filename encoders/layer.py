"""One of Whisper's encoder blocks, as functions that Python and TorchScript run alike.

Attention lies between `project` and `finish`, and is the caller's: openai-whisper's own, under SDPA, ignores a mask's
values. Source of the arithmetic: openai-whisper `model.py` (MIT).
"""

from typing import NamedTuple

import torch
import whisper.model
from torch.nn import functional as F

from encoders.linear import laid_out, linear


class Layer(NamedTuple):
    """The weights of one encoder block; query, key and value stacked. Norms are float32."""

    attn_norm: torch.Tensor
    attn_norm_bias: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor
    out: torch.Tensor
    out_bias: torch.Tensor
    mlp_norm: torch.Tensor
    mlp_norm_bias: torch.Tensor
    up: torch.Tensor
    up_bias: torch.Tensor
    down: torch.Tensor
    down_bias: torch.Tensor


def layer_of(block: whisper.model.ResidualAttentionBlock, device: torch.device, dtype: torch.dtype) -> Layer:
    """A block's weights, each cast once: norms to float32, the others to dtype."""

    def cast(tensor: torch.Tensor, to: torch.dtype = dtype) -> torch.Tensor:
        return tensor.detach().to(device, to).contiguous()

    attn, up, down = block.attn, block.mlp[0], block.mlp[2]
    assert attn.query.bias is not None
    assert attn.value.bias is not None
    qkv = torch.cat([attn.query.weight, attn.key.weight, attn.value.weight])
    qkv_bias = torch.cat([attn.query.bias, torch.zeros_like(attn.query.bias), attn.value.bias])
    return Layer(
        attn_norm=cast(block.attn_ln.weight, torch.float32),
        attn_norm_bias=cast(block.attn_ln.bias, torch.float32),
        qkv=laid_out(cast(qkv)),
        qkv_bias=cast(qkv_bias),
        out=laid_out(cast(attn.out.weight)),
        out_bias=cast(attn.out.bias),
        mlp_norm=cast(block.mlp_ln.weight, torch.float32),
        mlp_norm_bias=cast(block.mlp_ln.bias, torch.float32),
        up=laid_out(cast(up.weight)),
        up_bias=cast(up.bias),
        down=laid_out(cast(down.weight)),
        down_bias=cast(down.bias),
    )


def project(x: torch.Tensor, layer: Layer, heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (..., frames, width) float32 to queries, keys and values, each (..., heads, frames, width / heads)."""
    normed = F.layer_norm(x, [x.shape[-1]], layer.attn_norm, layer.attn_norm_bias)
    qkv = linear(normed.to(layer.qkv_bias.dtype), layer.qkv, layer.qkv_bias)
    parts = torch.unflatten(qkv, -1, [3, heads, x.shape[-1] // heads]).movedim(-3, 0).transpose(-2, -3)
    return parts[0], parts[1], parts[2]


def finish(x: torch.Tensor, context: torch.Tensor, layer: Layer) -> torch.Tensor:
    """x (..., frames, width) and what it attended to, (..., heads, frames, width / heads), to the block's result."""
    x = x + linear(context.transpose(-2, -3).flatten(-2), layer.out, layer.out_bias)
    normed = F.layer_norm(x, [x.shape[-1]], layer.mlp_norm, layer.mlp_norm_bias)
    return x + linear(
        F.gelu(linear(normed.to(layer.up_bias.dtype), layer.up, layer.up_bias)), layer.down, layer.down_bias
    )


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax attention of q (heads, queries, size) over k and v (heads, keys, size); mask: True where it may look."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
