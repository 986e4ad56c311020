"""A linear layer whose weight is laid out once for the machine."""

from __future__ import annotations

import os

import torch
from torch.nn import functional as F

PACKED_ROWS = 16  # rows that the layout is chosen for; from 5 to 500 rows the choice made no difference

CACHED_SIZES = "32"  # of products that stay prepared; torch and oneDNN keep 1024 each, and an engine that now and then
for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):  # catches up would grow with every new size
    os.environ.setdefault(cache, CACHED_SIZES)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """x (..., inputs) to x @ weight.T + bias (..., outputs), in the weight's own type. weight: as `laid_out` gives it.

    TorchScript compiles it, too.
    """
    if weight.is_mkldnn:
        packed: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return packed
    return F.linear(x, weight, bias)


def laid_out(weight: torch.Tensor) -> torch.Tensor:
    """The weight as the machine reads it fastest.

    On a CPU that is oneDNN's blocked layout where torch offers it: with few rows it is two to three times as fast as
    torch's default matrix product, whose time is spent on reading a weight that lies badly.
    """
    packed = _packed(weight)
    return weight if packed is None else packed


def _packed(weight: torch.Tensor) -> torch.Tensor | None:
    """The weight in oneDNN's layout, or None where this torch, device or type has none."""
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return None
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    try:
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
        probe = weight.new_zeros(1, weight.shape[1])
        torch.ops.mkldnn._linear_pointwise(probe, packed, None, "none", [], "")
    except (RuntimeError, AttributeError):  # operators that torch keeps to itself may go or change
        return None
    return packed
