"""The sweep: the same on one process as on Dask, goes on where it was, and one failed cell costs no other."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from encoders.analysis.lagged import Heard, folds_of, predict_fold
from encoders.analysis.sweep import Cell, gather, make_cell, run_cells, save_heard, solve_cell
from realtime.commands.analysis_features import observed_file
from realtime.commands.analysis_store import Store
from realtime.errors import UserError


def cells_in(folder: Path, rows: int = 2500, models: int = 2, electrodes: int = 6) -> tuple[list[Cell], Heard]:
    """Cells of some models, electrodes in two groups, five folds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 40)).astype(np.float32)
    y = (x[:, :electrodes] + rng.standard_normal((rows, electrodes))).astype(np.float32)
    heard = Heard((rows,), y, np.zeros(y.shape, bool))
    save_heard(folder / "heard.npz", heard)
    cells = []
    for model in range(models):
        np.save(folder / f"x{model}.npy", np.roll(x, model, axis=0))
        cells += [
            make_cell(
                f"{model} {a} {fold}", folder / f"x{model}.npy", folder / "heard.npz", (a, b), fold, folder / "out"
            )
            for a, b in ((0, electrodes // 2), (electrodes // 2, electrodes))
            for fold in range(5)
        ]
    return cells, heard


def of_model(cells: list[Cell], model: int) -> list[Cell]:
    return [cell for cell in cells if cell.name.startswith(f"{model} ")]


def test_cells_are_the_fits_of_all_electrodes_at_once(tmp_path: Path) -> None:
    cells, heard = cells_in(tmp_path)
    shares: list[float] = []
    assert run_cells(cells, workers=1, tell=shares.append) == {}
    assert shares[-1] == 1.0
    x = np.load(tmp_path / "x1.npy")
    found = gather(of_model(cells, 1), heard)
    for fold in folds_of(heard):
        np.testing.assert_allclose(found[fold.test], predict_fold(x, heard, fold), atol=1e-6)


def failing(cell: Cell) -> None:
    if cell.name == "0 3 2":
        raise ValueError("a planted\nfailure")
    solve_cell(cell)


def test_a_failed_cell_costs_no_other_and_is_tried_again(tmp_path: Path) -> None:
    cells, heard = cells_in(tmp_path, models=1)
    assert run_cells(cells, workers=1, solve=failing) == {"0 3 2": "ValueError: a planted failure"}
    found = gather(cells, heard)
    test = folds_of(heard)[2].test
    missing = np.zeros(found.shape, bool)
    missing[test, 3:] = True
    np.testing.assert_array_equal(np.isnan(found), missing)
    assert run_cells(cells, workers=1) == {}
    assert np.isfinite(gather(cells, heard)).all()


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    cells, heard = cells_in(tmp_path, models=1)
    done: list[str] = []

    def interrupted(cell: Cell) -> None:
        if len(done) == 4:
            raise KeyboardInterrupt
        solve_cell(cell)
        done.append(cell.name)

    with pytest.raises(KeyboardInterrupt):
        run_cells(cells, workers=1, solve=interrupted)
    again: list[str] = []

    def counted(cell: Cell) -> None:
        again.append(cell.name)
        solve_cell(cell)

    assert run_cells(cells, workers=1, solve=counted) == {}
    assert sorted(done + again) == sorted(cell.name for cell in cells)
    assert np.isfinite(gather(cells, heard)).all()
    assert not list((tmp_path / "out").glob(".*"))


def test_a_cells_file_follows_from_what_goes_in(tmp_path: Path) -> None:
    args = ("a", tmp_path / "x.npy", tmp_path / "h.npz", (0, 3), 0, tmp_path)
    names = {
        make_cell(*args).out,
        make_cell(*args, kind="instantaneous").out,
        make_cell(*args, epochs=3).out,
        make_cell("a", tmp_path / "other.npy", *args[2:]).out,
        make_cell(*args[:4], 1, tmp_path).out,
    }
    assert len(names) == 5
    assert make_cell("another name", *args[1:]).out in names


def test_a_scheduler_that_does_not_answer_is_told(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    cells, _ = cells_in(tmp_path, models=1)
    with pytest.raises(UserError, match="no Dask scheduler answers"):
        run_cells(cells, scheduler="nonsense")


@pytest.mark.long
def test_dask_gives_the_same_and_uses_both_cores(tmp_path: Path) -> None:
    """On an idle machine of two cores two workers are 1.6 times as fast; here only that the results are the same."""
    pytest.importorskip("distributed")
    alone, heard = cells_in(tmp_path, rows=12_000, models=2)
    here = [Cell(**{**{f: getattr(c, f) for f in c.__slots__}, "out": tmp_path / "dask" / c.out.name}) for c in alone]
    seconds = {}
    for name, cells, workers in (("one", alone, 1), ("two on Dask", here, 2)):
        begun = time.perf_counter()
        assert run_cells(cells, workers=workers) == {}
        seconds[name] = time.perf_counter() - begun
    print(seconds)
    for model in range(2):
        a, b = (gather(of_model(cells, model), heard) for cells in (alone, here))
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.long
def test_workers_of_a_cluster_run_in_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real worker processes, started elsewhere than the command, which names its folder from where it is."""
    distributed = pytest.importorskip("distributed")
    folders = tmp_path / "workers", tmp_path / "here"
    for folder in folders:
        folder.mkdir()
    monkeypatch.chdir(folders[0])
    with distributed.LocalCluster(n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.chdir(folders[1])
        with distributed.Client(cluster) as client:
            assert set(client.run(os.getcwd).values()) == {str(folders[0])}
        store = Store(Path("out"))
        heard = cells_in(tmp_path, models=1)[1]
        x = np.load(tmp_path / "x0.npy")
        (features,) = store.arrays("x", "one", (0,), lambda: {0: x}).values()
        observed, out = observed_file(heard, store), store.cells("layers")
        cells = [make_cell(f"fold {fold}", features, observed, (0, 6), fold, out) for fold in range(5)]
        assert run_cells(cells, scheduler=cluster.scheduler_address) == {}
    assert np.isfinite(gather(cells, heard)).all()
    assert (folders[1] / "out" / "cells" / "layers").is_dir()
    assert not any(folders[0].rglob("*.npy"))


@pytest.mark.long
def test_a_cell_that_fails_on_dask_costs_no_other(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    cells, _ = cells_in(tmp_path, models=1)
    assert run_cells(cells, workers=2, solve=failing) == {"0 3 2": "ValueError: a planted failure"}
    assert sum(cell.out.exists() for cell in cells) == len(cells) - 1
