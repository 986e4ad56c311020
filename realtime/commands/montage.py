"""`corticast montage`: a first draft of a montage from what a stream says of its channels."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from realtime.commands.console import say
from realtime.commands.options import file_to_write
from realtime.errors import UserError
from realtime.montage import Electrode, Kind, Montage, Position
from realtime.montage_file import save_montage
from realtime.sources.lsl import LslInlet, StreamQuery
from realtime.sources.recording import load_recording

NUMBERED = re.compile(r"^(.*?[^\d])?0*(\d+)$")
NO_ELECTRODE = re.compile(
    r"^(aux|trig|trigger|event|status|mic|audio|sound|ecg|ekg|emg|eog|dc|stim|ref|gnd|ground)", re.I
)
GRID_FROM = 16  # contacts; shorter groups are strips or shafts, which nobody can tell by their names
WAIT_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help="name of the LSL stream, or a recording with one ECoG stream")
    parser.add_argument("--out", type=file_to_write, required=True, metavar="FILE", help="the montage.csv to write")


def run(options: argparse.Namespace) -> int:
    labels, positions = _described(options.stream)
    montage, others = draft(labels, positions)
    if not montage.electrodes:
        raise UserError(f"no channel of {options.stream!r} is named like an electrode: {', '.join(labels[:8])}")
    save_montage(montage, options.out)
    groups = Counter(one.group for one in montage.electrodes)
    counted = ", ".join(f"{name} ({count})" for name, count in groups.items())
    say(f"wrote {options.out}: {len(montage.electrodes)} electrodes in {len(groups)} groups: {counted}")
    if others:
        say(f"not electrodes by their names: {', '.join(others)}; list them in [ecog] exclude, or add lines")
    by, lacking = ("names and the positions that the stream tells", "system") if positions else ("names", "positions")
    say(f"a draft by {by}: check groups, fill in kind, bad, {lacking} and regions, then name it in [ecog] montage")
    return 0


def _described(name: str) -> tuple[tuple[str, ...], Mapping[str, Position]]:
    """Labels of the stream's or recording's channels, and the positions that it tells, in millimetres."""
    if Path(name).exists():
        streams = load_recording(name).streams
        if "ecog" in streams or len(streams) == 1:
            stream = streams.get("ecog", next(iter(streams.values())))
            return stream.spec.channels, stream.positions
        raise UserError(f"recording {name!r} has {len(streams)} streams: give the name of the LSL stream instead")
    found = LslInlet(StreamQuery(name=name), WAIT_S).connect().found
    return found.channels, found.positions


def draft(labels: Sequence[str], positions: Mapping[str, Position] | None = None) -> tuple[Montage, list[str]]:
    """A montage from labels such as G1 or LTG_12: what is before the number is the group. And what is no electrode."""
    electrodes, others = [], []
    for label in labels:
        match = NUMBERED.match(label)
        if match is None or NO_ELECTRODE.match(label):
            others.append(label)
            continue
        group = (match[1] or "").rstrip(" _-.") or "E"
        electrodes.append(Electrode(label, label, group, position=(positions or {}).get(label)))
    count = Counter(one.group for one in electrodes)
    kind: dict[str, Kind] = {name: "grid" if many >= GRID_FROM else "" for name, many in count.items()}
    drafted = tuple(replace(one, kind=kind[one.group]) for one in electrodes)
    return Montage(drafted), others
