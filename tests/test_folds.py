"""Folds: they cover all rows, keep their distance, and hold every repeat of what they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.folds import purged_folds
from realtime.errors import UserError

FEW = settings(max_examples=20, deadline=None)


@FEW
@given(st.lists(st.integers(5, 200), min_size=1, max_size=8), st.integers(2, 5), st.integers(0, 20))
def test_folds_cover_all_rows_and_keep_their_distance(segments: list[int], folds: int, gap_rows: int) -> None:
    rows = sum(segments)
    if rows < 3 * folds * (gap_rows + 1):
        return
    result = purged_folds(segments, folds, gap_rows)
    assert np.array_equal(np.concatenate([test for _, test in result]), np.arange(rows))
    for training, test in result:
        assert len(test) >= rows / folds / 2 - 1
        for row in range(rows):
            near = min(abs(row - int(test[0])), abs(row - int(test[-1]))) <= gap_rows
            inside = test[0] <= row <= test[-1]
            assert training[row] == (not near and not inside)


def test_folds_begin_with_segments_where_they_can() -> None:
    result = purged_folds([100, 110, 90, 100], 4, 5)
    assert [(int(test[0]), int(test[-1]) + 1) for _, test in result] == [(0, 100), (100, 210), (210, 300), (300, 400)]
    even = purged_folds([400], 4, 5)
    assert [int(test[0]) for _, test in even] == [0, 100, 200, 300]


def test_impossible_folds_are_refused() -> None:
    with pytest.raises(UserError, match="1 folds of 100 rows"):
        purged_folds([100], 1, 0)
    with pytest.raises(UserError, match="leave none to train on"):
        purged_folds([100], 2, 60)


@FEW
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(0, 8))
def test_repeats_are_in_the_fold_of_their_first_hearing(seed: int, folds: int, gap_rows: int) -> None:
    rng = np.random.default_rng(seed)
    rows = 240
    source = np.arange(rows)
    for _ in range(3):
        length = int(rng.integers(5, 40))
        first, again = np.sort(rng.choice(rows - length, 2, replace=False))
        if again >= first + length:
            source[again : again + length] = source[source[first : first + length]]
    source = source[source]
    try:
        result = purged_folds([100, 140], folds, gap_rows, source)
    except UserError:
        return
    assert sorted(np.concatenate([test for _, test in result]).tolist()) == list(range(rows))
    for training, test in result:
        held = set(source[test].tolist())
        assert not held & set(source[training].tolist()), "what is tested was heard in training"
        for row in np.flatnonzero(training):
            assert np.min(np.abs(test - row)) > gap_rows
    sizes = [len(set(source[test].tolist())) for _, test in result]
    assert sum(sizes) == len(set(source.tolist()))


def test_a_stimulus_heard_over_and_over_is_cut_by_what_is_new() -> None:
    source = np.tile(np.arange(100), 5)
    result = purged_folds([500], 4, 3, source)
    for training, test in result:
        assert len(test) == 125
        assert training.sum() == 500 - 5 * (25 + 6) + (3 if 0 in test or 99 in test else 0)


def test_a_source_that_is_a_repeat_itself_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="itself a repeat"):
        purged_folds([3], 2, 0, np.array([0, 0, 1]))
