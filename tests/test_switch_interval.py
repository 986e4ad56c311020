"""The benchmark of the switch interval: its turns, on made-up rows."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import switch_engine
from benchmarks.latency_case import Case
from benchmarks.switch_interval import by_interval, measure
from realtime.errors import UserError


def test_rows_are_told_apart_by_their_turn() -> None:
    """Four intervals in turns of 10 s; 10 ms more with each interval, and an outlier where a turn settles."""
    # 1003 to 1103: the first and the last turn are not whole
    arrived_s = np.asarray(1003.0 + 0.02 * np.arange(5000), np.float64)
    which = np.floor(arrived_s / 10.0).astype(int) % 4
    compute_ms = 10.0 * (which + 1) + (arrived_s % 10.0) / 10.0
    compute_ms[arrived_s % 10.0 < 0.4] = 500.0
    compute_ms[(arrived_s < 1010) | (arrived_s >= 1100)] = 900.0
    rows = by_interval(arrived_s, compute_ms, (5.0, 1.0, 0.5, 0.1), 10.0, 0.5)
    assert [row["switch_interval_ms"] for row in rows] == [5.0, 1.0, 0.5, 0.1]
    assert [row["turns"] for row in rows] == [2, 3, 2, 2]  # turns 101 to 109
    assert sum(row["rows"] for row in rows) == 9 * 475
    for k, row in enumerate(rows):
        assert 10.0 * (k + 1) < row["compute_ms"]["p50"] < row["compute_ms"]["max"] < 10.0 * (k + 1) + 1.0
        turns = [t for t in range(101, 110) if t % 4 == k]
        each = [np.percentile(compute_ms[(arrived_s >= 10 * t + 0.5) & (arrived_s < 10 * t + 10)], 99) for t in turns]
        np.testing.assert_allclose(row["turns_lowest_highest_ms"]["p99"], [min(each), max(each)])


def test_the_interval_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, now_s = [], [99.5]

    def sleep(by_s: float) -> None:
        seen.append((switch_engine.turn_of(now_s[0], 10.0) % 3, sys.getswitchinterval()))
        now_s[0] += by_s
        if len(seen) == 5:
            raise StopIteration

    before_s = sys.getswitchinterval()
    monkeypatch.setattr(switch_engine, "local_clock", lambda: now_s[0])
    monkeypatch.setattr("benchmarks.switch_engine.time.sleep", sleep)
    try:
        with pytest.raises(StopIteration):
            switch_engine.take_turns((5.0, 1.0, 0.1), 10.0)
    finally:
        sys.setswitchinterval(before_s)
    wanted = [(k % 3, (0.005, 0.001, 0.0001)[k % 3]) for k in range(9, 14)]
    assert [k for k, _ in seen] == [k for k, _ in wanted]
    np.testing.assert_allclose([s for _, s in seen], [s for _, s in wanted])


def test_too_short_is_told_before_anything_starts() -> None:
    with pytest.raises(UserError, match="expected 33 or more"):
        measure(Case(), (5.0, 1.0, 0.5, 0.1), 20.0, random_weights=True)
