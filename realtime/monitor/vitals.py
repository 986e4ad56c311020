"""Is the engine well? From what its outlets said to figures and plain words. No Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from realtime.block import Floats

OUTLETS = ("predicted", "observed", "score", "attention", "sound", "telemetry", "status")
OVERDUE_S = {"predicted": 1.5, "observed": 2.5, "sound": 1.5, "score": 5.0}  # the rest follow these, or are rare
EVENT_SHOWN_S = 15.0
COUNTS = ("sound_lost", "sound_skipped", "ecog_lost", "ecog_skipped")

Event = Mapping[str, Any]  # one JSON object of the status outlet: "event", "time" and others


@dataclass(frozen=True)
class Settings:
    """What the engine says about itself, in words."""

    model: str = ""
    whisper: str = ""
    streams: str = ""
    missing: tuple[str, ...] = ()
    simulated: bool = False


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
    problems: tuple[str, ...]  # plain words, the worst first


def read_settings(event: Event) -> Settings:
    """From a "settings" event. Parts may be nested ({"whisper": {"model": ...}}) or flat ("whisper_model")."""
    expected, connected = (_names(_part(event, "streams", key)) for key in ("expected", "connected"))
    model, kind = event.get("model"), event.get("model_kind")
    kind = kind or (model.get("kind") if isinstance(model, Mapping) else model)
    whisper, layer = _part(event, "whisper", "model"), _part(event, "whisper", "layer")
    block_ms = event.get("block_ms", _part(event, "whisper", "block_ms"))
    words = [str(whisper or ""), f"layer {layer}" if layer is not None else ""]
    words.append(f"{float(block_ms):g} ms blocks" if block_ms is not None else "")
    return Settings(
        model=str(kind or "").replace("_", " "),
        whisper=", ".join(word for word in words if word),
        streams=f"{len(connected)} of {len(expected)}" if expected else "",
        missing=tuple(name for name in expected if name not in connected),
        simulated=bool(event.get("simulated", False)),
    )


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


def examine(
    engine: str,
    connected: Mapping[str, bool],
    ages_s: Mapping[str, float],
    settings: Settings,
    events: Sequence[Event],
    latency: Latency,
    counts: Mapping[str, int],
    now_s: float,
) -> Vitals:
    """Put together. events: oldest first; now_s: on the engine's clock, as the events' times are."""
    age = ages_s.get("predicted", np.nan)
    problems = [*_stream_problems(engine, connected, ages_s, settings), *_event_problems(events, now_s)]
    if np.isnan(age) and not any(connected.values()):
        state = "waiting"
    elif not any(connected.values()):
        state = "stopped"
    else:
        state = "late" if np.isnan(age) or age > OVERDUE_S["predicted"] else "running"
    if state != "running":
        latency = Latency(p99_ms=latency.p99_ms)  # nothing is in time now
    return Vitals(state, settings, latency, counts, ages_s, tuple(problems))


def _stream_problems(
    engine: str, connected: Mapping[str, bool], ages_s: Mapping[str, float], settings: Settings
) -> list[str]:
    age = ages_s.get("predicted", np.nan)
    if not any(connected.values()):
        if np.isnan(age):
            return [f"waiting for engine '{engine}'"]
        return [f"engine '{engine}' is gone: no rows for {age:.1f} s"]
    problems = []
    if np.isnan(age):
        problems.append(f"engine '{engine}' is there, but has sent no prediction yet")
    elif age > OVERDUE_S["predicted"]:
        problems.append(f"no rows for {age:.1f} s: what is drawn is old")
    else:
        late = [(what, ages_s.get(what, np.nan)) for what in ("observed", "sound", "score")]
        problems += [f"no {what} rows for {age:.1f} s" for what, age in late if age > OVERDUE_S[what]]
    if settings.missing:
        problems.append(f"not connected: {', '.join(settings.missing)}")
    return problems


def _event_problems(events: Sequence[Event], now_s: float) -> list[str]:
    """Silence until the stream is back; a gap, a skip or a warning for a while."""
    silent: dict[str, str] = {}
    recent: dict[str, None] = {}  # a set that keeps its order
    for event in events:
        kind, message, stream = event.get("event"), str(event.get("message", "")), str(event.get("stream", ""))
        if kind == "silent":
            silent[stream] = message
        elif kind in ("started", "connected"):
            silent.clear()
        elif kind == "back":
            silent.pop(stream, None)
        elif kind in ("gap", "skip", "warning", "stopped") and now_s - _time(event) < EVENT_SHOWN_S:
            recent[message or str(kind)] = None
    return [*silent.values(), *reversed(recent)]


def _time(event: Event) -> float:
    time = event.get("time")
    return float(time) if isinstance(time, int | float) else -np.inf
