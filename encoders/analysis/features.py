"""What Whisper and a spectrogram make of a sound: every layer from one pass, offline and causal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import whisper.model

from encoders.mel import whole_clip_log_mel
from encoders.whisper import FRAME_S, StreamingSettings, offline_embedding, streaming_encoder, whisper_stages
from realtime.block import Block, Floats, Times, regular

WINDOW_SAMPLES = 480_000
MELS = 80


def layers_of(model: whisper.model.Whisper) -> tuple[int, ...]:
    """1 to the number of the encoder's blocks."""
    return tuple(range(1, len(model.encoder.blocks) + 1))


def offline_layers(model: whisper.model.Whisper, sound: Floats, layers: Sequence[int]) -> dict[int, Floats]:
    """(frames, width) float32 of each layer, frame j centred on sample 320 j; see `offline_embedding`."""
    return offline_embedding(model, sound, layers)


def causal_layers(
    model: whisper.model.Whisper, sound: Block, layers: Sequence[int], settings: StreamingSettings, device: str = "cpu"
) -> dict[int, Floats]:
    """The same from the causal encoder, as it gives them live; NaN for frames that the sound's end kept back.

    sound: (samples, 1) at 16 kHz.
    """
    encoder = streaming_encoder(model, replace(settings, layer=max(layers)), device)
    rows = whisper_stages(encoder, settings, tuple(layers)).layer(sound)
    found = np.full((frames_of(len(sound)), rows.data.shape[1]), np.nan, np.float32)
    at = np.round((rows.times - sound.times[0]) / FRAME_S).astype(int)
    inside = at < len(found)
    found[at[inside]] = rows.data[inside]
    return {layer: found[:, i * encoder.width : (i + 1) * encoder.width] for i, layer in enumerate(sorted(layers))}


def spectrogram(sound: Floats) -> Floats:
    """(frames, 160) log-mel of a whole 16 kHz sound: the two rows of 10 ms that a frame's centre lies in."""
    padded = torch.from_numpy(np.pad(np.asarray(sound, np.float32), (0, WINDOW_SAMPLES)))
    rows = whole_clip_log_mel(padded, MELS).numpy()[: 2 * frames_of(len(sound))]
    pairs: Floats = rows.reshape(-1, 2 * MELS)  # (2 frames, mels) -> (frames, 2 mels)
    return pairs


def frames_of(samples: int) -> int:
    return -(-samples // 320)


def frame_times(sound: Block) -> Times:
    """(frames,) seconds of each frame of a 16 kHz sound."""
    return regular(np.zeros((frames_of(len(sound)), 1)), 1 / FRAME_S, float(sound.times[0])).times
