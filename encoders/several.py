"""Several patients in one model: a trunk that all of them teach, a linear path and a read-out for each.

All patients' electrodes are trained side by side, those of the others masked in each patient's rows; then each patient
gets its own model with the common projection and trunk. One that the ridge serves better gets the ridge.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttention, LstmAttentionStage
from encoders.projection import Projection, fit_projection
from encoders.ridge import LaggedRidge, fit_ridge
from encoders.training import (
    Aligned,
    FitConfig,
    Kind,
    learn_lstm,
    refit_lstm,
    score,
    split,
    winner,
)

OWN = ("readout.weight", "readout.bias", "gain.weight", "gain.bias", "skip")  # the rest is the trunk
Patient = Sequence[Aligned]


@dataclass(frozen=True)
class OwnModel:
    """One patient's model. validation: r (E,) of each kind, on rows that none had learnt from."""

    model: LaggedRidge | LstmAttentionStage
    kind: Kind
    validation: dict[str, npt.NDArray[np.float64]]


def fit_together(patients: Sequence[Patient], config: FitConfig, tell: Callable[[float], None]) -> list[OwnModel]:
    """One model for each patient, in order; embeddings of all must come from the same Whisper and settings.

    Raises UserError where one's recording is too short, ValueError where embeddings differ in width.
    """
    widths = {s.embeddings.shape[1] for segments in patients for s in segments}
    if len(widths) != 1:
        raise ValueError(f"the patients' embeddings have {sorted(widths)} channels, expected one width for all")
    gap = max(config.ridge.lags, config.lstm.lags) + round(FRAME_RATE_HZ)
    parts = [split(segments, config.validation, gap) for segments in patients]
    train, held_out = _side_by_side([t for t, _ in parts]), _side_by_side([h for _, h in parts])
    ridges = _ridges([t for t, _ in parts], config)
    trained = learn_lstm(train, held_out, _joined(ridges), config, lambda share: tell(0.5 * share))
    columns = _columns(patients)
    validation = [
        {"ridge": score(ridge, held), "lstm_attention": score(own(trained.stage, of), held)}
        for ridge, of, (_, held) in zip(ridges, columns, parts, strict=True)
    ]
    again = _ridges(patients, config, ridges)
    stage = refit_lstm(_side_by_side(patients), _joined(again), trained, config, lambda share: tell(0.5 + 0.5 * share))
    kinds = [winner(r, config) for r in validation]
    return [
        OwnModel(own(stage, of) if kind == "lstm_attention" else ridge, kind, r)
        for kind, ridge, of, r in zip(kinds, again, columns, validation, strict=True)
    ]


def own(stage: LstmAttentionStage, columns: slice) -> LstmAttentionStage:
    """The model of some electrodes alone: the same projection and trunk."""
    weights = dict(stage.model.state_dict())
    for name in OWN:
        if name in weights:
            weights[name] = weights[name][..., columns] if name == "skip" else weights[name][columns]
    model = LstmAttention(replace(stage.model.config, electrodes=columns.stop - columns.start))
    model.load_state_dict(weights)
    return LstmAttentionStage(model, stage.projection)


def trunk_sha256(stage: LstmAttentionStage) -> str:
    """Of projection and trunk: the same for all patients that were fitted together."""
    digest = hashlib.sha256()
    projection = stage.projection
    shared = {n: t for n, t in stage.model.state_dict().items() if n not in OWN}
    arrays = [projection.mean, projection.sd, projection.matrix, *(t.cpu().numpy() for _, t in sorted(shared.items()))]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _columns(patients: Sequence[Patient]) -> list[slice]:
    """Where each patient's electrodes lie among all."""
    edges = np.cumsum([0, *(segments[0].observed.shape[1] for segments in patients)]).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _side_by_side(patients: Sequence[Patient]) -> list[Aligned]:
    """Every segment with the electrodes of all, bad where they are another patient's."""
    columns = _columns(patients)
    joined = []
    for segments, of in zip(patients, columns, strict=True):
        for s in segments:
            observed = np.zeros((len(s), columns[-1].stop), np.float32)
            bad = np.ones(observed.shape, bool)
            observed[:, of], bad[:, of] = s.observed, s.bad
            joined.append(Aligned(s.embeddings, observed, bad))
    return joined


def _ridges(patients: Sequence[Patient], config: FitConfig, before: Sequence[LaggedRidge] = ()) -> list[LaggedRidge]:
    """Each patient's own, on one projection of all embeddings; before: whose choices are kept."""
    projection: Projection = fit_projection(
        [s.embeddings for segments in patients for s in segments], config.ridge.components
    )
    settings = replace(config.ridge, horizon_s=config.horizon_s)
    found = []
    for number, segments in enumerate(patients):
        embeddings, observed, bad = ([getattr(s, n) for s in segments] for n in ("embeddings", "observed", "bad"))
        choice = before[number].choice if before else None
        found.append(fit_ridge(embeddings, observed, bad, settings, choice, projection))
    return found


def _joined(ridges: Sequence[LaggedRidge]) -> LaggedRidge:
    weights = np.concatenate([r.weights for r in ridges], axis=2)
    return LaggedRidge(
        ridges[0].projection, weights, np.concatenate([r.intercept for r in ridges]), ridges[0].horizon_s
    )
