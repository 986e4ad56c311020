"""Decoder states of words: against Whisper's own forward pass, and blind to all that comes later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper.model
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.analysis.decoder import SpokenWord, WordTokens, held, read_before, word_states
from encoders.weights import untrained_whisper
from realtime.block import regular
from realtime.commands import analysis_decoder
from realtime.commands.analysis_data import Segment
from realtime.commands.analysis_store import Store
from tests.oracles.decoder import decoder_states

PROMPT, SECONDS = (97, 98), 40
LAYERS = 2


def small_whisper(seed: int) -> whisper.model.Whisper:
    torch.manual_seed(seed)
    model = whisper.model.Whisper(whisper.model.ModelDimensions(80, 1500, 24, 3, 1, 100, 14, 24, 3, LAYERS)).eval()
    torch.nn.init.normal_(model.decoder.positional_embedding)
    for parameter in model.parameters():
        parameter.requires_grad_(False).mul_(1.5)
    return model


def spoken(count: int, seed: int = 0) -> tuple[np.ndarray, list[SpokenWord]]:
    rng = np.random.default_rng(seed)
    sound = (0.1 * rng.standard_normal(SECONDS * 16_000)).astype(np.float32)
    stops = np.sort(rng.integers(8_000, len(sound), count))
    lengths = rng.integers(1_000, 7_000, count)
    tokens = [tuple(map(int, rng.integers(0, 90, rng.integers(1, 4)))) for _ in stops]
    return sound, [SpokenWord(t, int(s - n), int(s)) for t, s, n in zip(tokens, stops, lengths, strict=True)]


@pytest.mark.parametrize("context_s", [30.0, 10.0])
def test_states_are_those_of_whisper_itself_one_word_at_a_time(context_s: float) -> None:
    model, untrained = small_whisper(1), small_whisper(2)
    sound, words = spoken(11)
    found = word_states(model, untrained.decoder, sound, words, PROMPT, context_s)
    part = word_states(model, untrained.decoder, sound, words, PROMPT, context_s, 3, 6)
    np.testing.assert_allclose(part, found[3:6], atol=2e-4)
    other = small_whisper(2)
    other.encoder = model.encoder  # the untrained decoder listens to the trained encoder
    plain = [(list(w.tokens), w.start, w.stop) for w in words]
    for number, word in enumerate(words):
        context = round(16_000 * context_s)
        expected = [decoder_states(m, sound, plain, list(PROMPT), number, context) for m in (model, other)]
        np.testing.assert_allclose(found[number, 1 : 1 + LAYERS], expected[0], atol=2e-4)
        np.testing.assert_allclose(found[number, 1 + LAYERS :], expected[1], atol=2e-4)
        vectors = [model.decoder.token_embedding.weight[t].numpy() for t in word.tokens]
        np.testing.assert_allclose(found[number, 0], np.mean(vectors, axis=0), atol=1e-6)


def test_later_sound_and_later_words_change_no_earlier_row() -> None:
    model, untrained = small_whisper(1), small_whisper(2)
    sound, words = spoken(9)
    before = word_states(model, untrained.decoder, sound, words, PROMPT)
    number = 5
    cut = words[number].stop
    changed = sound.copy()
    changed[cut:] = np.random.default_rng(9).standard_normal(len(sound) - cut)
    later = [SpokenWord((7,), w.start, w.stop) for w in words[number + 1 :]]
    after = word_states(model, untrained.decoder, changed, [*words[: number + 1], *later], PROMPT)
    known = -(-words[number + 1].stop // 320)  # rows that speak of word `number` or earlier ones
    for layer in range(before.shape[1]):
        rows = [held(states[:, layer], words, len(sound)) for states in (before, after)]
        np.testing.assert_allclose(rows[0][:known], rows[1][:known], atol=2e-5)
        assert np.abs(rows[0][known:] - rows[1][known:]).max() > 0.01
    heard = sound.copy()
    heard[cut - 400 : cut] = 3.0  # the last thing that the word may hear is heard
    inside = word_states(model, untrained.decoder, heard, words, PROMPT)
    assert np.abs(inside[number, 1:] - before[number, 1:]).max() > 1e-3
    np.testing.assert_allclose(inside[: number - 1], before[: number - 1], atol=2e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_a_row_holds_the_last_word_that_is_known_at_its_time(count: int, seed: int) -> None:
    sound, words = spoken(count, seed)
    rows = held(np.arange(1, count + 1, dtype=np.float32)[:, None], words, len(sound))
    assert len(rows) == SECONDS * 50
    for frame in range(0, len(rows), 7):
        assert rows[frame, 0] == sum(word.stop <= 320 * frame for word in words)


def test_what_is_read_is_bounded_by_the_sound_heard_and_by_the_model() -> None:
    words = [SpokenWord((i,), 160_000 * i, 160_000 * i + 8_000) for i in range(8)]
    assert read_before(words, 7, 480_000, 100) == [5, 6, 7]  # word 4 began 30.5 s before the sound of word 7 ends
    assert read_before(words, 7, 480_000, 2) == [6, 7]
    assert read_before(words, 0, 480_000, 2) == [0]
    assert read_before(words, 7, 168_000, 100) == [6, 7]
    assert read_before(words, 7, 167_000, 100) == [7]


def test_features_on_disk_go_on_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights of tiny.en's size: rows of two segments of one sound, an interruption, a second run."""
    monkeypatch.setattr(analysis_decoder, "PIECE_WORDS", 3)
    sound = (0.1 * np.random.default_rng(0).standard_normal((160_000, 1))).astype(np.float32)
    block = regular(sound, 16_000.0, 100.0)
    words = tuple((label, 101 + i, 101.5 + i) for i, label in enumerate(["one", "two", "three", "four", "five"]))
    spoken_sound = analysis_decoder.SpokenSound(block, (("early", 99.0, 100.5), *words, ("late", 109.0, 111.0)))
    segments = []
    for first, stop in ((10, 100), (200, 500)):
        observed = np.zeros((stop - first, 1), np.float32)
        segments.append(Segment(100 + np.arange(first, stop) / 50, observed, observed > 0, block, first))
    loaded = untrained_whisper("tiny.en", 5)

    def features() -> analysis_decoder.DecoderFeatures:
        return analysis_decoder.DecoderFeatures(loaded, [spoken_sound], 0.1, 5.0, Store(tmp_path))

    passes: list[str] = []

    def counted(*arguments: Any) -> np.ndarray:
        if len(passes) == 2:
            passes.append("stopped")
            raise KeyboardInterrupt
        passes.append(str(arguments[-2]))
        return np.asarray(word_states(*arguments))

    monkeypatch.setattr(analysis_decoder, "word_states", counted)
    told: list[str] = []
    monkeypatch.setattr(analysis_decoder, "say", told.append)
    families = analysis_decoder.decoder_families([loaded])
    assert [len(family.layers) for family in families] == [1, 4, 4]
    assert all("offline" in family.name for family in families)
    with pytest.raises(KeyboardInterrupt):
        features().rows_of(families[1], segments)
    one = features()
    rows = {family.hearing: one.rows_of(family, segments) for family in families}
    features().rows_of(families[2], segments)
    assert passes == ["0", "0", "stopped", "0", "3"]  # what a pass costs; five words in two pieces, each computed once
    assert "decoder: 5 words at 5 s of sound, about" in told[0]
    assert "decoder: 2 words at 5 s of sound, about" in told[1]
    tokens = spoken_sound.tokens(WordTokens(loaded.model), 0.1)
    assert [word.stop for word in tokens] == [16_000 * (i + 1) + 9_600 + 1 for i in range(5)]
    untrained = untrained_whisper("tiny.en", 0).model.decoder
    states = word_states(loaded.model, untrained, sound[:, 0], tokens, WordTokens(loaded.model).prompt, 5.0)
    for family, column in zip(families, (0, 1, 5), strict=True):
        for layer, path in rows[family.hearing].items():
            state = states[:, column if layer == 0 else column + layer - 1]
            expected = held(state, tokens, len(sound))
            chosen = np.concatenate([expected[10:100], expected[200:500]])
            np.testing.assert_allclose(np.load(path).astype(np.float32), chosen, rtol=2e-3, atol=2e-3)


def test_tokens_are_whispers_own() -> None:
    dims = whisper.model.ModelDimensions(80, 1500, 8, 1, 1, 51864, 8, 8, 1, 1)
    tokens = WordTokens(whisper.model.Whisper(dims))
    assert tokens.prompt == (50257, 50362)  # start of transcript, no timestamps
    assert tokens.of("hello") == (23748,)
    assert len(tokens.of("extraterrestrial")) > 1
