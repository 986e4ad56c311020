"""The honest part of a fit: predictions of rows left out, beside baselines, nulls and ceilings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.aligned import Aligned, first_heard
from encoders.banded import UniqueShares, fit_banded, pair_weightings, side_by_side, unique_shares
from encoders.baselines import onset_rate
from encoders.evaluation import correlation
from encoders.folds import purged_folds
from encoders.horizon import HORIZONS_S, HorizonCurve, horizon_curve
from encoders.lags import best_lags, lag_profile
from encoders.nested import Fit, Fold, Model, out_of_fold
from encoders.repeats import noise_ceiling
from encoders.ridge import FRAME_S, LaggedRidge, RidgeConfig, fit_ridge
from encoders.scores import Scores, number, score_predictions
from encoders.training import FitConfig, FitResult, fit
from encoders.weights import untrained_whisper
from realtime.block import Floats, Mask
from realtime.commands import wiring
from realtime.commands.console import working
from realtime.commands.material import Material, Span, aligned, other_embeddings
from realtime.subframes import per_frame, rows_of_frames, unfolded

Doubles = npt.NDArray[np.float64]

FOLDS = 5
WORKERS = min(2, os.cpu_count() or 1)
SPECTROGRAM_COMPONENTS = 40
BANDS = {"spectrogram": 20, "embeddings": 40}  # components of each in the banded ridge
BASELINES = ("ridge", "spectrogram", "rate", "untrained")


@dataclass(frozen=True)
class Judgement:
    """What is known of a fit from rows left out. predicted, observed, bad: (rows, electrodes) of all folds.

    baselines: r of each, (electrodes,). ceiling: NaN without repeats. lags_s, profile: see `lag_profile`.
    repeated_s: how much of the sound had been heard before. gap_s: purged around each fold. claimed: (electrodes,) of
    which anything is claimed.
    """

    scores: Scores
    baselines: dict[str, Doubles]
    shares: UniqueShares
    ceiling: Doubles
    lags_s: Doubles
    profile: Doubles
    predicted: Floats
    observed: Floats
    bad: Mask
    folds: int
    gap_s: float
    repeated_s: float
    claimed: Mask

    def rows(self, electrodes: tuple[str, ...]) -> list[dict[str, Any]]:
        """One JSON row for each electrode."""
        return [
            {
                **row,
                "claimed": bool(self.claimed[i]),
                "ceiling": number(self.ceiling[i]),
                "lag_ms": number(round(1e3 * self.lags_s[i], 1)),
                "baselines": {name: number(r[i]) for name, r in self.baselines.items()},
                "unique_r2": {
                    "together": number(self.shares.together[i]),
                    "spectrogram": number(self.shares.first[i]),
                    "embeddings": number(self.shares.second[i]),
                },
            }
            for i, row in enumerate(self.scores.rows(electrodes))
        ]


def horizons(material: Material, config: FitConfig) -> HorizonCurve:
    """r against horizon, on the last quarter of what was heard."""
    spans = material.spans(0.0)
    with working("r against horizon"):
        now = [aligned(span, [0.0], material.row_rate_hz) for span in spans]
        ahead = [aligned(span, HORIZONS_S, material.row_rate_hz) for span in spans]
        return horizon_curve(now, ahead, HORIZONS_S, replace(config.ridge, moments=1), config.gaps)


def judge(
    material: Material,
    embedding: wiring.Embedding,
    config: FitConfig,
    result: FitResult,
    claimed: Mask | None = None,
) -> Judgement:
    """Fit model and baselines anew inside each fold and score what they predict of the rows left out.

    claimed: (electrodes,) of which anything is claimed; None: all.

    Raises UserError where the recordings are too short for that.
    """
    spans = material.spans(config.horizon_s)
    segments = [material.aligned(span, config.horizon_s) for span in spans]
    mel, untrained = [span.extra("mel") for span in spans], _untrained(material, embedding, spans, config)
    gap, _ = config.gaps
    source = first_heard(segments)
    folds = purged_folds([len(s) for s in segments], FOLDS, gap, source)
    predictions = _predict(segments, mel, untrained, folds, config)
    if result.kind != "ridge":
        with working(f"{result.kind} in {FOLDS} folds") as progress:
            again = partial(_fit_kind, replace(config, kinds=(result.kind,)))
            (predictions["model"],) = out_of_fold([(segments, again)], folds, 1, progress)
    rate_hz, count = material.row_rate_hz, per_frame(material.row_rate_hz)
    predictions = {name: unfolded(rows, count) for name, rows in predictions.items()}
    observed = np.concatenate([unfolded(s.observed, count) for s in segments])
    bad = np.concatenate([unfolded(s.bad, count) for s in segments])
    electrodes = observed.shape[1]
    shown = predictions.get("model", predictions["ridge"])
    with working("null by shifts and by random phases"):
        scores = score_predictions(shown, observed, bad, rate_hz, config.seed, claimed)
    profile = lag_profile(result.model.projection, segments, config.ridge.lags)[:, :electrodes]
    return Judgement(
        scores=scores,
        baselines={name: correlation(predictions[name], observed, bad) for name in BASELINES},
        shares=unique_shares(predictions["together"], predictions["first"], predictions["second"], observed, bad),
        ceiling=noise_ceiling(observed, bad, rows_of_frames(source, count), rate_hz),
        lags_s=np.where(np.isfinite(scores.r), best_lags(profile, config.horizon_s), np.nan),
        profile=profile,
        predicted=shown,
        observed=observed,
        bad=bad,
        folds=FOLDS,
        gap_s=gap * FRAME_S,
        repeated_s=float(np.sum(source != np.arange(len(source))) * FRAME_S),
        claimed=np.ones(len(scores.r), np.bool_) if claimed is None else claimed,
    )


def _untrained(
    material: Material, embedding: wiring.Embedding, spans: Sequence[Span], config: FitConfig
) -> list[Floats]:
    """The embeddings of a Whisper of random weights, on the rows of the spans."""
    with working("embeddings of an untrained Whisper") as progress:
        random = untrained_whisper(embedding.whisper.name, config.seed)
        return other_embeddings(material, wiring.embedding(random, embedding.settings), spans, progress)


def _predict(
    segments: list[Aligned], mel: list[Floats], untrained: list[Floats], folds: Sequence[Fold], config: FitConfig
) -> dict[str, Floats]:
    """Predictions of every row by the ridges that were not fitted to it."""

    def on(features: Sequence[Floats]) -> list[Aligned]:
        return [replace(s, embeddings=f) for s, f in zip(segments, features, strict=True)]

    def ridge(components: int) -> Fit:
        return partial(_ridge, replace(config.ridge, components=components), config.horizon_s)

    both = side_by_side(mel, segments)
    widths = (mel[0].shape[1], segments[0].embeddings.shape[1])
    jobs: dict[str, tuple[list[Aligned], Fit]] = {
        "ridge": (segments, ridge(config.ridge.components)),
        "untrained": (on(untrained), ridge(config.ridge.components)),
        "spectrogram": (on(mel), ridge(SPECTROGRAM_COMPONENTS)),
        "rate": (on([onset_rate(rows) for rows in mel]), ridge(2)),
        **{name: (both, partial(_banded, widths, weightings)) for name, weightings in pair_weightings().items()},
    }
    with working(f"model and baselines in {len(folds)} folds") as progress:
        predictions = out_of_fold(list(jobs.values()), folds, WORKERS, progress)
    return dict(zip(jobs, predictions, strict=True))


def _ridge(config: RidgeConfig, horizon_s: float, segments: Sequence[Aligned]) -> LaggedRidge:
    embeddings, observed = [s.embeddings for s in segments], [s.observed for s in segments]
    return fit_ridge(embeddings, observed, [s.bad for s in segments], replace(config, horizon_s=horizon_s))


def _banded(widths: tuple[int, int], weightings: Sequence[tuple[float, float]], segments: Sequence[Aligned]) -> Model:
    return fit_banded(segments, widths, tuple(BANDS.values()), weightings)


def _fit_kind(config: FitConfig, segments: Sequence[Aligned]) -> Model:
    return fit(segments, config).model


def excluded(judgement_bad: Mask, electrodes: tuple[str, ...], plan: wiring.EcogPlan) -> list[dict[str, Any]]:
    """Channels and electrodes that count for nothing, or for less, and why."""
    found = [{"name": name, "why": "no electrode: excluded by the configuration"} for name in plan.exclude]
    for i, name in enumerate(electrodes):
        share = float(judgement_bad[:, i].mean())
        if name in plan.named_bad:
            found.append({"name": name, "why": "bad by the configuration: not in the reference, not fitted"})
        elif share == 1.0:
            found.append({"name": name, "why": "flat or artefact throughout: no row to learn from"})
        elif share > 0.2:
            found.append({"name": name, "why": f"{100 * share:.0f} % of its rows are masked; fitted on the rest"})
    return found
