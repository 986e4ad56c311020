"""The sound and the ECoG of a recording, as options and a configuration name them."""

from __future__ import annotations

import argparse
from pathlib import Path

from realtime.commands.choose import ecog_by_rate, pick_stream, sound_by_rate
from realtime.commands.console import say
from realtime.commands.material import Calibration
from realtime.commands.options import channel
from realtime.commands.recorded_states import recorded_timeline, tell_unread
from realtime.config import Config
from realtime.sources.recording import RecordedStream, load_recording


def add_stream_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="a .toml file: its streams, channels, states and Whisper are used")
    parser.add_argument("--sound", help="name of the sound stream, where it is not clear")
    parser.add_argument("--ecog", help="name of the ECoG stream, where it is not clear")
    parser.add_argument("--channel", type=channel, help="label or number of the sound's channel (default: 0)")


def both_streams(path: Path, options: argparse.Namespace, config: Config | None) -> Calibration:
    """Of one recording; says which they are."""
    recording = load_recording(path)
    for warning in recording.warnings:
        say(f"warning: {path.name}: {warning}")
    sound_name = options.sound or (config.sound.name if config else None)
    ecog_name = options.ecog or (config.ecog.name if config else None)
    sound = pick_stream(recording, "sound", sound_name, sound_by_rate)
    ecog = pick_stream(recording, "ecog", ecog_name, ecog_by_rate)
    chosen = options.channel if options.channel is not None else (config.sound.channel if config else 0)
    say(f"{path.name}: sound {_described(sound)}, channel {chosen}; ECoG {_described(ecog)}")
    if ecog.bad:
        say(f"{path.name} calls bad: {', '.join(ecog.bad)}; [ecog] bad or a montage keeps them out of the reference")
    delay_s = config.sound.delay_s if config else None
    table = config.states if config else None
    tell_unread(path.name, recording, table)
    timeline = recorded_timeline(recording, table)
    return Calibration(sound.for_lane("sound"), ecog.for_lane("ecog"), chosen, delay_s, timeline)


def _described(stream: RecordedStream) -> str:
    spec = stream.spec
    minutes = len(stream.data) / spec.rate_hz / 60
    return f"{spec.name!r} ({len(spec.channels)} x {spec.rate_hz:g} Hz, {minutes:.1f} min)"
