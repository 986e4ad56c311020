"""The engine: a sound lane and an ECoG lane, the score, and the outlets. Knows no model and no window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from realtime import manners
from realtime.adapting import Adapter, Adaptive
from realtime.audio import sound_level_db
from realtime.block import ROW_RATE_HZ, Block, Floats
from realtime.carried import Pace, StateFolder
from realtime.errors import UserError
from realtime.lane import Lane, Publish, Step, marked
from realtime.pick import Pick
from realtime.rig_watch import RigWatch
from realtime.score import score_words
from realtime.scoring import Scorer
from realtime.silence import Silence
from realtime.sinks.results import Results
from realtime.sources.pump import Event, Inlet
from realtime.spectrum import SpectrumWatch, spectrum_bins
from realtime.stage import Chain
from realtime.states import Timeline
from realtime.telemetry import Telemetry, telemetry_rows

SETTINGS_EVERY_S = 10.0
SCORE_WAIT_S = 1.0  # for rows of a lane that catches up, past the longest backlog
STATE_EVERY_S = 1.0
ECOG_STEP_S = 0.02  # whatever the rows: each step costs the lane that predicts
SILENCE = Silence()


@dataclass(frozen=True)
class EngineSettings:
    """name: of the engine and its outlets. electrodes: of the predicted and observed rows. attention: (heads, lags),
    None without a model. facts: told in `status` at the start and every 10 s. contaminated: electrodes that recorded
    the sound when the model was fitted. keep_contaminated: they, and those found now, count in claims all the same.
    row_rate_hz: of predicted and observed rows."""

    name: str
    electrodes: tuple[str, ...]
    attention: tuple[int, int] | None
    facts: dict[str, Any] = field(default_factory=dict)
    ring_s: float = 30.0
    max_backlog_s: float = 5.0
    score_window_s: float = 60.0
    contaminated: tuple[str, ...] = ()
    keep_contaminated: bool = False
    row_rate_hz: float = ROW_RATE_HZ


class Engine:
    """Runs until `stop`. `predicted` leaves in the sound lane's own thread the moment it is there.

    on_aligned: told of every aligned block (rows, electrodes, 2), in the scoring thread. on_event: of every status
    event. `failed` is set when a lane ended by itself. state: where the engine keeps what one that is started after its
    death goes on with: counts, baselines, score, what was learnt. adaptive: the sound chain's model, where it can learn
    while it runs; adapt: it does so from the start. timeline: what the patient does when; rows count while it
    listens. beside: bodies of further threads, which end when the event they are given is set.
    """

    def __init__(
        self,
        settings: EngineSettings,
        sound: tuple[Inlet, Chain],
        ecog: tuple[Inlet, Chain],
        *,
        on_aligned: Callable[[Block], None] | None = None,
        on_event: Callable[[Event], None] | None = None,
        state: StateFolder | None = None,
        adaptive: Adaptive | None = None,
        adapt: bool = False,
        timeline: Timeline | None = None,
    ):
        self.settings = settings
        self.telemetry = Telemetry()
        self.failed = threading.Event()
        self.results = Results(settings.name, settings.electrodes, settings.attention, settings.row_rate_hz)
        self.adapter = None if adaptive is None else Adapter(adaptive, self._tell, adapt)
        self.timeline = Timeline() if timeline is None else timeline
        self.scorer = Scorer(
            self._publish_aligned,
            self._publish_score,
            settings.score_window_s,
            self._scorer_failed,
            self.adapter,
            self.timeline,
            settings.row_rate_hz,
            settings.max_backlog_s + SCORE_WAIT_S,
        )
        self.beside: list[Callable[[threading.Event], None]] = []
        self.score: Block | None = None
        self._silence = SILENCE.initial_state()
        self._score_words = ""
        self._hush = False
        self._on_aligned = on_aligned or (lambda _block: None)
        self._on_event = on_event or (lambda _event: None)
        self._now = sound[0].now
        self.anchors: dict[str, Event] = {}
        self.facts_now: dict[str, Any] = {}  # told with the settings, such as how the recording stands
        self._collector = manners.IdleCollector()
        self._stop = threading.Event()
        self._has_model = settings.attention is not None
        self._warm = False
        self.sound = self._lane("sound", sound, self._publish_predicted)
        self.ecog = self._lane("ecog", ecog, self._publish_observed, step_s=ECOG_STEP_S)
        self._spectrum = self._watch_spectrum()
        self.left_out: tuple[str, ...] = ()  # electrodes that no claim is made of: they record the sound
        self.rig = RigWatch(
            settings.electrodes,
            self.sound,
            self.ecog,
            self._tell,
            self.facts_now,
            settings.contaminated,
            self._leave_out,
            settings.row_rate_hz,
        )
        self._state, self._pace = state, Pace(0.5 * STATE_EVERY_S)  # asked once in STATE_EVERY_S
        self._take_over()
        self._heart = threading.Thread(target=self._beat, name="status", daemon=True)

    def _lane(self, name: str, source: tuple[Inlet, Chain], publish: Publish, step_s: float = 0.0) -> Lane:
        ring_s, max_backlog_s = self.settings.ring_s, self.settings.max_backlog_s
        return Lane(name, *source, publish, self._tell, ring_s=ring_s, max_backlog_s=max_backlog_s, step_s=step_s)

    def _watch_spectrum(self) -> SpectrumWatch | None:
        """Of the electrodes' raw samples; None where a chain does not pick any."""
        lane = self.ecog
        pick = dict(zip(lane.chain.names, lane.chain.stages, strict=True)).get("pick")
        if not isinstance(pick, Pick):
            return None
        results, bins_hz = self.results, spectrum_bins(lane.spec.rate_hz)
        results.open_spectrum([lane.spec.channels[k] for k in pick.channels])

        def publish(time_s: float, powers: Floats) -> None:
            results.push_spectrum(time_s, bins_hz, powers)

        return SpectrumWatch(
            lane.ring, lane.spec.rate_hz, pick.channels, publish, lambda: results.spectrum.have_consumers
        )

    def _leave_out(self, contaminated: tuple[str, ...]) -> None:
        if not self.settings.keep_contaminated:
            self.left_out = contaminated
            claimed = np.array([name not in contaminated for name in self.settings.electrodes])
            self.scorer.score.claimed = claimed
            if self.adapter is not None:
                self.adapter.claim(claimed)

    def _take_over(self) -> None:
        if self._state is None:
            return
        self.scorer.keep_in(self._state)
        for lane in (self.sound, self.ecog):
            before = self._state.load_lane(lane.name)
            if before is not None and before.received:
                lane.take_over(before)

    def warm_up(self) -> None:
        """Step the chains over silence, once: before `start`, where there is something to wait for meanwhile."""
        for lane in (self.sound, self.ecog) if not self._warm else ():
            lane.warm_up()
        self._warm = True

    def start(self) -> None:
        """Let the lanes begin with the next sample, warm."""
        self.warm_up()
        manners.calm_python()
        self._tell({"event": "started", "engine": self.settings.name})
        self.tell_settings()
        self.scorer.start()
        self.rig.start()
        for lane in (self.sound, self.ecog):
            lane.start(self._stop)
        if self._spectrum is not None:
            self._spectrum.start(self._stop)
        self._heart.start()
        for body in self.beside:
            threading.Thread(target=body, args=(self._stop,), name="beside", daemon=True).start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End both lanes, work off what has arrived, and say so. The outlets stay until the process ends."""
        self._stop.set()
        for lane in (self.sound, self.ecog):
            lane.join(timeout_s)
        self.scorer.finish(timeout_s)
        self.rig.finish(timeout_s)
        self._heart.join(timeout_s)
        if self._spectrum is not None:
            self._spectrum.join(timeout_s)
        self._tell_nan()
        self._tell({"event": "stopped", "engine": self.settings.name, "samples": self.samples()})
        manners.free_python()

    def tell(self, event: Event) -> None:
        """Send an event that is not the engine's own, such as a recording's trouble, among its status."""
        if event["event"] == "state":
            event = self._with_state(event)
        self._tell(event)

    def adapt(self, on: bool) -> None:
        """Let the model learn from what is observed, or show the fitted one again; from any thread.

        Raises UserError where there is no model that could. What became of it is told in `status`.
        """
        if self.adapter is None:
            if self.settings.row_rate_hz != ROW_RATE_HZ:
                raise UserError(
                    f"adaptation needs a model of {ROW_RATE_HZ:g} rows a second, found one of "
                    f"{self.settings.row_rate_hz:g}: fit one without --row-rate"
                )
            raise UserError("adaptation needs a fitted model, found none: give one in [model] file")
        self.adapter.switch(on)

    def _with_state(self, event: Event) -> Event:
        """With the rows that had been scored in the state before, because the marker came late."""
        self.facts_now["state"] = self.timeline.at(np.inf)
        late_s = self.scorer.newest_s - event["time_s"]  # minus infinity before the first row
        return {**event, "scored_rows": round(late_s * self.settings.row_rate_hz)} if late_s > 0 else event

    def samples(self) -> dict[str, dict[str, int]]:
        """Rows received, lost and skipped of each lane: together what its source owed since its first row."""
        return {
            lane.name: {"received": lane.received, "lost": lane.lost, "skipped": lane.skipped}
            for lane in (self.sound, self.ecog)
        }

    def ages_s(self) -> dict[str, float]:
        """Seconds since the last row of each source arrived; NaN before the first."""
        return {lane.name: self._now() - lane.arrivals.newest_s() for lane in (self.sound, self.ecog)}

    def clocks(self) -> dict[str, dict[str, float]]:
        """How each lane's source keeps time: faster than stated by ppm, stamps that jitter by ms, offset in seconds."""
        return {
            lane.name: {
                "rate_ppm": round(lane.counts.rate_ppm, 2),
                "jitter_ms": round(1e3 * lane.counts.jitter_s, 3),
                "offset_s": lane.counts.offset_s,
            }
            for lane in (self.sound, self.ecog)
        }

    def _publish_predicted(self, y: Block, step: Step) -> None:
        if len(y) and self._has_model:
            self.results.predicted.push(y)
            published = self._now()
            self._tell_silence(step)
            self.scorer.add_predicted(y)
            self._push_attention(y)
            self._push_telemetry(y, step, published)
        elif self._has_model:
            self._tell_silence(step)
        self.rig.saw_sound(step)
        mel = step.blocks.get("mel")
        if mel is not None and len(mel):
            self.results.push_sound(sound_level_db(step.blocks["resample"].data), mel)
        if len(y):
            self._collector.rest()

    def _tell_silence(self, step: Step) -> None:
        heard = step.blocks.get("resample")
        if heard is not None:
            silent, self._silence = SILENCE.step(heard, self._silence)
            self.scorer.add_silence(silent)

    def _push_attention(self, y: Block) -> None:
        attention = y.extra.get("attention")
        if attention is not None:
            self.results.attention.push(Block(np.asarray(attention, np.float32), y.times, y.index))

    def _push_telemetry(self, y: Block, step: Step, published_s: float) -> None:
        counts = (self.sound.lost, self.sound.skipped, self.ecog.lost, self.ecog.skipped)
        self.results.telemetry.push(Block(telemetry_rows(y, step, published_s, counts), y.times, y.index))
        self.telemetry.sound.add(y.times - self.settings.facts.get("horizon_s", 0.0), step, published_s)
        self.telemetry.leads.predicted(y, published_s)

    def _publish_observed(self, y: Block, step: Step) -> None:
        self.rig.saw_ecog(step)
        if not len(y):
            return
        if self._has_model:
            self.telemetry.leads.observed(y, self._now())
            self.scorer.add_observed(y)
        else:
            self.results.observed.push(marked(y, y.extra["bad"]))
        self.telemetry.ecog.add(y.times, step, self._now())

    def _publish_aligned(self, aligned: Block) -> None:
        observed = Block(aligned.data[:, :, 1], aligned.times, aligned.index)
        self.results.observed.push(marked(observed, aligned.extra["bad"]))
        self.telemetry.aligned(aligned, self._now())
        self._tell_hush(aligned)
        self._on_aligned(aligned)

    def _tell_hush(self, aligned: Block) -> None:
        """Tell from which row on nothing was heard, and from which on something was: a recording may lack the sound."""
        silent = np.asarray(aligned.extra.get("silent", np.zeros((len(aligned), 1))), np.bool_)[:, 0]
        for row in np.flatnonzero(np.diff(silent, prepend=self._hush)).tolist():
            self._tell({"event": "hush", "silent": bool(silent[row]), "time_s": float(aligned.times[row])})
        self._hush = bool(silent[-1])

    def _scorer_failed(self, error: Exception) -> None:
        message = f"the score stopped: {type(error).__name__}: {error}; predictions go on"
        self._tell({"event": "score_failed", "message": message})

    def _publish_score(self, score: Block) -> None:
        self.score = score
        self.results.push_score(score)
        words = score_words(score)
        if words != self._score_words:
            self._score_words = self.facts_now["score_state"] = words
            self._tell({"event": "score", "state": words, "message": f"score: {words or 'running'}"})

    def _tell(self, event: Event) -> None:
        if event["event"] == "anchor":
            self.anchors[event["lane"]] = event
        if event["event"] in ("failed", "disconnected"):
            self.failed.set()
        self.results.tell(event, self._now())
        self._on_event(event)

    def tell_settings(self) -> None:
        """Send the settings now, and not only with the next beat: something in them has changed."""
        settings = self.settings
        streams = [lane.spec.name for lane in (self.sound, self.ecog)]
        facts = {
            "engine": settings.name,
            "electrodes": settings.electrodes,
            "streams_expected": streams,
            "anchors": self.anchors,
            "samples": self.samples(),
            "latency_ms": self.telemetry.facts(),
            **({} if self.adapter is None else self.adapter.facts),
            "clocks": self.clocks(),
            **self.facts_now,
            "left_out": self.left_out,
        }
        self._tell({"event": "settings", **facts, **settings.facts})

    def _beat(self) -> None:
        told_s = time.monotonic()
        while not self._stop.wait(min(SETTINGS_EVERY_S, STATE_EVERY_S)):
            self._keep_state()
            self._collector.beat()
            if time.monotonic() - told_s >= SETTINGS_EVERY_S:
                told_s += SETTINGS_EVERY_S
                self.tell_settings()
                self._tell_nan()

    def _keep_state(self) -> None:
        began_s = time.monotonic()
        if not self._pace.due(began_s):
            return
        for lane in (self.sound, self.ecog) if self._state is not None else ():
            state = lane.keep()
            if state.received and self._state is not None:
                self._state.save_lane(lane.name, state)
        self._pace.kept(began_s, time.monotonic())

    def _tell_nan(self) -> None:
        for lane in (self.sound, self.ecog):
            repair = lane.state[lane.chain.names.index("repair")]
            count = 0 if repair.nan_samples is None else int(np.sum(repair.nan_samples))
            if count:
                self._tell({"event": "nan", "stream": lane.spec.name, "count": count})
