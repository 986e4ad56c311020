"""Gradient descent as trained models take it: weights averaged, and the epoch kept that held-out rows like best."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

History = list[dict[str, float]]


class Descent:
    """AdamW with clipped gradients, its rate falling as a cosine over `steps`. mean: the model with averaged weights.

    averaging: the share of the mean that stays at each step (Polyak and Juditsky 1992).
    """

    def __init__(
        self, model: nn.Module, steps: int, learning_rate: float, weight_decay: float, averaging: float
    ) -> None:
        self.model = model
        self._averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(averaging))  # type: ignore[no-untyped-call]
        self.mean: nn.Module = self._averaged.module
        self._optimiser = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda i: 0.5 * (1 + math.cos(math.pi * min(i / max(steps, 1), 1)))
        )

    def step(self, loss: Tensor) -> float:
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._averaged.update_parameters(self.model)
        return float(loss.detach())


def best_epoch(
    mean: nn.Module,
    epoch: Callable[[], float],
    validation_r: Callable[[], float] | None,
    epochs: int,
    patience: int,
    tell: Callable[[float], None],
) -> History:
    """Run epochs and leave in `mean` the weights of the best, that before the first among them.

    epoch: one of training, which returns its loss. validation_r: of `mean`; None runs all epochs and keeps the last.
    Stops `patience` epochs after the best. Returns loss and validation_r per epoch, from epoch 0.
    """
    history: History = []
    best, best_at, weights = -math.inf, 0, mean.state_dict()
    for number in range(epochs + 1):
        loss = epoch() if number else math.nan
        r = validation_r() if validation_r else float(number)
        history.append({"epoch": number, "loss": loss, "validation_r": r})
        if r > best:
            best, best_at = r, number
            weights = {name: tensor.clone() for name, tensor in mean.state_dict().items()}
        tell(number / max(epochs, 1))
        if number - best_at >= patience:
            break
    mean.load_state_dict(weights)
    return history
