"""`corticast evaluate`: score a model on recordings that it was not fitted to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.evaluation import benjamini_hochberg, correlation, p_values, shift_null
from encoders.model_file import BrainModel, ModelHeader, load_model
from realtime.align import align
from realtime.block import Block, concat
from realtime.commands import wiring
from realtime.commands.choose import pick_stream, sound_by_rate
from realtime.commands.console import machine_facts, working
from realtime.commands.options import channel, file_to_write
from realtime.errors import UserError
from realtime.offline import run_chain
from realtime.sources.recording import RecordedStream, load_recording

NULL_DRAWS = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help=".xdf file or recording folder")
    parser.add_argument("--model", type=Path, required=True, help="what to score")
    parser.add_argument("--sound", help="name of the sound stream, where it is not clear")
    parser.add_argument("--ecog", help="name of the ECoG stream, where it is not clear")
    parser.add_argument(
        "--channel", type=channel, default=0, help="label or number of the sound's channel (default: 0)"
    )
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")


def run(options: argparse.Namespace) -> int:
    model, header = load_model(options.model)
    with working("loading Whisper"):
        embedding = wiring.embedding_for(header)
    aligned = []
    for path in options.recordings:
        recording = load_recording(path)
        ecog = pick_stream(recording, "ecog", options.ecog, ecog_of(header))
        sound = pick_stream(recording, "sound", options.sound, sound_by_rate)
        with working(f"predicting {path.name}") as progress:
            aligned += predict_recording(sound, ecog, options.channel, embedding, model, header, progress)
    rows = score_rows(aligned, header.electrodes)
    Console(markup=False).print(_table(rows))
    if options.json:
        content = {"electrodes": rows, "whisper": embedding.facts, "machine": machine_facts()}
        options.json.write_text(json.dumps(content, indent=1, default=float) + "\n", encoding="utf-8")
    return 0


def ecog_of(header: ModelHeader) -> Callable[[RecordedStream], bool]:
    """Whether a stream has the model's number of channels and its rate."""

    def fits(stream: RecordedStream) -> bool:
        spec = stream.spec
        return len(spec.channels) == len(header.channels) and abs(spec.rate_hz - header.rate_hz) < 1.0

    return fits


def predict_recording(
    sound: RecordedStream,
    ecog: RecordedStream,
    channel: str | int,
    embedding: wiring.Embedding,
    model: BrainModel,
    header: ModelHeader,
    progress: Any = None,
) -> list[Block]:
    """Aligned blocks (rows, electrodes, 2) of a recording, from the chains that run live."""
    header.require_stream(ecog.spec)
    baseline = (header.baseline_median, header.baseline_mad)
    plan = wiring.EcogPlan.fitted(header)
    sound, ecog = sound.for_lane("sound"), ecog.for_lane("ecog")
    predicted = run_chain(sound, wiring.sound_lane(sound.spec, channel, embedding, model), progress)
    observed = run_chain(ecog, wiring.ecog_lane(ecog.spec, plan, baseline))
    if not predicted or not observed:
        raise UserError(f"the recording is too short: {sound.spec.name!r} or {ecog.spec.name!r} gave no row")
    whole = observed[0] if len(observed) == 1 else one_timeline(observed)
    return [align(block, whole) for block in predicted]


def one_timeline(blocks: list[Block]) -> Block:
    """Blocks with gaps between them as one; alignment finds the gaps in the times."""
    renumbered, index = [], 0
    for block in blocks:
        renumbered.append(Block(block.data, block.times, index, block.extra))
        index += len(block)
    return concat(renumbered)


def score_rows(aligned: list[Block], electrodes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Per electrode: name, r, null_p95, null_p99, p_fdr, over all aligned rows; None where a number cannot be had."""
    data = np.concatenate([block.data for block in aligned])
    bad = np.concatenate([np.asarray(block.extra["bad"], bool) for block in aligned])
    predicted, observed = data[:, :, 0], np.nan_to_num(data[:, :, 1])
    r = correlation(predicted, observed, bad)
    null = shift_null(predicted, observed, bad, 50.0, NULL_DRAWS, seed=0)
    p_fdr = benjamini_hochberg(p_values(r, null))
    tested = np.isfinite(null).any(axis=0)  # a dead electrode has no null
    p95, p99 = np.full((2, len(r)), np.nan)
    p95[tested], p99[tested] = np.nanpercentile(null[:, tested], [95, 99], axis=0)
    columns = {"r": r, "null_p95": p95, "null_p99": p99, "p_fdr": p_fdr}
    return [{"name": name, **{key: _number(v[i]) for key, v in columns.items()}} for i, name in enumerate(electrodes)]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("electrode", "r", "null p95", "p (FDR)")
    for row in sorted(rows, key=lambda row: -2.0 if row["r"] is None else row["r"], reverse=True):
        numbers = (row[key] for key in ("r", "null_p95", "p_fdr"))
        table.add_row(row["name"], *("-" if number is None else f"{number:.3f}" for number in numbers))
    return table
