"""Crops of training segments for truncated back-propagation: each lane of a batch walks on through its segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from realtime.block import Floats, Mask


@dataclass(frozen=True, slots=True)
class Crop:
    """frames (B, tail + T, P), valid (B, tail + T), targets and good (B, T, E). fresh (B,): the lane has just begun
    here, with a state of zeros; its first rows are warm-up and not good."""

    frames: Tensor
    valid: Tensor
    targets: Tensor
    good: Tensor
    fresh: Tensor


class Crops:
    """Segments in a row, before each `tail` rows of zeros that are not valid, as before a stream's start.

    frames (T_i, P), targets (T_i, E), good (T_i, E) of each segment. rows, batch: of a crop; fewer rows where no
    segment has so many. A segment shorter than a crop ends in rows of zeros that are not good. warm_up: rows after a
    fresh start that count for nothing, because the state is not yet what it would be. device: where the crops are.
    """

    def __init__(
        self,
        frames: Sequence[Floats],
        targets: Sequence[Floats],
        good: Sequence[Mask],
        tail: int,
        rows: int,
        warm_up: int,
        batch: int,
        device: str = "cpu",
    ) -> None:
        lengths = [len(f) for f in frames]
        self.tail, self.batch = tail, batch
        self.rows = min(rows, max(lengths))
        self.warm_up = min(warm_up, self.rows // 2)
        padded = [max(n, self.rows) for n in lengths]
        self.frames, self.targets, self.good = (
            torch.from_numpy(
                np.concatenate(
                    [np.pad(one, ((tail, n - len(one)), (0, 0))) for one, n in zip(arrays, padded, strict=True)]
                )
            ).to(device)
            for arrays in (frames, targets, good)
        )
        self.valid = torch.from_numpy(np.concatenate([np.arange(tail + n) >= tail for n in padded])).to(device)
        begins = np.cumsum([0, *(tail + n for n in padded)])[:-1]
        starts, lasts = [], []
        for begin, n in zip(begins, lengths, strict=True):
            last = begin + max(n - self.rows, 0)
            # a short one has a single start; as often as it has rows, or it would hardly be drawn beside long ones
            starts.append(np.arange(begin, last + 1) if n >= self.rows else np.full(n, begin))
            lasts.append(np.full(len(starts[-1]), last))
        self.starts, self.lasts = np.concatenate(starts), np.concatenate(lasts)
        self.batches = max(1, round(sum(lengths) / (self.rows * batch)))
        self.at, self.last = np.ones(batch, np.int64), np.zeros(batch, np.int64)  # past their ends: all begin anew

    def draw(self, rng: np.random.Generator) -> Crop:
        fresh = self.at > self.last
        chosen = rng.integers(len(self.starts), size=int(fresh.sum()))
        self.at[fresh], self.last[fresh] = self.starts[chosen], self.lasts[chosen]
        rows, begun = (
            torch.from_numpy(array).to(self.frames.device)
            for array in (self.at[:, None] + np.arange(self.tail + self.rows), fresh)
        )  # (B, tail + T), (B,)
        now = rows[:, self.tail :]  # (B, T)
        good = self.good[now]
        good[begun, : self.warm_up] = False
        self.at = self.at + self.rows
        return Crop(self.frames[rows], self.valid[rows], self.targets[now], good, begun)
