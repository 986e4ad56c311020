"""`corticast fit`: a model for this patient from calibration recordings."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.model_file import ModelHeader, model_hash, save_model
from encoders.training import FitConfig
from realtime.commands import wiring
from realtime.commands.choose import ecog_by_rate, pick_stream, sound_by_rate
from realtime.commands.console import machine_facts, say, working
from realtime.commands.fitting import Calibration, fit_recordings
from realtime.commands.options import channel, file_to_write
from realtime.config import Config, EcogTable, WhisperTable, load_config
from realtime.sources.recording import RecordedStream, load_recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help=".xdf file or recording folder")
    parser.add_argument(
        "--out", type=file_to_write, required=True, metavar="MODEL", help="the .safetensors file to write"
    )
    parser.add_argument("--config", type=Path, help="a .toml file: its streams, channels and Whisper are used")
    parser.add_argument("--sound", help="name of the sound stream, where it is not clear")
    parser.add_argument("--ecog", help="name of the ECoG stream, where it is not clear")
    parser.add_argument("--channel", type=channel, help="label or number of the sound's channel (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same model on one machine")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")


def run(options: argparse.Namespace) -> int:
    config = load_config(options.config) if options.config else None
    wiring.bound_threads(config.engine.threads if config else 1)
    plan = wiring.EcogPlan.of(config.ecog if config else EcogTable(name="any"))
    calibrations = [_calibration(path, options, config) for path in options.recordings]
    plan.electrodes(calibrations[0].ecog.spec)  # a wrong channel name is told before minutes of work
    with working("loading Whisper"):
        embedding = wiring.embedding_of(config.whisper if config else WhisperTable())
    facts = {"recordings": [path.name for path in options.recordings]}
    result, header, _ = fit_recordings(calibrations, embedding, plan, FitConfig(seed=options.seed), facts)
    save_model(options.out, result.model, header)
    Console(markup=False).print(_table(header))
    say(
        f"wrote {options.out} (sha256 {model_hash(options.out)[:12]}): "
        "give it to corticast run in [model] file, or to corticast evaluate"
    )
    if options.json:
        content = {"training": header.training, "electrodes": header.electrodes, "whisper": header.whisper}
        options.json.write_text(json.dumps({**content, "machine": machine_facts()}, indent=1) + "\n", encoding="utf-8")
    return 0


def _calibration(path: Path, options: argparse.Namespace, config: Config | None) -> Calibration:
    recording = load_recording(path)
    for warning in recording.warnings:
        say(f"warning: {path.name}: {warning}")
    sound_name = options.sound or (config.sound.name if config else None)
    ecog_name = options.ecog or (config.ecog.name if config else None)
    sound = pick_stream(recording, "sound", sound_name, sound_by_rate)
    ecog = pick_stream(recording, "ecog", ecog_name, ecog_by_rate)
    chosen = options.channel if options.channel is not None else (config.sound.channel if config else 0)
    say(f"{path.name}: sound {_described(sound)}, channel {chosen}; ECoG {_described(ecog)}")
    return Calibration(sound.for_lane("sound"), ecog.for_lane("ecog"), chosen)


def _described(stream: RecordedStream) -> str:
    spec = stream.spec
    minutes = len(stream.data) / spec.rate_hz / 60
    return f"{spec.name!r} ({len(spec.channels)} x {spec.rate_hz:g} Hz, {minutes:.1f} min)"


def _table(header: ModelHeader) -> Table:
    """Validation r of both models per electrode, the best first."""
    validation: dict[str, Any] = header.training["validation_r"]
    shown = header.training["kind"]
    table = Table(
        "electrode", *(f"r, {kind}" for kind in validation), title=f"validation data; the file holds: {shown}"
    )
    scores = {kind: np.array([np.nan if r is None else r for r in values]) for kind, values in validation.items()}
    for e in np.argsort(-np.nan_to_num(scores[shown], nan=-1.0)):
        table.add_row(header.electrodes[e], *(_number(values[e]) for values in scores.values()))
    means = header.training["mean_validation_r"]
    table.add_row("mean", *(_number(means[kind]) for kind in validation))
    return table


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
