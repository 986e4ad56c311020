"""`Ring`: one writer, many cursors, absolute position, overruns counted."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from realtime.block import Block


class Ring:
    """The last rows of a stream in fixed memory.

    A row is copied in once and out once: a view handed out would change under a reader that the writer laps, and
    to be one piece it would need every row stored twice. Positions count the rows written, gaps aside; `index` of a
    block handed out is the stream's own, lost rows included.
    """

    def __init__(self, capacity: int, features: tuple[int, ...], dtype: np.dtype[np.floating] | type = np.float32):
        if capacity < 1:
            raise ValueError(f"a ring needs room for at least one row, found {capacity}")
        self.capacity = capacity
        self._data = np.full((capacity, *features), 0, dtype)  # full touches its memory now, not while rows come in
        self._times = np.zeros(capacity)
        self._segments: deque[tuple[int, int]] = deque()  # (position, stream index) where each run begins
        self._written = 0
        self._claimed = 0  # what the writer is about to have written: rows a capacity before it are no longer safe
        self._next_index = 0
        self._changed = threading.Condition()
        self._closed = False

    @property
    def written(self) -> int:
        """Rows written since the start."""
        return self._written

    @property
    def closed(self) -> bool:
        return self._closed

    def write(self, block: Block) -> None:
        """Append a block. Only one thread may write."""
        for start in range(0, len(block), self.capacity):
            self._write_part(block.rows(start, start + self.capacity))

    def _write_part(self, block: Block) -> None:
        count = len(block)
        position = self._written
        with self._changed:
            if not self._segments or block.index != self._next_index:
                self._segments.append((position, block.index))
            self._claimed = position + count
        for rows, places in self._pieces(position, count):
            self._data[places] = block.data[rows]
            self._times[places] = block.times[rows]
        with self._changed:
            self._written = position + count
            self._next_index = block.end
            oldest = self._written - self.capacity
            while len(self._segments) > 1 and self._segments[1][0] <= oldest:
                self._segments.popleft()
            self._changed.notify_all()

    def _copy(self, start: int, stop: int, index: int) -> Block:
        """Rows of positions start to stop - 1."""
        data = np.empty((stop - start, *self._data.shape[1:]), self._data.dtype)
        times = np.empty(stop - start)
        for rows, places in self._pieces(start, stop - start):
            data[rows] = self._data[places]
            times[rows] = self._times[places]
        return Block(data, times, index)

    def _pieces(self, position: int, count: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Of `count` rows from a position on: which rows lie where, up to the end of the memory and from its start."""
        at = position % self.capacity
        head = min(count, self.capacity - at)
        return (slice(0, head), slice(at, at + head)), (slice(head, count), slice(0, count - head))

    def close(self) -> None:
        """Nothing more will come: wakes every waiting reader."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def cursor(self, from_start: bool = False) -> Cursor:
        """A reader that begins with the next row written, or with the oldest row still held."""
        with self._changed:
            return Cursor(self, max(0, self._written - self.capacity) if from_start else self._written)


class Cursor:
    """One reader's place in a ring. `overrun` counts the rows it lost because it came too late."""

    def __init__(self, ring: Ring, position: int):
        self._ring = ring
        self._position = position
        self.overrun = 0

    @property
    def behind(self) -> int:
        """Rows written and not yet read."""
        return self._ring.written - self._position

    def wait(self, timeout_s: float, rows: int = 1) -> bool:
        """Block until as many rows are there, the ring is closed or the time is over. True if any row is there."""
        with self._ring._changed:
            self._ring._changed.wait_for(lambda: self.behind >= rows or self._ring.closed, timeout_s)
            return self.behind > 0

    def read(self, max_rows: int | None = None) -> Block:
        """The next rows up to a gap, copied; possibly none.

        Copying holds no lock, so the writer never waits. Rows that it overwrote meanwhile are left out and
        counted as overrun.
        """
        ring = self._ring
        while True:
            with ring._changed:
                self._drop_overrun()
                index, stop = self._segment()
            start = self._position
            if max_rows is not None:
                stop = min(stop, start + max_rows)
            block = ring._copy(start, stop, index)
            with ring._changed:
                self._drop_overrun()
            lost = self._position - start
            if lost < len(block) or stop == start:
                self._position = max(self._position, stop)
                return block.rows(lost, len(block)) if lost else block

    def _segment(self) -> tuple[int, int]:
        """Stream index of the next row, and the position where its run ends."""
        index, stop = 0, self._ring.written
        for begin, stream_index in self._ring._segments:
            if begin > self._position:
                return index, min(stop, begin)
            index = stream_index + self._position - begin
        return index, stop

    def skip_to(self, keep_rows: int) -> int:
        """Jump forward so that `keep_rows` rows are left to read; returns the number of rows passed over."""
        skipped = max(0, self.behind - keep_rows)
        self._position += skipped
        return skipped

    def _drop_overrun(self) -> None:
        lost = self._ring._claimed - self._ring.capacity - self._position
        if lost > 0:
            self.overrun += lost
            self._position += lost
