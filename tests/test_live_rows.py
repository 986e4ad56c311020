"""A model of 100 rows a second through real LSL: what goes out live comes out of the recording again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encoders.model_file import load_model
from realtime.block import Block
from realtime.commands import wiring
from realtime.commands.choose import pick_stream, sound_by_rate
from realtime.commands.closing import closing_report
from realtime.commands.predicting import ecog_of, predict_recording
from realtime.commands.recordings import recording
from realtime.commands.session import open_session
from realtime.commands.session_report import repeated
from realtime.config import Config
from realtime.errors import UserError
from realtime.lane import Publish, Step
from realtime.sources.recording import load_recording
from tests.rig import await_state, replaying, rows_of, small_config, small_model, small_recording
from tests.test_live import wait_until

SECONDS = 12.0
ENGINE, PREFIX = "rows-test", "rows"


@pytest.mark.long
def test_live_is_offline_at_a_hundred_rows_a_second(tmp_path: Path) -> None:
    source = small_recording(SECONDS, PREFIX)
    embedding = wiring.embedding_of(small_config(PREFIX, None, ENGINE).whisper)
    model = small_model(tmp_path, source, embedding, row_rate_hz=100.0)
    config = small_config(PREFIX, model, ENGINE)
    config = Config.model_validate({**config.model_dump(), "record": {"file": tmp_path / "live.xdf"}})
    aligned: list[Block] = []
    newest_s: dict[str, float] = {}
    with replaying(source, tmp_path) as replay:
        session = open_session(config, on_aligned=aligned.append)
        engine = session.engine
        for lane in (engine.sound, engine.ecog):
            lane.publish = _noting(lane.publish, lane.name, newest_s)
        with recording(config, session):
            engine.start()
            begin_s = float(str(await_state(replay, "started")["start_s"]))
            await_state(replay, "finished")
            for name in ("sound", "ecog"):
                wait_until(lambda name=name: newest_s.get(name, 0.0) >= begin_s + SECONDS - 0.005)  # type: ignore[misc]
            engine.stop()
    recorded = load_recording(tmp_path / "live.xdf")
    _, header = load_model(model)
    sound = pick_stream(recorded, "sound", None, sound_by_rate)
    ecog = pick_stream(recorded, "ecog", None, ecog_of(header))
    brain, header = load_model(model)
    again = predict_recording(sound, ecog, "stimulus", session.embedding, brain, header)
    found, times = rows_of(aligned)
    expected, offline_times = rows_of(again)
    assert len(found) > 100 * 0.5 * SECONDS
    np.testing.assert_array_equal(times, offline_times)
    np.testing.assert_allclose(np.diff(times), 0.01, atol=1e-4)
    bad = np.concatenate([np.asarray(block.extra["bad"], bool) for block in again])
    both = ~(bad | np.concatenate([np.asarray(block.extra["bad"], bool) for block in aligned]))
    assert both.mean() > 0.9
    np.testing.assert_allclose(found[..., 0], expected[..., 0], atol=1e-4 * expected[..., 0].std())
    np.testing.assert_allclose(found[both, 1], expected[both, 1], atol=1e-4)
    for what in ("predicted", "observed", "attention", "telemetry"):
        assert recorded.streams[f"{ENGINE}.{what}"].spec.rate_hz == 100.0, what
        assert len(recorded.streams[f"{ENGINE}.{what}"].data) == len(found), what
    facts = {"electrodes": header.electrodes, "facts": engine.settings.facts}
    told = repeated(recorded, config, facts, {})
    closing = closing_report(engine, SECONDS)
    assert told["scores"]["listening"]["seconds"] == closing["scores"]["listening"]["seconds"]
    assert min(closing["scores"]["listening"]["seconds"].values()) > 0.5 * SECONDS


@pytest.mark.long
def test_a_model_of_more_rows_does_not_adapt(tmp_path: Path) -> None:
    source = small_recording(1.0, PREFIX)
    config = small_config(PREFIX, None, ENGINE)
    model = small_model(tmp_path, source, wiring.embedding_of(config.whisper), row_rate_hz=200.0)
    config = Config.model_validate({**config.model_dump(), "model": {"file": model, "adapt": True}})
    with (
        replaying(source, tmp_path),
        pytest.raises(UserError, match="the model has 200 rows a second, adaptation needs 50"),
    ):
        open_session(config)


def _noting(publish: Publish, name: str, newest_s: dict[str, float]) -> Publish:
    def noting(y: Block, step: Step) -> None:
        publish(y, step)
        newest_s[name] = step.newest_time_s

    return noting
