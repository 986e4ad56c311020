"""Status events in plain words, for the person who reads them in the monitor."""

from __future__ import annotations

from realtime.sources.pump import Event

SENTENCES = {
    "anchor": "stream {stream!r}: first sample",
    "offset": "stream {stream!r}: clock offset {offset_s:.6f} s from sample {index} on",
    "gap": "stream {stream!r}: {lost} samples lost",
    "late": "stream {stream!r}: {rows} samples told as lost came late after all",
    "reset": "stream {stream!r}: its clock jumped by {jump_s:.3f} s",
    "silent": "stream {stream!r}: no sample for {after_s:.1f} s; check its program and cable",
    "resumed": "stream {stream!r}: back after {silent_s:.1f} s",
    "disconnected": "stream {stream!r}: gone for good, it has no source_id; restart its program and this engine",
    "clock_unknown": "stream {stream!r}: its clock did not answer, stamps are taken as they are",
    "skip": "stream {stream!r}: too far behind, {rows} samples skipped",
    "failed": "stream {stream!r}: its lane stopped: {reason}",
    "started": "engine started",
    "took_over": "stream {stream!r}: goes on after the engine's death; {missed} samples meanwhile were not used",
    "stopped": "engine stopped",
    "state": "state: {state}",
    "marker": "marker: {text}",
    "nan": "stream {stream!r}: {count} samples that are no numbers so far; they are masked",
}


def with_message(event: Event) -> Event:
    """The event with a `message` for people, where it has none."""
    if "message" in event or event["event"] not in SENTENCES:
        return event
    return {**event, "message": SENTENCES[event["event"]].format(**event)}
