"""`corticast replay --fast`: a recording straight through the live chains, and what they give in a file."""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from encoders.model_file import load_model
from realtime.block import Block
from realtime.commands import wiring
from realtime.commands.choose import pick_stream, sound_by_rate
from realtime.commands.console import say, working
from realtime.commands.predicting import ecog_of, predict_recording
from realtime.sources.player import offset_s
from realtime.sources.recording import RecordedStream, Recording, starting_at


def run_fast(recording: Recording, options: argparse.Namespace) -> int:
    """Predicted and observed rows to --out; a summary, with the sha256 of all numbers, to the screen."""
    wiring.bound_threads(1)  # as in the engine; the same numbers on any number of cores
    model, header = load_model(options.model)
    ecog = pick_stream(recording, "ecog", options.ecog, ecog_of(header))
    sound = pick_stream(recording, "sound", options.sound, sound_by_rate)
    with working("loading Whisper"):
        embedding = wiring.embedding_for(header, file=options.whisper_file)
    sound, ecog = later(sound.for_lane("sound"), ecog.for_lane("ecog"), options.start)
    began = time.monotonic()
    with working(f"predicting {options.recording.name}") as progress:
        aligned = predict_recording(sound, ecog, options.channel, embedding, model, header, progress)
    took_s = time.monotonic() - began
    rows = results(aligned, header.electrodes)
    if options.out is not None:
        write(options.out, rows)
        say(f"wrote {options.out}")
    length_s = len(rows["times"]) / header.row_rate_hz
    say(
        f"{len(rows['times'])} rows for {len(header.electrodes)} electrodes in {len(aligned)} runs without a gap, "
        f"{length_s / max(took_s, 1e-9):.1f} times real time"
    )
    print(f"sha256 {digest(rows)}")
    return 0


def later(sound: RecordedStream, ecog: RecordedStream, start_s: float) -> tuple[RecordedStream, RecordedStream]:
    """Both without the first start_s, counted from the earlier one's first row."""
    if not start_s > 0:
        return sound, ecog
    from_s = start_s + min(float(one.stamps[0]) + offset_s(one) for one in (sound, ecog))
    return starting_at(sound, from_s - offset_s(sound)), starting_at(ecog, from_s - offset_s(ecog))


def results(aligned: list[Block], electrodes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """times (rows,); predicted, observed (rows, electrodes) in SDs of the baseline, observed NaN where bad; names."""
    data = np.concatenate([block.data for block in aligned])
    bad = np.concatenate([np.asarray(block.extra["bad"], bool) for block in aligned])
    return {
        "times": np.concatenate([block.times for block in aligned]),
        "predicted": np.ascontiguousarray(data[:, :, 0], np.float32),
        "observed": np.where(bad, np.float32(np.nan), data[:, :, 1]).astype(np.float32),
        "electrodes": np.array(electrodes),
    }


def digest(rows: dict[str, np.ndarray]) -> str:
    """sha256 of all bytes: equal for equal results."""
    result = hashlib.sha256()
    for name in sorted(rows):
        result.update(name.encode() + np.ascontiguousarray(rows[name]).tobytes())
    return result.hexdigest()


def write(path: Path, rows: dict[str, np.ndarray]) -> None:
    """The file whole or not at all; equal rows give equal bytes."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        arrays: dict[str, Any] = dict(rows)
        np.savez(aside, **arrays)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
