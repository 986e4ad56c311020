"""`corticast replay`: a recording over LSL again, or with --fast straight through a model into a file."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from realtime.commands.choose import ecog_by_rate, pick_stream, sound_by_rate
from realtime.commands.console import console, say, working
from realtime.commands.options import add_whisper_option, channel, file_to_write, seconds
from realtime.errors import UserError
from realtime.sources import replay
from realtime.sources.recording import FORMATS, RecordedStream, Recording, load_recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", type=Path, metavar="RECORDING", help=FORMATS)
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--speed", type=seconds, default=1.0, metavar="X", help="times real time; stamps keep the recorded spacing"
    )
    pace.add_argument("--fast", action="store_true", help="no LSL: straight through --model, as fast as it goes")
    parser.add_argument("--loop", action="store_true", help="again and again, with a gap of a second between")
    parser.add_argument(
        "--start", type=replay.WAIT, default=0.0, metavar="S", help="seconds of the recording to leave out"
    )
    stamps = parser.add_mutually_exclusive_group()
    stamps.add_argument(
        "--as-live",
        action="store_true",
        help="stamps are those of now, the recorded spacing kept: the default, and what latency figures need",
    )
    stamps.add_argument(
        "--original-stamps",
        action="store_true",
        help="stamps are those of the recording: predictions get the times that they had live",
    )
    parser.add_argument("--sound", metavar="NAME", help="send this sound stream, and --ecog's if named, alone")
    parser.add_argument("--ecog", metavar="NAME", help="send this ECoG stream, and --sound's if named, alone")
    parser.add_argument("--streams", nargs="+", metavar="NAME", help="send only these")
    parser.add_argument("--sound-file", type=Path, metavar="WAV", help="takes the place of the recording's sound")
    parser.add_argument(
        "--sound-at", type=float, default=0.0, metavar="S", help="when that file begins, from the recording's first row"
    )
    replay.add_arguments(parser)
    fast = parser.add_argument_group("with --fast")
    fast.add_argument("--model", type=Path, help="the fitted .safetensors file that predicts")
    fast.add_argument("--out", type=file_to_write, metavar="FILE.npz", help="where predictions are written")
    fast.add_argument("--channel", type=channel, default=0, help="label or number of the sound's channel (default: 0)")
    add_whisper_option(fast)


def run(options: argparse.Namespace) -> int:
    _check(options)
    with ExitStack() as shown:
        if console.is_terminal:
            shown.enter_context(working(f"opening {options.recording.name}"))
        recording = load_recording(options.recording, options.sound_file, options.sound_at)
    for warning in recording.warnings:
        say(f"warning: {options.recording.name}: {warning}")
    if options.fast:
        from realtime.commands.fast_replay import run_fast  # torch, which a replay over LSL does without

        return run_fast(recording, options)
    return _over_lsl(recording, options)


def _over_lsl(recording: Recording, options: argparse.Namespace) -> int:
    plain = not sys.stdout.isatty()
    stop = replay.stop_on_signals()
    with ExitStack() as shown:
        progress = None
        if not plain:
            progress = shown.enter_context(working(f"replaying {options.recording.name}, Ctrl-C ends it"))
        replay.replay(
            recording,
            streams=_names(recording, options),
            prefix=options.prefix,
            start_delay_s=options.start_delay,
            chunk_ms=options.chunk_ms,
            wait_s=options.wait,
            linger_s=options.linger,
            speed=options.speed,
            start_s=options.start,
            loop=options.loop,
            as_live=not options.original_stamps,
            report=replay.as_json if plain else _tell,
            progress=progress,
            stop=stop,
        )
    return 0


def _names(recording: Recording, options: argparse.Namespace) -> list[str] | None:
    """The streams to send; None: all."""
    if options.sound is None and options.ecog is None:
        return list(options.streams) if options.streams else None
    picked: list[RecordedStream] = []
    if options.sound is not None:
        picked.append(pick_stream(recording, "sound", options.sound, sound_by_rate))
    if options.ecog is not None:
        picked.append(pick_stream(recording, "ecog", options.ecog, ecog_by_rate))
    return [name for name, stream in recording.streams.items() if any(stream is one for one in picked)]


def _tell(line: dict[str, object]) -> None:
    """What happens, for a person."""
    state = line["state"]
    if state == "ready":
        names = line["streams"]
        say(f"waiting for a listener to each of: {', '.join(map(str, names if isinstance(names, list) else ()))}")
    elif state == "looped":
        say(f"round {line['round']}, after a gap (seconds by stream: {line['gap_s']})")
    elif state in ("finished", "interrupted"):
        sent = line["sent"]
        rows = (f"{name} {count}" for name, count in (sent.items() if isinstance(sent, dict) else ()))
        say(f"{state}; rows sent: {', '.join(rows)}")


def _check(options: argparse.Namespace) -> None:
    if options.fast and options.model is None:
        raise UserError(
            "--fast needs --model MODEL, a file that corticast fit wrote: there is nothing to run otherwise"
        )
    if options.fast and options.loop:
        raise UserError("--fast goes through the recording once: leave out --loop")
    if not options.fast and (options.model or options.out or options.whisper_file):
        raise UserError("--model, --whisper-file and --out belong to --fast: add it, or leave them out")
    if options.out is not None and options.out.suffix != ".npz":
        raise UserError(f"--out: found {str(options.out)!r}, expected a name that ends in .npz")
