"""The LSTM of a cell, fitted once: whichever part of an analysis asks first leaves it as a file for the others."""

from __future__ import annotations

import numpy as np

from encoders.analysis.lagged import Fold, Heard
from encoders.analysis.sweep import Cell
from encoders.analysis.time_models import fit_lstm_fold
from encoders.lstm_attention import FRAME_RATE_HZ, LstmAttentionStage
from encoders.model_file import ModelHeader, load_model, save_model
from realtime.block import Floats

NO_STREAM = ModelHeader((), FRAME_RATE_HZ, (), np.zeros(0), np.zeros(0))  # it predicts rows of a recording, never live


def fitted(cell: Cell, features: Floats, heard: Heard, fold: Fold) -> LstmAttentionStage:
    """The model in `cell.fit`, which is fitted to the training rows of the fold where it is not there yet.

    features: (rows, D) of cell.features. heard: of cell.heard, the cell's electrodes. What goes into a fit gives its
    file the name, so cells of several parts that ask for the same find the same file.
    """
    if not cell.fit.exists():
        save_model(cell.fit, fit_lstm_fold(cell.kind, features, heard, fold, cell.epochs), NO_STREAM)
    stage, _ = load_model(cell.fit)
    assert isinstance(stage, LstmAttentionStage)
    return stage
