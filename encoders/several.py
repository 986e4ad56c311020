"""Several patients in one model: a trunk that all of them teach, a linear path and a read-out for each.

All patients' electrodes are trained side by side, those of the others masked in each patient's rows; then each patient
gets its own model with the common projection and trunk. One that the ridge serves better gets the ridge.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from encoders.aligned import Aligned, Split, split_together
from encoders.lstm_attention import LstmAttention, LstmAttentionStage
from encoders.projection import Projection, fit_projection
from encoders.ridge import LaggedRidge, fit_ridge
from encoders.training import (
    FitConfig,
    FitResult,
    bounded,
    learn_lstm,
    refit_lstm,
    score,
    winner,
)
from realtime.errors import naming

OWN = ("readout.weight", "readout.bias", "gain.weight", "gain.bias", "skip")  # the rest is the trunk
Patient = Sequence[Aligned]


@dataclass(frozen=True)
class Together:
    """results: by patient. Their history is one for all: mean r over everybody's electrodes. parts: what was held out
    of each.

    trunk_sha256: of projection and trunk as trained on all, whether or not a patient's model holds the trunk.
    """

    results: dict[str, FitResult]
    parts: dict[str, Split]
    trunk_sha256: str


def fit_together(patients: Mapping[str, Patient], config: FitConfig, tell: Callable[[float], None]) -> Together:
    """One model for each patient; embeddings of all must come from the same Whisper and settings, and `heard` be
    numbered through all of them, so that no sound on which one is judged has been learnt from another.

    Raises UserError, with the name, where one's recording is too short, ValueError where embeddings differ in width.
    """
    with bounded(config.threads):
        return _fit_together(patients, config, tell)


def _fit_together(patients: Mapping[str, Patient], config: FitConfig, tell: Callable[[float], None]) -> Together:
    widths = {s.embeddings.shape[1] for segments in patients.values() for s in segments}
    if len(widths) != 1:
        raise ValueError(f"the patients' embeddings have {sorted(widths)} channels, expected one width for all")
    clock = time.perf_counter()
    parts = split_together(patients, config.validation, config.gaps)
    train = {name: part.train for name, part in parts.items()}
    held_out = {name: part.held_out for name, part in parts.items()}
    ridges = _ridges(train, config)
    trained = learn_lstm(
        _side_by_side(train), _side_by_side(held_out), _joined(ridges), config, lambda share: tell(0.5 * share)
    )
    columns = _columns(patients)
    again = _ridges(patients, config, ridges)
    stage = refit_lstm(_side_by_side(patients), _joined(again), trained, config, lambda share: tell(0.5 + 0.5 * share))
    results = {}
    for name, held in held_out.items():
        r = {
            "ridge": score(ridges[name], held),
            "lstm_attention": score(own(trained.stage, columns[name]), held),
        }
        kind = winner(r, config)
        model = own(stage, columns[name]) if kind == "lstm_attention" else again[name]
        seconds = {"together": time.perf_counter() - clock}
        results[name] = FitResult(model, kind, r, seconds, trained.history, parts[name].facts())
    return Together(results, parts, trunk_sha256(stage))


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


def _columns(patients: Mapping[str, Patient]) -> dict[str, slice]:
    """Where each patient's electrodes lie among all."""
    edges = np.cumsum([0, *(segments[0].observed.shape[1] for segments in patients.values())]).tolist()
    return {name: slice(a, b) for name, (a, b) in zip(patients, itertools.pairwise(edges), strict=True)}


def _side_by_side(patients: Mapping[str, Patient]) -> list[Aligned]:
    """Every segment with the electrodes of all, bad where they are another patient's."""
    columns = _columns(patients)
    width = max(of.stop for of in columns.values())
    joined = []
    for name, segments in patients.items():
        for s in segments:
            observed = np.zeros((len(s), width), np.float32)
            bad = np.ones(observed.shape, bool)
            observed[:, columns[name]], bad[:, columns[name]] = s.observed, s.bad
            joined.append(Aligned(s.embeddings, observed, bad))
    return joined


def _ridges(
    patients: Mapping[str, Patient], config: FitConfig, before: Mapping[str, LaggedRidge] | None = None
) -> dict[str, LaggedRidge]:
    """Each patient's own, on one projection of all embeddings; before: whose choices are kept."""
    projection: Projection = fit_projection(
        [s.embeddings for segments in patients.values() for s in segments], config.ridge.components
    )
    settings = replace(config.ridge, horizon_s=config.horizon_s)
    found = {}
    for name, segments in patients.items():
        embeddings, observed, bad = ([getattr(s, n) for s in segments] for n in ("embeddings", "observed", "bad"))
        with naming(name):
            choice = before[name].choice if before else None
            found[name] = fit_ridge(embeddings, observed, bad, settings, choice, projection)
    return found


def _joined(ridges: Mapping[str, LaggedRidge]) -> LaggedRidge:
    all_of = list(ridges.values())
    weights = np.concatenate([r.weights for r in all_of], axis=2)
    return LaggedRidge(
        all_of[0].projection, weights, np.concatenate([r.intercept for r in all_of]), all_of[0].horizon_s
    )
