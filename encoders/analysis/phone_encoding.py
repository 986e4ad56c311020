"""Which electrodes follow speech at all: a lagged linear model of the phones that are spoken, against a shift null."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from encoders.analysis.lagged import LAGGED, Heard, folds_of, predict_fold
from encoders.analysis.layers import best_of_all
from encoders.analysis.phone_classes import PHONES
from encoders.evaluation import correlation, shift_null
from encoders.patient_drive import presence, speech_runs
from encoders.phones import Timed
from realtime.block import Floats, Times

Doubles = npt.NDArray[np.float64]
DRAWS = 2000


def phone_features(phones: Sequence[Timed], times: Times) -> Floats:
    """(rows, phones + 1) float32: which phone is spoken at each time, and an impulse of 0.1 s at each speech onset."""
    out = np.zeros((len(times), len(PHONES) + 1))
    for p, phone in enumerate(PHONES):
        out[:, p] = presence([(start, end) for label, start, end in phones if label == phone], times)
    out[:, -1] = presence([(start, start + 0.1) for start, _ in speech_runs(list(phones))], times)
    return out.astype(np.float32)


def encoding_p(features: Floats, heard: Heard, seed: int = 0) -> tuple[Doubles, Doubles]:
    """Out-of-fold r and p adjusted for the false discovery rate, each (electrodes,)."""
    predicted = np.zeros(heard.observed.shape, np.float32)
    for fold in folds_of(heard):
        predicted[fold.test] = predict_fold(features, heard, fold, LAGGED)
    observed = np.nan_to_num(heard.observed)
    bad = heard.bad | ~np.isfinite(heard.observed)
    r = correlation(predicted, observed, bad)
    _, adjusted = best_of_all(r[None], shift_null(predicted, observed, bad, 50.0, DRAWS, seed)[None])
    return r, adjusted
