"""Cached embeddings: the same as computed ones, found again, resumed, and never trusted when altered."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoders.archive import cache_dir
from encoders.weights import untrained_whisper
from encoders.whisper import StreamingSettings
from realtime import offline
from realtime.block import Block, Spec
from realtime.commands import embedding_cache, wiring
from realtime.commands.embedding_cache import embedded, embedding_key
from realtime.offline import run_chain
from realtime.sources.recording import RecordedStream


@pytest.fixture(scope="module")
def embedding() -> wiring.Embedding:
    settings = StreamingSettings(layer=1, history_s=1.0)
    return wiring.embedding(untrained_whisper("tiny.en", 0), settings, "cpu")


@pytest.fixture(autouse=True)
def _small_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTICAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(offline, "PIECE_S", 1.0)
    monkeypatch.setattr(embedding_cache, "PIECES", 2)


def stream(seconds: float = 6.5, seed: int = 0) -> RecordedStream:
    """Two channels with a gap of a second in the middle."""
    rng = np.random.default_rng(seed)
    rows = round(seconds * 16_000)
    stamps = np.arange(rows) / 16_000
    stamps[rows // 2 :] += 1.0
    data = (0.1 * rng.standard_normal((rows, 2))).astype(np.float32)
    return RecordedStream(Spec("sound", 16_000.0, ("a", "b")), data, stamps)


def assert_equal(found: list[Block], expected: list[Block]) -> None:
    assert [b.index for b in found] == [b.index for b in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
        np.testing.assert_array_equal(one.times, other.times)
        assert one.extra.keys() == other.extra.keys()
        for name in one.extra:
            np.testing.assert_array_equal(one.extra[name], other.extra[name])


def counted(embedding: wiring.Embedding, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pieces are embedded from now on."""
    calls: list[int] = []
    whisper = embedding.stages.stages[-1]
    step = whisper.step

    def counting(x: Block, state: object) -> object:
        calls.append(len(x))
        return step(x, state)

    monkeypatch.setattr(whisper, "step", counting)
    return calls


def test_a_second_run_reads_what_the_first_computed(
    embedding: wiring.Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run_chain(stream(), wiring.sound_lane(stream().spec, 1, embedding))
    assert len(expected) == 2, "two blocks, the gap between them"
    told: list[float] = []
    assert_equal(embedded(stream(), 1, embedding, told.append), expected)
    assert told == sorted(told)
    assert told[-1] == 1
    calls = counted(embedding, monkeypatch)
    assert_equal(embedded(stream(), "b", embedding), expected)
    assert not calls


def test_an_interrupted_run_goes_on_where_it_was(embedding: wiring.Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run_chain(stream(), wiring.sound_lane(stream().spec, 0, embedding))

    def stop(share: float) -> None:
        if share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedded(stream(), 0, embedding, stop)
    calls = counted(embedding, monkeypatch)
    assert_equal(embedded(stream(), 0, embedding), expected)
    assert 0 < len(calls) <= 4, "the first two of four parts were kept"


@pytest.mark.parametrize("name", ["part-00000.safetensors", "state.safetensors"])
def test_an_altered_part_is_made_again(
    name: str, embedding: wiring.Embedding, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = run_chain(stream(), wiring.sound_lane(stream().spec, 0, embedding))

    def stop(share: float) -> None:
        if share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedded(stream(), 0, embedding, stop)
    path = cache_dir() / "embeddings" / embedding_key(stream(), 0, embedding) / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    calls = counted(embedding, monkeypatch)
    assert_equal(embedded(stream(), 0, embedding), expected)
    assert len(calls) == 8
    assert "altered" in capsys.readouterr().err


def test_the_key_is_what_was_heard_and_what_heard_it(embedding: wiring.Embedding) -> None:
    one = stream()
    key = embedding_key(one, 0, embedding)
    assert key == embedding_key(stream(), "a", embedding)
    other_channel = np.array(one.data)
    other_channel[5, 1] += 1
    assert key == embedding_key(replace(one, data=other_channel), 0, embedding)
    different = [
        embedding_key(one, 1, embedding),
        embedding_key(stream(seed=1), 0, embedding),
        embedding_key(replace(one, stamps=one.stamps + 1), 0, embedding),
        embedding_key(replace(one, jumps=(5,)), 0, embedding),
        embedding_key(one, 0, wiring.embedding(untrained_whisper("tiny.en", 1), embedding.settings, "cpu")),
        embedding_key(one, 0, wiring.embedding(embedding.whisper, replace(embedding.settings, block_ms=60.0), "cpu")),
    ]
    assert len({key, *different}) == 7


def test_the_longest_unused_go_first(embedding: wiring.Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "LIMIT_BYTES", 0)
    embedded(stream(2.5, seed=1), 0, embedding)
    folder = cache_dir() / "embeddings"
    first = embedding_key(stream(2.5, seed=1), 0, embedding)
    os.utime(folder / first, (1, 1))
    embedded(stream(2.5, seed=2), 0, embedding)
    assert [f.name for f in folder.iterdir()] == [embedding_key(stream(2.5, seed=2), 0, embedding)]
