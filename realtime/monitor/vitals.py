"""Is the engine well? From what its outlets said to figures and plain words. No Qt."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from realtime.block import Floats

OUTLETS = ("predicted", "observed", "score", "attention", "sound", "telemetry", "status")
OVERDUE_S = {"predicted": 1.5, "observed": 2.5, "sound": 1.5, "score": 5.0}  # the rest follow these, or are rare
BEHIND_S = 4.0
EVENT_SHOWN_S = 15.0
COUNTS = ("sound_lost", "sound_skipped", "ecog_lost", "ecog_skipped")
BREAKS, MENDS, STARTS = ("silent", "disconnected", "failed"), ("resumed", "back"), ("started", "connected")
PASSING = ("gap", "late", "reset", "skip", "nan", "clock_unknown", "warning", "stopped")

Event = Mapping[str, Any]  # one JSON object of the status outlet: "event", "time" and others


@dataclass(frozen=True)
class Recording:
    """on: rows go into a file. Sizes in bytes, None: not told. voices: sound goes into it too."""

    on: bool
    file: str = ""
    size: int | None = None
    disk_left: int | None = None
    voices: bool = False


@dataclass(frozen=True)
class Settings:
    """What the engine says about itself."""

    model: str = ""  # in words, as whisper
    whisper: str = ""
    expected: tuple[str, ...] = ()  # names of streams
    connected: tuple[str, ...] = ()
    simulated: bool = False
    warning: str = ""
    positions: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of electrodes: 2 or 3 coordinates
    contaminated: tuple[str, ...] = ()  # electrodes that pick up the sound itself
    left_out: tuple[str, ...] = ()  # those of them that no claim is made of
    accepts_commands: bool = False
    adaptation: bool | None = None  # None: not told
    recording: Recording | None = None
    regions: Mapping[str, str] = field(default_factory=dict)  # of electrodes, where a montage gives them, as groups
    groups: Mapping[str, str] = field(default_factory=dict)
    delays: str = "not measured"  # of the devices, in words


@dataclass(frozen=True)
class Latency:
    """From the stamp of the newest sound sample used to the prediction published, in milliseconds. NaN: unknown."""

    now_ms: float = np.nan
    p99_ms: float = np.nan


@dataclass(frozen=True)
class Vitals:
    """Everything that the health strip and the banner say."""

    state: str  # "waiting", "running", "late" or "stopped"
    settings: Settings
    latency: Latency
    counts: Mapping[str, int]  # of COUNTS, since the engine's start; empty when unknown
    ages_s: Mapping[str, float]  # since the newest row of each outlet arrived; NaN for none yet
    streams: str  # connected and not silent, of those expected; empty when unknown
    problems: tuple[str, ...]  # plain words, the worst first
    main: str = "predicted"  # the outlet whose rows tell whether what is drawn is new
    behind_s: float = 0.0  # more than BEHIND_S: rows come, but speak of so long ago


def read_settings(event: Event) -> Settings:
    """From a "settings" event. Parts may be nested ({"whisper": {"layer": ...}}) or flat ("whisper_layer")."""
    expected, connected = (_part(event, "streams", key) for key in ("expected", "connected"))
    model = event.get("model_kind") or _part(event, "model", "kind") or event.get("model")
    whisper = _part(event, "whisper", "model") or _part(event, "whisper", "name")
    layer, block_ms = _part(event, "whisper", "layer"), _part(event, "whisper", "block_ms")
    words = [str(whisper or ""), f"layer {layer}" if layer is not None else ""]
    words.append(f"{float(block_ms):g} ms blocks" if block_ms is not None else "")
    return Settings(
        model=model.replace("_", " ") if isinstance(model, str) else "none" if "model" in event else "",
        whisper=", ".join(word for word in words if word),
        expected=tuple(_names(expected)),
        connected=tuple(_names(expected if connected is None else connected)),
        simulated=bool(event.get("simulated", False)),
        warning=str(event.get("warning") or ""),
        positions=_positions(event),
        contaminated=tuple(_names(event.get("contaminated"))),
        left_out=tuple(_names(event.get("left_out", event.get("contaminated")))),
        accepts_commands=event.get("accepts_commands") is True,
        adaptation=_switch(event.get("adaptation")),
        recording=_recording(event.get("recording")),
        regions=_labels(event, "regions"),
        groups=_labels(event, "groups"),
        delays=_delays(event.get("delays")),
    )


def read_timed(event: Event) -> tuple[float, str] | None:
    """When, on the engine's clock, and what: of a "state" or "marker" event; None of any other."""
    what, when = {"state": ("state", "time_s"), "marker": ("text", "at_s")}.get(str(event.get("event")), ("", ""))
    at_s = event.get(when, event.get("time"))
    return (float(at_s), str(event.get(what))) if what and isinstance(at_s, int | float) else None


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else {"on": True, "off": False}.get(str(value))


def _recording(value: Any) -> Recording | None:
    """True, False, or {"on": ..., "file": ..., "bytes": ..., "free_bytes": ..., "sound": ...}."""
    if isinstance(value, Mapping):
        size, left = (value.get(key) for key in ("bytes", "free_bytes"))
        file = str(value.get("file") or "")
        on = bool(value.get("on", file))
        voices = on and bool(value.get("sound"))
        return Recording(on, file, None if size is None else int(size), None if left is None else int(left), voices)
    return Recording(value) if isinstance(value, bool) else None


def _positions(event: Event) -> dict[str, tuple[float, ...]]:
    """{name: [x, y] or [x, y, z]}, or a list of such in the order of "electrodes"."""
    given = event.get("positions") or {}
    if not isinstance(given, Mapping):
        given = dict(zip(_names(event.get("electrodes")), given, strict=False))
    return {str(name): tuple(float(v) for v in where) for name, where in given.items() if where is not None}


def _labels(event: Event, key: str) -> dict[str, str]:
    """{name: label}, or a list of labels in the order of "electrodes". What has none is left out."""
    given = event.get(key) or {}
    if not isinstance(given, Mapping):
        given = dict(zip(_names(event.get("electrodes")), given, strict=False))
    return {str(name): str(label) for name, label in given.items() if label}


def _delays(value: Any) -> str:
    """{stream: seconds, or {"delay_s": seconds}}; None: not measured."""
    told = []
    for stream, delay in value.items() if isinstance(value, Mapping) else ():
        delay_s = delay.get("delay_s") if isinstance(delay, Mapping) else delay
        known = isinstance(delay_s, int | float)
        told.append(f"{stream} {1e3 * float(delay_s or 0):.1f} ms" if known else f"{stream} not measured")
    return ", ".join(told) if any("ms" in words for words in told) else "not measured"


def _part(event: Event, group: str, key: str) -> Any:
    nested = event.get(group)
    return nested.get(key) if isinstance(nested, Mapping) else event.get(f"{group}_{key}")


def _names(streams: Any) -> list[str]:
    if isinstance(streams, str):
        return [streams]
    if isinstance(streams, Mapping):
        return [str(name) for name, there in streams.items() if there is not False]
    return [str(name) for name in streams] if isinstance(streams, Sequence) else []


def measure_latency(channels: Sequence[str], rows: Floats, recent_s: float = 1.0) -> Latency:
    """Latency over `rows` of telemetry (rows, channels), the last minute; now: median over the last `recent_s`."""
    if not len(rows) or not {"published_time", "newest_sample_time"} <= set(channels):
        return Latency()
    published = rows[:, channels.index("published_time")]
    took_ms = 1e3 * (published - rows[:, channels.index("newest_sample_time")])
    known = np.isfinite(took_ms)
    if not known.any():
        return Latency()
    recent = known & (published > published[known].max() - recent_s)
    return Latency(float(np.median(took_ms[recent])), float(np.percentile(took_ms[known], 99)))


def read_counts(channels: Sequence[str], newest: Floats) -> dict[str, int]:
    """Samples lost and skipped since the engine's start, from the newest telemetry row (channels,)."""
    values = {name: newest[channels.index(name)] for name in COUNTS if name in channels}
    return {name: int(value) for name, value in values.items() if np.isfinite(value)}


def main_outlet(seen: Container[str]) -> str:
    """The outlet by which the engine's life is told: without a model there is no "predicted". seen: what is there."""
    return "observed" if "predicted" not in seen and "observed" in seen else "predicted"


def examine(
    engine: str,
    connected: Mapping[str, bool],
    ages_s: Mapping[str, float],
    settings: Settings,
    events: Sequence[Event],
    latency: Latency,
    counts: Mapping[str, int],
    now_s: float,
    behind_s: float = 0.0,
) -> Vitals:
    """Put together. events: oldest first; now_s: on the engine's clock, as the events' times are.
    behind_s: how long ago the newest row speaks of."""
    main = main_outlet([what for what, there in connected.items() if there or not np.isnan(ages_s.get(what, np.nan))])
    age = ages_s.get(main, np.nan)
    if not any(connected.values()):
        state = "waiting" if np.isnan(age) else "stopped"
    else:
        state = "late" if np.isnan(age) or age > OVERDUE_S[main] else "running"
    if state != "running":
        latency = Latency(p99_ms=latency.p99_ms)  # nothing is in time now
    broken, recent = _event_problems(events, now_s)
    missing = [name for name in settings.expected if name not in settings.connected]
    well = [name for name in settings.connected if name not in broken]
    behind = state == "running" and behind_s > BEHIND_S
    problems = [
        *_row_problems(engine, state, main, ages_s),
        *([f"what comes in speaks of {behind_s:.1f} s ago: the engine is behind"] if behind else []),
        *([f"not connected: {', '.join(missing)}"] if missing else []),
        *broken.values(),
        *recent,
        *([settings.warning] if settings.warning else []),
    ]
    streams = f"{len(well)} of {len(settings.expected)}" if settings.expected else ""
    return Vitals(state, settings, latency, counts, ages_s, streams, tuple(problems), main, behind_s if behind else 0.0)


def _row_problems(engine: str, state: str, main: str, ages_s: Mapping[str, float]) -> list[str]:
    age = ages_s.get(main, np.nan)
    if state == "waiting":
        return [f"waiting for engine '{engine}'"]
    if state == "stopped":
        return [f"engine '{engine}' is gone: no rows for {age:.1f} s"]
    if state == "late" and np.isnan(age):
        return [f"engine '{engine}' is there, but has sent no {main} row yet"]
    if state == "late":
        return [f"no rows for {age:.1f} s: what is drawn is old"]
    late = [(what, ages_s.get(what, np.nan)) for what in ("observed", "sound", "score")]
    return [f"no {what} rows for {age:.1f} s" for what, age in late if age > OVERDUE_S[what]]


def _event_problems(events: Sequence[Event], now_s: float) -> tuple[dict[str, str], list[str]]:
    """Streams that are broken until they are back, and what happened lately, newest first."""
    broken: dict[str, str] = {}
    recent: dict[str, None] = {}  # a set that keeps its order
    not_numbers: dict[str, object] = {}
    for event in events:
        kind, message, stream = str(event.get("event")), str(event.get("message", "")), str(event.get("stream", ""))
        if kind in BREAKS:
            broken[stream] = message or f"{stream}: {kind}"
        elif kind in STARTS:
            broken.clear()
        elif kind in MENDS:
            broken.pop(stream, None)
        elif kind == "nan" and not_numbers.get(stream) == event.get("count"):
            continue  # told again at every beat, new or not
        elif kind in PASSING and now_s - _time(event) < EVENT_SHOWN_S:
            recent[message or kind] = None
        if kind == "nan":
            not_numbers[stream] = event.get("count")
    return broken, list(reversed(recent))


def _time(event: Event) -> float:
    time = event.get("time")
    return float(time) if isinstance(time, int | float) else -np.inf
