"""Speech to distil from: whatever recordings there are, joined, cut into windows and varied."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import wavfile
from scipy.signal import resample_poly

from encoders.encoder import WINDOW_SAMPLES
from realtime.errors import UserError

RATE_HZ = 16_000
FULL_SCALE = 32768.0
COMMON = (".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".opus")  # what soundfile reads; .wav needs nothing
LEAST_S = 20.0
HELD_OUT_SHARE, HELD_OUT_S = 0.1, 60.0
SPEEDS = range(16, 26)  # of 20: slower and deeper, quicker and higher, so that one voice stands for several
GAIN_DB = (-12.0, 6.0)
TILT = 0.5  # largest weight of the sample before: other microphones, other rooms

Samples = npt.NDArray[np.int16]
Sound = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Speech:
    """Joined recordings at 16 kHz: `train` and `held_out`, each (samples,) int16; sha256 is of both."""

    train: Samples
    held_out: Samples
    files: int
    sha256: str

    @property
    def windows(self) -> int:
        """Of 30 s, in the part that is trained on; the last may be shorter."""
        return max(1, round(len(self.train) / WINDOW_SAMPLES))


def read_speech(paths: Sequence[Path], seed: int = 0) -> Speech:
    """All recordings in these files and folders, joined in an order that the seed draws; the end is held out.

    Memory: 115 MB for an hour. Raises UserError for a missing path, an unreadable file and too little sound.
    """
    files = [file for path in paths for file in _files(path)]
    if not files:
        where = ", ".join(map(str, paths))
        raise UserError(f"no recordings in {where}: expected .wav files (or, with soundfile, {', '.join(COMMON)})")
    order = np.random.default_rng(seed).permutation(len(files))
    sound = np.concatenate([_read(files[i]) for i in order])
    if len(sound) < LEAST_S * RATE_HZ:
        raise UserError(
            f"found {len(sound) / RATE_HZ:.1f} s of sound in {len(files)} file(s), expected at least {LEAST_S:g} s: "
            "an hour of speech is a good start"
        )
    if not np.any(sound):
        raise UserError(f"all {len(files)} file(s) are silent, expected speech")
    end = len(sound) - round(min(HELD_OUT_SHARE * len(sound), HELD_OUT_S * RATE_HZ))
    return Speech(sound[:end], sound[end:], len(files), hashlib.sha256(sound.tobytes()).hexdigest())


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.suffix.lower() in (".wav", *COMMON) and p.is_file())
    if not path.is_file():
        raise UserError(f"no recordings at {path}: expected a folder, or a .wav or .flac file")
    return [path]


def _read(path: Path) -> Samples:
    """(samples,) at 16 kHz, channels averaged."""
    try:
        rate_hz, sound = _read_wav(path) if path.suffix.lower() == ".wav" else _read_other(path)
    except (ValueError, OSError, RuntimeError, EOFError, IndexError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(f"cannot read {path} ({reason}): convert it to .wav or take it out of the folder") from error
    if sound.ndim == 2:
        sound = sound.mean(axis=1, dtype=np.float32)
    if rate_hz != RATE_HZ:
        ratio = Fraction(RATE_HZ, rate_hz)
        sound = resample_poly(sound, ratio.numerator, ratio.denominator)
    return np.clip(np.round(np.nan_to_num(sound) * FULL_SCALE), -32768, 32767).astype(np.int16)


def _read_wav(path: Path) -> tuple[int, Sound]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of other kinds
        rate_hz, sound = wavfile.read(path)
    if sound.dtype == np.uint8:
        return rate_hz, (sound.astype(np.float32) - 128.0) / 128.0
    if sound.dtype.kind == "i":
        return rate_hz, (sound / -float(np.iinfo(sound.dtype).min)).astype(np.float32)
    return rate_hz, sound.astype(np.float32)


def _read_other(path: Path) -> tuple[int, Sound]:
    try:
        import soundfile  # type: ignore[import-untyped, import-not-found]
    except (ImportError, OSError) as error:
        raise UserError(
            f"{path}: without the package soundfile only .wav can be read; run: pip install soundfile"
        ) from error
    sound, rate_hz = soundfile.read(path, dtype="float32")
    return int(rate_hz), sound


def window(samples: Samples, start: int, speed: int = 20, gain_db: float = 0.0, tilt: float = 0.0) -> Sound:
    """Up to 30 s from `start`: played at speed / 20, made louder, and filtered with 1 + tilt z^-1."""
    piece = samples[start : start + WINDOW_SAMPLES * speed // 20].astype(np.float32)
    piece *= np.float32(10 ** (gain_db / 20) / FULL_SCALE)
    if speed != 20:
        piece = resample_poly(piece, 20, speed)
    piece[1:] += np.float32(tilt) * piece[:-1]
    return piece[:WINDOW_SAMPLES].astype(np.float32, copy=False)


def varied(samples: Samples, number: int, windows: int, shift: float, rng: np.random.Generator) -> Sound:
    """Window `number` of `windows`, all moved on by the share `shift` of one, in a random voice, room and loudness."""
    start = int((number + shift) / windows * len(samples))
    start = min(start, max(0, len(samples) - WINDOW_SAMPLES))
    return window(samples, start, int(rng.choice(SPEEDS)), rng.uniform(*GAIN_DB), rng.uniform(-TILT, TILT))
