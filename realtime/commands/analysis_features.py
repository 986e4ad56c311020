"""What the electrodes are held against, as files: every layer of every Whisper, from one pass for each hearing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.analysis.features import causal_layers, frames_of, layers_of, offline_layers, spectrogram
from encoders.analysis.lagged import Heard
from encoders.analysis.sweep import save_heard
from encoders.weights import LoadedWhisper, untrained_whisper
from encoders.whisper import StreamingSettings
from realtime.block import Block, Floats
from realtime.commands.analysis_data import Segment, content_key
from realtime.commands.analysis_store import Store
from realtime.commands.console import working

UNTRAINED_SEED = 0
HEARINGS = ("offline", "causal", "untrained")


@dataclass(frozen=True, slots=True)
class Family:
    """Features of one kind: a model's layers, as it heard them: one of HEARINGS, or `spectrogram` with layer 0."""

    model: str
    hearing: str
    layers: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.model} {self.hearing}".strip()


SPECTROGRAM = Family("", "spectrogram", (0,))


def families_of(whispers: Sequence[LoadedWhisper]) -> list[Family]:
    """The spectrogram, then for each model offline, causal and untrained."""
    of = [Family(one.name, hearing, layers_of(one.model)) for one in whispers for hearing in HEARINGS]
    return [SPECTROGRAM, *of]


def features_of(
    family: Family,
    segments: Sequence[Segment],
    whispers: Mapping[str, LoadedWhisper],
    streaming: StreamingSettings,
    store: Store,
) -> dict[int, Path]:
    """For each layer a file (rows, D) float16, which takes half the room: a row for each row of the segments."""
    sounds = {id(s.sound): s.sound for s in segments if s.sound is not None}
    key: list[Any] = [content_key(*(sound.data for sound in sounds.values()))]
    key.append([[len(s.times), s.frame, list(sounds).index(id(s.sound))] for s in segments])
    if family.model:
        key.append(whispers[family.model].sha256)
    if family.hearing == "causal":
        key.append(str(streaming))

    def make() -> dict[int, npt.NDArray[Any]]:
        heard: dict[int, dict[int, Floats]] = {}
        with working(f"{family.name} of {_length(sounds)}") as progress:
            whisper = _model(family, whispers)
            for number, (name, sound) in enumerate(sounds.items()):
                heard[name] = _hear(family, whisper, sound, streaming)
                progress((number + 1) / len(sounds))
        return {
            layer: np.concatenate(
                [heard[id(s.sound)][layer][s.frame : s.frame + len(s.times)].astype(np.float16) for s in segments]
            )
            for layer in family.layers
        }

    return store.arrays(family.name, key, family.layers, make)


def _model(family: Family, whispers: Mapping[str, LoadedWhisper]) -> LoadedWhisper | None:
    if family.hearing == "untrained":
        return untrained_whisper(family.model, UNTRAINED_SEED)
    return whispers.get(family.model)


def _hear(
    family: Family, whisper: LoadedWhisper | None, sound: Block, streaming: StreamingSettings
) -> dict[int, Floats]:
    if whisper is None:
        return {0: spectrogram(sound.data[:, 0])}
    if family.hearing == "causal":
        return causal_layers(whisper.model, sound, family.layers, streaming)
    return offline_layers(whisper.model, sound.data[:, 0], family.layers)


def _length(sounds: Mapping[int, Block]) -> str:
    return f"{sum(frames_of(len(sound)) for sound in sounds.values()) / 3000:.1f} min of sound"


def observed_file(one: Heard, store: Store) -> Path:
    """What was observed, as a file named by its content."""
    path = (
        store.folder
        / "features"
        / f"heard-{content_key(np.array(one.segments), one.observed, one.bad, np.array(one.source))}.npz"
    )
    if not path.exists():
        save_heard(path, one)
    return path
