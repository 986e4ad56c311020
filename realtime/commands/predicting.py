"""A recording through a fitted model: its streams found, both lanes run over them, their rows aligned."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encoders.model_file import BrainModel, ModelHeader
from realtime.align import align
from realtime.block import Block, concat
from realtime.commands import wiring
from realtime.commands.choose import pick_stream, sound_by_rate
from realtime.commands.console import say
from realtime.commands.recorded_states import recorded_timeline, tell_unread
from realtime.config import Config
from realtime.errors import UserError
from realtime.offline import run_chain
from realtime.sources.recording import RecordedStream, load_recording
from realtime.states import Timeline


@dataclass(frozen=True)
class Recorded:
    """What of a recording a model hears, of which channel, what it is compared with, and which state held when.

    delays: in seconds, taken off the stamps of each stream; None: not measured.
    """

    sound: RecordedStream
    ecog: RecordedStream
    channel: str | int
    delays: Mapping[str, float | None]
    timeline: Timeline


def recorded_for(
    header: ModelHeader, path: Path, options: argparse.Namespace, config: Config | None = None
) -> Recorded:
    """Read a recording, and find the streams that --sound and --ecog or the configuration name, or that fit the model.

    Warnings are said.
    """
    recording = load_recording(path)
    for warning in recording.warnings:
        say(f"warning: {path.name}: {warning}")
    ecog = pick_stream(recording, "ecog", options.ecog or (config.ecog.name if config else None), ecog_of(header))
    sound = pick_stream(recording, "sound", options.sound or (config.sound.name if config else None), sound_by_rate)
    channel = options.channel if options.channel is not None else (config.sound.channel if config else 0)
    table = config.states if config else None
    tell_unread(path.name, recording, table)
    timeline = recorded_timeline(recording, table)
    return Recorded(sound, ecog, channel, wiring.delays_for(config, header), timeline)


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
    delays: Mapping[str, float | None] | None = None,
) -> list[Block]:
    """Aligned blocks (rows, electrodes, 2) of a recording, from the chains that run live. delays: else the model's."""
    header.require_stream(ecog.spec)
    baseline = (header.baseline_median, header.baseline_mad)
    delays = header.delays if delays is None else delays
    plan = replace(wiring.EcogPlan.fitted(header), delay_s=delays.get("ecog"))
    sound, ecog = sound.for_lane("sound"), ecog.for_lane("ecog")
    lane = wiring.sound_lane(sound.spec, channel, embedding, model, delays.get("sound"), header.row_rate_hz)
    predicted = run_chain(sound, lane, progress)
    observed = run_chain(ecog, wiring.ecog_lane(ecog.spec, plan, baseline))
    if not predicted or not observed:
        raise UserError(f"the recording is too short: {sound.spec.name!r} or {ecog.spec.name!r} gave no row")
    whole = observed[0] if len(observed) == 1 else one_timeline(observed)
    return [align(block, whole, header.row_rate_hz) for block in predicted]


def one_timeline(blocks: list[Block]) -> Block:
    """Blocks with gaps between them as one; alignment finds the gaps in the times."""
    renumbered, index = [], 0
    for block in blocks:
        renumbered.append(Block(block.data, block.times, index, block.extra))
        index += len(block)
    return concat(renumbered)
