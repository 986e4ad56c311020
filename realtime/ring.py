"""`Ring`: one writer, many cursors, absolute position, overruns counted."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from realtime.block import Block


class Ring:
    """The last rows of a stream in fixed memory.

    Every row is stored twice, a capacity apart, so that any run of rows up to the capacity is one
    contiguous view. Positions count the rows written, gaps aside; `index` of a block handed out is the
    stream's own, lost rows included.
    """

    def __init__(self, capacity: int, features: tuple[int, ...], dtype: np.dtype[np.floating] | type = np.float32):
        if capacity < 1:
            raise ValueError(f"a ring needs room for at least one row, found {capacity}")
        self.capacity = capacity
        self._data = np.zeros((2 * capacity, *features), dtype)
        self._times = np.zeros(2 * capacity)
        self._segments: deque[tuple[int, int]] = deque()  # (position, stream index) where each run begins
        self._written = 0
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
        if not self._segments or block.index != self._next_index:
            with self._changed:
                self._segments.append((position, block.index))
        at = position % self.capacity
        head = min(count, self.capacity - at)
        for offset in (0, self.capacity):
            self._data[offset + at : offset + at + head] = block.data[:head]
            self._times[offset + at : offset + at + head] = block.times[:head]
            self._data[offset : offset + count - head] = block.data[head:]
            self._times[offset : offset + count - head] = block.times[head:]
        with self._changed:
            self._written = position + count
            self._next_index = block.end
            oldest = self._written - self.capacity
            while len(self._segments) > 1 and self._segments[1][0] <= oldest:
                self._segments.popleft()
            self._changed.notify_all()

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

    def wait(self, timeout_s: float) -> bool:
        """Block until a row is there, the ring is closed or the time is over. True if a row is there."""
        with self._ring._changed:
            self._ring._changed.wait_for(lambda: self.behind > 0 or self._ring.closed, timeout_s)
            return self.behind > 0

    def read(self, max_rows: int | None = None) -> Block:
        """The next rows up to a gap, as views into the ring; possibly none.

        The views hold until the writer comes round, `capacity` rows later: use them before the next read.
        """
        ring = self._ring
        with ring._changed:
            self._drop_overrun()
            position = self._position
            begin, index, stop = position, 0, ring.written
            for start, stream_index in ring._segments:
                if start <= position:
                    begin, index = start, stream_index
                else:
                    stop = min(stop, start)
        count = stop - position if max_rows is None else min(stop - position, max_rows)
        at = position % ring.capacity
        self._position = position + count
        return Block(ring._data[at : at + count], ring._times[at : at + count], index + position - begin)

    def skip_to(self, keep_rows: int) -> int:
        """Jump forward so that `keep_rows` rows are left to read; returns the number of rows passed over."""
        skipped = max(0, self.behind - keep_rows)
        self._position += skipped
        return skipped

    def _drop_overrun(self) -> None:
        lost = self.behind - self._ring.capacity
        if lost > 0:
            self.overrun += lost
            self._position += lost
