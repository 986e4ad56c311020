"""Embeddings of recordings, kept on disk: what was embedded once is read, and what was interrupted goes on.

Keyed by what was heard (samples, stamps, channel) and by what heard it (weights, settings). In parts of 100 s, the
chain's state beside them, so that a run that was killed loses at most one part.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.archive import cache_dir, load_sealed, notice, save_sealed
from realtime.block import Block
from realtime.commands import wiring
from realtime.errors import UserError
from realtime.offline import joined, read_pieces
from realtime.pick import channel_number
from realtime.sources.recorded import SCAN_ROWS
from realtime.sources.recording import RecordedStream
from realtime.sources.samples import OnDisk, spans
from realtime.stage import Chain
from realtime.state import load_state, save_state

VERSION = 3  # of the chains: raise it when the same settings give other embeddings
PIECES = 5  # of 20 s in a part
LIMIT_BYTES = 8 << 30  # of all embeddings kept; the longest unused go first
STATE = "state.safetensors"
Progress = Callable[[float], None]


def embedded(
    stream: RecordedStream, channel: str | int, embedding: wiring.Embedding, progress: Progress | None = None
) -> list[Block]:
    """What the sound lane makes of a recorded stream, from the cache as far as it is there. progress(share done)."""
    chain = wiring.sound_lane(stream.spec, channel, embedding)
    folder = cache_dir() / "embeddings" / embedding_key(stream, channel, embedding)
    parts = math.ceil(sum(1 for _ in read_pieces(_stamps_alone(stream))) / PIECES)
    tell = progress or (lambda _share: None)
    known, state = _known(folder, parts, chain)
    results = [block for part in known for block in part]
    pieces = itertools.islice(read_pieces(stream), PIECES * len(known), None)
    for number in range(len(known), parts):
        made = []
        part = list(itertools.islice(pieces, PIECES))
        for done, piece in enumerate(part, start=1):
            block, state = chain.step(piece, state)
            made.append(block)
            tell((number + done / len(part)) / parts)
        _save_part(folder, number, made)
        _save_state(folder, number + 1, state)
        results += made
    with contextlib.suppress(OSError):
        (folder / STATE).unlink(missing_ok=True)
        os.utime(folder)
    _prune(keep=folder)
    return joined(results)


def embedding_key(stream: RecordedStream, channel: str | int, embedding: wiring.Embedding) -> str:
    """What the folder of these embeddings is called."""
    column = channel_number(stream.spec, channel)
    facts = [VERSION, torch.__version__, embedding.facts, stream_facts(stream)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for rows in spans(len(stream.data), SCAN_ROWS):
        digest.update(np.ascontiguousarray(stream.data[rows, column]).data)
    for rows in spans(len(stream.stamps), SCAN_ROWS):
        digest.update(np.ascontiguousarray(stream.stamps[rows]).data)
    return digest.hexdigest()[:32]


def stream_facts(stream: RecordedStream) -> list[Any]:
    """What of a stream, beside samples and stamps, decides what the chains make of it."""
    return [stream.spec.rate_hz, stream.offsets, stream.anchor_s, stream.jumps]


def _stamps_alone(stream: RecordedStream) -> RecordedStream:
    """To count pieces by: no row is read."""
    nothing = OnDisk(lambda first, stop: np.empty((stop - first, 0), np.float32), (len(stream.stamps), 0))
    return replace(stream, data=nothing)


def _known(folder: Path, count: int, chain: Chain) -> tuple[list[list[Block]], tuple[Any, ...]]:
    """The parts that are there and whole, and the state after them."""
    fresh = chain.initial_state()
    if not folder.is_dir():
        return [], fresh
    try:
        there = next((n for n in itertools.count() if not _part_file(folder, n).exists()), 0)
        if there >= count:
            return [_load_part(folder, n) for n in range(count)], fresh
        if not (folder / STATE).exists():
            return [], fresh
        tensors, metadata = load_sealed(folder / STATE)
        after = int(metadata["parts"])
        parts = [_load_part(folder, n) for n in range(after)]
        return parts, load_state(tensors["state"].numpy().tobytes(), fresh)
    except UserError as error:
        notice(f"{error}; embedding the sound again")
        shutil.rmtree(folder, ignore_errors=True)
        return [], chain.initial_state()


def _part_file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05}.safetensors"


def _save_part(folder: Path, number: int, blocks: Sequence[Block]) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for i, block in enumerate(blocks):
        arrays = {"data": block.data, "times": block.times, **{f"extra.{k}": v for k, v in block.extra.items()}}
        tensors |= {f"{i}.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    save_sealed(_part_file(folder, number), tensors, {"indices": json.dumps([block.index for block in blocks])})


def _load_part(folder: Path, number: int) -> list[Block]:
    tensors, metadata = load_sealed(_part_file(folder, number))
    blocks = []
    for i, index in enumerate(json.loads(metadata["indices"])):
        own = {name.removeprefix(f"{i}."): t.numpy() for name, t in tensors.items() if name.startswith(f"{i}.")}
        extra = {name.removeprefix("extra."): own[name] for name in own if name.startswith("extra.")}
        blocks.append(Block(own["data"], own["times"], index, extra))
    return blocks


def _save_state(folder: Path, parts: int, state: tuple[Any, ...]) -> None:
    content = np.frombuffer(save_state(state), np.uint8).copy()
    save_sealed(folder / STATE, {"state": torch.from_numpy(content)}, {"parts": str(parts)})


def _prune(keep: Path) -> None:
    """Remove the embeddings that were not used for the longest time, where all of them take too much room."""
    folders = sorted((f for f in keep.parent.glob("*") if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    total = 0
    for folder in folders:
        total += sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        if total > LIMIT_BYTES and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
