"""Which stream of a recording is the sound, and which the ECoG."""

from __future__ import annotations

from collections.abc import Callable

from realtime.errors import UserError, nearest
from realtime.sources.recording import RecordedStream, Recording

LEAST_SOUND_HZ = 8000.0
LEAST_ECOG_HZ = 320.0  # twice the upper edge of high gamma, and a little


def pick_stream(
    recording: Recording, what: str, name: str | None, fits: Callable[[RecordedStream], bool]
) -> RecordedStream:
    """The stream named, else the only one that fits. Raises UserError, with what there is, where that is not clear."""
    if name is not None:
        named = {**recording.streams, **{stream.spec.name: stream for stream in recording.streams.values()}}
        if name in named:
            return named[name]
        known = ", ".join(recording.streams)
        raise UserError(f"the recording has no stream {name!r}{nearest(name, named)}; it has: {known}")
    fitting = [stream for stream in recording.streams.values() if fits(stream)]
    if len(fitting) == 1:
        return fitting[0]
    found = ", ".join(
        f"{s.spec.name} ({len(s.spec.channels)} at {s.spec.rate_hz:g} Hz)" for s in recording.streams.values()
    )
    raise UserError(f"{len(fitting)} streams of the recording can be the {what}: name it with --{what}; found: {found}")


def sound_by_rate(stream: RecordedStream) -> bool:
    return stream.spec.rate_hz >= LEAST_SOUND_HZ


def ecog_by_rate(stream: RecordedStream) -> bool:
    return LEAST_ECOG_HZ <= stream.spec.rate_hz < LEAST_SOUND_HZ
