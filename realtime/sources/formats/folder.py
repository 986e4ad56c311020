"""A plain folder: recording.json, WAV and NPY files."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile

from realtime.block import Spec
from realtime.errors import UserError
from realtime.sources.formats.plain import read_npy, read_wav
from realtime.sources.recorded import Position, RecordedStream, Recording
from realtime.sources.samples import Data, RegularStamps, Stamps

REGULAR_S = 1e-9  # stamps closer than this to start + row / rate need no file of their own


def save_folder(recording: Recording, path: str | Path) -> None:
    """Write a recording as a folder, whole or not at all. `sound` becomes a float WAV file, all else .npy.

    Raises UserError if the folder exists already.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{str(path)!r} exists already: choose another name or move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        streams = {name: _save_stream(aside, name, stream) for name, stream in recording.streams.items()}
        (aside / "recording.json").write_text(
            json.dumps({"streams": streams, "markers": recording.markers}, indent=1), encoding="utf-8"
        )
        aside.chmod(0o755)
        aside.replace(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _save_stream(folder: Path, name: str, stream: RecordedStream) -> dict[str, Any]:
    safe = re.sub(r"[^\w.-]", "_", name)
    rate = stream.spec.rate_hz
    entry: dict[str, Any] = {
        "file": f"{safe}.npy",
        "name": stream.spec.name,
        "rate_hz": rate,
        "channels": list(stream.spec.channels),
        "unit": stream.spec.unit,
        "type": stream.type,
        "source_id": stream.source_id,
        "offsets": [list(offset) for offset in stream.offsets],
        "jumps": list(stream.jumps),
        "anchor_s": stream.anchor_s,
        "start_s": float(stream.stamps[0]) if len(stream.stamps) else 0.0,
        "bad": list(stream.bad),
        "positions": {channel: list(xyz) for channel, xyz in stream.positions.items()},
        "coordinates": stream.coordinates,
        "regions": dict(stream.regions),
    }
    if name == "sound" and rate == round(rate):
        entry["file"] = f"{safe}.wav"
        wavfile.write(folder / entry["file"], round(rate), np.asarray(stream.data))
    else:
        np.save(folder / entry["file"], np.asarray(stream.data), allow_pickle=False)
    if not _is_regular(stream.stamps, rate):
        entry["stamps"] = f"{safe}.stamps.npy"
        np.save(folder / entry["stamps"], np.asarray(stream.stamps), allow_pickle=False)
    return entry


def _is_regular(stamps: Stamps, rate_hz: float) -> bool:
    if rate_hz <= 0 or not len(stamps):
        return rate_hz > 0
    regular = RegularStamps(float(stamps[0]), len(stamps), rate_hz)
    return bool(np.all(np.abs(stamps - regular) < REGULAR_S))


def load_folder(folder: Path) -> Recording:
    """Raises UserError where a file is missing, damaged or not as recording.json says."""
    try:
        content = json.loads((folder / "recording.json").read_text(encoding="utf-8"))
        streams = {str(name): _load_stream(folder, str(name), entry) for name, entry in content["streams"].items()}
        markers = {k: [(float(t), str(text)) for t, text in v] for k, v in content.get("markers", {}).items()}
    except FileNotFoundError as error:
        raise UserError(f"folder {str(folder)!r} lacks {Path(error.filename).name!r}: copy it there") from None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise UserError(
            f"folder {str(folder)!r} is no recording ({type(error).__name__}: {error}): recording.json must name, for "
            "every stream, file, rate_hz, channels, unit and start_s"
        ) from None
    return Recording(streams, markers)


def _load_stream(folder: Path, name: str, entry: dict[str, Any]) -> RecordedStream:
    data, rate = _load_data(_inside(folder, entry["file"]), entry.get("rate_hz"))
    channels = tuple(entry.get("channels") or (f"{name}_{i}" for i in range(data.shape[1])))
    if len(channels) != data.shape[1]:
        raise ValueError(f"{entry['file']} has {data.shape[1]} channels, recording.json names {len(channels)}")
    if "stamps" in entry:
        stamps: Stamps = np.load(_inside(folder, entry["stamps"]), allow_pickle=False).astype(np.float64)
    else:
        stamps = RegularStamps(float(entry.get("start_s", 0.0)), len(data), rate)
    if stamps.shape != (len(data),):
        raise ValueError(f"{entry['file']} has {len(data)} rows and {stamps.shape} time stamps")
    return RecordedStream(
        Spec(str(entry.get("name", name)), rate, channels, str(entry.get("unit", ""))),
        data,
        stamps,
        tuple((int(index), float(offset)) for index, offset in entry.get("offsets", ())),
        str(entry.get("type", "")),
        str(entry.get("source_id", "")),
        entry.get("anchor_s"),
        jumps=tuple(map(int, entry.get("jumps", ()))),
        bad=tuple(map(str, entry.get("bad", ()))),
        positions={str(channel): _position(xyz) for channel, xyz in entry.get("positions", {}).items()},
        coordinates=str(entry.get("coordinates", "")),
        regions={str(channel): str(region) for channel, region in entry.get("regions", {}).items()},
    )


def _position(xyz: Any) -> Position:
    x, y, z = map(float, xyz)
    return x, y, z


def _load_data(path: Path, rate_hz: float | None) -> tuple[Data, float]:
    """(rows, channels) float32, integer sound scaled to -1 to 1, and the rate."""
    if path.suffix == ".npy":
        data = read_npy(path)
        if rate_hz is None:
            raise KeyError(f"rate_hz of {path.name}")
        return data, float(rate_hz)
    data, stated = read_wav(path)
    if rate_hz is not None and stated != round(rate_hz):
        raise ValueError(f"{path.name} says {stated:g} Hz, recording.json {rate_hz:g} Hz")
    return data, stated if rate_hz is None else float(rate_hz)


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not a plain file name")
    return folder / name
