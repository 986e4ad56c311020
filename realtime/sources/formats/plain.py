"""WAV and NPY files, mapped into memory rather than read; pairs of them without a recording.json."""

from __future__ import annotations

import glob
import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import wavfile

from realtime.block import Spec
from realtime.errors import UserError
from realtime.sources.recorded import RecordedStream, Recording
from realtime.sources.samples import Data, RegularStamps, converted

RATE = re.compile(r"(?P<name>.+?)_(?P<rate>\d+(\.\d+)?)Hz")
MICROVOLTS = "microvolts"


def load_plain(path: Path) -> Recording:
    """A folder's WAV files and NPY files named NAME_RATEHz.npy, or one file and the one beside it of the same name.

    All begin at the same moment. NPY holds microvolts, (rows, channels). Raises UserError where that is not so.
    """
    recording = Recording({})
    for file in _files(path):
        name = "sound" if is_wav(file) and not path.is_dir() else plain_name(file)
        recording.streams[name] = load_file(file, name)
    return recording


def load_file(file: Path, name: str, start_s: float = 0.0) -> RecordedStream:
    """One WAV or NPY file as a stream. Raises UserError where it is damaged or its rate is not known."""
    try:
        data, rate_hz = read_wav(file) if is_wav(file) else (read_npy(file), _stated_rate(file))
    except (ValueError, EOFError, OSError) as error:
        kind = file.suffix[1:].upper()
        raise UserError(
            f"{str(file)!r} cannot be read as {kind} ({type(error).__name__}: {error}): check that it was copied whole"
        ) from None
    unit, content = ("", "Audio") if is_wav(file) else (MICROVOLTS, "ECoG")
    channels = tuple(f"{name}_{i}" for i in range(data.shape[1]))
    stamps = RegularStamps(start_s, len(data), rate_hz)
    return RecordedStream(Spec(name, rate_hz, channels, unit), data, stamps, type=content)


def sound_beside(path: Path) -> Path | None:
    """The WAV file of the same name in the same folder, if there is one."""
    return next(
        (p for p in (path.with_name(f"{plain_name(path)}{end}") for end in (".wav", ".WAV")) if p.is_file()), None
    )


def is_wav(file: Path) -> bool:
    return file.suffix.lower() == ".wav"


def plain_name(file: Path) -> str:
    """The file's name without its ending and without _RATEHz."""
    found = RATE.fullmatch(file.stem)
    return found["name"] if found else file.stem


def read_wav(path: Path) -> tuple[Data, float]:
    """(rows, channels) float32 and the rate; integers are scaled to -1 to 1. Raises ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold no sound
        try:
            rate_hz, data = _mapped_wav(path)
        except struct.error as error:
            raise ValueError(f"{path.name} ends within its header") from error
    if data.dtype.kind == "u":
        return converted(data, 1 / 128, -1.0), float(rate_hz)
    if data.dtype.kind == "i":
        return converted(data, -1.0 / float(np.iinfo(data.dtype).min)), float(rate_hz)
    return converted(data), float(rate_hz)


def _mapped_wav(path: Path) -> tuple[int, npt.NDArray[Any]]:
    try:
        return wavfile.read(path, mmap=True)
    except ValueError:  # 24 bits, which cannot be mapped, or a damaged file
        return wavfile.read(path)


def read_npy(path: Path) -> Data:
    """(rows, channels) float32. Raises ValueError for what is not one number per row and channel."""
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        data = np.load(path, allow_pickle=False)  # an array without rows cannot be mapped
    if data.ndim not in (1, 2) or data.dtype.kind not in "iuf":
        raise ValueError(f"{path.name} holds {data.dtype} of shape {data.shape}, expected (rows, channels) of numbers")
    return converted(data)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        files = [path, *path.parent.glob(f"{glob.escape(plain_name(path))}_*Hz.npy")] if is_wav(path) else [path]
        beside = sound_beside(path)
        return files if is_wav(path) or beside is None else [*files, beside]
    files = sorted(p for p in path.iterdir() if is_wav(p) or (p.suffix == ".npy" and RATE.fullmatch(p.stem)))
    if not files:
        raise UserError(
            f"folder {str(path)!r} is no recording: it lacks 'recording.json', and holds no .wav file, no .npy file "
            "named like ecog_1000Hz.npy and no BIDS dataset_description.json"
        )
    return files


def _stated_rate(file: Path) -> float:
    found = RATE.fullmatch(file.stem)
    if found is None or not float(found["rate"]) > 0:
        raise UserError(
            f"{file.name!r} does not say its rate: name it like ecog_1000Hz.npy, or write a recording.json beside it"
        )
    return float(found["rate"])
