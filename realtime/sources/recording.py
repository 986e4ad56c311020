"""Recordings in every format that is read, each as raw rows that go through the live clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from realtime.errors import UserError
from realtime.sources.formats.folder import load_folder, save_folder
from realtime.sources.formats.plain import load_file, load_plain, sound_beside
from realtime.sources.recorded import (
    SCAN_ROWS,
    Marker,
    Offset,
    RecordedStream,
    Recording,
    read_blocks,
    starting_at,
    to_blocks,
)
from realtime.sources.samples import RegularStamps, spans

__all__ = [
    "FORMATS",
    "Marker",
    "Offset",
    "RecordedStream",
    "Recording",
    "load_recording",
    "read_blocks",
    "save_folder",
    "starting_at",
    "to_blocks",
]

FORMATS = (
    ".xdf, .nwb, .edf, .bdf, .vhdr, .wav or .npy file, BIDS dataset, or folder with recording.json or with WAV and NPY"
)


def load_recording(path: str | Path, sound: str | Path | None = None, sound_at_s: float = 0.0) -> Recording:
    """A recording in any format of docs/recordings.md. Raises UserError where it is missing or damaged.

    sound: a WAV file that takes the place of stream `sound`; its first sample is sound_at_s after the earliest
    row of the recording.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"recording {str(path)!r} does not exist: give an .xdf file, or another {FORMATS.split(', ', 1)[1]}"
        )
    recording = _load(path)
    for name, stream in recording.streams.items():
        if not _finite(stream):
            raise UserError(f"stream {name!r} of {str(path)!r} has time stamps that are no numbers: record it anew")
    if sound is not None:
        recording = _with_sound(recording, Path(sound), sound_at_s)
    if not recording.streams:
        raise UserError(f"recording {str(path)!r} holds no numeric stream with rows: record sound or ECoG into it")
    return recording


def _load(path: Path) -> Recording:
    """The optional libraries are loaded only for the formats that need them."""
    kind = "folder" if path.is_dir() else path.suffix.lower()
    if kind == "folder":
        return _load_folder(path)
    if kind in (".wav", ".npy"):
        return load_plain(path)
    if kind == ".nwb":
        return _with_sound_beside(_load_nwb(path), path)
    if kind in (".edf", ".bdf", ".vhdr") and _is_bids(path):
        from realtime.sources.formats.bids import load_bids

        return load_bids(path)
    if kind in (".edf", ".bdf", ".vhdr"):
        from realtime.sources.formats.edf import load_edf

        return _with_sound_beside(load_edf(path), path)
    if kind not in ("", ".xdf", ".xdfz"):
        raise UserError(f"{str(path)!r} ends in {kind}, which is no format that is read: give a {FORMATS}")
    from realtime.sources.formats.xdf import load_xdf

    return load_xdf(path)


def _is_bids(path: Path) -> bool:
    """Whether a data file is part of a BIDS dataset, by its name."""
    return path.name.startswith("sub-") and path.stem.endswith("_ieeg")


def _load_nwb(path: Path) -> Recording:
    if _is_bids(path):
        from realtime.sources.formats.bids import load_bids

        return load_bids(path)
    from realtime.sources.formats.nwb import load_nwb

    return load_nwb(path)


def _load_folder(path: Path) -> Recording:
    if (path / "recording.json").exists():
        return load_folder(path)
    if any(path.rglob("*_ieeg.*")):
        from realtime.sources.formats.bids import load_bids, only_recording

        return load_bids(only_recording(path))
    return load_plain(path)


def _with_sound_beside(recording: Recording, path: Path) -> Recording:
    beside = sound_beside(path)
    return recording if beside is None else _with_sound(recording, beside, 0.0)


def _with_sound(recording: Recording, file: Path, at_s: float) -> Recording:
    if file.suffix.lower() != ".wav" or not file.is_file():
        raise UserError(f"sound {str(file)!r} is no .wav file that is there: give a WAV file")
    starts = [float(s.stamps[0]) + (s.offsets[0][1] if s.offsets else 0.0) for s in recording.streams.values()]
    stream = load_file(file, "sound", min(starts, default=0.0) + at_s)
    return replace(recording, streams={**recording.streams, "sound": stream})


def _finite(stream: RecordedStream) -> bool:
    if isinstance(stream.stamps, RegularStamps):
        return bool(np.isfinite(stream.stamps.start_s))
    return all(bool(np.isfinite(stream.stamps[part]).all()) for part in spans(len(stream.stamps), SCAN_ROWS))
