"""The engine through real LSL, with real Whisper weights: what goes out live comes out of the recording again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.model_file import load_model
from realtime.block import Block
from realtime.commands import wiring
from realtime.commands.choose import pick_stream, sound_by_rate
from realtime.commands.predicting import ecog_of, one_timeline
from realtime.commands.recordings import recording
from realtime.commands.session import Session, open_session
from realtime.config import Config
from realtime.lane import Step
from realtime.offline import run_chain
from realtime.sources.recording import Recording, load_recording
from realtime.telemetry import TELEMETRY
from tests.rig import await_state, replaying, rows_of, small_config, small_model, small_recording

SECONDS = 16.0
ENGINE = "live-test"
PREFIX = "live"


@dataclass
class Live:
    """A finished live session: what the engine had in hand, and what LabRecorder wrote."""

    session: Session
    sent: dict[str, int]
    recorded: Recording
    embeddings: list[Block]
    predicted: list[Block]
    observed: list[Block]
    events: list[dict[str, Any]]
    model: Any


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder = tmp_path_factory.mktemp("live")
    source = small_recording(SECONDS, PREFIX)
    embedding = wiring.embedding_of(small_config(PREFIX, None, ENGINE).whisper)
    model = small_model(folder, source, embedding)
    config = small_config(PREFIX, model, ENGINE)
    config = Config.model_validate({**config.model_dump(), "record": {"file": folder / "live.xdf"}})
    events: list[dict[str, Any]] = []
    embeddings: list[Block] = []
    predicted: list[Block] = []
    observed: list[Block] = []
    with replaying(source, folder) as replay:
        session = open_session(config, on_event=events.append)
        newest_s = _tap(session, embeddings, predicted, observed)
        with recording(config, session):
            session.engine.start()
            begin_s = float(str(await_state(replay, "started")["start_s"]))
            sent = await_state(replay, "finished")["sent"]
            for lane in (session.engine.sound, session.engine.ecog):
                last_s = begin_s + SECONDS - 0.005  # the measured clock offset moves times by some microseconds
                wait_until(lambda lane=lane, last_s=last_s: newest_s.get(lane.name, 0.0) >= last_s)
            session.engine.stop()
    return Live(
        session,
        sent,  # type: ignore[arg-type]
        load_recording(folder / "live.xdf"),
        embeddings,
        predicted,
        observed,
        events,
        model,
    )


def _tap(session: Session, embeddings: list[Block], predicted: list[Block], observed: list[Block]) -> dict[str, float]:
    """Keep what the lanes make, and the time of the newest row that each has used."""
    newest_s: dict[str, float] = {}
    sound, ecog = session.engine.sound, session.engine.ecog
    publish_sound, publish_ecog = sound.publish, ecog.publish

    def from_sound(y: Block, step: Step) -> None:
        if len(y):
            predicted.append(y)
            embeddings.append(step.blocks["whisper"])
        publish_sound(y, step)
        newest_s["sound"] = step.newest_time_s

    def from_ecog(y: Block, step: Step) -> None:
        if len(y):
            observed.append(y)
        publish_ecog(y, step)
        newest_s["ecog"] = step.newest_time_s

    sound.publish, ecog.publish = from_sound, from_ecog
    return newest_s


def wait_until(there: Any, timeout_s: float = 20.0) -> None:
    until = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def test_not_a_sample_is_lost(live: Live) -> None:
    """The recorder listens first, so the source may send before the engine's first row: its anchor says where."""
    samples = live.session.engine.samples()
    for lane in ("sound", "ecog"):
        recorded = live.recorded.streams[f"{PREFIX} {lane}"]
        assert len(recorded.data) == live.sent[f"{PREFIX} {lane}"]
        used = int(np.count_nonzero(recorded.stamps >= (recorded.anchor_s or 0.0) - 1e-9))
        assert samples[lane] == {"received": used, "lost": 0, "skipped": 0}
        assert used > 0.6 * len(recorded.data)
    assert live.session.engine.scorer.dropped == 0
    assert live.session.engine.scorer.error is None


def test_the_recording_gives_the_live_rows_again(live: Live) -> None:
    header, embedding = live.session.header, live.session.embedding
    assert header is not None
    sound = pick_stream(live.recorded, "sound", None, sound_by_rate)
    ecog = pick_stream(live.recorded, "ecog", None, ecog_of(header))
    assert sound.anchor_s is not None, "the recorded status was not used"
    offline = run_chain(sound, wiring.sound_lane(sound.spec, "stimulus", embedding))
    found, times = rows_of(live.embeddings)
    expected, offline_times = rows_of(offline)
    np.testing.assert_array_equal(times, offline_times)
    assert np.max(np.abs(found - expected) / expected.std(axis=0)) < 3e-4

    model, _ = load_model(live.model)
    again = run_chain(sound, wiring.sound_lane(sound.spec, "stimulus", embedding, model))
    found, times = rows_of(live.predicted)
    expected, offline_times = rows_of(again)
    np.testing.assert_array_equal(times, offline_times)
    assert np.max(np.abs(found - expected) / expected.std(axis=0)) < 1e-4
    assert len(found) > 50 * 0.5 * SECONDS

    baseline = (header.baseline_median, header.baseline_mad)
    high_gamma = one_timeline(run_chain(ecog, wiring.ecog_lane(ecog.spec, wiring.EcogPlan.fitted(header), baseline)))
    found, times = rows_of(live.observed)
    np.testing.assert_array_equal(times, high_gamma.times)
    np.testing.assert_allclose(found, high_gamma.data, atol=1e-5)


def test_what_was_published_is_what_was_predicted(live: Live) -> None:
    published = live.recorded.streams[f"{ENGINE}.predicted"]
    predicted, times = rows_of(live.predicted)
    assert published.spec.channels == live.session.engine.settings.electrodes
    np.testing.assert_array_equal(published.data, predicted)
    np.testing.assert_allclose(published.stamps, times, atol=1e-6)


def test_observed_is_on_the_predictions_grid_with_what_is_bad_left_out(live: Live) -> None:
    observed = live.recorded.streams[f"{ENGINE}.observed"]
    predicted = live.recorded.streams[f"{ENGINE}.predicted"]
    assert set(np.round(observed.stamps, 6)) <= set(np.round(predicted.stamps, 6))
    ecog = live.recorded.streams[f"{PREFIX} ecog"]
    spell_s = ecog.stamps[np.flatnonzero(np.isnan(ecog.data[:, 2]))]
    spell = (observed.stamps > spell_s[0]) & (observed.stamps < spell_s[-1])
    after_s = observed.stamps - observed.stamps[0]
    assert np.all(np.isnan(observed.data[spell, 2]))
    assert np.all(np.isfinite(observed.data[spell][:, [0, 1, 3, 4, 5]])), "NaN of one channel spread to another"
    assert np.isfinite(observed.data[after_s > 1]).mean() > 0.9


def test_telemetry_has_a_row_per_prediction_in_the_order_of_events(live: Live) -> None:
    telemetry = live.recorded.streams[f"{ENGINE}.telemetry"]
    column = {name: live_column for live_column, name in enumerate(TELEMETRY)}
    rows = telemetry.data
    assert len(rows) == sum(len(block) for block in live.predicted)
    order = [f"{what}_time" for what in ("newest_sample", "arrival", "block_complete")]
    order += [f"{what}_done_time" for what in ("stem", "whisper", "model")]
    # float32 of recorded seconds rounds: compare with a tolerance of their spacing
    slack = np.spacing(np.float32(rows[:, column["published_time"]].max())) * 2
    for before, after in zip(order, [*order[1:], "published_time"], strict=True):
        assert np.all(rows[:, column[before]] <= rows[:, column[after]] + slack), (before, after)
    used_s = rows[:, column["newest_sample_time"]] - (telemetry.stamps - 0.04)
    assert used_s.min() >= 0.0325 + 0.04 - 2e-3, "a row was out before the sound it depends on"
    assert rows[-1, column["newest_sample_index"]] < live.sent[f"{PREFIX} sound"]


def test_status_tells_anchors_and_settings(live: Live) -> None:
    status = [json.loads(text) for _, text in live.recorded.markers[f"{ENGINE}.status"]]
    events = [event["event"] for event in status]
    assert events.index("settings") < events.index("anchor")
    assert {e["stream"] for e in status if e["event"] == "anchor"} == {f"{PREFIX} sound", f"{PREFIX} ecog"}
    settings = next(e for e in status if e["event"] == "settings")
    assert settings["whisper"]["sha256"] == live.session.embedding.whisper.sha256
    assert settings["simulated"] is True
    assert events[-1] == "stopped"


def test_nan_samples_are_counted(live: Live) -> None:
    lane = live.session.engine.ecog
    repair = lane.state[lane.chain.names.index("repair")]
    recorded = live.recorded.streams[f"{PREFIX} ecog"]
    used = recorded.data[recorded.stamps >= (recorded.anchor_s or 0.0) - 1e-9][:, :6]
    assert repair.nan_samples.tolist() == np.isnan(used).sum(axis=0).tolist()
    assert repair.nan_samples[2] == 100


def test_latencies_are_counted_for_every_row(live: Live) -> None:
    latencies = live.session.engine.telemetry.sound
    rows = sum(len(block) for block in live.predicted)
    assert latencies.compute.count == latencies.wait.count == rows
    assert latencies.compute.percentile(0.5) < latencies.to_publication.percentile(0.5) + 1.0
    assert 60 < latencies.wait.percentile(0.5) < 200


def test_an_existing_recording_is_never_written_over(live: Live, tmp_path: Path) -> None:
    existing = tmp_path / "there.xdf"
    existing.write_bytes(b"precious")
    config = small_config(PREFIX, None, ENGINE)
    config = Config.model_validate({**config.model_dump(), "record": {"file": existing}})
    with pytest.raises(Exception, match="exists already"), recording(config, live.session):
        pass
    assert existing.read_bytes() == b"precious"
