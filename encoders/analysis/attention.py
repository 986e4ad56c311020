"""When in the past a fitted LSTM with attention listens: weights over lags, and what is lost without them.

A weight alone proves nothing: what one lag tells, the LSTM's state or a neighbouring lag may tell as well. So each lag
is masked (its weight goes to the others) and each head's share of a prediction is taken out, and the rows that the
model did not learn from say what that costs.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from encoders.analysis.fits import fitted
from encoders.analysis.lagged import Fold, Heard, folds_of
from encoders.analysis.sweep import Cell, load_heard
from encoders.archive import atomic
from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttentionStage
from encoders.projection import fit_projection
from realtime.block import Block, Floats, regular

Doubles = npt.NDArray[np.float64]
GROUP = 2  # lags masked together: 40 ms
NEVER = -1e4  # added to a lag's logits: -inf would leave nothing where no other lag is there yet
PLANTED_R = 0.4
PLANTED_LAGS_S = np.repeat(np.round(np.arange(0.04, 0.48, 0.06), 2), 3)
PAST_ROWS = 500  # that the LSTM hears before test rows


@dataclass(frozen=True, slots=True)
class Listening:
    """Of one fold's test rows. predicted: (1 + groups + heads, rows, electrodes): as it is, without each group of lags,
    without each head. weights: (rows, heads, lags), the heads in order of their mean lag, the nearest first."""

    predicted: Floats
    weights: Floats


def listen(stage: LstmAttentionStage, features: Floats, heard: Heard, fold: Fold) -> Listening:
    """What an LSTM with attention, fitted to the training rows of a fold, listens to in the test rows."""
    runs = _runs(features, heard, fold)
    told = [_test(stage, run, past) for run, past in runs]
    weights = np.concatenate([block.extra["attention"] for block in told])
    order = np.argsort(weights.mean(axis=0) @ np.arange(weights.shape[2]))
    variants = [np.concatenate([block.data for block in told])]
    changed = [*_without_lags(stage), *(without_head(stage, int(head)) for head in order)]
    variants += [np.concatenate([_test(one, run, past).data for run, past in runs]) for one in changed]
    return Listening(np.stack(variants), weights[:, order])


def groups_of(lags: int) -> list[tuple[int, int]]:
    """The lags that are masked together, as (first, stop)."""
    return [(first, min(first + GROUP, lags)) for first in range(0, lags, GROUP)]


def _runs(features: Floats, heard: Heard, fold: Fold) -> list[tuple[Floats, int]]:
    """The features of each run of test rows within a segment, behind as many rows of its past; in the test's order."""
    begins = np.repeat(np.cumsum([0, *heard.segments])[:-1], heard.segments)
    cuts = np.flatnonzero((np.diff(fold.test) != 1) | (np.diff(begins[fold.test]) != 0)) + 1
    runs = []
    for rows in np.split(fold.test, cuts):
        past = min(PAST_ROWS, int(rows[0] - begins[rows[0]]))
        runs.append((features[rows[0] - past : rows[-1] + 1], past))
    return runs


def _test(stage: LstmAttentionStage, run: Floats, past: int) -> Block:
    return stage.layer(regular(run, FRAME_RATE_HZ)).rows(past, len(run))


def _without_lags(stage: LstmAttentionStage) -> list[LstmAttentionStage]:
    changed = []
    for first, stop in groups_of(stage.model.config.lags):
        model = copy.deepcopy(stage.model)
        with torch.no_grad():
            model.lag_bias[:, first:stop] = NEVER
        changed.append(LstmAttentionStage(model, stage.projection))
    return changed


def without_head(stage: LstmAttentionStage, head: int) -> LstmAttentionStage:
    """A copy whose read-out hears nothing of one head."""
    model = copy.deepcopy(stage.model)
    c = model.config
    with torch.no_grad():
        model.readout.weight[:, c.hidden + head * c.head_width : c.hidden + (head + 1) * c.head_width] = 0
    return LstmAttentionStage(model, stage.projection)


def planted(features: Floats, heard: Heard, lags_s: Doubles, r: float, seed: int = 0) -> Heard:
    """Simulated electrodes that follow the features at known lags: what the method must find before it is believed.

    Each is a random direction of the leading principal components, whitened, lags_s ago, with as much white noise as
    leaves a correlation of r. Gaps and what is bad at most electrodes are those of `heard`.
    """
    rng = np.random.default_rng(seed)
    components = fit_projection(features, 20, whitening=1.0).apply(features)
    directions = rng.standard_normal((components.shape[1], len(lags_s)))
    drive = components @ directions
    rows = np.zeros(drive.shape)
    edges = np.cumsum([0, *heard.segments])
    for (a, b), (e, lag_s) in itertools.product(itertools.pairwise(edges), enumerate(lags_s)):
        at = np.clip(np.arange(b - a) - round(lag_s * FRAME_RATE_HZ), 0, None)
        rows[a:b, e] = drive[a:b][at, e]
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-12)
    observed = r * rows + np.sqrt(1 - r**2) * rng.standard_normal(rows.shape)
    bad = np.repeat((heard.bad.mean(axis=1) > 0.5)[:, None], len(lags_s), axis=1)
    return Heard(heard.segments, observed.astype(np.float32), bad, heard.source)


def listen_cell(cell: Cell) -> None:
    """`listen` as a cell of a sweep: writes predicted and weights to its .npz."""
    heard = load_heard(cell.heard)
    fold = folds_of(heard, cell.config)[cell.fold]
    heard = heard.electrodes(*cell.electrodes)
    features = np.load(cell.features, allow_pickle=False).astype(np.float32)
    stage = fitted(cell.fit, cell.kind, features, heard, fold, cell.epochs)
    found = listen(stage, features, heard, fold)
    with atomic(cell.out) as aside, aside.open("wb") as file:
        np.savez(file, predicted=found.predicted.astype(np.float16), weights=found.weights.astype(np.float16))


def load_listening(cell: Cell) -> Listening:
    with np.load(cell.out, allow_pickle=False) as content:
        return Listening(content["predicted"].astype(np.float32), content["weights"].astype(np.float32))
