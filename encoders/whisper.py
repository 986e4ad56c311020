"""The causal Whisper: the settings that a model file holds, and the chain that follows from them.

`encoder.py` has the arithmetic and the offline reference, `cached.py` and `window.py` the two streaming modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import whisper.model

from encoders.cached import CausalWhisper
from encoders.encoder import FRAME_S, Encoder, offline_embedding
from encoders.mel import Mel
from encoders.window import WindowWhisper
from realtime.errors import UserError
from realtime.stage import Chain

__all__ = [
    "FRAME_S",
    "CausalWhisper",
    "Encoder",
    "StreamingSettings",
    "WindowWhisper",
    "offline_embedding",
    "pick_device",
    "streaming_encoder",
    "whisper_stages",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class StreamingSettings:
    """How a Whisper is made causal. A model file holds them: a model fits only the embedding it was fitted to.

    mode: `cached` or `window`. block_ms: rows come out so many at a time; in `window` mode the hop. delay_ms: how much
    longer they wait for what follows. history_s: how far back a frame attends; in `window` mode the whole window.
    dtype: of matrix products, `float32`, `bfloat16` or (on CUDA) `float16`. floor_start, floor_fall_per_s: of the
    log-mel's floor, see `Mel`. silence_ms: how much silence `cached` mode attends to behind the newest frame; none in
    `window` mode.
    """

    layer: int
    block_ms: float = 40.0
    history_s: float = 10.0
    delay_ms: float = 60.0
    mode: str = "cached"
    dtype: str = "float32"
    floor_start: float = 1.0
    floor_fall_per_s: float = 0.05
    silence_ms: float = 2000.0


def pick_device(name: str = "auto") -> str:
    """A torch device for `auto` (CUDA where there is one), `cpu` or `cuda`. Raises UserError where it is missing."""
    found = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if found else "cpu"
    if name == "cuda" and not found:
        raise UserError("device 'cuda' is asked for, but torch finds no CUDA device: use 'auto' or 'cpu'")
    return name


def streaming_encoder(model: whisper.model.Whisper, settings: StreamingSettings, device: str = "cpu") -> Encoder:
    """The encoder that the settings ask for. Raises UserError for an unknown dtype or layer, or float16 on a CPU."""
    if settings.dtype not in DTYPES:
        raise UserError(f"Whisper dtype {settings.dtype!r} is unknown: expected {', '.join(DTYPES)}")
    if settings.dtype == "float16" and torch.device(device).type == "cpu":
        raise UserError("Whisper dtype 'float16' needs a CUDA device: on a CPU use 'float32' or 'bfloat16'")
    return Encoder(model, settings.layer, device, DTYPES[settings.dtype])


def whisper_stages(
    encoder: Encoder, settings: StreamingSettings, layers: Sequence[int] = (), graph: bool | None = None
) -> Chain:
    """16 kHz sound (time, 1) to embeddings (time, width): the chain mel, stem, whisper.

    layers: several, in one pass; rows are then (time, width * len(layers)), in order. graph: of `CausalWhisper`.
    """
    block, tail, history = (
        round(s / FRAME_S) for s in (settings.block_ms / 1e3, settings.delay_ms / 1e3, settings.history_s)
    )
    if settings.mode not in ("cached", "window"):
        raise UserError(f"Whisper mode {settings.mode!r} is unknown: expected 'cached' or 'window'")
    if abs(block * FRAME_S * 1e3 - settings.block_ms) > 1e-6 or abs(tail * FRAME_S * 1e3 - settings.delay_ms) > 1e-6:
        raise UserError(
            f"Whisper's block of {settings.block_ms:g} ms and delay of {settings.delay_ms:g} ms "
            "must be multiples of 20 ms"
        )
    causal: CausalWhisper | WindowWhisper
    if settings.mode == "window":
        causal = WindowWhisper(encoder, block, history, tail, layers)
    else:
        silence = round(settings.silence_ms / 1e3 / FRAME_S)
        causal = CausalWhisper(encoder, block, history, tail, layers, graph, silence)
    mel = Mel(encoder.mels, settings.floor_start, settings.floor_fall_per_s)
    return Chain([("mel", mel), ("stem", encoder.stem), ("whisper", causal)])
