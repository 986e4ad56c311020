"""`Contamination`, live: in a thread of its own, fed by both lanes through a queue that never holds them up."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from realtime.block import Block
from realtime.contamination import Contamination, ContaminationResult

QUEUE = 512  # blocks: some seconds
EVERY_S = 60.0  # of ECoG


class ContaminationWatch:
    """Hands a result to on_result after every minute of ECoG, and a last one at `finish`.

    Putting rows in never waits: what finds the queue full is dropped and its rows are counted. What goes wrong ends
    the thread, is kept in `error` and told to on_error.
    """

    def __init__(
        self,
        contamination: Contamination,
        ecog_rate_hz: float,
        on_result: Callable[[ContaminationResult], None],
        on_error: Callable[[Exception], None] = lambda _error: None,
    ):
        self.dropped = 0
        self.error: Exception | None = None
        self._contamination, self._on_result, self._on_error = contamination, on_result, on_error
        self._queue: queue.Queue[tuple[str, Block] | None] = queue.Queue(QUEUE)
        self._rows = round(EVERY_S * ecog_rate_hz)
        self._thread = threading.Thread(target=self._run, name="contamination", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add_sound(self, block: Block) -> None:
        self._put("sound", block)

    def add_ecog(self, block: Block) -> None:
        self._put("ecog", block)

    def finish(self, timeout_s: float) -> None:
        """Nothing more will come. Never waits longer than timeout_s."""
        until = time.monotonic() + timeout_s
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout_s if self._thread.is_alive() else 0.001)
        if self._thread.ident is not None:
            self._thread.join(max(0.0, until - time.monotonic()))

    def _put(self, stream: str, block: Block) -> None:
        try:
            self._queue.put_nowait((stream, block))
        except queue.Full:
            self.dropped += len(block)

    def _run(self) -> None:
        try:
            minute: int | None = None
            while (item := self._queue.get()) is not None:
                stream, block = item
                (self._contamination.add_sound if stream == "sound" else self._contamination.add_ecog)(block)
                if stream == "ecog" and len(block):
                    reached = block.end // self._rows
                    if minute is not None and reached != minute:
                        self._on_result(self._contamination.result())
                    minute = reached
            self._on_result(self._contamination.result())
        except Exception as error:
            self.error = error
            self._on_error(error)
