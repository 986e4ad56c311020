"""Aligns observed rows with predictions and scores them, in a thread of its own: never in the prediction's way."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from realtime.adapting import Adapter
from realtime.align import Aligner
from realtime.block import ROW_RATE_HZ, Block, Mask, bad_samples
from realtime.carried import Pace, ScoreRest, StateFolder
from realtime.score import Score, ScoreState
from realtime.states import LISTENING, SHAM, Timeline

QUEUE = 4096
KEEP_EVERY_S = 2.0
LONGEST_AWAY_S = 3600.0
SILENCE_ROWS = 2000


class Scorer:
    """Takes predicted and observed rows from the lanes and hands aligned rows and scores on.

    Putting rows in never waits: when this thread is QUEUE blocks behind, blocks are dropped and their rows counted.
    What goes wrong ends the thread, is kept in `error` and told to on_error. adapter: learns from each aligned row.
    timeline: only rows while the patient listens are scored and learnt from; those of a sham block are scored on their
    own. Aligned rows carry extra["listening"] (rows, 1). max_wait_s: for the other lane's rows.
    """

    def __init__(
        self,
        on_aligned: Callable[[Block], None],
        on_score: Callable[[Block], None],
        window_s: float = 60.0,
        on_error: Callable[[Exception], None] = lambda _error: None,
        adapter: Adapter | None = None,
        timeline: Timeline | None = None,
        row_rate_hz: float = ROW_RATE_HZ,
        max_wait_s: float = 5.0,
    ):
        self.dropped = 0
        self.error: Exception | None = None
        self._on_aligned, self._on_score, self._on_error = on_aligned, on_score, on_error
        self._queue: queue.Queue[tuple[str, Block] | None] = queue.Queue(QUEUE)
        self._aligner = Aligner(row_rate_hz, max_wait_s)
        self._adapter = adapter
        self.score = Score(row_rate_hz, window_s)
        self.timeline = Timeline() if timeline is None else timeline
        self.states: dict[str, ScoreState] = {}  # of the listening rows, and of the sham ones once there are some
        self.oldest_s, self.newest_s = np.inf, -np.inf  # times of the rows scored
        self._folder: StateFolder | None = None
        self._before: ScoreRest | None = None
        self._silent = Block(np.zeros((0, 1), np.float32), np.zeros(0))
        self._shift = 0  # from the aligned rows' index to the score's, which goes on over a restart
        self._pace = Pace(KEEP_EVERY_S)
        self._thread = threading.Thread(target=self._run, name="score", daemon=True)

    def keep_in(self, folder: StateFolder) -> None:
        """Go on with the score found in a folder, and keep it there. Before `start`."""
        self._folder = folder
        self._before = folder.load_score(self.score.initial_state())
        if self._adapter is not None:
            learnt = folder.load_adaptation(self._adapter.state)
            if learnt is not None:
                self._adapter.resume(learnt.state, learnt.on)

    def start(self) -> None:
        self._thread.start()

    def add_predicted(self, block: Block) -> None:
        self._put("predicted", block)

    def add_observed(self, block: Block) -> None:
        self._put("observed", block)

    def add_silence(self, block: Block) -> None:
        """Rows (time, 1), 1 where nothing is heard, before the predictions of those times."""
        self._put("silence", block)

    def finish(self, timeout_s: float) -> None:
        """Nothing more will come: align what waits and end. Never waits longer than timeout_s."""
        until = time.monotonic() + timeout_s
        with contextlib.suppress(queue.Full):  # nobody takes: its thread hangs or has ended
            self._queue.put(None, timeout=timeout_s if self._thread.is_alive() else 0.001)
        self._thread.join(max(0.0, until - time.monotonic()))

    def _put(self, kind: str, block: Block) -> None:
        try:
            self._queue.put_nowait((kind, block))
        except queue.Full:
            self.dropped += len(block)

    def _run(self) -> None:
        try:
            state = self.score.initial_state()
            while (item := self._queue.get()) is not None:
                self._add(*item)
                state = self._take(state)
            self._aligner.flush()
            self._take(state)
        except Exception as error:
            self.error = error
            self._on_error(error)

    def _add(self, kind: str, block: Block) -> None:
        if kind == "silence":
            data = np.concatenate([self._silent.data, block.data])[-SILENCE_ROWS:]
            self._silent = Block(data, np.concatenate([self._silent.times, block.times])[-SILENCE_ROWS:])
        elif kind == "predicted":
            self._aligner.add_predicted(block)
        else:
            self._aligner.add_observed(block)

    def _with_silence(self, aligned: Block) -> Block:
        """The rows with extra["silent"]: as the newest row of sound at or before each."""
        if not len(self._silent):
            return aligned
        at = np.searchsorted(self._silent.times, aligned.times, side="right") - 1
        silent = (at >= 0)[:, None] & (self._silent.data[np.maximum(at, 0)] > 0)
        return replace(aligned, extra={**aligned.extra, "silent": silent})

    def _take(self, state: ScoreState) -> ScoreState:
        while (aligned := self._aligner.take()) is not None:
            aligned = self._with_silence(aligned)
            listening = self.timeline.during(aligned.times, LISTENING)
            self._on_aligned(replace(aligned, extra={**aligned.extra, "listening": listening[:, None]}))
            if self._adapter is not None:
                self._adapter.take(only(aligned, listening))
            state = self._go_on(aligned, state)
            aligned = replace(aligned, index=aligned.index + self._shift)
            score, state = self.score.step(only(aligned, listening), state)
            self.states[LISTENING] = state
            self._score_sham(aligned)
            if len(score):
                self._on_score(score)
            self.oldest_s = min(self.oldest_s, float(aligned.times[0]))
            self.newest_s = float(aligned.times[-1])
            self._keep(state, self.newest_s)
        return state

    def _score_sham(self, aligned: Block) -> None:
        sham = self.timeline.during(aligned.times, SHAM)
        if sham.any() or SHAM in self.states:
            state = self.states.get(SHAM) or self.score.initial_state()
            _, self.states[SHAM] = self.score.step(only(aligned, sham), state)

    def _go_on(self, aligned: Block, state: ScoreState) -> ScoreState:
        """With the first aligned rows: the score of the engine before, its rows counted on by time."""
        before, self._before = self._before, None
        if before is None:
            return state
        away_s = float(aligned.times[0]) - before.newest_time_s
        if not 0 < away_s < LONGEST_AWAY_S or before.state.predicted.shape != (aligned.data.shape[1], self.score.rows):
            return state
        self._shift = before.state.next + max(0, round(away_s * self.score.rows) - 1) - aligned.index
        return before.state

    def _keep(self, state: ScoreState, newest_time_s: float) -> None:
        now_s = time.monotonic()
        if self._folder is not None and self._pace.due(now_s):
            self._folder.save_score(state, newest_time_s)
            if self._adapter is not None and (self._adapter.on or self._adapter.state.learnt):
                self._folder.save_adaptation(self._adapter.state, self._adapter.on)
            self._pace.kept(now_s, time.monotonic())


def only(aligned: Block, counts: Mask) -> Block:
    """The block with all other rows marked bad. counts: (rows,)."""
    return replace(
        aligned, extra={**aligned.extra, "bad": bad_samples(aligned, aligned.data.shape[1]) | ~counts[:, None]}
    )
