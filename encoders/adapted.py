"""A fitted model whose read-out may adapt while it runs: the predicting side of `adaptation.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders.adaptation import ROWS, Adaptation, AdaptationConfig
from encoders.model_file import BrainModel
from realtime.block import Block, Floats

SMOOTHING = (0.25, 0.5, 0.25)  # of the components in time: high gamma is smooth over some 40 ms
DELAY_ROWS = 2 * ROWS  # a read-out counts from so long after the last row that taught it
KEPT = 16  # read-outs, one a second: more than a lane may be behind


@dataclass(frozen=True, slots=True)
class Readout:
    """weights (M, K, E), beside the fitted model, for rows from `first_row` on. shown: they are the ones to show."""

    first_row: int
    weights: Floats | None = None
    shown: bool = False


@dataclass(slots=True)
class AdaptedState:
    """base: the fitted model's. tail: (H, K) the components before the next row, smooth: (2, K) those before smoothing;
    zero before the stream's start."""

    base: Any
    tail: Floats
    smooth: Floats
    next_index: int  # -1 before the first row


class AdaptedModel:
    """Embeddings (time, D), 50 rows a second -> predictions (time, E), fitted or adapted, whichever is to be shown.

    extra: the fitted model's; "fitted" and "adapted" (time, E), both predictions; "components" (time, K), what the
    adapted one reads, for `learner` to learn from. `publish` may be called from another thread: a read-out counts from
    a row that lies DELAY_ROWS ahead of what taught it, so that a replay, which learns and predicts in turn, gives the
    same predictions. Without a read-out it predicts what the fitted model does. Restarts after a gap.
    """

    delay_rows = DELAY_ROWS

    def __init__(self, fitted: BrainModel, config: AdaptationConfig | None = None) -> None:
        config = config or AdaptationConfig()
        self.fitted = fitted
        self.electrodes = _electrodes(fitted)
        projection = fitted.projection
        kept = min(config.components, projection.components)
        self._mean, self._sd = projection.mean, projection.sd
        self._matrix = np.ascontiguousarray(projection.matrix[:, :kept])
        self.learner = Adaptation(self.electrodes, kept, config)
        self._readouts: tuple[Readout, ...] = (Readout(0),)  # replaced as a whole, never changed
        self._predicted_to = 0
        self.late = 0  # read-outs that came after a row they should have counted for

    @property
    def lag_s(self) -> float:
        return self.fitted.lag_s

    def initial_state(self) -> AdaptedState:
        history = self.learner.history, self.learner.components
        smooth = (len(SMOOTHING) - 1, self.learner.components)
        return AdaptedState(
            self.fitted.initial_state(), np.zeros(history, np.float32), np.zeros(smooth, np.float32), -1
        )

    def step(self, x: Block, state: AdaptedState) -> tuple[Block, AdaptedState]:
        if len(x) and state.next_index not in (-1, x.index):
            state = self.initial_state()
        y, base = self.fitted.step(x, state.base)
        raw = np.concatenate([state.smooth, self._project(x.data)])
        count = len(x)
        taps = len(SMOOTHING)
        components = np.zeros((count, self.learner.components), np.float32)
        for back, share in enumerate(SMOOTHING):
            components += np.float32(share) * raw[taps - 1 - back : taps - 1 - back + count]
        rows = np.concatenate([state.tail, components])
        adapted, shown = self._adapted(y, rows)
        extra = {**y.extra, "fitted": y.data, "adapted": adapted, "components": components}
        self._predicted_to = y.end
        after = AdaptedState(base, rows[count:].copy(), raw[count:].copy(), x.end if count else state.next_index)
        return Block(np.where(shown[:, None], adapted, y.data), y.times, y.index, extra), after

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def publish(self, first_row: int, weights: Floats | None, shown: bool) -> None:
        """Use this read-out from a row on. From any thread; a lane that is computing keeps what it took."""
        if first_row < self._predicted_to:
            self.late += 1
        earlier = [r for r in self._readouts if r.first_row < first_row]
        self._readouts = (*earlier[-KEPT + 1 :], Readout(first_row, weights, shown))

    def restart(self, weights: Floats | None, shown: bool) -> None:
        """Begin with this read-out at row 0: what an earlier stream taught."""
        self._readouts, self._predicted_to = (Readout(0, weights, shown),), 0

    def _project(self, x: Floats) -> Floats:
        standard = (np.asarray(x, np.float32) - self._mean) / self._sd
        projected: Floats = np.nan_to_num(standard, copy=False, nan=0.0, posinf=0.0, neginf=0.0) @ self._matrix
        return projected

    def _adapted(self, y: Block, rows: Floats) -> tuple[Floats, Any]:
        """The adapted prediction (time, E) and where it is shown (time,); rows: components from H rows before."""
        adapted, shown = y.data.copy(), np.zeros(len(y), np.bool_)
        readouts = self._readouts
        ends = [r.first_row for r in readouts[1:]] + [y.end]
        for number, (readout, end) in enumerate(zip(readouts, ends, strict=True)):
            first = 0 if number == 0 else max(readout.first_row - y.index, 0)
            last = min(end - y.index, len(y))
            if first >= last:
                continue
            shown[first:last] = readout.shown
            if readout.weights is None:
                continue
            for lag, weights in zip(self.learner.lags, readout.weights, strict=True):
                start = self.learner.history - lag
                adapted[first:last] += rows[start + first : start + last] @ weights
        return adapted, shown


def _electrodes(model: BrainModel) -> int:
    nothing = Block(np.zeros((0, len(model.projection.mean)), np.float32), np.zeros(0))
    return int(model.layer(nothing).data.shape[1])
