"""Puts models into chains: the one place where both lanes of fit, replay and live are put together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from encoders.adapted import AdaptedModel
from encoders.model_file import BrainModel, ModelHeader
from encoders.weights import LoadedWhisper, load_whisper
from encoders.whisper import StreamingSettings, pick_device, streaming_encoder, whisper_stages
from realtime.audio import Resample
from realtime.block import Block, Spec, regular
from realtime.config import Config, EcogTable, WhisperTable
from realtime.errors import UserError
from realtime.pick import Pick, channel_number
from realtime.repair import Repair
from realtime.signals import ecog_chain
from realtime.stage import Chain

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
    settings = StreamingSettings(table.layer, table.block_ms, table.history_s, table.delay_ms, table.mode, table.dtype)
    return embedding(load_whisper(table.model, table.file), settings, table.device)


def embedding(whisper: LoadedWhisper, settings: StreamingSettings, device: str = "auto") -> Embedding:
    """device: `auto` (CUDA where there is one), `cpu` or `cuda`."""
    encoder = streaming_encoder(whisper.model, settings, pick_device(device))
    return Embedding(whisper, settings, whisper_stages(encoder, settings), encoder.width)


def embedding_for(header: ModelHeader, table: WhisperTable | None = None) -> Embedding:
    """The Whisper that a model was fitted to. Raises UserError where its weights, or the table, say otherwise."""
    facts = dict(header.whisper)
    name, sha256 = facts.pop("name"), facts.pop("sha256")
    settings = StreamingSettings(**facts)
    if table is not None:
        _check_table(table, name, settings)
    whisper = load_whisper(name, table.file if table else None)
    if whisper.sha256 != sha256:
        raise UserError(
            f"the model was fitted to Whisper {name!r} with sha256 {sha256[:12]}, but these weights have "
            f"{whisper.sha256[:12]}; use the same weights or fit anew"
        )
    return embedding(whisper, settings, table.device if table else "auto")


def _check_table(table: WhisperTable, name: str, settings: StreamingSettings) -> None:
    fitted = {"model": name, **asdict(settings)}
    for key in table.model_fields_set - {"file", "device"}:
        if getattr(table, key) != fitted[key]:
            raise UserError(
                f"[whisper] {key} = {getattr(table, key)!r}, but the model was fitted with {fitted[key]!r}: "
                "leave the key out, or fit a model with it"
            )


def sound_lane(
    spec: Spec, channel: str | int, embedding: Embedding, model: BrainModel | AdaptedModel | None = None
) -> Chain:
    """From a sound stream's samples to embeddings, or to predictions where a model is given."""
    stages: list[tuple[str, Any]] = [
        ("pick", Pick([channel_number(spec, channel)])),
        ("repair", Repair(spec.rate_hz, FILL_S, hold=False)),
        ("resample", Resample(spec.rate_hz)),
        *zip(embedding.stages.names, embedding.stages.stages, strict=True),
    ]
    return Chain([*stages, ("model", model)] if model is not None else stages)


def spectrogram_lane(spec: Spec, channel: str | int, embedding: Embedding) -> Chain:
    """The sound lane up to its log-mel rows, 100 a second."""
    lane = sound_lane(spec, channel, embedding)
    until = lane.names.index("mel") + 1
    return Chain(list(zip(lane.names[:until], lane.stages[:until], strict=True)))


@dataclass(frozen=True)
class EcogPlan:
    """How an ECoG stream becomes high gamma: what a model file remembers of it."""

    mains_hz: float = 50.0
    band_hz: tuple[float, float] = (70.0, 150.0)
    bad: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @staticmethod
    def of(table: EcogTable) -> EcogPlan:
        return EcogPlan(float(table.mains_hz), table.band_hz, table.bad, table.exclude)

    @staticmethod
    def fitted(header: ModelHeader) -> EcogPlan:
        facts = {**header.ecog}
        return EcogPlan(facts["mains_hz"], tuple(facts["band_hz"]), tuple(facts["bad"]), tuple(facts["exclude"]))

    def electrodes(self, spec: Spec) -> tuple[str, ...]:
        for name in (*self.exclude, *self.bad):
            channel_number(spec, name)
        electrodes = tuple(name for name in spec.channels if name not in self.exclude)
        if not electrodes:
            raise UserError(f"[ecog] exclude leaves no electrode of stream {spec.name!r}: name fewer channels")
        return electrodes


def ecog_lane(spec: Spec, plan: EcogPlan, baseline: tuple[Any, Any] | None = None) -> Chain:
    """From an ECoG stream's samples to z-scored high gamma per electrode."""
    electrodes = plan.electrodes(spec)
    chain = ecog_chain(
        spec.rate_hz,
        len(electrodes),
        mains_hz=plan.mains_hz,
        band_hz=plan.band_hz,
        bad_channels=[electrodes.index(name) for name in plan.bad],
        baseline=baseline,
        fill_s=FILL_S,
    )
    picked = Pick([spec.channels.index(name) for name in electrodes])
    return Chain([("pick", picked), *zip(chain.names, chain.stages, strict=True)])


def attention_shape(model: BrainModel, width: int) -> tuple[int, int]:
    """(heads, lags) of the attention that comes with each prediction."""
    row: Block = model.layer(regular(np.zeros((1, width), np.float32), 50.0))
    heads, lags = row.extra["attention"].shape[1:]
    return int(heads), int(lags)


def plan_for(config: Config, header: ModelHeader | None) -> EcogPlan:
    """The ECoG settings of the model, where there is one. Raises UserError where the file says otherwise."""
    if header is None:
        return EcogPlan.of(config.ecog)
    fitted, asked = EcogPlan.fitted(header), EcogPlan.of(config.ecog)
    for key in config.ecog.model_fields_set & {"mains_hz", "band_hz", "bad", "exclude"}:
        if getattr(asked, key) != getattr(fitted, key):
            raise UserError(
                f"[ecog] {key} = {getattr(asked, key)!r}, but the model was fitted with {getattr(fitted, key)!r}: "
                "leave the key out, or fit a model with it"
            )
    return fitted


def bound_threads(threads: int) -> None:
    """Let torch use this many threads: more than one spins at a barrier while another process holds a core."""
    torch.set_num_threads(threads)
