"""Recordings: XDF files and plain folders, as raw rows that go through the live clock."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyxdf
from scipy.io import wavfile

from realtime.block import Block, Floats, Spec, Times
from realtime.clock import Clock
from realtime.errors import UserError

Offset = tuple[int, float]
Marker = tuple[float, str]
REGULAR_S = 1e-9  # stamps closer than this to start + row / rate need no file of their own


@dataclass(frozen=True, slots=True)
class RecordedStream:
    """One stream as it was sent.

    data: (rows, channels) float32, of an engine's telemetry float64. stamps: (rows,) float64 seconds, raw, on the
    source's clock. offsets: (stream index, seconds to add to the stamps from it on). jumps: stream indices of
    rows before which the clock was set, and nothing lost, as the engine could tell. anchor_s: raw stamp of the first
    row that the engine used, whose index is 0; None: the first row there is. lanes: anchor_s, offsets and jumps of
    each lane that read it.
    """

    spec: Spec
    data: Floats
    stamps: Times
    offsets: tuple[Offset, ...] = ()
    type: str = ""
    source_id: str = ""
    anchor_s: float | None = None
    lanes: Mapping[str, tuple[float, tuple[Offset, ...], tuple[int, ...]]] = field(default_factory=dict)
    jumps: tuple[int, ...] = ()

    def for_lane(self, lane: str) -> RecordedStream:
        """The stream on the grid that this lane of the engine had live, where the recording tells of it."""
        if lane not in self.lanes:
            return self
        anchor_s, offsets, jumps = self.lanes[lane]
        return replace(self, anchor_s=anchor_s, offsets=offsets, jumps=jumps)


@dataclass(frozen=True, slots=True)
class Recording:
    """Numeric streams by name; texts by stream, their times on the recorder's clock; warnings: what was wrong with the
    file, for the user."""

    streams: dict[str, RecordedStream]
    markers: dict[str, list[Marker]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def load_recording(path: str | Path) -> Recording:
    """An XDF file, or a folder with recording.json. Raises UserError where it is missing or damaged."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"recording {str(path)!r} does not exist: give an .xdf file or a folder with recording.json")
    recording = _load_folder(path) if path.is_dir() else _load_xdf(path)
    for name, stream in recording.streams.items():
        if not np.all(np.isfinite(stream.stamps)):
            raise UserError(f"stream {name!r} of {str(path)!r} has time stamps that are no numbers: record it anew")
    if not recording.streams:
        raise UserError(f"recording {str(path)!r} holds no numeric stream with rows: record sound or ECoG into it")
    return recording


def to_blocks(stream: RecordedStream, clock: Clock | None = None) -> list[Block]:
    """The stream's rows with times, as the live clock gives them: one block per run without a gap.

    Rows before the anchor are left out. clock: a fresh one; it takes the stream's offsets and jumps.
    """
    if stream.spec.rate_hz <= 0:
        raise UserError(f"stream {stream.spec.name!r} has no regular rate: it cannot be put on a regular clock")
    clock = Clock(stream.spec.rate_hz) if clock is None else clock
    first = _anchor_row(stream)
    for index, offset_s in stream.offsets:
        clock.set_offset(index, offset_s)
    clock.jumps.update(stream.jumps)
    spans, _ = clock.stamp(stream.stamps[first:], clock.initial_state())
    data = stream.data[first:]
    return [Block(data[s.start : s.start + len(s.times)], s.times, s.index) for s in spans]


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


def _anchor_row(stream: RecordedStream) -> int:
    if stream.anchor_s is None or not len(stream.stamps):
        return 0
    row = int(np.argmin(np.abs(stream.stamps - stream.anchor_s)))
    if abs(stream.stamps[row] - stream.anchor_s) > 0.5 / stream.spec.rate_hz:
        raise UserError(
            f"stream {stream.spec.name!r} has no row of the stamp {stream.anchor_s:.6f} s at which the engine began: "
            "the recording started too late to be replayed on the live grid; remove its status stream to replay it"
        )
    return row


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
    }
    if name == "sound" and rate == round(rate):
        entry["file"] = f"{safe}.wav"
        wavfile.write(folder / entry["file"], round(rate), stream.data)
    else:
        np.save(folder / entry["file"], stream.data, allow_pickle=False)
    if not _is_regular(stream.stamps, rate):
        entry["stamps"] = f"{safe}.stamps.npy"
        np.save(folder / entry["stamps"], stream.stamps, allow_pickle=False)
    return entry


def _is_regular(stamps: Times, rate_hz: float) -> bool:
    if rate_hz <= 0:
        return False
    return not len(stamps) or bool(np.all(np.abs(stamps - _regular(stamps[0], len(stamps), rate_hz)) < REGULAR_S))


def _regular(start_s: float, rows: int, rate_hz: float) -> Times:
    return start_s + np.arange(rows, dtype=np.float64) / rate_hz


def _load_folder(folder: Path) -> Recording:
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
        stamps = np.load(_inside(folder, entry["stamps"]), allow_pickle=False).astype(np.float64)
    else:
        stamps = _regular(float(entry.get("start_s", 0.0)), len(data), rate)
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
    )


def _load_data(path: Path, rate_hz: float | None) -> tuple[npt.NDArray[np.float32], float]:
    """(rows, channels) float32, integer sound scaled to -1 to 1, and the rate."""
    if path.suffix == ".npy":
        data = np.load(path, allow_pickle=False)
        if rate_hz is None:
            raise KeyError(f"rate_hz of {path.name}")
    else:
        stated, data = wavfile.read(path)
        rate_hz = stated if rate_hz is None else rate_hz
        if stated != round(rate_hz):
            raise ValueError(f"{path.name} says {stated} Hz, recording.json {rate_hz:g} Hz")
        if data.dtype.kind == "u":
            data = data.astype(np.float32) / 128 - 1
        elif data.dtype.kind == "i":
            data = data / np.float32(-float(np.iinfo(data.dtype).min))
    data = np.asarray(data, np.float32)
    return data.reshape(len(data), -1), float(rate_hz)


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not a plain file name")
    return folder / name


def _load_xdf(path: Path) -> Recording:
    with _quiet() as warnings:
        try:
            found, _ = pyxdf.load_xdf(
                str(path), synchronize_clocks=False, dejitter_timestamps=False, handle_clock_resets=False
            )
        except Exception as error:  # pyxdf raises whatever its parser meets in a damaged file
            raise UserError(
                f"{str(path)!r} cannot be read as XDF ({type(error).__name__}: {error}): check that it is an "
                ".xdf file and was copied whole"
            ) from None
    streams: dict[str, RecordedStream] = {}
    markers: dict[str, list[Marker]] = {}
    for one in found:
        name = _text(one["info"], "name")
        if name in streams or name in markers:
            name = f"{name} ({_text(one['info'], 'source_id') or one['info']['stream_id']})"
        if _text(one["info"], "channel_format") == "string":
            markers[name] = _markers(one)
        elif len(one["time_stamps"]):
            streams[name] = _xdf_stream(name, one)
    for marker_name in sorted(markers):
        if marker_name.endswith(".status"):
            streams = {name: _on_live_grid(stream, markers[marker_name]) for name, stream in streams.items()}
    return Recording(streams, markers, tuple(warnings))


def _markers(one: dict[str, Any]) -> list[Marker]:
    """Texts with their times on the recorder's clock: the newest measured offset counts, before the first the first."""
    stamps = np.asarray(one["time_stamps"], np.float64)
    times, values = (np.asarray(one.get(key, ()), np.float64) for key in ("clock_times", "clock_values"))
    if len(times):
        stamps = stamps + values[np.clip(np.searchsorted(times, stamps, side="right") - 1, 0, None)]
    return [(float(t), str(row[0])) for t, row in zip(stamps, one["time_series"], strict=True)]


def _xdf_stream(name: str, one: dict[str, Any]) -> RecordedStream:
    info = one["info"]
    precise = _text(info, "type") == "Telemetry"  # times need all their digits
    dtype: type[np.floating[Any]] = np.float64 if precise else np.float32
    data = np.asarray(one["time_series"], dtype).reshape(len(one["time_stamps"]), -1)
    stamps = np.asarray(one["time_stamps"], np.float64)
    labels, units = _channel_entries(info, "label"), set(_channel_entries(info, "unit")) - {""}
    if len(labels) != data.shape[1] or not all(labels) or len(set(labels)) != len(labels):
        labels = [f"{name}_{i}" for i in range(data.shape[1])]
    spec = Spec(name, float(_text(info, "nominal_srate")), tuple(labels), units.pop() if len(units) == 1 else "")
    offsets = _measured_offsets(spec.rate_hz, stamps, one.get("clock_times", ()), one.get("clock_values", ()))
    return RecordedStream(spec, data, stamps, offsets, _text(info, "type"), _text(info, "source_id"))


def _measured_offsets(rate_hz: float, stamps: Times, times: Any, values: Any) -> tuple[Offset, ...]:
    """The recorder's own clock measurements, each from the first row after it; the first from the start."""
    if not len(times):
        return ()
    rows = np.searchsorted(np.maximum.accumulate(stamps), np.asarray(times, np.float64))
    indices = np.arange(len(stamps) + 1)
    if rate_hz > 0:
        clock = Clock(rate_hz)
        for span in clock.stamp(stamps, clock.initial_state())[0]:
            indices[span.start :] = np.arange(len(stamps) + 1 - span.start) + span.index
    rows[0] = 0
    return tuple(dict(zip(indices[rows].tolist(), map(float, values), strict=True)).items())


def _on_live_grid(stream: RecordedStream, status: list[Marker]) -> RecordedStream:
    """With the anchor, the offsets and the jumps that the engine's lanes took, where its status tells of them."""
    anchors: dict[str, float] = {}
    offsets: dict[str, dict[int, float]] = {}
    jumps: dict[str, list[int]] = {}
    for event in _events(status, stream.spec.name):
        lane = str(event.get("lane", ""))
        if event["event"] == "anchor":
            if anchors.setdefault(lane, float(event["raw_s"])) != event["raw_s"]:
                break  # a second run of the engine
            offsets.setdefault(lane, {0: float(event["offset_s"])})
        elif event["event"] == "offset" and lane in anchors:
            offsets[lane][int(event["index"])] = float(event["offset_s"])
        elif event["event"] == "reset" and lane in anchors:
            jumps.setdefault(lane, []).append(int(event["index"]))
    lanes = {
        lane: (anchor_s, tuple(sorted(offsets[lane].items())), tuple(jumps.get(lane, ())))
        for lane, anchor_s in anchors.items()
    }
    return replace(stream, lanes=lanes).for_lane(next(iter(lanes))) if lanes else stream


def _events(status: list[Marker], stream: str) -> Iterator[dict[str, Any]]:
    """The anchors, offsets and resets of one stream, in order."""
    for _, text in status:
        try:
            event = json.loads(text)
        except ValueError:
            continue
        told = isinstance(event, dict) and event.get("stream") == stream
        if told and event.get("event") in ("anchor", "offset", "reset"):
            yield event


def _text(info: dict[str, Any], key: str) -> str:
    value = info.get(key) or [""]
    return str((value[0] if isinstance(value, list) else value) or "")


def _channel_entries(info: dict[str, Any], key: str) -> list[str]:
    try:
        return [_text(channel, key) for channel in info["desc"][0]["channels"][0]["channel"]]
    except (KeyError, IndexError, TypeError):
        return []


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep pyxdf off the screen; yields the list that its warnings go to."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                messages.append(record.getMessage())

    logger = logging.getLogger("pyxdf")
    handler, propagate = Keep(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
