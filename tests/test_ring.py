"""The ring against a plain list, and with threads: every row is read, skipped or counted as lost."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block
from realtime.ring import Ring

CHANNELS = 3


def block(index: int, rows: int, channels: int = CHANNELS) -> Block:
    """Every value of a row tells the row's index."""
    number = index + np.arange(rows, dtype=np.float64)
    return Block(np.repeat(number[:, None], channels, axis=1).astype(np.float32), number / 7, index)


class ListRing:
    """All rows ever written, as stream indices."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: list[int] = []


class ListCursor:
    def __init__(self, ring: ListRing, position: int) -> None:
        self.ring, self.position, self.overrun = ring, position, 0

    def read(self, most: int | None) -> list[int]:
        while self.position < len(self.ring.rows) - self.ring.capacity:
            self.position += 1
            self.overrun += 1
        taken: list[int] = []
        while self.position < len(self.ring.rows) and (most is None or len(taken) < most):
            row = self.ring.rows[self.position]
            if taken and row != taken[-1] + 1:
                break
            taken.append(row)
            self.position += 1
        return taken

    def skip_to(self, keep: int) -> int:
        passed = 0
        while len(self.ring.rows) - self.position > keep:
            self.position += 1
            passed += 1
        return passed


WRITE = st.tuples(st.just("write"), st.integers(0, 30), st.sampled_from([0, 0, 0, 1, 5, -4]))
READ = st.tuples(st.just("read"), st.integers(0, 2), st.one_of(st.none(), st.integers(0, 12)))
SKIP = st.tuples(st.just("skip"), st.integers(0, 2), st.integers(0, 25))
OPEN = st.tuples(st.just("open"), st.integers(0, 2), st.booleans())


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 17), st.lists(st.one_of(WRITE, WRITE, READ, READ, SKIP, OPEN), max_size=40))
def test_like_a_list(capacity: int, operations: list[tuple[str, int, int | bool | None]]) -> None:
    ring, model = Ring(capacity, (CHANNELS,)), ListRing(capacity)
    cursors = [ring.cursor() for _ in range(3)]
    models = [ListCursor(model, 0) for _ in range(3)]
    index = 100
    for name, a, b in operations:
        if name == "write":
            index += int(b or 0)
            ring.write(block(index, a))
            model.rows.extend(range(index, index + a))
            index += a
        elif name == "read":
            limit = None if b is None else int(b)
            found, expected = cursors[a].read(limit), models[a].read(limit)
            assert found.data[:, 0].tolist() == expected
            assert np.array_equal(found.data, np.repeat(found.data[:, :1], CHANNELS, axis=1))
            assert found.times.tolist() == [row / 7 for row in expected]
            assert not expected or found.index == expected[0]
        elif name == "skip":
            assert cursors[a].skip_to(int(b or 0)) == models[a].skip_to(int(b or 0))
        else:
            cursors[a] = ring.cursor(from_start=bool(b))
            models[a] = ListCursor(model, max(0, len(model.rows) - capacity) if b else len(model.rows))
        for cursor, expected_cursor in zip(cursors, models, strict=True):
            assert cursor.overrun == expected_cursor.overrun
            assert cursor.behind == len(model.rows) - expected_cursor.position
    assert ring.written == len(model.rows)


def test_what_was_read_stays() -> None:
    ring = Ring(8, (CHANNELS,))
    cursor = ring.cursor()
    ring.write(block(0, 6))
    held = cursor.read()
    ring.write(block(6, 20))
    assert held.data[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_memory_of_gaps_is_bounded() -> None:
    ring = Ring(10, (CHANNELS,))
    for i in range(500):
        ring.write(block(3 * i, 1))
    assert len(ring._segments) <= ring.capacity + 1


def test_closing_wakes_a_waiting_reader() -> None:
    ring = Ring(10, (CHANNELS,))
    answers: list[bool] = []
    cursor = ring.cursor()
    waiting = threading.Thread(target=lambda: answers.append(cursor.wait(60.0)))
    waiting.start()
    ring.close()
    waiting.join(30.0)
    assert answers == [False]
    assert ring.closed


def test_a_write_wakes_a_waiting_reader() -> None:
    ring = Ring(10, (CHANNELS,))
    answers: list[bool] = []
    cursor = ring.cursor()
    waiting = threading.Thread(target=lambda: answers.append(cursor.wait(60.0)))
    waiting.start()
    ring.write(block(0, 1))
    waiting.join(30.0)
    assert answers == [True]


@pytest.mark.parametrize(("capacity", "largest"), [(5000, 40), (64, 40), (64, 300)])
def test_a_writer_and_readers_at_once(capacity: int, largest: int) -> None:
    """However the threads run, rows come whole and in order, and received + lost = written."""
    ring = Ring(capacity, (256,))
    cursors = [ring.cursor(from_start=True) for _ in range(2)]
    received = [0, 0]
    wrong: list[str] = []

    def write() -> None:
        rng, index = np.random.default_rng(0), 0
        for _ in range(1500):
            count = int(rng.integers(1, largest))
            ring.write(block(index, count, 256))
            index += count + int(rng.integers(0, 10)) * int(rng.random() < 0.1)
        ring.close()

    def read(reader: int) -> None:
        cursor, newest = cursors[reader], -1
        while cursor.wait(60.0):
            got = cursor.read(20 + 60 * reader)
            number = got.index + np.arange(len(got))
            if not (got.data == number[:, None]).all() or not np.array_equal(got.times, number / 7):
                wrong.append(f"reader {reader}: a row that is not what was written, near {got.index}")
            if len(got) and got.index <= newest:
                wrong.append(f"reader {reader}: {got.index} after {newest}")
            newest = max(newest, got.end - 1)
            received[reader] += len(got)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(2)] + [threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120.0)
        assert not thread.is_alive()
    assert wrong == []
    for cursor, count in zip(cursors, received, strict=True):
        assert count + cursor.overrun == ring.written
        assert cursor.behind == 0
