"""Which stream of a recording is the sound, and which the ECoG."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rich.prompt import Prompt

from realtime.commands.console import console, say
from realtime.errors import UserError, nearest
from realtime.sources.recording import RecordedStream, Recording

LEAST_SOUND_HZ = 8000.0
LEAST_ECOG_HZ = 320.0  # twice the upper edge of high gamma, and a little
NEURAL = {"ecog", "ieeg", "seeg"}  # types of streams, in lower case
NOT_NEURAL = {"audio", "misc", "markers"}


def pick_stream(
    recording: Recording, what: str, name: str | None, fits: Callable[[RecordedStream], bool]
) -> RecordedStream:
    """The stream named, else the only one that fits; where that is not clear a terminal is asked.

    Raises UserError, with what there is, where nobody can be asked.
    """
    if name is not None:
        named = {**recording.streams, **{stream.spec.name: stream for stream in recording.streams.values()}}
        if name in named:
            return named[name]
        known = ", ".join(recording.streams)
        raise UserError(f"the recording has no stream {name!r}{nearest(name, named)}; it has: {known}")
    fitting = [stream for stream in recording.streams.values() if fits(stream)]
    if len(fitting) == 1:
        return fitting[0]
    if console.is_terminal and sys.stdin is not None and sys.stdin.isatty():
        return _ask(what, fitting or list(recording.streams.values()))
    found = ", ".join(_described(stream) for stream in recording.streams.values())
    raise UserError(f"{len(fitting)} streams of the recording can be the {what}: name it with --{what}; found: {found}")


def sound_by_rate(stream: RecordedStream) -> bool:
    return stream.spec.rate_hz >= LEAST_SOUND_HZ and stream.type.lower() not in NEURAL


def ecog_by_rate(stream: RecordedStream) -> bool:
    """By its type where that says something, else by a rate that high gamma needs and sound does not have."""
    rate_hz, type = stream.spec.rate_hz, stream.type.lower()
    return rate_hz >= LEAST_ECOG_HZ and type not in NOT_NEURAL and (type in NEURAL or rate_hz < LEAST_SOUND_HZ)


def _ask(what: str, streams: Sequence[RecordedStream]) -> RecordedStream:
    for number, stream in enumerate(streams, start=1):
        say(f"{number:>3}  {_described(stream)}")
    numbers = [str(number) for number in range(1, len(streams) + 1)]
    try:
        answer = Prompt.ask(f"which is the {what}?", choices=numbers, console=console)
    except EOFError:
        raise UserError(f"no stream was chosen: name it with --{what}") from None
    return streams[int(answer) - 1]


def _described(stream: RecordedStream) -> str:
    return f"{stream.spec.name} ({len(stream.spec.channels)} at {stream.spec.rate_hz:g} Hz)"
