"""What is held out to choose by: apart in time and in sound from what is learnt."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.aligned import Aligned, first_heard, runs, split, split_together
from encoders.folds import Rows
from encoders.horizon import horizon_curve
from encoders.ridge import RidgeConfig
from encoders.training import FitConfig
from realtime.errors import UserError


def segments_of(edges: Sequence[int], heard: Rows | None = None) -> list[Aligned]:
    """Segments between edges whose one channel is the number of the row."""
    numbers = np.arange(edges[-1], dtype=np.float32)[:, None]
    whole = Aligned(numbers, np.zeros_like(numbers), np.zeros(numbers.shape, bool), heard)
    return [whole.rows(a, b) for a, b in itertools.pairwise(edges)]


def numbers(parts: Sequence[Aligned]) -> list[list[int]]:
    return [s.embeddings[[0, -1], 0].astype(int).tolist() for s in parts]


def rows_of(parts: Sequence[Aligned]) -> Rows:
    return np.concatenate([s.embeddings[:, 0] for s in parts]).astype(np.intp)


def test_order_and_gap() -> None:
    segments = segments_of((0, 500, 900, 1000))
    found = split(segments, 0.3, (150, 0))
    assert numbers(found.train) == [[0, 499], [500, 549]]
    assert numbers(found.held_out) == [[700, 899], [900, 999]]
    assert found.facts() == {"held_out_s": 6.0, "gap_s": 3.0, "repeats_apart": True}
    narrower = split(segments, 0.3, (250, 100))
    assert narrower.gap_rows == 100, "the wide gap leaves less than half"
    assert numbers(narrower.train) == [[0, 499], [500, 599]]
    with pytest.raises(UserError, match=r"too little to fit on: found 20\.0 s of recording"):
        split(segments, 0.3, (700, 700))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60))
def test_no_sound_of_what_is_held_out_is_learnt(seed: int, gap: int) -> None:
    rng = np.random.default_rng(seed)
    heard = np.arange(2000)
    for _ in range(3):
        length = int(rng.integers(50, 400))
        first, again = np.sort(rng.choice(2000 - length, 2, replace=False))
        heard[again : again + length] = heard[first : first + length].copy()
    number = {sound: int(rng.integers(1 << 30)) for sound in set(heard.tolist())}  # names of sounds mean nothing
    segments = segments_of((0, 700, 1300, 2000), np.array([number[h] for h in heard.tolist()]))
    found = split(segments, 0.25, (gap, gap))
    learnt, held = (
        np.concatenate([s.embeddings[:, 0] for s in part]).astype(int) for part in (found.train, found.held_out)
    )
    assert np.array_equal(first_heard(segments), [np.flatnonzero(heard == h)[0] for h in heard])
    assert len(set(heard[held].tolist())) == pytest.approx(0.25 * len(set(heard.tolist())), abs=1)
    if found.repeats_apart:
        assert not set(heard[learnt].tolist()) & set(heard[held].tolist())
        assert set(held.tolist()) == set(np.flatnonzero(np.isin(heard, heard[held])).tolist()), (
            "all repeats are held out"
        )
    assert np.min(np.abs(learnt[:, None] - held)) > gap
    assert all(len(s) >= 50 for s in found.train)


def test_what_is_heard_over_and_over_is_not_kept_apart_at_any_price() -> None:
    """A minute in rounds of 10 s; then a second over and over, of which each row is near every sound."""
    rounds = split(segments_of((0, 3000), np.arange(3000) % 500), 0.25, (500, 50))
    assert rounds.gap_rows == 50
    assert rounds.repeats_apart
    assert len(rounds.held_out) == 6
    looped = split(segments_of((0, 3000), np.arange(3000) % 50), 0.25, (500, 50))
    assert not looped.repeats_apart
    assert numbers(looped.held_out) == [[2250, 2999]]
    assert numbers(looped.train) == [[0, 2199]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.integers(2, 4))
def test_nobody_learns_what_another_is_judged_on(seed: int, gap: int, patients: int) -> None:
    """Patients who heard the pieces of one story, some of them, in their own order; against sets of sounds."""
    rng = np.random.default_rng(seed)
    everything = {}
    for number in range(patients):
        pieces = rng.permutation(8)[: int(rng.integers(5, 9))]
        heard = np.concatenate([np.arange(300 * piece, 300 * piece + 300) for piece in pieces])
        everything[str(number)] = segments_of((0, 400, len(heard)), heard)
    found = split_together(everything, 0.15, (gap, gap))
    learnt, held = (
        {name: rows_of(getattr(one, part)) for name, one in found.items()} for part in ("train", "held_out")
    )
    sounds = {
        name: np.concatenate([s.heard for s in segments if s.heard is not None])
        for name, segments in everything.items()
    }
    judged = set().union(*(sounds[name][rows].tolist() for name, rows in held.items()))
    if found["0"].repeats_apart:
        for name, rows in learnt.items():
            assert not judged & set(sounds[name][rows].tolist())
            assert set(held[name].tolist()) == {i for i, sound in enumerate(sounds[name].tolist()) if sound in judged}
    for name, segments in everything.items():
        count = sum(len(s) for s in segments)
        assert set(range(count - round(0.15 * count) + 1, count)) <= set(held[name].tolist()), "what each heard last"
        assert np.min(np.abs(learnt[name][:, None] - held[name])) > gap


def test_sounds_that_nobody_told_of_are_nobody_elses() -> None:
    """Of two who heard the same, one whose sounds are not known is split as if alone; so is everybody then."""
    known, unknown = segments_of((0, 1000), np.arange(1000)), segments_of((0, 1000))
    alone = split(known, 0.2, (10, 10))
    for one in split_together({"a": known, "b": unknown}, 0.2, (10, 10)).values():
        assert numbers(one.train) == numbers(alone.train)
        assert numbers(one.held_out) == numbers(alone.held_out)
    backwards = segments_of((0, 1000), np.arange(1000)[::-1].copy())
    with_known = split_together({"a": known, "b": backwards}, 0.2, (10, 10))
    assert numbers(with_known["a"].held_out) == [[0, 199], [800, 999]], "both ends, each the other's last"
    with pytest.raises(UserError, match="b: too little"):
        split_together({"a": known, "b": segments_of((0, 30))}, 0.2, (10, 10))


def test_runs_shorter_than_asked_for_are_left_out() -> None:
    chosen = np.ones(300, bool)
    chosen[[20, 100]] = False
    assert numbers(runs(segments_of((0, 300)), chosen)) == [[21, 99], [101, 299]]
    assert numbers(runs(segments_of((0, 300)), chosen, 1)) == [[0, 19], [21, 99], [101, 299]]


def test_the_gap_is_as_long_as_an_embedding_hears_back() -> None:
    config = FitConfig(ridge=RidgeConfig(lags=20), context_s=4.0)
    lags = max(20, config.lstm.lags)
    assert config.gaps == (lags + 211, lags + 50)


def test_a_horizon_is_chosen_on_sounds_that_its_ridges_never_learnt() -> None:
    """The response to each moment is drawn, and the same whenever it is heard again: only who learnt it knows it."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(1000, 40)).astype(np.float32), rng.normal(size=(1000, 8)).astype(np.float32)
    heard = np.concatenate([np.arange(400), np.arange(400, 1000), np.arange(400)])
    x, y = (values[heard] for values in drawn)
    config = RidgeConfig(components=40, lags=4, lag_functions=4)
    r = []
    for sounds in (None, heard):
        one = Aligned(x, y, np.zeros(y.shape, bool), sounds)
        r.append(horizon_curve([one], [one], (0.0,), config, (40, 20)).model.mean())
    assert r[0] > 0.2, "the example proves nothing"
    assert abs(r[1]) < 0.1
