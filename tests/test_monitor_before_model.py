"""What the monitor shows before there is any model: onsets of sound and spectra; states and regions. No Qt, then Qt."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.monitor.choice import Choice
from realtime.monitor.history import Rows
from realtime.monitor.layout import grid_rows, places
from realtime.monitor.masked import Masked
from realtime.monitor.onsets import OnsetAverage, OnsetFinder, mel_level_db
from realtime.monitor.timeline import spans
from realtime.monitor.vitals import read_settings, read_timed

STEP_S = 0.02


def levels(*parts: tuple[float, float], seed: int = 0) -> np.ndarray[Any, Any]:
    """(seconds, dB) one after the other, with 1 dB of noise."""
    flat = np.concatenate([np.full(round(seconds / STEP_S), db) for seconds, db in parts])
    return flat + np.random.default_rng(seed).normal(0, 1.0, len(flat))


def test_onsets_are_where_sound_follows_quiet() -> None:
    parts = [
        (2.0, -60.0),
        (1.0, -20.0),
        (0.5, -60.0),
        (2.0, -25.0),
        (0.1, -60.0),
        (1.0, -20.0),
        (3.0, -60.0),
        (1.0, -30.0),
    ]
    level = levels(*parts)
    begins = np.cumsum([0.0] + [seconds for seconds, _ in parts])[[1, 3, 7]]  # a pause of 0.1 s is none
    found = OnsetFinder().find(100.0 + STEP_S * np.arange(len(level)), level)
    np.testing.assert_allclose(found, 100.0 + begins, atol=STEP_S / 2)


def test_steady_noise_and_lost_rows_make_no_onsets() -> None:
    noise = np.random.default_rng(3).normal(-30.0, 1.5, 3000)
    assert OnsetFinder().find(STEP_S * np.arange(3000), noise) == []
    finder, level = OnsetFinder(), levels((4.0, -60.0), (2.0, -20.0))
    times = STEP_S * np.arange(len(level))
    times[200:] += 5.0  # nobody knows whether it was quiet just before
    assert finder.find(times, level) == []


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=20), st.integers(0, 100))
def test_onsets_do_not_depend_on_chunks(cuts: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    level = levels(*[(random.uniform(0.1, 1.5), random.choice([-60.0, -20.0])) for _ in range(25)], seed=seed)
    times = STEP_S * np.arange(len(level))
    whole, finder, found, at = OnsetFinder().find(times, level), OnsetFinder(), [], 0
    for cut in [*cuts, len(level)]:
        found += finder.find(times[at : at + cut], level[at : at + cut])
        at += cut
    assert found == whole


def test_level_of_log_mel_is_that_of_its_powers() -> None:
    power = np.random.default_rng(0).uniform(1e-6, 1.0, (5, 80))
    np.testing.assert_allclose(mel_level_db(np.log10(power) / 4 + 1), 10 * np.log10(power.mean(axis=1)), atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.sampled_from([0.02, 0.01]))
def test_the_average_is_that_of_all_epochs(seed: int, chunk: int, step_s: float) -> None:
    random = np.random.default_rng(seed)
    rows = Rows(("a", "b"), 4000, step_s=step_s)
    count = round(12 / step_s)
    data = random.standard_normal((count, 2)).astype(np.float32)
    data[random.random(data.shape) < 0.05] = np.nan
    times = np.asarray(50.0 + step_s * np.arange(count) + 0.2 * step_s * random.uniform(-1, 1), np.float64)
    onsets = sorted(random.uniform(49.0, 61.5, 6).tolist())
    average = OnsetAverage(rows.channels, rows.step_s)
    waiting = list(onsets)
    for at in range(0, count, 50 * chunk):
        rows.append(times[at : at + 50 * chunk], data[at : at + 50 * chunk])
        ready = [t for t in waiting if t <= times[min(count - 1, at + 50 * chunk - 1)]]
        average.await_rows(ready)
        waiting = waiting[len(ready) :]
        average.take(rows)
    used = [t for t in onsets if t + 1.0 + step_s <= times[-1]]
    want = slow_average(times, data, used, step_s)
    np.testing.assert_allclose(average.mean(), want, atol=1e-5)
    assert average.lags_s[[0, round(0.4 / step_s), -1]].tolist() == pytest.approx([-0.4, 0.0, 1.0])


def slow_average(times: Any, data: Any, onsets: list[float], step_s: float) -> Any:
    """Epoch by epoch, lag by lag."""
    zero, lags = round(0.4 / step_s), round(1.4 / step_s) + 1
    epochs = np.full((len(onsets), lags, 2), np.nan)
    for e, onset in enumerate(onsets):
        for k in range(lags):
            near = int(np.argmin(np.abs(times - (onset + (k - zero) * step_s))))
            if abs(times[near] - (onset + (k - zero) * step_s)) <= step_s / 2:
                epochs[e, k] = data[near]
        for c in range(2):
            before = [v for v in epochs[e, zero // 4 : zero, c] if np.isfinite(v)]
            epochs[e, :, c] -= np.mean(before) if before else np.nan
    return np.array(
        [[np.mean([v for v in epochs[:, k, c] if np.isfinite(v)] or [np.nan]) for c in range(2)] for k in range(lags)]
    )


def test_share_masked_is_of_all_rows() -> None:
    masked = Masked(2)
    assert np.isnan(masked.share).all()
    masked.add(np.array([[1.0, np.nan], [2.0, 3.0]]))
    masked.add(np.array([[np.nan, np.nan], [2.0, np.nan]]))
    assert masked.share.tolist() == [0.25, 0.75]


# -- what the engine tells ---------------------------------------------------------------------------------------------


def test_states_last_until_the_next() -> None:
    states = [(10.0, "listening"), (20.0, "speaking"), (30.0, "silence")]
    assert spans(states, 0.0, 25.0) == [(10.0, 20.0, "listening"), (20.0, 25.0, "speaking")]
    assert spans(states, 21.0, 40.0) == [(21.0, 30.0, "speaking"), (30.0, 40.0, "silence")]
    assert spans(states[:0], 0.0, 1.0) == []
    assert read_timed({"event": "state", "state": "listening", "time_s": 3.0, "time": 4.0}) == (3.0, "listening")
    assert read_timed({"event": "marker", "text": "stim", "time": 4.0}) == (4.0, "stim")
    assert read_timed({"event": "gap", "time": 4.0}) is None
    assert read_timed({"event": "state", "state": "x", "time_s": "soon"}) is None


def test_what_a_montage_tells_is_read_however_it_is_written() -> None:
    told = read_settings({"electrodes": ["a", "b"], "regions": ["STG", None], "groups": {"a": "G", "b": "TP"}})
    assert (told.regions, told.groups) == ({"a": "STG"}, {"a": "G", "b": "TP"})
    assert read_settings({}).delays == "not measured"
    assert read_settings({"delays": {"sound": None, "ecog": None}}).delays == "not measured"
    delays = read_settings({"delays": {"sound": 0.0123, "ecog": {"delay_s": None}}}).delays
    assert delays == "sound 12.3 ms, ecog not measured"
    recording = read_settings({"recording": {"on": True, "file": "a.xdf", "sound": True}}).recording
    assert recording is not None
    assert recording.voices


def test_regions_are_gone_round_and_groups_are_laid_out() -> None:
    names, scores = list("abcd"), np.array([0.1, 0.4, 0.2, 0.3])
    regions = {"a": "STG", "b": "IFG", "d": "STG"}
    choice = Choice(mode="region", count=2)
    assert (choice.select(names, scores, [], [], regions), choice.said) == (["b"], "IFG")
    choice.region = 3
    assert (choice.select(names, scores, [], [], regions), choice.said) == (["a", "d"], "STG")
    assert choice.select(names, scores, [], [], {}) == ["b", "d"]
    assert "no regions known" in choice.said
    where = places(names, None, {"a": "grid", "b": "strip", "c": "grid", "d": "strip"})
    assert grid_rows(names, where) == [["a", "c"], ["b", "d"]]


# -- in the window -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(qtbot: Any) -> Iterator[tuple[Any, Any]]:
    from realtime.monitor.client import Client
    from realtime.monitor.window import Window
    from realtime.sources.lsl import Network, local_clock
    from tests.fake_engine import FakeEngine

    name = f"test{uuid.uuid4().hex[:8]}"
    window = Window(Client(name, Network, local_clock), count=3)
    qtbot.addWidget(window)
    window.show()
    window.client.start()
    engine = FakeEngine(name, electrodes=6)
    assert engine.wait_for_monitor()
    qtbot.waitUntil(lambda: all(o.inlet is not None for o in window.client.outlets.values()), timeout=30_000)
    window._timer.stop()
    yield window, engine
    window.close()
    window.client.close()


def draw(window: Any) -> None:
    for _ in range(6):
        window.draw()


def test_spectra_drawn_are_those_published(qtbot: Any, pair: tuple[Any, Any]) -> None:
    window, engine = pair
    window.tabs.setCurrentWidget(window.spectrum.widget)
    engine.push_spectrum(0)
    qtbot.waitUntil(lambda: window.client.outlets["spectrum"].spectra.written > 0, timeout=30_000)
    qtbot.waitUntil(lambda: len(window.client.outlets["spectrum"].spectra.latest()[0]) == 126, timeout=30_000)
    draw(window)
    sent = engine.spectrum(0)
    x, y = window.spectrum.all.getData()
    np.testing.assert_allclose(x.reshape(6, 126), np.tile(sent[:, 0], (6, 1)))
    np.testing.assert_allclose(y.reshape(6, 126), sent[:, 1:].T, atol=1e-4)
    assert window.spectrum.all.opts["connect"].reshape(6, 126)[:, -1].tolist() == [0] * 6
    np.testing.assert_allclose(window.spectrum.picture.image, sent[:, 1:], atol=1e-4)
    assert window.spectrum.wrong["LT2"] == "dead"
    assert window.spectrum.wrong["LT3"] == "noisy"
    assert "dead: LT2" in window.spectrum.says.text()


def test_the_average_grows_at_each_electrode_s_place(qtbot: Any, pair: tuple[Any, Any]) -> None:
    window, engine = pair
    window.tabs.setCurrentWidget(window.onsets.widget)
    engine.start_s = window.client.now_s() - 12.0
    rows = np.arange(600)
    observed = engine.observed(rows)
    observed[:, 0] = 0.0
    observed[300:310, 0] = 2.0  # from the onset on
    engine.push("observed", observed[:100], engine.times(rows[:100]))
    qtbot.waitUntil(lambda: window.client.onsets is not None, timeout=30_000)
    sound = np.full((600, 81), -0.5)  # -60 dB
    sound[300:400, 1:] = 0.5
    engine.push("sound", sound, engine.times(rows))
    engine.push("observed", observed[100:], engine.times(rows[100:]))
    qtbot.waitUntil(lambda: window.client.onsets.onsets == 1, timeout=30_000)
    draw(window)
    panel, place = window.onsets, window._places[0]
    curve = panel.shown if engine.electrodes[0] in window.shown else panel.others
    x, y = curve.getData()
    mine = np.abs(x - place[0]) < 0.5
    mine &= np.abs(y - place[1]) < 0.5
    peak = np.flatnonzero(mine & (y > place[1] + 0.1))
    assert len(peak) == 10
    lags_s = (x[peak] - place[0]) / 0.86 * 1.4 + 0.3
    np.testing.assert_allclose(lags_s, STEP_S * np.arange(10), atol=1e-6)
    assert "Mean of 1 onsets" in panel._item.titleLabel.text
    pinned = engine.electrodes[0]
    panel.widget.clicked.emit(*place)
    assert window.choice.pinned == [pinned]


def test_states_markers_and_voices_are_shown_when_told(qtbot: Any, pair: tuple[Any, Any]) -> None:
    window, engine = pair
    rows = np.arange(100)
    engine.start_s = window.client.now_s() - 3.0
    engine.push("predicted", engine.predicted(rows), engine.times(rows))
    begin_s = engine.start_s + 0.5
    engine.say("state", state="listening", time_s=begin_s)
    engine.say("state", state="speaking", time_s=begin_s + 1.0)
    engine.say("marker", text="stim on at electrode 3", at_s=begin_s + 0.25)
    engine.facts = {
        "state": "speaking",  # as the events say
        "recording": {"on": True, "file": "a.xdf", "bytes": 5, "free_bytes": 9, "sound": True},
        "regions": {"LT1": "STG", "LT4": "STG"},
        "delays": {"sound": 0.01, "ecog": 0.002},
    }
    engine.say_settings()
    qtbot.waitUntil(lambda: len(window.client.states) == 2 and bool(window.client.settings.regions), timeout=30_000)
    qtbot.keyClick(window, "g")
    draw(window)
    timeline, drawn_s = window.traces.timeline, window.traces.drawn_s
    np.testing.assert_allclose(timeline.bars["listening"].getData()[0] + drawn_s, [begin_s, begin_s + 1.0], atol=1e-6)
    np.testing.assert_allclose(timeline.bars["speaking"].getData()[0] + drawn_s, [begin_s + 1.0, drawn_s], atol=1e-6)
    np.testing.assert_allclose(timeline.lines.getData()[0] + drawn_s, [begin_s + 0.25] * 2, atol=1e-6)
    told = [label.toPlainText() for label in timeline.labels if label.isVisible()]
    assert told == ["listening", "speaking", "stim on at elec…"]
    assert window.shown == ["LT1", "LT4"]
    assert "STG" in window.traces._item.titleLabel.text
    assert window.health.voices.isVisible()
    assert "sound 10.0 ms, ecog 2.0 ms" in window.health.who.text().replace("&nbsp;", " ")
    engine.facts = {"state": "silence"}  # of which no event was heard
    engine.say_settings()
    qtbot.waitUntil(lambda: window.client.states[-1][1] == "silence", timeout=30_000)
    assert len(window.client.states) == 3
