"""Predictions of rows that a model was not fitted to: everything is fitted anew inside each fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from encoders.aligned import Aligned, runs
from encoders.folds import Rows
from encoders.lstm_attention import FRAME_RATE_HZ
from realtime.block import Block, Floats, Mask, regular


class Model(Protocol):
    """What predicts: a fitted stage."""

    def layer(self, x: Block) -> Block: ...


Fit = Callable[[list[Aligned]], Model]
Fold = tuple[Mask, Rows]


def out_of_fold(
    jobs: Sequence[tuple[Sequence[Aligned], Fit]],
    folds: Sequence[Fold],
    workers: int,
    progress: Callable[[float], None] | None = None,
) -> list[Floats]:
    """For each job its predictions of every row, (rows, electrodes), each by the model of the fold that left it out.

    jobs: segments and how to fit on some of them; all jobs' segments have the same rows, numbered through all
    segments as in folds. Features before a test row may be used to predict it, targets never.
    """
    results = [np.full((sum(len(s) for s in segments), segments[0].observed.shape[1]), np.nan) for segments, _ in jobs]

    def one(job: int, fold: Fold) -> None:
        segments, fit = jobs[job]
        training, test = fold
        model = fit(runs(segments, training))
        whole = np.concatenate([model.layer(regular(s.embeddings, FRAME_RATE_HZ)).data for s in segments])
        results[job][test] = whole[test]

    tasks = [(job, fold) for fold in folds for job in range(len(jobs))]
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(one, *task) for task in tasks]
        try:
            for done, future in enumerate(running, start=1):
                future.result()
                if progress is not None:
                    progress(done / len(running))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results
