"""XDF files, as LabRecorder writes them. Read whole: pyxdf knows no other way."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyxdf

from realtime.block import Spec, Times
from realtime.clock import Clock
from realtime.errors import UserError
from realtime.sources.recorded import Marker, Offset, RecordedStream, Recording


def load_xdf(path: Path) -> Recording:
    """All streams of the file. Raises UserError where it is damaged."""
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
            warnings += unlike_live(marker_name.removesuffix(".status"), markers[marker_name])
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


def unlike_live(engine: str, status: list[Marker]) -> Iterator[str]:
    """Lines that say where a replay of this recording cannot give what that engine gave."""
    events = [*_told(status)]
    begun: dict[str, set[float]] = {}
    for event in events:
        if event.get("event") == "anchor":
            begun.setdefault(str(event.get("lane")), set()).add(float(event["raw_s"]))
    runs = max(map(len, begun.values()), default=1)
    skips = sum(event.get("event") == "skip" for event in events)
    if runs > 1:
        yield (
            f"engine {engine!r} began {runs} times in this recording: a replay goes through it as one run, so that "
            "its predictions after the second beginning are not those that were shown"
        )
    if skips:
        yield (
            f"engine {engine!r} skipped samples {skips} times: a replay uses them, so that its predictions differ from "
            "those shown until Whisper's history has passed"
        )


def _events(status: list[Marker], stream: str) -> Iterator[dict[str, Any]]:
    """The anchors, offsets and resets of one stream, in order."""
    for event in _told(status):
        if event.get("stream") == stream and event.get("event") in ("anchor", "offset", "reset"):
            yield event


def _told(status: list[Marker]) -> Iterator[dict[str, Any]]:
    for _, text in status:
        with contextlib.suppress(ValueError):
            event = json.loads(text)
            if isinstance(event, dict):
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
