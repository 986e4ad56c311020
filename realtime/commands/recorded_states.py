"""The states of a recorded session: from its marker stream, or from what an engine told of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from realtime.commands.console import say
from realtime.config import StatesTable
from realtime.errors import UserError, nearest
from realtime.sources.recording import RecordedStream, Recording
from realtime.states import Timeline, timeline_of


def recorded_timeline(recording: Recording, table: StatesTable | None = None) -> Timeline:
    """Which state when, on the recorder's clock.

    The marker stream that the configuration names counts, with all its markers, late ones too. Without one: the
    `state` events of an engine's status. Without either the first state holds throughout. Raises UserError where the
    stream named is in the recording neither by itself nor as events.
    """
    table = StatesTable() if table is None else table
    told = list(_told(recording))
    if table.stream is None or (table.stream not in _markers(recording) and told):
        return timeline_of(told, {}, table.start, table.guard_s)
    markers = _markers(recording)
    if table.stream not in markers:
        known = ", ".join(markers) or "none"
        raise UserError(
            f"the recording has no marker stream {table.stream!r}{nearest(table.stream, markers)}; it has: {known}; "
            "correct or leave out [states] stream"
        )
    return timeline_of(markers[table.stream], table.map, table.start, table.guard_s)


def tell_unread(name: str, recording: Recording, table: StatesTable | None) -> None:
    """Say, of a recording called name, that it has markers and nothing that says which state they mean."""
    unread = [stream for stream, rows in recording.markers.items() if rows and not stream.endswith(".status")]
    if unread and (table is None or table.stream is None) and not list(_told(recording)):
        say(
            f"{name} has markers ({', '.join(unread)}) that are not read, and all of it counts as listening: if they "
            "tell when the patient does something else, name their stream under [states] in the file of --config"
        )


def _markers(recording: Recording) -> dict[str, list[tuple[float, str]]]:
    """Text streams, and streams of numbers without a rate."""
    numbers = {s.spec.name: _numbers(s) for s in recording.streams.values() if s.spec.rate_hz == 0}
    return {**numbers, **{name: list(rows) for name, rows in recording.markers.items()}}


def _numbers(stream: RecordedStream) -> list[tuple[float, str]]:
    offsets = np.zeros(len(stream.stamps))
    for index, offset_s in stream.offsets:
        offsets[index:] = offset_s
    return [(t, str(v)) for t, v in zip((stream.stamps + offsets).tolist(), stream.data[:, 0].tolist(), strict=True)]


def _told(recording: Recording) -> Iterator[tuple[float, str]]:
    for name, rows in recording.markers.items():
        if not name.endswith(".status"):
            continue
        for _, text in rows:
            try:
                event = json.loads(text)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") == "state":
                yield float(event["time_s"]), str(event["state"])
