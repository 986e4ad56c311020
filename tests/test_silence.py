"""When nothing is heard: in any chunks, against a plain loop, and what the score says then."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, regular
from realtime.score import NOT_ENOUGH, SILENT, Score, score_words
from realtime.scoring import Scorer
from realtime.silence import Silence
from tests.contract import random_cuts, verify_contract
from tests.test_score import aligned


def sound(seed: int, scale: float = 1.0) -> Block:
    """Speech-like bursts, with 5 s of quiet noise from 4 s on."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.random(60) < 0.7, 3200)[: 12 * 16000]
    loud[4 * 16000 : 9 * 16000] = False
    data = rng.standard_normal(len(loud)) * np.where(loud, 0.1, 0.0005) * scale
    return regular(data[:, None].astype(np.float32), 16000.0, 3.0)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 999))
def test_contract_and_plain_loop(seed: int) -> None:
    x = sound(seed)
    y = verify_contract(Silence(), x, random_cuts(len(x), seed, 12))
    level_db = [10 * np.log10(np.mean(np.square(x.data[i : i + 320], dtype=np.float64))) for i in range(0, len(x), 320)]
    quiet, expected = 0, []
    for i, level in enumerate(level_db):
        loudest = max(one - (i - j) * 0.02 / 60 for j, one in enumerate(level_db[: i + 1]))
        quiet = quiet + 1 if level < max(loudest - 35, -65) else 0
        expected.append(float(quiet >= 100))
    assert y.data[:, 0].tolist() == expected
    assert np.any(y.data)
    assert not np.all(y.data)
    np.testing.assert_array_equal(y.times, x.times[319::320])


def test_the_unit_of_the_sound_does_not_matter_once_something_was_heard() -> None:
    one, other = (Silence().layer(sound(1, scale)).data for scale in (1.0, 32768.0))
    assert np.array_equal(one, other)


def test_silent_rows_are_masked_rows_and_a_silent_second_has_no_score() -> None:
    x = aligned(0, 120 * 50, 3)
    silent = np.zeros((len(x), 1), bool)
    silent[70 * 50 : 90 * 50 + 10] = True
    y = Score().layer(Block(x.data, x.times, 0, {**x.extra, "silent": silent}))
    masked = Score().layer(Block(x.data, x.times, 0, {"bad": np.asarray(x.extra["bad"], bool) | silent}))
    during = np.zeros(120, bool)
    during[70:90] = True
    assert np.array_equal(np.asarray(y.extra["silent"], bool)[:, 0], during)
    assert np.isnan(y.data[during]).all()
    assert np.isnan(np.asarray(y.extra["null_max_p95"], float)[during]).all()
    np.testing.assert_array_equal(y.data[~during], masked.data[~during])
    words = [score_words(y.rows(i, i + 1)) for i in range(120)]
    assert words[:29] == [NOT_ENOUGH] * 29
    assert words[34:70] == [""] * 36
    assert words[70:90] == [SILENT] * 20
    assert words[90] == ""
    assert score_words(None) == NOT_ENOUGH


def test_the_scorer_marks_rows_by_the_sound_of_their_time() -> None:
    found: list[Block] = []
    scorer = Scorer(found.append, lambda _score: None)
    scorer.start()
    quiet = np.zeros((500, 1), np.float32)
    quiet[200:350] = 1.0
    rows = regular(np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32), 50.0)
    for at in range(0, 500, 25):
        scorer.add_observed(rows.rows(at, at + 25))
        scorer.add_silence(Block(quiet[at : at + 25], rows.times[at : at + 25]))
        scorer.add_predicted(rows.rows(at, at + 25))
    scorer.finish(30.0)
    assert scorer.error is None
    silent = np.concatenate([np.asarray(block.extra["silent"], bool) for block in found])
    assert np.array_equal(silent, quiet > 0)
