"""Looks for a session's streams, both at once and beside whatever else takes time, such as loading torch."""

from __future__ import annotations

from typing import Any

from realtime.commands.meanwhile import Meanwhile
from realtime.config import Config
from realtime.sources.lsl import LslInlet, StreamQuery


class StreamSearch:
    """Begins at once. `inlets` waits for what was found: the sound stream and the ECoG stream."""

    def __init__(self, config: Config):
        self._searches = [Meanwhile(_connecting(table, config.engine.wait_s)) for table in (config.sound, config.ecog)]

    def inlets(self) -> tuple[LslInlet, LslInlet]:
        """Connected. Raises UserError where one is not there, ambiguous or of no use."""
        sound, ecog = (search.result() for search in self._searches)
        for inlet in (sound, ecog):
            Meanwhile(inlet.time_correction)  # the first one takes 0.7 s, which are over when the lane asks
        return sound, ecog


def _connecting(table: Any, wait_s: float) -> Any:
    return LslInlet(StreamQuery(table.name, table.type, table.source_id), wait_s).connect
