"""One word at a time through openai-whisper's own model, the sound cut by hand, hooks on the decoder's blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import whisper


def decoder_states(
    model: Any, sound: Any, words: list[tuple[list[int], int, int]], prompt: list[int], number: int, context: int
) -> Any:
    """(layers, width) for word `number`; words: (tokens, first sample, sample where hearing ends), in order.

    context: samples heard. The model is told that its window is so long: its positions are cut, for good.
    """
    model.encoder.positional_embedding = model.encoder.positional_embedding[: context // 320]
    own, _, stop = words[number]
    start = max(0, stop - context)
    clip = np.concatenate([sound[start:stop], np.zeros(context - (stop - start), np.float32)])
    tokens: list[int] = []
    for other, first, _ in words[:number]:
        if first >= stop - context:
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
