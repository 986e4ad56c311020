"""Whisper's encoder up to the layer asked for, and the offline reference.

`layer.py` has the arithmetic of one block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import whisper.model

from encoders.layer import attention, finish, layer_of, project
from encoders.mel import Stem, whole_clip_log_mel, whole_clip_stem
from realtime.block import Floats
from realtime.errors import UserError

FRAME_S = 0.02
POSITIONS = 1500  # frames in Whisper's 30 s window
WINDOW_SAMPLES = 480_000

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Rows = slice | torch.Tensor


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
        self.positions: torch.Tensor = encoder.positional_embedding.detach().to(self.device, torch.float32).contiguous()
        self.layers = [layer_of(block, self.device, dtype) for block in encoder.blocks[:depth]]

    def run(self, x: torch.Tensor, attend: Attend, keep: Sequence[int], rows: Rows = slice(None)) -> list[torch.Tensor]:
        """x (..., frames, width) float32, positions added, through the blocks; hidden states after those in `keep`.

        attend(layer, q, k, v), each (..., heads, frames, width / heads), gives the contexts in q's shape. rows: which
        frames are wanted in the end; the last block then computes nothing but keys and values for the others.
        """
        kept: list[torch.Tensor] = []
        for number, layer in enumerate(self.layers):
            q, k, v = project(x, layer, self.heads)
            if number + 1 == self.depth:
                q, x = q[..., rows, :], x[..., rows, :]
                kept = [hidden[..., rows, :] for hidden in kept]
            x = finish(x, attend(number, q, k, v), layer)
            if number + 1 in keep:
                kept.append(x)
        return kept


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
