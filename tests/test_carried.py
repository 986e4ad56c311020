"""What a restarted engine goes on with: the same score and counts as one that lived on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from realtime.block import Block
from realtime.carried import LaneState, Pace, StateFolder
from realtime.repair import RepairState
from realtime.score import Score
from realtime.scoring import Scorer
from realtime.zscore import ZScore
from tests.test_lane import OneLane

ROWS, ELECTRODES = 50, 3


def rows(start_s: float, stop_s: float, index_from_s: float, a_second: int = ROWS) -> tuple[Block, Block]:
    """Predicted and observed rows of some seconds, counted from index_from_s."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(120 * a_second, ELECTRODES, 2)).astype(np.float32)
    truth[..., 1] += 0.7 * truth[..., 0]
    first, last = round(start_s * a_second), round(stop_s * a_second)
    times = np.arange(first, last) / a_second
    index = first - round(index_from_s * a_second)
    data = truth[first:last]
    return Block(data[..., 0], times, index), Block(data[..., 1], times, index)


def scored(folder: Path, start_s: float, stop_s: float, a_second: int = ROWS) -> list[Block]:
    """A scorer of its own, as in an engine's life, that takes over what is in the folder."""
    found: list[Block] = []
    scorer = Scorer(lambda _block: None, found.append, row_rate_hz=a_second)
    scorer.keep_in(StateFolder(folder))
    scorer.start()
    predicted, observed = rows(start_s, stop_s, start_s, a_second)
    for at in range(0, len(predicted), 25):
        scorer.add_observed(observed.rows(at, at + 25))
        scorer.add_predicted(predicted.rows(at, at + 25))
    scorer.finish(30.0)
    assert scorer.error is None
    return found


def test_the_score_goes_on_over_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.scoring.KEEP_EVERY_S", 0.0)
    monkeypatch.setattr("realtime.carried.KEPT_SHARE", 1e9)
    scored(tmp_path, 0.0, 70.3)
    after = scored(tmp_path, 75.6, 100.0)
    whole, state = Score(), Score().initial_state()
    expected: list[Block] = []
    for start_s, stop_s in ((0.0, 70.3), (75.6, 100.0)):
        predicted, observed = rows(start_s, stop_s, 0.0)
        data = np.stack([predicted.data, observed.data], axis=-1)
        score, state = whole.step(Block(data, predicted.times, predicted.index), state)
        expected.append(score)
    found = np.concatenate([block.data for block in after])
    np.testing.assert_allclose(found, expected[1].data, atol=1e-6)
    assert np.isfinite(found[0]).all(), "a score at once, not after another half minute"


def test_state_is_kept_rarely_where_that_takes_long() -> None:
    pace = Pace(2.0)
    assert pace.due(100.0)
    pace.kept(100.0, 100.01)
    assert (pace.due(102.0), pace.due(102.02)) == (False, True)
    pace.kept(103.0, 104.0)
    assert (pace.due(153.0), pace.due(154.1)) == (False, True), "a second of keeping in fifty"


def test_another_montage_or_clock_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.scoring.KEEP_EVERY_S", 0.0)
    monkeypatch.setattr("realtime.carried.KEPT_SHARE", 1e9)
    scored(tmp_path, 60.0, 100.0)
    assert np.isnan(scored(tmp_path, 0.0, 20.0)[0].data).all(), "time went back"
    scored(tmp_path, 20.0, 60.0)
    assert np.isnan(scored(tmp_path, 60.5, 70.0, a_second=100)[0].data).all(), "rows of another length"


def test_a_lane_goes_on_with_its_counts_and_says_what_it_missed() -> None:
    one = OneLane()
    one.lane.take_over(LaneState(received=100, lost=7, skipped=3, resets=1, newest_time_s=2.0))
    with one:
        one.inlet.send(300, 310)
    assert one.lane.counts.received == 110
    assert one.lane.lost == 7 + 99, "rows 201 to 299 came while there was no engine"
    assert one.lane.skipped == 3
    assert one.heard.events("took_over")[0]["missed"] == 99


def test_a_lanes_state_comes_back_from_its_file(tmp_path: Path) -> None:
    stage = ZScore(collect_s=1.0)
    rng = np.random.default_rng(1)
    x = Block(rng.normal(size=(100, 4)).astype(np.float32), np.arange(100) / 50)
    _, z_score = stage.step(x, stage.initial_state())
    kept = LaneState(5, 4, 3, 2, 1.5, RepairState(next_index=9, nan_samples=np.array([1, 2])), z_score)
    folder = StateFolder(tmp_path)
    assert folder.load_lane("ecog") is None
    folder.save_lane("ecog", kept)
    found = folder.load_lane("ecog")
    assert found is not None
    assert (found.received, found.lost, found.skipped, found.resets, found.newest_time_s) == (5, 4, 3, 2, 1.5)
    repair, other, score = found.into(
        ("repair", "resample", "z_score"), (RepairState(), "fresh", stage.initial_state())
    )
    assert repair.nan_samples.tolist() == [1, 2]
    assert (repair.next_index, other) == (-1, "fresh")
    np.testing.assert_array_equal(stage.step(x, score)[0].data, stage.step(x, z_score)[0].data)
    (tmp_path / "ecog.safetensors").write_bytes(b"torn")
    assert folder.load_lane("ecog") is None
