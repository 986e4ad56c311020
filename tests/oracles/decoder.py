"""One word at a time through openai-whisper's own model, the sound cut by hand, hooks on the decoder's blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import whisper


def decoder_states(
    model: Any, sound: Any, words: list[tuple[list[int], int, int]], prompt: list[int], number: int
) -> Any:
    """(layers, width) for word `number`; words: (tokens, first sample, sample where hearing ends), in order."""
    own, _, stop = words[number]
    start = max(0, stop - 480_000)
    clip = np.concatenate([sound[start:stop], np.zeros(480_000 - (stop - start), np.float32)])
    tokens: list[int] = []
    for other, first, _ in words[:number]:
        if first >= stop - 480_000:
            tokens.extend(other)
    tokens.extend(own)
    while len(tokens) + len(prompt) > model.dims.n_text_ctx:
        tokens.pop(0)
    found: list[Any] = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, output: found.append(output[0, -1].detach().numpy()))
        for block in model.decoder.blocks
    ]
    with torch.no_grad():
        mel = whisper.log_mel_spectrogram(clip, model.dims.n_mels)
        model(mel[None], torch.tensor([[*prompt, *tokens]]))
    for hook in hooks:
        hook.remove()
    return np.stack(found)
