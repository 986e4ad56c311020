"""What fit and analyze need beside the published files of the "Podcast" set: derived from them, never written over."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from realtime.commands.console import say
from realtime.commands.podcast import SOUND, TASK, TRANSCRIPT, recording_file
from realtime.errors import UserError
from realtime.montage import Electrode, Kind, Montage
from realtime.montage_file import save_montage
from realtime.sources.recording import RecordedStream, load_recording

KINDS: dict[str, Kind] = {"G": "grid", "EG": "grid", "HG": "grid", "S": "strip", "D": "depth"}
CONFIG = """# Made by corticast dataset podcast: recorded in New York, the sound begins with the recording.
[sound]
name = "sound"

[ecog]
name = "ecog"
mains_hz = 60
montage = "{montage}"
"""


def prepare(root: Path, subject: str) -> Path:
    """Write events.tsv, which says when the sound was heard, montage, configuration and words; give the configuration.

    What is there already is left as it is. Raises UserError where the recording cannot be read.
    """
    folder = root / "derivatives" / "corticast"
    folder.mkdir(parents=True, exist_ok=True)
    file = recording_file(root, subject)
    _write(file.with_name(f"sub-{subject}_task-{TASK}_events.tsv"), _events(Path(SOUND).name))
    recording = load_recording(file)
    ecog, sound = recording.streams["ecog"], recording.streams["sound"]
    montage = folder / f"sub-{subject}_montage.csv"
    if not montage.exists():
        save_montage(_montage(ecog, _groups(file)), montage)
    words = folder / "words.csv"
    if not words.exists():
        _write(words, _words(root / TRANSCRIPT))
    config = folder / f"sub-{subject}.toml"
    _write(config, CONFIG.format(montage=montage.name))
    say(
        f"sub-{subject}: {len(ecog.spec.channels)} electrodes, {len(ecog.bad)} of them bad, {ecog.spec.rate_hz:g} Hz, "
        f"{len(sound.data) / sound.spec.rate_hz / 60:.1f} min; {config} and {montage.name}"
    )
    return config


def _events(sound: str) -> str:
    """One event: the story, from the recording's first sample on, as the set's own analyses take it."""
    return f"onset\tduration\ttrial_type\tstim_file\n0.0\tn/a\tstory\t{sound}\n"


def _montage(ecog: RecordedStream, groups: dict[str, str]) -> Montage:
    """All share one common average reference, as in the set's own high gamma: no groups."""
    electrodes = tuple(
        Electrode(
            name,
            name,
            kind=KINDS.get(groups.get(name, ""), ""),
            bad=name in ecog.bad,
            position=ecog.positions.get(name),
        )
        for name in ecog.spec.channels
    )
    return Montage(electrodes, ecog.coordinates.split(",")[0])


def _groups(recording: Path) -> dict[str, str]:
    files = sorted(recording.parent.glob("*_electrodes.tsv"))
    return {row["name"]: row.get("group", "") for file in files for row in _rows(file, "\t")}


def _words(transcript: Path) -> str:
    """Columns kind, label, start_s, end_s; words without times are left out and counted."""
    rows = _rows(transcript, ",")
    if not rows or not {"word", "start", "end"} <= set(rows[0]):
        raise UserError(
            f"{str(transcript)!r}: found columns {', '.join(rows[0]) if rows else 'none'}, expected word, start and "
            "end: remove the file and run this again"
        )
    timed = [(row["word"].strip(), _seconds(row["start"]), _seconds(row["end"])) for row in rows]
    known = sorted((word for word in timed if word[1] <= word[2]), key=lambda word: word[1:])
    if len(known) < len(rows):
        say(f"{transcript.name}: {len(rows) - len(known)} of {len(rows)} words have no times and are left out")
    header = ("kind", "label", "start_s", "end_s")
    return _csv([header, *(("word", word, f"{start_s:.3f}", f"{end_s:.3f}") for word, start_s, end_s in known)])


def _seconds(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _rows(file: Path, delimiter: str) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        return list(csv.DictReader(text, delimiter=delimiter))


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and never over a file."""
    if file.exists():
        return
    aside = file.with_name(f".{file.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(file)
