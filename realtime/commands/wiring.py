"""Puts models into chains: the one place where both lanes of fit, replay and live are put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from encoders.adapted import AdaptedModel
from encoders.model_file import BrainModel, ModelHeader
from encoders.weights import LoadedWhisper, load_whisper
from encoders.whisper import StreamingSettings, pick_device, streaming_encoder, whisper_stages
from realtime.audio import Resample
from realtime.block import Block, Spec, regular
from realtime.commands.ecog_plan import EcogPlan, plan_for
from realtime.config import Config, WhisperTable
from realtime.delay import Delay
from realtime.errors import UserError
from realtime.pick import Pick, channel_number
from realtime.repair import Repair
from realtime.signals import ecog_chain
from realtime.stage import Chain
from realtime.subframes import FRAME_RATE_HZ, Unfold

__all__ = [
    "EcogPlan",
    "Embedding",
    "attention_shape",
    "bound_threads",
    "delay_stages",
    "delays_for",
    "ecog_lane",
    "embedding",
    "embedding_for",
    "embedding_of",
    "plan_for",
    "sound_lane",
]

FILL_S = 0.5  # gaps up to this are filled, longer ones restart the chains


@dataclass(frozen=True)
class Embedding:
    """A causal Whisper, ready to be put into a sound lane, and what it is."""

    whisper: LoadedWhisper
    settings: StreamingSettings
    stages: Chain
    width: int

    @property
    def facts(self) -> dict[str, Any]:
        return {"name": self.whisper.name, "sha256": self.whisper.sha256, **asdict(self.settings)}


def embedding_of(table: WhisperTable) -> Embedding:
    """The Whisper that a configuration asks for."""
    settings = StreamingSettings(
        table.layer,
        table.block_ms,
        table.history_s,
        table.delay_ms,
        table.mode,
        table.dtype,
        silence_ms=table.silence_ms,
    )
    return embedding(load_whisper(table.model, table.file), settings, table.device, table.graph)


def embedding(
    whisper: LoadedWhisper, settings: StreamingSettings, device: str = "auto", graph: bool = True
) -> Embedding:
    """device: `auto` (CUDA where there is one), `cpu` or `cuda`. graph: whether a CUDA graph is captured there."""
    encoder = streaming_encoder(whisper.model, settings, pick_device(device))
    stages = whisper_stages(encoder, settings, graph=None if graph else False)
    return Embedding(whisper, settings, stages, encoder.width)


def embedding_for(header: ModelHeader, table: WhisperTable | None = None, file: Path | None = None) -> Embedding:
    """The Whisper that a model was fitted to: of its own hash, wherever that is found.

    file: of its weights, else the table's. Raises UserError where they cannot be had, or the file or the table say
    otherwise.
    """
    facts = dict(header.whisper)
    name, sha256 = facts.pop("name"), facts.pop("sha256")
    settings = StreamingSettings(**{"silence_ms": 0.0, **facts})  # a model file of before knows of none
    if table is not None:
        _check_table(table, name, settings)
        file = file or table.file
    try:
        whisper = load_whisper(name, file, sha256)
    except UserError as error:
        known = header.training.get("whisper_file")
        raise UserError(f"the model was fitted to {f'{known}, ' if known else ''}Whisper {name!r}: {error}") from None
    return embedding(whisper, settings, *((table.device, table.graph) if table else ()))


def _check_table(table: WhisperTable, name: str, settings: StreamingSettings) -> None:
    fitted = {"model": name, **asdict(settings)}
    for key in table.model_fields_set - {"file", "device", "graph"}:
        if getattr(table, key) != fitted[key]:
            raise UserError(
                f"[whisper] {key} = {getattr(table, key)!r}, but the model was fitted with {fitted[key]!r}: "
                "leave the key out, or fit a model with it"
            )


def heard_lane(spec: Spec, channel: str | int, delay_s: float | None = None) -> Chain:
    """From a sound stream's samples to one channel at 16 kHz."""
    return Chain(
        [
            ("pick", Pick([channel_number(spec, channel)])),
            *delay_stages(delay_s),
            ("repair", Repair(spec.rate_hz, FILL_S, hold=False)),
            ("resample", Resample(spec.rate_hz)),
        ]
    )


def sound_lane(
    spec: Spec,
    channel: str | int,
    embedding: Embedding,
    model: BrainModel | AdaptedModel | None = None,
    delay_s: float | None = None,
    row_rate_hz: float = FRAME_RATE_HZ,
) -> Chain:
    """From a sound stream's samples, of one channel, to embeddings, or to predictions where a model is given.

    row_rate_hz: of the model.
    """
    heard = heard_lane(spec, channel, delay_s)
    stages: list[tuple[str, Any]] = [
        *zip(heard.names, heard.stages, strict=True),
        *zip(embedding.stages.names, embedding.stages.stages, strict=True),
    ]
    if model is not None:
        stages.append(("model", model))
        stages += [("unfold", Unfold(row_rate_hz))] if row_rate_hz != FRAME_RATE_HZ else []
    return Chain(stages)


def spectrogram_lane(spec: Spec, channel: str | int, embedding: Embedding, delay_s: float | None = None) -> Chain:
    """The sound lane up to its log-mel rows, 100 a second."""
    lane = sound_lane(spec, channel, embedding, delay_s=delay_s)
    until = lane.names.index("mel") + 1
    return Chain(list(zip(lane.names[:until], lane.stages[:until], strict=True)))


def ecog_lane(spec: Spec, plan: EcogPlan, baseline: tuple[Any, Any] | None = None) -> Chain:
    """From an ECoG stream's samples to z-scored high gamma per electrode."""
    channels = plan.channels(spec)
    bipolar = plan.reference == "bipolar"
    chain = ecog_chain(
        spec.rate_hz,
        len(channels),
        mains_hz=plan.mains_hz,
        band_hz=plan.band_hz,
        row_rate_hz=plan.row_rate_hz,
        groups=plan.groups(spec) if plan.reference == "common average" else [],
        bad_channels=plan.bad_channels(spec),
        pairs=plan.pairs(spec) if bipolar else None,
        baseline=baseline,
        fill_s=FILL_S,
        artefact_sd=plan.artefact_sd,
    )
    picked = Pick([spec.channels.index(label) for label in channels])
    return Chain([("pick", picked), *delay_stages(plan.delay_s), *zip(chain.names, chain.stages, strict=True)])


def delay_stages(delay_s: float | None) -> list[tuple[str, Any]]:
    """What takes a measured delay off the times; nothing where none was measured."""
    return [("delay", Delay(delay_s))] if delay_s else []


def upto(chain: Chain, name: str) -> Chain:
    """The chain's stages up to that one, which is its last."""
    stages = list(zip(chain.names, chain.stages, strict=True))
    return Chain(stages[: chain.names.index(name) + 1])


def attention_shape(model: BrainModel, width: int) -> tuple[int, int]:
    """(heads, lags) of the attention that comes with each prediction."""
    row: Block = model.layer(regular(np.zeros((1, width), np.float32), 50.0))
    heads, lags = row.extra["attention"].shape[1:]
    return int(heads), int(lags)


def delays_for(config: Config | None, header: ModelHeader | None) -> dict[str, float | None]:
    """Seconds taken off the stamps of each stream: the file's, else the model's; None: not measured."""
    fitted = header.delays if header is not None else {}
    said = {"sound": config.sound.delay_s, "ecog": config.ecog.delay_s} if config is not None else {}
    return {name: fitted.get(name) if said.get(name) is None else said[name] for name in ("sound", "ecog")}


def bound_threads(threads: int) -> None:
    """Let torch, and NumPy's matrix products, use this many threads, until the process ends.

    More than one spins at a barrier while another process holds a core.
    """
    torch.set_num_threads(threads)
    threadpool_limits(threads, user_api="blas")
