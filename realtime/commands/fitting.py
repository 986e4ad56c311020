"""Recordings to a fitted model: the live chains over them, a baseline, aligned segments, the fit, the header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from encoders.model_file import ModelHeader
from encoders.training import Aligned, FitConfig, FitResult, fit
from realtime.align import put_on_grid
from realtime.block import Block, Spec
from realtime.commands import wiring
from realtime.commands.console import working
from realtime.errors import UserError
from realtime.offline import run_chain
from realtime.signals import baseline
from realtime.sources.recording import RecordedStream
from realtime.stage import Chain
from realtime.zscore import ZScore


@dataclass(frozen=True)
class Calibration:
    """One recording's sound and ECoG streams, and the channel of the sound that the patient heard."""

    sound: RecordedStream
    ecog: RecordedStream
    channel: str | int = 0


def fit_recordings(
    calibrations: Sequence[Calibration],
    embedding: wiring.Embedding,
    plan: wiring.EcogPlan,
    config: FitConfig,
    training_facts: dict[str, Any] | None = None,
) -> tuple[FitResult, ModelHeader, list[Block]]:
    """Fit on all recordings. Returns the result, the header of its file, and the embeddings, for further fits."""
    spec = _one_spec(calibrations)
    embeddings, power = [], []
    for number, one in enumerate(calibrations, start=1):
        of = f" {number} of {len(calibrations)}" if len(calibrations) > 1 else ""
        with working(f"Whisper embeddings{of}") as progress:
            embeddings.append(run_chain(one.sound, wiring.sound_lane(one.sound.spec, one.channel, embedding), progress))
        with working(f"high gamma{of}") as progress:
            power.append(run_chain(one.ecog, _until_power(wiring.ecog_lane(spec, plan)), progress))
    median, mad = _common_baseline(power)
    z_score = ZScore(median, mad)
    segments = [
        segment
        for rows, blocks in zip(embeddings, power, strict=True)
        for segment in aligned_segments(rows, [z_score.layer(block) for block in blocks], config.horizon_s)
    ]
    with working("fitting ridge and LSTM with attention") as progress:
        result = fit(segments, config, lambda _what, share: progress(share))
    header = ModelHeader(
        electrodes=plan.electrodes(spec),
        rate_hz=spec.rate_hz,
        channels=spec.channels,
        baseline_median=median,
        baseline_mad=mad,
        horizon_s=config.horizon_s,
        reference={"kind": "common average", "bad": list(plan.bad)},
        whisper=embedding.facts,
        ecog={**asdict(plan), "unit": spec.unit},
        training={**training_report(result, segments), **(training_facts or {})},
        created_by=f"corticast {version('corticast')}",
    )
    return result, header, [block for rows in embeddings for block in rows]


def _one_spec(calibrations: Sequence[Calibration]) -> Spec:
    first = calibrations[0].ecog.spec
    for other in calibrations[1:]:
        if (other.ecog.spec.channels, other.ecog.spec.rate_hz) != (first.channels, first.rate_hz):
            raise UserError(
                f"the recordings differ: {len(first.channels)} channels at {first.rate_hz:g} Hz in the first, "
                f"{len(other.ecog.spec.channels)} at {other.ecog.spec.rate_hz:g} Hz in another; fit them one by one"
            )
    return first


def _until_power(chain: Chain) -> Chain:
    """The ECoG chain without its z-score, whose baseline is about to be found."""
    kept = [(n, s) for n, s in zip(chain.names, chain.stages, strict=True) if n != "z_score"]
    return Chain(kept)


def _common_baseline(power: Sequence[Sequence[Block]]) -> tuple[Any, Any]:
    blocks = [block for blocks in power for block in blocks]
    data = np.concatenate([block.data for block in blocks])
    bad = np.concatenate([np.asarray(block.extra["bad"], bool) for block in blocks])
    return baseline(Block(data, np.arange(len(data), dtype=np.float64), 0, {"bad": bad}))


def aligned_segments(embeddings: Sequence[Block], observed: Sequence[Block], horizon_s: float) -> list[Aligned]:
    """Observed rows on the embeddings' times plus the horizon; one segment for each run without a gap."""
    segments = []
    for rows in embeddings:
        near = [block for block in observed if block.times[0] <= rows.times[-1] and block.times[-1] >= rows.times[0]]
        for block in near:
            grid = put_on_grid(block, rows.times + horizon_s)
            inside = np.flatnonzero((grid.times >= block.times[0]) & (grid.times <= block.times[-1]))
            if len(inside):
                a, b = int(inside[0]), int(inside[-1]) + 1
                bad = np.asarray(grid.extra["bad"], bool)[a:b]
                segments.append(Aligned(rows.data[a:b], np.nan_to_num(grid.data[a:b]), bad))
    return segments


def training_report(result: FitResult, segments: Sequence[Aligned]) -> dict[str, Any]:
    """What a model file tells of its fit."""
    return {
        "kind": result.kind,
        "validation_r": {kind: _rounded(r) for kind, r in result.validation.items()},
        "mean_validation_r": {kind: float(np.nanmean(r)) for kind, r in result.validation.items()},
        "seconds": {name: round(value, 1) for name, value in result.seconds.items()},
        "minutes_of_recording": round(sum(len(s) for s in segments) / 3000, 2),
    }


def _rounded(r: Any) -> list[float | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in r]
