"""The sweep over patients, models, electrodes and folds: each cell one fit, kept as a file the moment it is there.

A cell reads its features and what was observed from files, so that a worker on another machine needs nothing but the
same folder. Cells whose file is there already are not computed again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoders.analysis.lagged import LAGGED, Heard, folds_of, instantaneous, predict_fold
from encoders.archive import atomic
from encoders.ridge import RidgeConfig
from realtime.block import Floats
from realtime.errors import UserError

VERSION = 1  # of what a cell computes and its LSTM learns
TIME_MODELS = ("instantaneous", "lagged", "lstm", "lstm_attention")
Solve = Callable[["Cell"], None]
Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One fit. name: patient, model, electrodes and fold, for people. features: .npy (rows, D). heard: .npz of
    `save_heard`. electrodes: (start, stop). kind: `lagged`, or one of TIME_MODELS. out: where the
    predictions (test rows, electrodes) go, .npy. fit: where an LSTM goes, once it is fitted, .safetensors."""

    name: str
    features: Path
    heard: Path
    electrodes: tuple[int, int]
    fold: int
    kind: str
    config: RidgeConfig
    epochs: int
    out: Path
    fit: Path


def make_cell(
    name: str,
    features: Path,
    heard: Path,
    electrodes: tuple[int, int],
    fold: int,
    folder: Path,
    kind: str = "lagged",
    config: RidgeConfig = LAGGED,
    epochs: int = 0,
    fits: Path | None = None,
) -> Cell:
    """A cell whose files' names follow from what goes in: features and heard are named by their content.

    folder: of its result. fits: of its LSTM, by default the same folder; other cells with the same fit may share it.
    """
    text = repr((VERSION, features.name, heard.name, electrodes, fold, kind, asdict(config), epochs))
    stem = hashlib.sha256(text.encode()).hexdigest()[:24]
    out, fit = folder / f"{stem}.npy", (fits or folder) / f"{stem}.safetensors"
    return Cell(name, features, heard, electrodes, fold, kind, config, epochs, out, fit)


def save_heard(path: Path, heard: Heard) -> None:
    with atomic(path) as aside, aside.open("wb") as file:
        source = np.zeros(0, np.intp) if heard.source is None else heard.source
        np.savez(file, segments=np.array(heard.segments), observed=heard.observed, bad=heard.bad, source=source)


def load_heard(path: Path) -> Heard:
    with np.load(path, allow_pickle=False) as content:
        source = content["source"] if len(content["source"]) else None
        return Heard(tuple(int(n) for n in content["segments"]), content["observed"], content["bad"], source)


def solve_cell(cell: Cell) -> None:
    """Fit and predict one cell, and write its file, whole or not at all."""
    heard = load_heard(cell.heard)
    fold = folds_of(heard, cell.config)[cell.fold]
    heard = heard.electrodes(*cell.electrodes)
    features = np.load(cell.features, allow_pickle=False).astype(np.float32)
    if cell.kind == "lagged":
        predicted = predict_fold(features, heard, fold, cell.config)
    elif cell.kind == "instantaneous":
        predicted = predict_fold(features, heard, fold, instantaneous(cell.config))
    else:
        from encoders.analysis.fits import fitted  # torch takes seconds to load
        from encoders.analysis.time_models import predict_test_rows

        stage = fitted(cell.fit, cell.kind, features, heard, fold, cell.epochs)
        predicted = predict_test_rows(stage, features, heard, fold)
    with atomic(cell.out) as aside, aside.open("wb") as file:
        np.save(file, predicted, allow_pickle=False)


def run_cells(
    cells: Sequence[Cell],
    workers: int | None = None,
    scheduler: str | None = None,
    tell: Tell | None = None,
    solve: Solve = solve_cell,
) -> dict[str, str]:
    """Compute what is not there yet; returns the cells that failed, by name, with the reason.

    workers: processes on this machine, all cores by default; with one, nothing is started. scheduler: address of a
    Dask scheduler instead, `tcp://host:8786`. A failed cell costs no other. tell(share done).
    """
    tell = tell or (lambda _share: None)
    todo = {cell.out: cell for cell in cells if not cell.out.exists()}
    workers = min(workers or os.cpu_count() or 1, max(len(todo), 1))
    if not todo:
        return {}
    if scheduler is None and workers == 1:
        return _here(list(todo.values()), tell, solve)
    return _on_dask(list(todo.values()), workers, scheduler, tell, solve)


def _attempt(solve: Solve, cell: Cell) -> str:
    """What went wrong, or an empty text."""
    try:
        solve(cell)
    except Exception as error:  # whatever it is, it must not cost the other cells
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def _here(cells: Sequence[Cell], tell: Tell, solve: Solve) -> dict[str, str]:
    failed = {}
    for number, cell in enumerate(cells, start=1):
        reason = _attempt(solve, cell)
        if reason:
            failed[cell.name] = reason
        tell(number / len(cells))
    return failed


def _on_dask(cells: Sequence[Cell], workers: int, scheduler: str | None, tell: Tell, solve: Solve) -> dict[str, str]:
    try:
        from distributed import as_completed
    except ImportError:
        raise UserError(
            "the sweep on several processes needs Dask, which is missing: run pip install 'corticast[analysis]', or "
            "give --workers 1"
        ) from None
    failed, done = {}, 0
    with _client(workers, scheduler) as client:
        futures = {
            client.submit(_attempt, solve, cell, key=f"{cell.name}-{cell.out.stem}", pure=False): cell for cell in cells
        }
        for future in as_completed(list(futures)):  # type: ignore[no-untyped-call]
            cell = futures[future]
            reason = future.result() if future.status == "finished" else f"its worker was lost: {future.exception()}"
            if reason:
                failed[cell.name] = reason
            elif not cell.out.exists():
                failed[cell.name] = f"the worker wrote {cell.out.name} where it cannot be read: share the folder"
            done += 1
            tell(done / len(cells))
    return failed


def _client(workers: int, scheduler: str | None) -> Any:
    import dask
    from distributed import Client

    dask.config.set({"distributed.worker.daemon": False, "distributed.comm.timeouts.connect": "60s"})
    if scheduler is None:
        return Client(  # type: ignore[no-untyped-call]
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )
    try:
        return Client(scheduler, timeout="10s")  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {scheduler!r} ({type(error).__name__}): start one with dask scheduler, "
            "and workers with dask worker ADDRESS on machines that share this folder"
        ) from None


def gather(cells: Sequence[Cell], heard: Heard) -> Floats:
    """(rows, electrodes) float32: the cells of one model put together; NaN where one is missing."""
    predicted = np.full(heard.observed.shape, np.nan, np.float32)
    folds = folds_of(heard, cells[0].config)
    for cell in cells:
        if cell.out.exists():
            predicted[np.ix_(folds[cell.fold].test, np.arange(*cell.electrodes))] = np.load(
                cell.out, allow_pickle=False
            )
    return predicted
