"""When each row of a recording is due, and the rows themselves, read ahead piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import Block, Times
from realtime.errors import UserError
from realtime.sinks.lsl import Outlet
from realtime.sources.recorded import SCAN_ROWS, RecordedStream, row_at
from realtime.sources.samples import RegularStamps, spans

PIECE_S = 2.0  # of rows are read at once, while the piece before is played
SEAM_S = 1.0  # between the end and the next round: longer than what `Repair` fills, so that every filter restarts
SET_BACK_S = 1.0  # stamps that go back by more: the clock was set


@dataclass(frozen=True)
class Timeline:
    """All streams on one clock: that of the recorded stamps, each stream's first measured offset added.

    first_s: of the earliest row that is sent. round_s: from it to where a next round begins. rows: the first row of
    each stream to send. seams_s: by stream, the time without rows between two rounds.
    """

    first_s: float
    round_s: float
    first_rows: dict[str, int]
    seams_s: dict[str, float]

    @staticmethod
    def of(streams: Sequence[RecordedStream], start_s: float = 0.0) -> Timeline:
        """start_s: what to leave out, counted from the earliest row. Raises UserError where nothing is left."""
        streams = [stream for stream in streams if len(stream.stamps)]
        begins_s = start_s + min(float(s.stamps[0]) + offset_s(s) for s in streams)
        rows = {s.spec.name: row_at(s, begins_s - offset_s(s)) if start_s > 0 else 0 for s in streams}
        firsts = {s.spec.name: float(s.stamps[rows[s.spec.name]]) + offset_s(s) for s in streams}
        first_s = min(firsts.values())
        ends = {s.spec.name: last_due(s, rows[s.spec.name]) + _period(s) for s in streams}
        round_s = max(ends.values()) - first_s + SEAM_S
        seams = {name: round(round_s - (ends[name] - firsts[name]), 6) for name in ends}
        return Timeline(first_s, round_s, rows, seams)


class Player:
    """Sends one stream's rows as they are due. shift_s: added to the times to give the stamps that are sent.

    finished: all rows are sent. round: how often the end was passed. sent: rows.
    """

    def __init__(self, outlet: Outlet, stream: RecordedStream, timeline: Timeline, reader: Executor, loop: bool):
        self.outlet = outlet
        self.shift_s = 0.0
        self.sent = self.round = 0
        self.finished = False
        self._pieces = _pieces(stream, timeline, loop)
        self._reader = reader
        self._next: Future[_Piece | None] = reader.submit(next, self._pieces, None)
        self._piece = _Piece.nothing()
        self._done = 0  # rows of the piece
        self._advance()

    def send_due(self, at_s: float) -> None:
        """All rows due up to at_s, on the recording's clock, loops included."""
        while not self.finished:
            upto = int(np.searchsorted(self._piece.due, at_s, side="right"))
            if upto > self._done:
                rows = slice(self._done, upto)
                self.outlet.push(Block(self._piece.data[rows], self._piece.times[rows] + self.shift_s, self.sent))
                self.sent += upto - self._done
                self._done = upto
            if upto < len(self._piece.due):
                return
            self._advance()

    def _advance(self) -> None:
        """The next piece, and the one after it begun to be read."""
        try:
            piece = self._next.result()
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"stream {self.outlet.spec.name!r} could not be read on ({type(error).__name__}: {error}): check that "
                "the recording is still there and whole"
            ) from None
        if piece is None:
            self.finished = True
            return
        self._piece, self._done, self.round = piece, 0, piece.round
        self._next = self._reader.submit(next, self._pieces, None)


@dataclass(frozen=True)
class _Piece:
    data: npt.NDArray[np.float32]
    times: Times
    due: Times  # never decreasing
    round: int

    @staticmethod
    def nothing() -> _Piece:
        return _Piece(np.empty((0, 0), np.float32), np.empty(0), np.empty(0), 0)


def _pieces(stream: RecordedStream, timeline: Timeline, loop: bool) -> Iterator[_Piece]:
    first = timeline.first_rows.get(stream.spec.name, 0)
    rows = max(1, round(PIECE_S * stream.spec.rate_hz))
    number = 0
    while len(stream.stamps) > first:
        schedule = _Due()
        for part in spans(len(stream.stamps) - first, rows):
            here = slice(first + part.start, first + part.stop)
            stamps = stream.stamps[here] + offset_s(stream)
            moved_s = number * timeline.round_s
            yield _Piece(stream.data[here], stamps + moved_s, schedule(stamps, _period(stream)) + moved_s, number)
        if not loop:
            return
        number += 1


class _Due:
    """Times to send at: the stamps, but where the source's clock was set back they go on."""

    def __init__(self) -> None:
        self._last_s, self._due_s, self._ahead_s = np.nan, -np.inf, 0.0

    def __call__(self, stamps: Times, period_s: float) -> Times:
        steps = np.diff(stamps, prepend=self._last_s if np.isfinite(self._last_s) else stamps[0])
        ahead = self._ahead_s + np.cumsum(np.where(steps < -SET_BACK_S, period_s - steps, 0.0))
        due = np.maximum.accumulate(np.maximum(stamps + ahead, self._due_s))
        self._last_s, self._due_s, self._ahead_s = float(stamps[-1]), float(due[-1]), float(ahead[-1])
        return np.asarray(due, np.float64)


def last_due(stream: RecordedStream, first_row: int) -> float:
    """When the last row is due, on the clock of the timeline."""
    if isinstance(stream.stamps, RegularStamps):
        return float(stream.stamps[-1]) + offset_s(stream)
    schedule, due = _Due(), np.zeros(1)
    for part in spans(len(stream.stamps) - first_row, SCAN_ROWS):
        due = schedule(stream.stamps[first_row + part.start : first_row + part.stop], _period(stream))
    return float(due[-1]) + offset_s(stream)


def offset_s(stream: RecordedStream) -> float:
    """The first measured offset of the source's clock: what puts all streams on one."""
    return stream.offsets[0][1] if stream.offsets else 0.0


def _period(stream: RecordedStream) -> float:
    return 1.0 / stream.spec.rate_hz if stream.spec.rate_hz > 0 else 0.0
