"""Folds of a recording that do not leak: contiguous, with a purged gap, all repeats of a stimulus in one fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d

from realtime.block import Mask
from realtime.errors import UserError

Rows = npt.NDArray[np.intp]


def purged_folds(
    segments: Sequence[int], folds: int, gap_rows: int, source: Rows | None = None
) -> list[tuple[Mask, Rows]]:
    """Folds of a recording, each with its training rows: [(training mask (rows,), test rows)].

    segments: rows of each uninterrupted part, in order; rows are numbered through all of them. source: (rows,) for
    each row the first row with the same sound, as `find_repeats` gives it; None: no sound is heard twice. Rows that
    are heard for the first time are cut into folds as equal as they can be, but a fold begins with a segment where
    one begins within a quarter of a fold's length; repeats follow their first hearing. The gap_rows rows before
    and after test rows train nothing, across segments too, because these may follow each other closely. Choose
    gap_rows at least as long as context plus the largest lag plus what the filters ring. Raises UserError where
    there are too few folds or rows.
    """
    rows = int(sum(segments))
    source = np.arange(rows, dtype=np.intp) if source is None else source
    if source.shape != (rows,) or np.any(source[source] != source):
        raise ValueError(f"sources of {rows} rows: found shape {source.shape}, or a source that is itself a repeat")
    new = source == np.arange(rows)
    if folds < 2 or new.sum() < folds:
        raise UserError(f"{folds} folds of {new.sum()} rows asked for, at least 2 folds of at least one row expected")
    heard = np.concatenate([[0], np.cumsum(new)])
    begins = heard[np.cumsum([0, *segments])]
    labels = np.empty(rows, np.intp)
    labels[new] = np.searchsorted(_fold_edges(begins, folds), np.arange(new.sum()), side="right") - 1
    labels = labels[source]
    return [_fold(labels == fold, folds, gap_rows) for fold in range(folds)]


def held_out_rows(source: Rows, share: float) -> Mask:
    """(rows,) True for the last share of what is heard first, and for all its repeats. source: as in `purged_folds`."""
    new = source == np.arange(len(source))
    late: Mask = np.cumsum(new) > round(new.sum() * (1 - share))
    return late[source]


def apart(test: Mask, gap_rows: int) -> Mask:
    """Rows that are further than the gap from any held out."""
    training: Mask = ~maximum_filter1d(test, 2 * gap_rows + 1, mode="constant")
    return training


def _fold(test: Mask, folds: int, gap_rows: int) -> tuple[Mask, Rows]:
    training = apart(test, gap_rows)
    if not training.any():
        raise UserError(
            f"{len(test)} rows in {folds} folds with gaps of {gap_rows} rows leave none to train on: "
            "give a longer recording or a shorter gap"
        )
    return training, np.flatnonzero(test)


def _fold_edges(begins: Rows, folds: int) -> Rows:
    rows = int(begins[-1])
    edges = [0]
    for fold in range(1, folds):
        even = rows * fold // folds
        nearest = int(begins[np.argmin(np.abs(begins - even))])
        edges.append(nearest if abs(nearest - even) * 4 * folds < rows else even)
    return np.array(edges, np.intp)
