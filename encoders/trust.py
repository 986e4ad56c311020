"""How much of what the LSTM adds to the ridge each electrode is given: none where it does not help beyond doubt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from encoders.lstm_attention import LstmAttention
from realtime.block import Floats, Mask

Doubles = npt.NDArray[np.float64]
BLOCKS = 20


def trust(linear: Floats, full: Floats, observed: Floats, good: Mask, errors: float = 1.0) -> Doubles:
    """(E,) shares from 0 to 1, from held-out rows (T, E), good where they count.

    The share of full - linear that explains observed - linear best, minus `errors` standard errors of it, which a
    jackknife over BLOCKS contiguous blocks gives (Kuensch 1989).
    """
    added = np.where(good, full.astype(np.float64) - linear, 0.0)
    left = np.where(good, observed.astype(np.float64) - linear, 0.0)
    edges = np.linspace(0, len(added), BLOCKS + 1).astype(int)[:-1]
    product, power = (np.add.reduceat(v, edges, axis=0) for v in (added * left, added * added))  # (BLOCKS, E)
    total = np.maximum(power.sum(axis=0), 1e-9)
    slope = product.sum(axis=0) / total
    without = (product.sum(axis=0) - product) / np.maximum(power.sum(axis=0) - power, 1e-9)
    error = np.sqrt((BLOCKS - 1) / BLOCKS * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    share: Doubles = np.clip(slope - errors * error, 0.0, 1.0)
    return share


def give(model: LstmAttention, intercept: Floats, share: Doubles) -> None:
    """Make the model add only this share (E,) to the linear prediction with that intercept (E,), in place."""
    s, begin = torch.as_tensor(share, dtype=torch.float32), torch.as_tensor(intercept)
    with torch.no_grad():
        model.readout.weight.mul_(s[:, None])
        model.readout.bias.copy_(begin + s * (model.readout.bias - begin))
        if model.gain is not None:
            model.gain.weight.mul_(s[:, None])
            model.gain.bias.mul_(s)
