"""`corticast scrub`: a copy of a recording that may leave the room: ECoG without sound, names or identifiers."""

from __future__ import annotations

import argparse
import json
import re
import uuid
from pathlib import Path

import numpy as np

from realtime.block import Spec
from realtime.commands.choose import ecog_by_rate, pick_stream
from realtime.commands.console import say, working
from realtime.commands.recorded_states import recorded_timeline
from realtime.config import Config, load_config
from realtime.errors import UserError
from realtime.pick import channel_number
from realtime.sources.recording import FORMATS, RecordedStream, Recording, load_recording, save_folder
from realtime.states import LISTENING

MAY_CARRY_SOUND = re.compile(r"aux|mic|aud|sound|speech|voice|stim|trig|dc\d|ref", re.I)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", type=Path, help=f"{FORMATS}; it stays as it is")
    parser.add_argument("--out", type=Path, required=True, metavar="COPY", help="the folder to write")
    parser.add_argument("--ecog", help="name of the ECoG stream, where it is not clear")
    parser.add_argument(
        "--drop", nargs="+", default=[], metavar="CHANNEL", help="further channels that may carry sound"
    )
    parser.add_argument("--keep", nargs="+", default=[], metavar="CHANNEL", help="electrodes dropped for their names")
    parser.add_argument("--new-labels", action="store_true", help="call the electrodes E1, E2, ... instead")
    parser.add_argument(
        "--config", type=Path, help="the .toml file of the session: its excluded channels and states count"
    )


def run(options: argparse.Namespace) -> int:
    if options.out.exists():
        raise UserError(f"{str(options.out)!r} exists already: choose another name or move it away")
    config = load_config(options.config) if options.config else None
    with working(f"reading {options.recording.name}"):
        recording = load_recording(options.recording)
    name = options.ecog or (config.ecog.name if config else None)
    stream = pick_stream(recording, "ecog", name, ecog_by_rate).for_lane("ecog")
    dropped = to_drop(recording, stream.spec, config, options.drop, options.keep)
    copy = scrubbed(recording, stream, dropped, options.new_labels, config)
    with working(f"writing {options.out}"):
        save_folder(copy, options.out)
    kept = copy.streams["ecog"]
    say(
        f"kept: {len(kept.spec.channels)} electrodes, {len(kept.data) / kept.spec.rate_hz / 60:.1f} min of ECoG, states"
    )
    say(f"left out: every other stream ({len(recording.streams) + len(recording.markers) - 1}), all names and dates")
    say(f"left out, channels that may carry sound: {', '.join(dropped) or 'none'}")
    if not options.new_labels:
        say("electrodes keep their labels: look whether they tell who it is, or use --new-labels")
    return 0


def to_drop(
    recording: Recording, spec: Spec, config: Config | None, drop: list[str], keep: list[str]
) -> tuple[str, ...]:
    """Channels that are no electrodes as configuration or engine say, or sound like none, or were named."""
    for label in (*drop, *keep):
        channel_number(spec, label)
    excluded = set(config.ecog.exclude) if config else set()
    excluded |= _excluded_live(recording, spec)
    doubtful = {label for label in spec.channels if MAY_CARRY_SOUND.search(label)} - set(keep)
    found = tuple(label for label in spec.channels if label in excluded | doubtful | set(drop))
    if len(found) == len(spec.channels):
        raise UserError(f"no channel of {spec.name!r} would be left: name electrodes with --keep")
    return found


def _excluded_live(recording: Recording, spec: Spec) -> set[str]:
    """Channels that an engine did not use as electrodes, where it named its electrodes by the stream's labels."""
    for name, rows in recording.markers.items():
        for _, text in rows if name.endswith(".status") else ():
            try:
                event = json.loads(text)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") == "settings":
                used = set(event.get("channels") or event.get("electrodes") or ())
                return set(spec.channels) - used if used <= set(spec.channels) else set()
    return set()


def scrubbed(
    recording: Recording,
    stream: RecordedStream,
    dropped: tuple[str, ...],
    new_labels: bool = False,
    config: Config | None = None,
) -> Recording:
    """ECoG and states alone, in a clock that begins at 0, with a new identifier. Everything else is not copied."""
    places = [i for i, label in enumerate(stream.spec.channels) if label not in dropped]
    labels = [f"E{n}" if new_labels else stream.spec.channels[i] for n, i in enumerate(places, start=1)]
    zero_s = float(stream.stamps[0]) if len(stream.stamps) else 0.0
    offset_s = stream.offsets[0][1] if stream.offsets else 0.0
    ecog = RecordedStream(
        Spec("ECoG", stream.spec.rate_hz, tuple(labels), stream.spec.unit),
        np.ascontiguousarray(stream.data[:, places]),
        stream.stamps - zero_s,
        tuple((index, value - offset_s) for index, value in stream.offsets),
        "ECoG",
        f"scrubbed-{uuid.uuid4()}",
        None if stream.anchor_s is None else stream.anchor_s - zero_s,
        jumps=stream.jumps,
    )
    try:
        timeline = recorded_timeline(recording, config.states if config else None)
    except UserError as error:
        say(f"warning: no states are copied: {error}")
        return Recording({"ecog": ecog})
    begin = [] if timeline.start == LISTENING else [(0.0, str(timeline.start))]
    changes = [(time_s - zero_s - offset_s, str(state)) for time_s, state in timeline.changes()]
    return Recording({"ecog": ecog}, {"states": [*begin, *changes]} if begin or changes else {})
