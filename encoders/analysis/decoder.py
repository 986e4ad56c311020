"""What Whisper's decoder makes of each word, having heard and read nothing later. Offline only: it needs a transcript.

For word i the sound is the last seconds up to a stated time after the word's end, and the decoder reads the tokens
up to word i and no further: else cross-attention hears, and self-attention reads, what is still to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from whisper.audio import SAMPLE_RATE
from whisper.model import TextDecoder, Whisper
from whisper.tokenizer import get_tokenizer

from encoders.analysis.features import frames_of
from encoders.encoder import Encoder
from encoders.mel import whole_clip_log_mel, whole_clip_stem
from realtime.block import Floats

__all__ = ["Heard", "SpokenWord", "TextDecoder", "WordTokens", "crop_mel", "held", "read_before", "word_states"]
BATCH_WORDS = 8
SAMPLES_A_FRAME = 320


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """tokens: its own. start: its first sample. stop: the first sample that is no longer heard, crop included."""

    tokens: tuple[int, ...]
    start: int
    stop: int


class WordTokens:
    """The tokens of Whisper's own vocabulary. prompt: what the decoder reads first: transcribe English, no times."""

    def __init__(self, model: Whisper) -> None:
        many = model.is_multilingual
        self._tokenizer = get_tokenizer(
            many,
            num_languages=model.num_languages,
            language="en" if many else None,
            task="transcribe" if many else None,
        )
        self.prompt = tuple(self._tokenizer.sot_sequence_including_notimestamps)

    def of(self, word: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(" " + word.strip()))


def word_states(
    model: Whisper,
    untrained: TextDecoder,
    sound: Floats,
    words: Sequence[SpokenWord],
    prompt: Sequence[int],
    context_s: float = 30.0,
    first: int = 0,
    last: int | None = None,
) -> Floats:
    """(words, 1 + 2 layers, width) float32 of words[first:last], which are in the order of their stops.

    State 0 is the static word vector: the mean of the word's token embeddings. Then each block of the trained decoder
    and each of the untrained one, after the word's last token; both listen to the same trained encoder. sound:
    (samples,) at 16 kHz; a word hears the last context_s of it, silence behind them where there is less. One pass of
    the encoder and one of each decoder for each word, BATCH_WORDS at a time.
    """
    context = round(context_s * SAMPLE_RATE)
    stop = len(words) if last is None else min(last, len(words))
    width = model.dims.n_text_state
    hear = Heard(model)
    states = np.zeros((stop - first, 1 + 2 * model.dims.n_text_layer, width), np.float32)
    with torch.inference_mode():
        for start in range(first, stop, BATCH_WORDS):
            chosen = range(start, min(start + BATCH_WORDS, stop))
            mels = [crop_mel(sound, words[i].stop, context, model.dims.n_mels) for i in chosen]
            heard = hear(mels)
            texts = [[*prompt, *read_before(words, i, context, model.dims.n_text_ctx - len(prompt))] for i in chosen]
            static = [model.decoder.token_embedding.weight[list(words[i].tokens)].mean(dim=0) for i in chosen]
            blocks = [*_blocks(model.decoder, texts, heard), *_blocks(untrained, texts, heard)]
            states[start - first : chosen.stop - first] = torch.stack([torch.stack(static), *blocks], dim=1).numpy()
    return states


def read_before(words: Sequence[SpokenWord], i: int, context: int, most: int) -> list[int]:
    """The tokens of word i and of those before it that begin in the samples heard with it; the last `most` of them."""
    begin = words[i].stop - context
    tokens = [token for word in words[:i] if word.start >= begin for token in word.tokens]
    return [*tokens, *words[i].tokens][-most:]


def held(states: Floats, words: Sequence[SpokenWord], samples: int) -> Floats:
    """(frames, width) from (words, width): each word from the moment it is known, its stop, to the next one's stop.

    Zeros before the first word. Frame j is centred on sample 320 j, and no frame knows a later sample.
    """
    at = SAMPLES_A_FRAME * np.arange(frames_of(samples))
    word: npt.NDArray[np.intp] = np.searchsorted([w.stop for w in words], at, side="right") - 1
    rows = np.zeros((len(at), states.shape[1]), np.float32)
    rows[word >= 0] = states[word[word >= 0]]
    return rows


def crop_mel(sound: Floats, stop: int, context: int, mels: int) -> Tensor:
    """(rows, mels) of the `context` samples up to `stop`, silence after them where there are fewer."""
    window = np.zeros(context, np.float32)
    clip = sound[max(0, stop - context) : stop]
    window[: len(clip)] = clip
    return whole_clip_log_mel(torch.from_numpy(window), mels)


class Heard:
    """A Whisper's whole encoder for crops of any length up to 30 s; openai-whisper's own insists on 30."""

    def __init__(self, model: Whisper) -> None:
        self._encoder, self._norm = Encoder(model, model.dims.n_audio_layer), model.encoder.ln_post

    def __call__(self, mels: Sequence[Tensor]) -> Tensor:
        """(words, rows / 2, width) from as many (rows, mels), all of one length."""
        x = torch.stack([whole_clip_stem(mel, self._encoder.stem) for mel in mels])
        x = x + self._encoder.positions[: x.shape[1]]
        normed: Tensor = self._norm(self._encoder.run(x, _attend, [self._encoder.depth])[0])
        return normed


def _attend(_layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def _blocks(decoder: TextDecoder, texts: Sequence[Sequence[int]], heard: Tensor) -> list[Tensor]:
    """After each block (words, width), at each text's last token. Shorter texts are filled up behind, unseen."""
    last = torch.tensor([len(text) - 1 for text in texts])
    longest = int(last.max()) + 1
    tokens = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    hidden = decoder.token_embedding(tokens) + decoder.positional_embedding[:longest]
    found = []
    for block in decoder.blocks:
        hidden = block(hidden, heard, mask=decoder.mask)
        found.append(hidden[torch.arange(len(texts)), last])
    return found
