"""Decoder layers as features on disk: of each word, from one pass of Whisper, kept in pieces so that it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from encoders.analysis.decoder import BATCH_WORDS, SpokenWord, TextDecoder, WordTokens, held, word_states
from encoders.analysis.phone_classes import NOT_SPEECH
from encoders.weights import LoadedWhisper, untrained_whisper
from realtime.block import Block, Floats
from realtime.commands.analysis_data import Patient, Segment, content_key
from realtime.commands.analysis_features import UNTRAINED_SEED, Family
from realtime.commands.analysis_store import Array, Store
from realtime.commands.console import say, working

PIECE_WORDS = 64
LEAST_WORDS = 100  # fewer cannot tell 50 components apart
VERSION = 2
DECODERS = ("word vector, offline", "decoder, offline", "untrained decoder, offline")
Timed = tuple[str, float, float]


@dataclass(frozen=True)
class SpokenSound:
    """A run of sound at 16 kHz and the words in it: label, start_s, end_s on the sound's clock, in order of end."""

    sound: Block
    words: tuple[Timed, ...]

    def tokens(self, of: WordTokens, crop_s: float) -> list[SpokenWord]:
        """Words whose sound, crop included, lies in it."""
        times = self.sound.times
        found = []
        for label, start_s, end_s in self.words:
            if times[0] <= start_s and end_s + crop_s <= times[-1]:
                start = int(np.searchsorted(times, start_s))
                stop = int(np.searchsorted(times, end_s + crop_s, side="right"))
                found.append(SpokenWord(of.of(label), start, stop))
        return found


def spoken_sounds(patient: Patient) -> list[SpokenSound]:
    """Each run of sound once, in the order of the segments."""
    found: dict[int, SpokenSound] = {}
    for one in patient.recordings:
        words = [word for word in (one.phones.words if one.phones else []) if word[0].strip().lower() not in NOT_SPEECH]
        words.sort(key=lambda word: (word[2], word[1]))
        for segment in one.segments:
            if segment.sound is not None:
                found.setdefault(id(segment.sound), SpokenSound(segment.sound, tuple(words)))
    return list(found.values())


def decoder_families(whispers: Sequence[LoadedWhisper]) -> list[Family]:
    """For each model the static word vector (layer 0), the decoder and the untrained decoder."""
    found = []
    for one in whispers:
        layers = tuple(range(1, one.model.dims.n_text_layer + 1))
        found += [Family(one.name, hearing, layers if "decoder" in hearing else (0,)) for hearing in DECODERS]
    return found


@dataclass(frozen=True)
class DecoderFeatures:
    """Features of one model's decoder. crop_s: of sound after a word's end that is still heard, the last of context_s
    seconds that are."""

    whisper: LoadedWhisper
    sounds: Sequence[SpokenSound]
    crop_s: float
    context_s: float
    store: Store

    def rows_of(self, family: Family, segments: Sequence[Segment]) -> dict[int, Path]:
        """For each layer a file (rows, width) float16, as `analysis_features.features_of` has them."""
        where = [self._number(s) for s in segments]
        key = [self.key, [[len(s.times), s.frame, n] for s, n in zip(segments, where, strict=True)]]
        columns = {layer: layer for layer in family.layers}
        if family.hearing == DECODERS[2]:
            columns = {layer: layer + self.whisper.model.dims.n_text_layer for layer in family.layers}

        def make() -> Mapping[int, Array]:
            return {
                layer: _rows([some[:, column] for some in self._states], self._words, self.sounds, segments, where)
                for layer, column in columns.items()
            }

        return self.store.arrays(family.name, key, family.layers, make)

    @property
    def count(self) -> int:
        """How many words lie inside the sound."""
        return sum(map(len, self._words))

    @cached_property
    def key(self) -> list[object]:
        """Names what goes in: the model, the sound, each word's tokens and where its sound is cut."""
        words = [[[w.tokens, w.start, w.stop] for w in some] for some in self._words]
        sound = content_key(*(s.sound.data for s in self.sounds))
        return [VERSION, self.whisper.sha256, UNTRAINED_SEED, self.context_s, sound, words]

    @cached_property
    def _tokens(self) -> WordTokens:
        return WordTokens(self.whisper.model)

    @cached_property
    def _words(self) -> list[list[SpokenWord]]:
        return [one.tokens(self._tokens, self.crop_s) for one in self.sounds]

    def _number(self, segment: Segment) -> int:
        return next(n for n, one in enumerate(self.sounds) if one.sound is segment.sound)

    @cached_property
    def _states(self) -> list[Array]:
        """(words, states, width) float16 for each sound; see `word_states`. What an earlier run made is read."""
        untrained = untrained_whisper(self.whisper.name, UNTRAINED_SEED).model.decoder
        self._tell_cost(untrained)
        found, done = [], 0
        with working(f"{self.whisper.name} decoder, {self.count} words") as progress:
            for number, (one, words) in enumerate(zip(self.sounds, self._words, strict=True)):
                pieces = [np.zeros((0, *self._shape), np.float16)]
                for first in range(0, len(words), PIECE_WORDS):
                    make = partial(self._piece, one, words, first, untrained)
                    path = self.store.arrays(*self._piece_name(number, first), make)[0]
                    pieces.append(np.load(path, allow_pickle=False))
                    done += min(PIECE_WORDS, len(words) - first)
                    progress(done / self.count)
                found.append(np.concatenate(pieces))
        return found

    def _piece_name(self, number: int, first: int) -> tuple[str, list[object], tuple[int]]:
        return f"{self.whisper.name} words", [self.key, number, first], (0,)

    def _tell_cost(self, untrained: TextDecoder) -> None:
        """Say how long it will take, from a few words of the fullest sound, before it begins."""
        missing = sum(
            min(PIECE_WORDS, len(words) - first)
            for number, words in enumerate(self._words)
            for first in range(0, len(words), PIECE_WORDS)
            if not self.store.paths(*self._piece_name(number, first))[0].exists()
        )
        if missing:
            fullest = max(range(len(self.sounds)), key=lambda number: len(self._words[number]))
            one, words = self.sounds[fullest], self._words[fullest][:BATCH_WORDS]
            begun = time.perf_counter()
            self._piece(one, words, 0, untrained)
            expected_min = missing / len(words) * (time.perf_counter() - begun) / 60
            say(
                f"{self.whisper.name} decoder: {missing} words at {self.context_s:g} s of sound, about "
                f"{expected_min:.1f} min; --no-decoder leaves it out, a shorter --word-context-s takes less"
            )

    @property
    def _shape(self) -> tuple[int, int]:
        return 1 + 2 * self.whisper.model.dims.n_text_layer, self.whisper.model.dims.n_text_state

    def _piece(
        self, one: SpokenSound, words: Sequence[SpokenWord], first: int, untrained: TextDecoder
    ) -> dict[int, Array]:
        sound, prompt = one.sound.data[:, 0], self._tokens.prompt
        last = first + PIECE_WORDS
        states = word_states(self.whisper.model, untrained, sound, words, prompt, self.context_s, first, last)
        return {0: states.astype(np.float16)}


def decoders_of(
    patient: Patient, whispers: Sequence[LoadedWhisper], crop_s: float | None, context_s: float, store: Store
) -> tuple[dict[str, DecoderFeatures], str]:
    """By model; or none, and the reason. crop_s None: none are wanted."""
    if crop_s is None:
        return {}, "they were left out with --no-decoder"
    without = [
        one.path.name
        for one in patient.recordings
        if any(s.sound is not None for s in one.segments) and not (one.phones and one.phones.words)
    ]
    if without:
        some = ", ".join(without[:3]) + (" and others" if len(without) > 3 else "")
        return {}, f"no word times of {some}; give --transcript, or words beside the phones"
    sounds = spoken_sounds(patient)
    found = {one.name: DecoderFeatures(one, sounds, crop_s, context_s, store) for one in whispers}
    words = min((one.count for one in found.values()), default=0)
    if words < LEAST_WORDS:
        return {}, f"{words} words lie inside the sound; at least {LEAST_WORDS} are needed"
    return found, ""


def _rows(
    states: Sequence[Array],
    words: Sequence[Sequence[SpokenWord]],
    sounds: Sequence[SpokenSound],
    segments: Sequence[Segment],
    where: Sequence[int],
) -> Array:
    """(rows, width): each segment's part of its sound's frames."""
    frames: list[Floats] = [
        held(some, spoken, len(one.sound)) for some, spoken, one in zip(states, words, sounds, strict=True)
    ]
    parts = [frames[n][s.frame : s.frame + len(s.times)] for s, n in zip(segments, where, strict=True)]
    return np.concatenate(parts).astype(np.float16)
