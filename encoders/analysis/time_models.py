"""Prediction with and without temporal structure: from one frame, from lags, from an LSTM, with attention."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from encoders.aligned import Aligned
from encoders.analysis.lagged import LAGGED, Fold, Heard
from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttentionConfig, LstmAttentionStage
from encoders.ridge import RidgeConfig, fit_ridge
from encoders.training import FitConfig, train_lstm
from realtime.block import Floats, regular

ATTENTION_S = 0.5
VALIDATION = 0.15  # of the training rows, which choose the number of epochs


def fit_lstm_fold(kind: str, features: Floats, heard: Heard, fold: Fold, epochs: int) -> LstmAttentionStage:
    """An `lstm` or `lstm_attention` that learnt the training rows of a fold, with one thread.

    Both carry a linear path from the present frame alone, so that what they gain over it is time; `lstm` attends to
    nothing but the present frame.
    """
    if kind not in ("lstm", "lstm_attention"):
        raise ValueError(f"unknown kind of model {kind!r}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        shape = LstmAttentionConfig(attention_s=ATTENTION_S if kind == "lstm_attention" else 1 / FRAME_RATE_HZ)
        one_frame = RidgeConfig(components=LAGGED.components, lags=1, lag_functions=1, gap_frames=25)
        config = FitConfig(ridge=one_frame, lstm=shape, epochs=epochs, patience=5, trust_errors=-1.0)
        runs = _runs(features, heard, fold.training)
        learnt, held_out = _split(runs)
        ridge = fit_ridge(
            [s.embeddings for s in learnt], [s.observed for s in learnt], [s.bad for s in learnt], one_frame
        )
        return train_lstm(learnt, held_out, ridge, config, lambda _share: None)[0]
    finally:
        torch.set_num_threads(threads)


def _runs(features: Floats, heard: Heard, wanted: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Aligned]:
    """The wanted rows as stretches without a gap."""
    segment = np.repeat(np.arange(len(heard.segments)), heard.segments)
    label = np.where(wanted, segment, -1)
    edges = np.flatnonzero(np.diff(label)) + 1
    runs = []
    for part in np.split(np.arange(len(label)), edges):
        if len(part) >= 100 and label[part[0]] >= 0:
            bad = heard.bad[part] | ~np.isfinite(heard.observed[part])
            runs.append(Aligned(features[part], np.nan_to_num(heard.observed[part]), bad))
    return runs


def _split(runs: list[Aligned]) -> tuple[list[Aligned], list[Aligned]]:
    """The end of the longest run for validation, with a second left out before it."""
    longest = max(range(len(runs)), key=lambda i: len(runs[i]))
    total = sum(len(run) for run in runs)
    run = runs[longest]
    cut = len(run) - min(round(VALIDATION * total), len(run) // 2)
    learnt = [other for i, other in enumerate(runs) if i != longest] + [run.rows(0, cut - 50)]
    return [part for part in learnt if len(part) >= 100], [run.rows(cut, len(run))]


def predict_test_rows(stage: LstmAttentionStage, features: Floats, heard: Heard, fold: Fold) -> Floats:
    """(test rows, electrodes) float32, each segment from its own beginning, so that the LSTM has its past."""
    edges = np.cumsum([0, *heard.segments])
    predicted = np.concatenate(
        [stage.layer(regular(features[a:b], FRAME_RATE_HZ)).data for a, b in itertools.pairwise(edges)]
    )
    wanted: Floats = predicted[fold.test]
    return wanted
