"""The LSTM of a fold, fitted once: whichever part of an analysis asks first leaves it as a file for the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from encoders.analysis.lagged import Fold, Heard
from encoders.analysis.time_models import fit_lstm_fold
from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttentionStage
from encoders.model_file import ModelHeader, load_model, save_model
from realtime.block import Floats

NO_STREAM = ModelHeader((), FRAME_RATE_HZ, (), np.zeros(0), np.zeros(0))  # it predicts rows of a recording, never live


def fitted(file: Path, kind: str, features: Floats, heard: Heard, fold: Fold, epochs: int) -> LstmAttentionStage:
    """The model in a file; it is fitted by `fit_lstm_fold`, which has the other arguments, where it is not there yet.

    What goes into a fit must give the file its name, as `make_cell` does: then parts that ask for the same fit find
    the same file.
    """
    if not file.exists():
        save_model(file, fit_lstm_fold(kind, features, heard, fold, epochs), NO_STREAM)
    stage, _ = load_model(file)
    assert isinstance(stage, LstmAttentionStage)
    return stage
