"""Rows that are learnt from: embeddings and what was observed, row by row, and which of them are held out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.folds import Rows, apart, held_out_rows
from encoders.lstm_attention import FRAME_RATE_HZ
from realtime.block import Floats, Mask
from realtime.errors import UserError, naming

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
    return _first(_sounds(segments))


def _sounds(segments: Sequence[Aligned]) -> Rows:
    """The number of each row's sound; another for each row where nothing is known."""
    heard = [s.heard for s in segments if s.heard is not None]
    if len(heard) < len(segments):
        return np.arange(sum(len(s) for s in segments), dtype=np.intp)
    return np.concatenate(heard)


def _first(sounds: Rows) -> Rows:
    _, first, number = np.unique(sounds, return_index=True, return_inverse=True)
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
    (found,) = _masks([segments], share, gaps)
    return _parts(segments, *found)


def split_together(patients: Mapping[str, Sequence[Aligned]], share: float, gaps: tuple[int, int]) -> dict[str, Split]:
    """As `split`, for patients whose models learn from each other's rows: a sound that is held out of one is held out
    of all. `heard` must be numbered through all patients' segments, or be unknown.

    Raises UserError, with the name, where one is left with nothing.
    """
    found = {}
    for name, masks in zip(patients, _masks(list(patients.values()), share, gaps), strict=True):
        with naming(name):
            found[name] = _parts(patients[name], *masks)
    return found


def _masks(
    patients: Sequence[Sequence[Aligned]], share: float, gaps: tuple[int, int]
) -> list[tuple[Mask, Mask, int, bool]]:
    """Of each patient's rows: what trains, what is held out; the gap; whether no sound is in both, of any patient."""
    sounds, (wide, narrow) = _told_apart(patients), gaps
    edges = np.cumsum([0, *(len(s) for s in sounds)]).tolist()
    alone = [np.arange(a, b, dtype=np.intp) for a, b in itertools.pairwise(edges)]
    for gap, numbers, least in ((wide, sounds, ENOUGH), (narrow, sounds, FEW), (narrow, alone, 0.0)):
        held = np.concatenate([n[held_out_rows(_first(n), share)] for n in numbers])
        tests = [np.isin(n, held) for n in numbers]
        training = [apart(test, gap) for test in tests]
        if all(mask.sum() >= least * len(mask) for mask in training):
            break
    learnt, kept = (np.concatenate([s[m] for s, m in zip(sounds, masks, strict=True)]) for masks in (training, tests))
    no_repeats = not np.isin(learnt, kept).any()
    return [(mask, test, gap, no_repeats) for mask, test in zip(training, tests, strict=True)]


def _told_apart(patients: Sequence[Sequence[Aligned]]) -> list[Rows]:
    """The number of each patient's sounds; where they are not known, numbers that nobody else has."""
    known = [_sounds(segments) for segments in patients if all(s.heard is not None for s in segments)]
    above, numbers = max((int(n.max(initial=-1)) for n in known), default=-1) + 1, []
    for segments in patients:
        own = _sounds(segments)
        if any(s.heard is None for s in segments):
            own, above = own + above, above + len(own)
        numbers.append(own)
    return numbers


def _parts(segments: Sequence[Aligned], training: Mask, test: Mask, gap: int, no_repeats: bool) -> Split:
    train, held_out = runs(segments, training), runs(segments, test, 1)
    if not train or not held_out:
        raise UserError(
            f"too little to fit on: found {len(test) / FRAME_RATE_HZ:.1f} s of recording, which leaves nothing after "
            f"{gap / FRAME_RATE_HZ:.1f} s between training and validation; record a longer calibration"
        )
    return Split(train, held_out, gap, no_repeats)
