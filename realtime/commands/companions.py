"""Streams beside the two lanes: markers that tell the state, a sound that is only watched; and what may be recorded."""

from __future__ import annotations

import threading

from realtime.commands.console import say
from realtime.config import Config
from realtime.engine import Engine
from realtime.errors import UserError
from realtime.sources.lsl import LslInlet, StreamQuery, stream_names
from realtime.sources.markers import Markers, Watched

LEVEL_EVERY_S = 0.5


def add_companions(config: Config, engine: Engine) -> None:
    """Have the engine follow the marker stream and the watched sound that a configuration names."""
    states, watch, name = config.states, config.watch, config.engine.name
    if states.stream is not None:
        engine.beside.append(Markers(states.stream, name, states.map, engine.timeline, engine.tell).run)
        engine.facts_now["state"] = states.start
    if watch.stream is not None:
        watched = Watched(watch.stream, name, watch.channel, engine.tell)

        def show(stop: threading.Event) -> None:
            while not stop.wait(LEVEL_EVERY_S):
                engine.facts_now["watch"] = {"stream": watched.name, "level_db": watched.level_db}

        engine.beside += [watched.run, show]


def companion_queries(config: Config) -> list[StreamQuery]:
    """Those that are there and may be recorded: the recorder does not begin without a stream it is asked for."""
    wanted = [config.states.stream, config.watch.stream if config.record.sound else None]
    names = [name for name in wanted if name is not None]
    there = stream_names(config.engine.name) if names else []
    for name in names:
        if name not in there:
            say(f"warning: stream {name!r} is not there: it will not be in the recording")
    return [StreamQuery(name=name) for name in names if name in there]


def require_private(config: Config, sound: LslInlet, ecog: LslInlet) -> None:
    """Raise UserError where sound is to be kept out of a recording, but is a channel of the ECoG stream."""
    one = (sound.found.name, sound.found.source_id) == (ecog.found.name, ecog.found.source_id)
    if one and not config.record.sound:
        raise UserError(
            f"[record] sound = false, but the sound is a channel of the ECoG stream {ecog.found.name!r}, which is "
            "recorded whole: record nothing, or record with sound and make a copy with corticast scrub"
        )


def require_watched_apart(config: Config, sound: LslInlet) -> None:
    """Raise UserError where the stream that is only to be watched is the one that goes to the model."""
    if config.watch.stream is not None and config.watch.stream == sound.found.name:
        raise UserError(
            f"[watch] stream = {config.watch.stream!r} is the sound that goes to the model: name another one, or none"
        )
