"""Rows that are learnt from: embeddings and what was observed, row by row, and which of them are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.folds import Rows, held_out_rows
from encoders.lstm_attention import FRAME_RATE_HZ
from realtime.block import Floats, Mask
from realtime.errors import UserError

LEAST_RUN_ROWS = 50  # a shorter stretch between two gaps is mostly lags that reach before its start
ENOUGH = 0.5  # of all rows, left to learn from, for the wider gap
FEW = 0.25  # of all rows, for keeping repeats apart at all


@dataclass(frozen=True, slots=True)
class Aligned:
    """One contiguous segment at 50 rows a second, one row of each for each embedding.

    embeddings: (T, D) float32. observed: (T, E) float32, row i at the time of embedding row i plus the horizon.
    bad: (T, E) bool, True where observed counts for nothing. heard: (T,) numbers, the same where the same sound was
    heard, in any segment; None: nothing is known of repeats.
    """

    embeddings: Floats
    observed: Floats
    bad: Mask
    heard: Rows | None = None

    def __post_init__(self) -> None:
        if not (len(self.embeddings) == len(self.observed) == len(self.bad) and self.observed.shape == self.bad.shape):
            raise ValueError(
                f"segment arrays differ: embeddings {self.embeddings.shape}, observed {self.observed.shape}, "
                f"bad {self.bad.shape}"
            )
        if self.heard is not None and self.heard.shape != (len(self),):
            raise ValueError(f"segment arrays differ: {len(self)} rows, heard {self.heard.shape}")

    def __len__(self) -> int:
        return len(self.embeddings)

    def rows(self, start: int, stop: int) -> Aligned:
        part = slice(start, stop)
        heard = None if self.heard is None else self.heard[part]
        return Aligned(self.embeddings[part], self.observed[part], self.bad[part], heard)


def first_heard(segments: Sequence[Aligned]) -> Rows:
    """For each row, numbered through all segments, the first with the same sound; its own where nothing is known."""
    heard = [s.heard for s in segments if s.heard is not None]
    if len(heard) < len(segments):
        return np.arange(sum(len(s) for s in segments), dtype=np.intp)
    _, first, number = np.unique(np.concatenate(heard), return_index=True, return_inverse=True)
    source: npt.NDArray[np.intp] = first[number]
    return source


def runs(segments: Sequence[Aligned], chosen: Mask, least: int = LEAST_RUN_ROWS) -> list[Aligned]:
    """The runs of at least so many chosen rows in each segment; chosen: (rows,) through all segments."""
    parts, at = [], 0
    for segment in segments:
        inside = np.concatenate([[False], chosen[at : at + len(segment)], [False]])
        edges = np.flatnonzero(inside[1:] != inside[:-1]).tolist()  # starts and stops in turn
        parts += [segment.rows(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]
        at += len(segment)
    return parts


@dataclass(frozen=True, slots=True)
class Split:
    """Segments to learn from, and those held out. gap_rows: left out between them. repeats_apart: no sound of one is
    in the other."""

    train: list[Aligned]
    held_out: list[Aligned]
    gap_rows: int
    repeats_apart: bool

    def facts(self) -> dict[str, float | bool]:
        """For a model file and its report."""
        return {
            "held_out_s": round(sum(len(s) for s in self.held_out) / FRAME_RATE_HZ, 1),
            "gap_s": round(self.gap_rows / FRAME_RATE_HZ, 2),
            "repeats_apart": self.repeats_apart,
        }


def split(segments: Sequence[Aligned], share: float, gaps: tuple[int, int]) -> Split:
    """Hold out the last share of what is heard for the first time, with all its repeats; learn from the rest.

    gaps: rows around what is held out that train nothing; the second, narrower, where the first leaves less than half
    of all rows. Repeats are kept apart unless that leaves less than a quarter. Raises UserError where nothing is left.
    """
    source, (wide, narrow) = first_heard(segments), gaps
    alone = np.arange(len(source), dtype=np.intp)
    for gap, first, least in ((wide, source, ENOUGH), (narrow, source, FEW), (narrow, alone, 0.0)):
        training, test = held_out_rows(first, share, gap)
        if training.sum() >= least * len(source):
            break
    train, held_out = runs(segments, training), runs(segments, test, 1)
    if not train or not held_out:
        raise UserError(
            f"too little to fit on: found {len(source) / FRAME_RATE_HZ:.1f} s of recording, which leaves nothing after "
            f"{gap / FRAME_RATE_HZ:.1f} s between training and validation; record a longer calibration"
        )
    return Split(train, held_out, gap, not np.isin(source[training], source[test]).any())
