"""From a configuration to an engine that is ready to start: what `run`, `demo` and `check` have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from encoders.adapted import AdaptedModel
from encoders.model_file import ModelHeader, load_model, model_hash
from realtime.audio import Resample
from realtime.block import Block, Spec
from realtime.carried import StateFolder
from realtime.commands import wiring
from realtime.commands.companions import add_companions, require_private, require_watched_apart
from realtime.commands.console import say, working
from realtime.commands.meanwhile import Meanwhile
from realtime.commands.rig_facts import rig_facts
from realtime.commands.search import StreamSearch
from realtime.config import Config
from realtime.engine import Engine, EngineSettings
from realtime.errors import UserError
from realtime.pick import channel_number
from realtime.sources.lsl import LslInlet
from realtime.sources.pump import Event
from realtime.states import Timeline
from realtime.subframes import FRAME_RATE_HZ


@dataclass
class Session:
    """An engine with its outlets up and its lanes not yet started."""

    engine: Engine
    header: ModelHeader | None
    embedding: wiring.Embedding
    inlets: tuple[LslInlet, LslInlet]
    plan: wiring.EcogPlan


def open_session(
    config: Config,
    *,
    facts: dict[str, Any] | None = None,
    on_aligned: Callable[[Block], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    state: StateFolder | None = None,
    search: StreamSearch | None = None,
) -> Session:
    """Find the streams, check them against model and settings, load Whisper, make the engine. Raises UserError.

    search: one that was begun earlier.
    """
    search = search or StreamSearch(config)
    wiring.bound_threads(config.engine.threads)
    model, header = load_model(config.model.file) if config.model.file else (None, None)
    if config.model.adapt and header is not None and header.row_rate_hz != FRAME_RATE_HZ:
        raise UserError(
            f"[model] adapt: the model has {header.row_rate_hz:g} rows a second, adaptation needs {FRAME_RATE_HZ:g}: "
            "switch it off, or fit a model without --row-rate"
        )
    whisper = Meanwhile(lambda: _embedding(config, header))
    with working("finding the streams"):
        sound, ecog = search.inlets()
    for warning in dict.fromkeys((*sound.warnings, *ecog.warnings)):
        say(f"warning: {warning}")
    _check_sound(sound.spec, config.sound.channel)
    require_watched_apart(config, sound)
    if config.record.file is not None:
        require_private(config, sound, ecog)
    if header is not None:
        header.require_stream(ecog.spec)
    plan = wiring.plan_for(config, header)
    baseline = (header.baseline_median, header.baseline_mad) if header else None
    ecog_chain = wiring.ecog_lane(ecog.spec, plan, baseline)
    with working("loading Whisper"):
        embedding = whisper.result()
    row_rate_hz = header.row_rate_hz if header else FRAME_RATE_HZ
    adaptive = AdaptedModel(model) if model and row_rate_hz == FRAME_RATE_HZ else None
    delays = wiring.delays_for(config, header)
    sound_chain = wiring.sound_lane(
        sound.spec, config.sound.channel, embedding, adaptive or model, delays["sound"], row_rate_hz
    )
    rig = rig_facts(config, header, plan, ecog.spec, ecog.found.positions)
    settings = EngineSettings(
        config.engine.name,
        header.electrodes if header else plan.electrodes(ecog.spec),
        wiring.attention_shape(model, embedding.width) if model else None,
        {**_facts(config, header, embedding), **rig, **(facts or {})},
        config.engine.ring_s,
        config.engine.max_backlog_s,
        config.engine.score_window_s,
        tuple(header.training.get("contaminated", ())) if header else (),
        config.ecog.keep_contaminated,
        row_rate_hz,
    )
    lanes = (sound, sound_chain), (ecog, ecog_chain)
    engine = Engine(
        settings,
        *lanes,
        on_aligned=on_aligned,
        on_event=on_event,
        state=state,
        adaptive=adaptive,
        adapt=config.model.adapt,
        timeline=Timeline(config.states.start, config.states.guard_s),
    )
    add_companions(config, engine)
    return Session(engine, header, embedding, (sound, ecog), plan)


def _embedding(config: Config, header: ModelHeader | None) -> wiring.Embedding:
    return wiring.embedding_for(header, config.whisper) if header else wiring.embedding_of(config.whisper)


def _check_sound(spec: Spec, channel: str | int) -> None:
    """The sound lane's own demands."""
    channel_number(spec, channel)
    try:
        Resample(spec.rate_hz)
    except UserError as error:
        raise UserError(f"stream {spec.name!r}: {error}") from None


def _facts(config: Config, header: ModelHeader | None, embedding: wiring.Embedding) -> dict[str, Any]:
    facts: dict[str, Any] = {"whisper": embedding.facts, "model": None, "simulated": False}
    if header is None or config.model.file is None:
        return {**facts, "warning": "no model: nothing is predicted; z-score from the first 60 s"}
    training = header.training
    return {
        **facts,
        "model": training.get("kind"),
        "model_sha256": model_hash(config.model.file),
        "horizon_s": header.horizon_s,
        "row_rate_hz": header.row_rate_hz,
        "simulated": bool(training.get("simulated")),
    }
