"""Recordings to a fitted model: the live chains over them, a baseline, aligned segments, the fit, the header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from encoders.aligned import Aligned
from encoders.lags import best_lags, lag_profile
from encoders.model_file import ModelHeader
from encoders.training import FitConfig, FitResult, fit
from realtime.block import Block
from realtime.commands import wiring
from realtime.commands.console import working
from realtime.commands.material import Calibration, Material, prepare
from realtime.subframes import mean_over_offsets, per_frame

__all__ = [
    "Calibration",
    "at_row_rate",
    "fit_material",
    "fit_recordings",
    "header_of",
    "is_simulated",
    "of_electrodes",
    "reading",
    "recording_facts",
    "rounded",
]


def fit_recordings(
    calibrations: Sequence[Calibration],
    embedding: wiring.Embedding,
    plan: wiring.EcogPlan,
    config: FitConfig,
    training_facts: dict[str, Any] | None = None,
) -> tuple[FitResult, ModelHeader, list[Block]]:
    """Fit on all recordings. Returns the result, the header of its file, and the embeddings, for further fits."""
    material = prepare(calibrations, embedding, plan)
    result, header = fit_material(material, embedding, plan, reading(config, embedding), training_facts)
    return result, header, [block for rows in material.embeddings for block in rows]


def fit_material(
    material: Material,
    embedding: wiring.Embedding,
    plan: wiring.EcogPlan,
    config: FitConfig,
    training_facts: dict[str, Any] | None = None,
) -> tuple[FitResult, ModelHeader]:
    """Fit on what `prepare` made of the recordings. Returns the result and the header of its file."""
    segments = material.segments(config.horizon_s)
    with working("fitting ridge and LSTM with attention") as progress:
        result = fit(segments, config, lambda _what, share: progress(share))
    result = of_electrodes(result, plan.row_rate_hz)
    return result, header_of(result, segments, material, embedding, plan, config, training_facts)


def at_row_rate(config: FitConfig, row_rate_hz: float) -> FitConfig:
    """The same for models of so many rows a second."""
    return replace(config, ridge=replace(config.ridge, moments=per_frame(row_rate_hz)))


def reading(config: FitConfig, embedding: wiring.Embedding) -> FitConfig:
    """The same for models that read these embeddings, which hear so far back."""
    return replace(config, context_s=embedding.settings.history_s)


def of_electrodes(result: FitResult, row_rate_hz: float) -> FitResult:
    """With validation r for each electrode, the mean of those of its rows within a frame."""
    count = per_frame(row_rate_hz)
    return replace(result, validation={kind: mean_over_offsets(r, count) for kind, r in result.validation.items()})


def header_of(
    result: FitResult,
    segments: Sequence[Aligned],
    material: Material,
    embedding: wiring.Embedding,
    plan: wiring.EcogPlan,
    config: FitConfig,
    training_facts: dict[str, Any] | None = None,
) -> ModelHeader:
    """What the file of a model fitted to these segments of the material says beside its weights."""
    spec = material.calibrations[0].ecog.spec
    electrodes = plan.electrodes(spec)
    profile = lag_profile(result.model.projection, segments, config.ridge.lags)[:, : len(electrodes)]
    return ModelHeader(
        electrodes=electrodes,
        rate_hz=spec.rate_hz,
        channels=spec.channels,
        baseline_median=material.median,
        baseline_mad=material.mad,
        horizon_s=config.horizon_s,
        row_rate_hz=plan.row_rate_hz,
        montage=plan.montage.facts() if plan.montage else {},
        reference=plan.reference_facts(spec),
        whisper=embedding.facts,
        ecog={**plan.facts(), "unit": spec.unit},
        delays={"sound": material.calibrations[0].delay_s, "ecog": plan.delay_s},
        training={
            **training_report(result, segments, config),
            **({"whisper_file": embedding.whisper.file.name} if embedding.whisper.file else {}),
            "lag_ms": rounded(1e3 * best_lags(profile, config.horizon_s), 1),
            **(training_facts or {}),
        },
        created_by=f"corticast {version('corticast')}",
    )


def recording_facts(paths: Sequence[Path], calibrations: Sequence[Calibration]) -> list[dict[str, str]]:
    """What a model remembers of the recordings that it was fitted to."""
    return [{"name": p.name, "sha256": c.content_sha256()} for p, c in zip(paths, calibrations, strict=True)]


def is_simulated(calibrations: Sequence[Calibration]) -> bool:
    """Whether a recording says by its name that it is simulated."""
    return any("simulated" in one.ecog.spec.name.lower() for one in calibrations)


def training_report(result: FitResult, segments: Sequence[Aligned], config: FitConfig) -> dict[str, Any]:
    """What a model file tells of its fit."""
    return {
        "kind": result.kind,
        "validation_r": {kind: rounded(r) for kind, r in result.validation.items()},
        "mean_validation_r": {kind: float(np.nanmean(r)) for kind, r in result.validation.items()},
        "chosen_on": result.chosen_on,
        "seconds": {name: round(value, 1) for name, value in result.seconds.items()},
        "minutes_of_recording": round(sum(len(s) for s in segments) / 3000, 2),
        "seed": config.seed,
    }


def rounded(values: Any, digits: int = 4) -> list[float | None]:
    """As JSON has them: None where there is no number."""
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]
