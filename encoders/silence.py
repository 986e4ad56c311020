"""The silence that Whisper expects after the newest sound: what its blocks make of a silent window, kept once.

Whisper was trained on windows of 30 s that are silent after the last sound, never on ones that break off. A stream
breaks off at its newest frame; attending to the keys and values of silence behind it costs next to nothing and brings
the hidden states nearer to the offline ones (docs/fidelity.md has figures).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from encoders.encoder import POSITIONS, Encoder
from encoders.layer import attention
from encoders.mel import whole_clip_stem

SILENT_LOG_MEL = -0.75  # Whisper's floor, 8 below a maximum of 1 (log10), as it scales it


@dataclass(frozen=True)
class Silence:
    """Keys and values of each block at every position of a silent window, (depth, heads, 1500, size)."""

    keys: torch.Tensor
    values: torch.Tensor


def no_silence(encoder: Encoder) -> Silence:
    """As `silent_window`, of no position."""
    nothing = torch.zeros(
        encoder.depth, encoder.heads, 0, encoder.width // encoder.heads, dtype=encoder.dtype, device=encoder.device
    )
    return Silence(nothing, nothing)


@torch.inference_mode()
def silent_window(encoder: Encoder) -> Silence:
    """One offline pass over 30 s of silence."""
    mel = torch.full((2 * POSITIONS, encoder.mels), SILENT_LOG_MEL)
    x = whole_clip_stem(mel, encoder.stem).to(encoder.device) + encoder.positions
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attend(_layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        kept.append((k.clone(), v.clone()))
        return attention(q, k, v)

    encoder.run(x, attend, ())
    keys, values = zip(*kept, strict=True)
    return Silence(torch.stack(keys), torch.stack(values))
