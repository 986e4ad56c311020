"""The scoring thread: nobody waits for it, and its end is told."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from realtime.block import Block, regular
from realtime.scoring import Scorer
from tests.toys import PATIENCE_S


def rows_50_hz(start: int, stop: int) -> Block:
    data = np.random.default_rng(start).normal(size=(stop - start, 2)).astype(np.float32)
    return regular(data, 50.0, start / 50.0, start)


def test_a_hanging_consumer_of_scores_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.scoring.QUEUE", 4)
    inside, go_on = threading.Event(), threading.Event()

    def hang(_block: Block) -> None:
        inside.set()
        assert go_on.wait(PATIENCE_S)

    scorer = Scorer(hang, lambda _score: None)
    scorer.start()
    scorer.add_observed(rows_50_hz(0, 10))
    scorer.add_predicted(rows_50_hz(0, 5))
    assert inside.wait(PATIENCE_S)
    for start in range(10, 60, 5):
        scorer.add_predicted(rows_50_hz(start, start + 5))
    assert scorer.dropped == 6 * 5, "four of ten blocks found room"
    scorer.finish(0.05)  # returns although nobody takes
    go_on.set()
    scorer._queue.put(None, timeout=PATIENCE_S)
    scorer._thread.join(PATIENCE_S)
    assert not scorer._thread.is_alive()
    assert scorer.error is None


def test_a_scorer_that_failed_says_so_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.scoring.QUEUE", 4)
    told: list[Exception] = []

    def fail(_block: Block) -> None:
        raise RuntimeError("no room to draw")

    scorer = Scorer(fail, lambda _score: None, on_error=told.append)
    scorer.start()
    scorer.add_observed(rows_50_hz(0, 10))
    scorer.add_predicted(rows_50_hz(0, 5))
    scorer._thread.join(PATIENCE_S)
    assert told == [scorer.error]
    for start in range(10, 60, 5):
        scorer.add_predicted(rows_50_hz(start, start + 5))
    scorer.finish(PATIENCE_S)
    assert scorer.dropped == 6 * 5


def test_a_lost_row_is_bad_at_the_models_rate() -> None:
    aligned: list[Block] = []
    scorer = Scorer(aligned.append, lambda _score: None, row_rate_hz=100.0)
    scorer.start()
    rows = regular(np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32), 100.0)
    for part in (rows.rows(0, 100), rows.rows(101, 200)):
        scorer.add_observed(part)
    scorer.add_predicted(rows)
    scorer.finish(PATIENCE_S)
    bad = np.concatenate([np.asarray(block.extra["bad"], bool) for block in aligned])
    assert np.flatnonzero(bad.any(axis=1)).tolist() == [100]


def test_rows_of_a_lane_that_catches_up_are_scored() -> None:
    """Predictions that come 9 s after the observed rows of their times, where so long a backlog is allowed."""
    aligned: list[Block] = []
    scorer = Scorer(aligned.append, lambda _score: None, max_wait_s=10.0)
    scorer.start()
    for start in range(0, 500, 5):
        scorer.add_observed(rows_50_hz(start, start + 5))
    scorer.add_predicted(rows_50_hz(50, 150))
    scorer.finish(PATIENCE_S)
    assert sum(len(block) for block in aligned) == 100
    assert not any(np.any(block.extra["bad"]) for block in aligned)
