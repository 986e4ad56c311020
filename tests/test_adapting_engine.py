"""An engine whose model adapts: switched while it runs, told, replayed, and gone on with after a death."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.adaptation import AdaptationConfig
from encoders.adapted import AdaptedModel
from encoders.projection import fit_projection
from encoders.ridge import LaggedRidge
from realtime.adapting import run_adapting
from realtime.block import Block, regular
from realtime.carried import StateFolder
from realtime.engine import Engine, EngineSettings
from realtime.errors import UserError
from realtime.repair import Repair
from realtime.stage import Chain
from realtime.states import Timeline
from tests.toys import PATIENCE_S, FakeInlet, FakeResults, Heard, Toy

CONFIG = AdaptationConfig(components=2, lags=(0, 2), memory_s=20.0, prior=10.0, window_s=10, enough_s=5.0)
ROWS = 1500
BEST = 0.75  # of white rows, a component smoothed over three explains 0.82


@pytest.fixture(autouse=True)
def _no_outlets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("realtime.engine.Results", FakeResults)
    monkeypatch.setattr("realtime.scoring.KEEP_EVERY_S", 0.0)
    monkeypatch.setattr("realtime.carried.KEPT_SHARE", np.inf)  # rows come faster than time passes here
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


def model() -> AdaptedModel:
    """Knows nothing of what the electrodes do."""
    rng = np.random.default_rng(0)
    projection = fit_projection(rng.normal(size=(500, 2)).astype(np.float32), 2)
    weights = 0.1 * rng.normal(size=(1, 2, 2)).astype(np.float32)
    return AdaptedModel(LaggedRidge(projection, weights, np.zeros(2, np.float32)), CONFIG)


class Rig:
    """An engine whose sound lane's rows are embeddings; the electrodes do, a little later, what those do."""

    def __init__(
        self,
        folder: Path,
        adapt: bool = False,
        adaptive: bool = True,
        contaminated: tuple[str, ...] = (),
        timeline: Timeline | None = None,
    ) -> None:
        self.sound, self.ecog = FakeInlet("s", 2), FakeInlet("e", 2)
        self.model = model()
        stage: Any = self.model if adaptive else Toy()
        self.engine = Engine(
            EngineSettings("test", ("e0", "e1"), (1, 1), contaminated=contaminated),
            (self.sound, Chain([("repair", Repair(50.0, 0.5, hold=True)), ("model", stage)])),
            (self.ecog, Chain([("repair", Repair(50.0, 0.5, hold=True)), ("toy", Toy())])),
            state=StateFolder(folder),
            adaptive=self.model if adaptive else None,
            adapt=adapt,
            timeline=timeline,
        )
        self.heard: Heard = self.engine.results.heard  # type: ignore[attr-defined]
        self.x = np.random.default_rng(1).normal(size=(ROWS, 2)).astype(np.float32)
        self.observed = np.roll(self.x @ np.array([[1, 2], [-1, 1]], np.float32), 3, axis=0)

    def run(self, start: int, stop: int) -> None:
        there = len(self.heard.rows("observed"))
        for at in range(start, stop, 50):
            self.ecog.send(at, at + 50, self.observed[at : at + 50])
            self.sound.send(at, at + 50, self.x[at : at + 50])
            self.heard.until(lambda upto=there + at + 50 - start: len(self.heard.rows("observed")) == upto)  # type: ignore[misc]

    def predicted(self) -> np.ndarray[Any, Any]:
        return np.concatenate([block.data for block in self.heard.blocks("predicted")])


def test_switched_on_told_shown_and_replayed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.engine.start()
    rig.run(0, 200)
    rig.engine.adapt(True)
    rig.run(200, ROWS)
    rig.engine.stop(PATIENCE_S)
    events = rig.heard.events("adaptation")
    assert [(e["on"], e["shown"]) for e in events] == [(True, "fitted"), (True, "adapted")]
    assert events[0]["row"] in (150, 200), "the switch may overtake the last rows before it"
    assert rig.engine.adapter is not None
    facts = rig.engine.adapter.facts
    assert facts["adaptation"] is True
    assert facts["adaptation_shown"] == "adapted"
    assert facts["adaptation_r"]["adapted"] > facts["adaptation_r"]["fitted"] + 0.3
    assert facts["adaptation_late"] == 0
    live = rig.predicted()
    assert np.corrcoef(live[-300:, 0], rig.observed[-300:, 0])[0, 1] > BEST
    x = regular(rig.x, 50.0)
    observed = Block(rig.observed, x.times, 0, {"bad": np.zeros((ROWS, 2), bool)})
    again = run_adapting(model(), x, observed, [(events[0]["row"], True)])
    np.testing.assert_allclose(again.data, live, atol=1e-5)
    fitted = model().fitted.layer(x).data
    np.testing.assert_array_equal(live[:300], fitted[:300])


def test_an_electrode_that_records_the_sound_decides_nothing(tmp_path: Path) -> None:
    """Its learner sees one electrode alone that counts; when that was is in the status, and the replay follows."""
    rig = Rig(tmp_path, adapt=True, contaminated=("e0",))
    rig.engine.start()
    rig.run(0, 900)
    rig.engine.stop(PATIENCE_S)
    (claims,) = rig.heard.events("adaptation_claims")
    assert (claims["row"], claims["claimed"]) == (0, [False, True])
    np.testing.assert_array_equal(rig.model.learner.claimed, [False, True])
    told = rig.heard.events("adaptation")[-1]
    assert told["shown"] == "adapted"
    assert rig.engine.adapter is not None
    r = rig.engine.adapter.facts["adaptation_r"]["adapted"]
    window = slice(400, 900)
    assert r == pytest.approx(np.corrcoef(adapted_of(rig)[window, 1], rig.observed[window, 1])[0, 1], abs=2e-3)
    x = regular(rig.x[:900], 50.0)
    observed = Block(rig.observed[:900], x.times, 0, {"bad": np.zeros((900, 2), bool)})
    again = run_adapting(model(), x, observed, claims=[(claims["row"], np.array(claims["claimed"]))])
    np.testing.assert_allclose(again.data, rig.predicted(), atol=1e-5)


def adapted_of(rig: Rig) -> np.ndarray[Any, Any]:
    return np.concatenate([np.asarray(block.extra["adapted"]) for block in rig.heard.blocks("predicted")])


def test_nothing_is_learnt_while_the_patient_does_not_listen(tmp_path: Path) -> None:
    """While it speaks, its electrodes do the opposite: predictions are those of a learner that never saw it."""
    spoken = slice(400, 900)
    timeline = Timeline(guard_s=0.0)
    timeline.add(8.0, "speaking")
    timeline.add(18.0, "listening")
    rig = Rig(tmp_path, adapt=True, timeline=timeline)
    rig.observed[spoken] *= -1
    rig.engine.start()
    rig.run(0, ROWS)
    rig.engine.stop(PATIENCE_S)
    x = regular(rig.x, 50.0)
    bad = np.zeros((ROWS, 2), bool)
    bad[spoken] = True
    again = run_adapting(model(), x, Block(rig.observed, x.times, 0, {"bad": bad}))
    np.testing.assert_allclose(rig.predicted(), again.data, atol=1e-5)
    assert rig.engine.adapter is not None
    assert rig.engine.adapter.state.learnt < ROWS - 490
    assert np.corrcoef(rig.predicted()[-300:, 0], rig.observed[-300:, 0])[0, 1] > BEST


def test_a_restarted_engine_goes_on_with_what_was_learnt(tmp_path: Path) -> None:
    first = Rig(tmp_path, adapt=True)
    first.engine.start()
    first.run(0, 1000)
    first.engine.stop(PATIENCE_S)
    second = Rig(tmp_path)  # nobody says that it should adapt: the one before did
    second.engine.start()
    second.run(1050, 1250)
    second.engine.stop(PATIENCE_S)
    live = second.predicted()
    assert np.corrcoef(live[5:, 0], second.observed[1055:1250, 0])[0, 1] > BEST, "from its first rows on"
    assert second.engine.adapter is not None
    assert second.engine.adapter.on


def test_off_shows_the_fitted_model_and_keeps_what_was_learnt(tmp_path: Path) -> None:
    rig = Rig(tmp_path, adapt=True)
    rig.engine.start()
    rig.run(0, 900)
    rig.engine.adapt(False)
    rig.run(900, ROWS)
    rig.engine.stop(PATIENCE_S)
    fitted = model().fitted.layer(regular(rig.x, 50.0)).data
    live = rig.predicted()
    assert np.abs(live[700:900] - fitted[700:900]).max() > 0.3
    np.testing.assert_array_equal(live[1050:], fitted[1050:])
    assert rig.heard.events("adaptation")[-1]["message"].startswith("adaptation off")
    assert rig.engine.adapter is not None
    assert rig.engine.adapter.state.learnt > 700


def test_without_a_model_that_could_it_says_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path, adaptive=False)
    with pytest.raises(UserError, match=r"\[model\] file"):
        rig.engine.adapt(True)
