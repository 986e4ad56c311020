"""Looks for a session's streams, both at once and beside whatever else takes time, such as loading torch."""

from __future__ import annotations

import contextlib
import threading

from realtime.config import Config
from realtime.sources.lsl import LslInlet, StreamQuery

POLL_S = 0.2  # how soon Ctrl-C is heard


class StreamSearch:
    """Begins at once. `inlets` waits for what was found: the sound stream and the ECoG stream."""

    def __init__(self, config: Config):
        self._searches = [
            _One(StreamQuery(table.name, table.type, table.source_id), config.engine.wait_s)
            for table in (config.sound, config.ecog)
        ]

    def inlets(self) -> tuple[LslInlet, LslInlet]:
        """Connected. Raises UserError where one is not there, ambiguous or of no use."""
        sound, ecog = (search.result() for search in self._searches)
        return sound, ecog


class _One:
    def __init__(self, query: StreamQuery, wait_s: float):
        self._inlet = LslInlet(query, wait_s)
        self._error: Exception | None = None
        self._done = threading.Event()
        threading.Thread(target=self._run, name=f"search for {query}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._inlet.connect()
        except Exception as error:
            self._error = error
        self._done.set()
        if self._error is None:
            with contextlib.suppress(TimeoutError):
                self._inlet.time_correction()  # the first one takes 0.7 s, which are over when the lane asks

    def result(self) -> LslInlet:
        while not self._done.wait(POLL_S):
            continue
        if self._error is not None:
            raise self._error
        return self._inlet
