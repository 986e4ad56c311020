"""Which electrodes follow speech at all: a lagged linear model of the phones that are spoken, against a shift null."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from encoders.analysis.lagged import LAGGED, Heard, folds_of, predict_fold
from encoders.analysis.layers import best_of_all
from encoders.analysis.phone_classes import MANNER, PHONES
from encoders.evaluation import correlation, shift_null
from encoders.patient_drive import presence, speech_runs
from encoders.phones import Timed
from realtime.block import Floats, Times

Doubles = npt.NDArray[np.float64]
DRAWS = 2000


def phone_features(phones: Sequence[Timed], times: Times) -> tuple[Floats, Floats]:
    """Two sets, each (rows, D) float32: which manner of phone is spoken at each time, and which phone.

    Both with an impulse of 0.1 s at each speech onset. Few manners are learnt from little data, phones tell more.
    """
    onset = presence([(start, start + 0.1) for start, _ in speech_runs(list(phones))], times)
    each = {p: presence([(start, end) for label, start, end in phones if label == p], times) for p in PHONES}
    manners = [sum(each[p] for p in PHONES if MANNER[p] == name) for name in sorted(set(MANNER.values()))]
    return (
        np.stack([onset, *manners], axis=1).astype(np.float32),
        np.stack([onset, *each.values()], axis=1).astype(np.float32),
    )


def encoding_p(sets: Sequence[Floats], heard: Heard, seed: int = 0) -> tuple[Doubles, Doubles]:
    """Out-of-fold r of the better feature set, and p adjusted for the false discovery rate, each (electrodes,)."""
    observed = np.nan_to_num(heard.observed)
    bad = heard.bad | ~np.isfinite(heard.observed)
    r, null = [], []
    for features in sets:
        predicted = np.zeros(heard.observed.shape, np.float32)
        for fold in folds_of(heard):
            predicted[fold.test] = predict_fold(features, heard, fold, LAGGED)
        r.append(correlation(predicted, observed, bad))
        null.append(shift_null(predicted, observed, bad, 50.0, DRAWS, seed))
    _, adjusted = best_of_all(np.stack(r), np.stack(null))
    return np.fmax.reduce(r), adjusted
