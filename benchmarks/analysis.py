"""What `corticast analyze` costs on ten simulated minutes of 64 electrodes, and what a second Dask worker gains.

    python -m benchmarks.analysis --json analysis.json

- layers: every encoder layer with baselines and nulls, from the raw recording to the report, nothing cached.
- whole: all parts, decoder layers included, nothing cached.
- sweep: the same fits on one Dask worker and on two, workers started anew for each; results are compared.

The session is kept in the cache (three minutes to make). The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.analysis.lagged import folds_of
from encoders.analysis.sweep import Cell, load_heard, make_cell, run_cells
from encoders.archive import cache_dir
from realtime.commands.console import machine_facts, say
from realtime.errors import UserError

ROWS = ("layers", "whole", "sweep")
Row = dict[str, Any]


def prepare(whisper: str, trials: int, electrodes: int) -> Path:
    """Folder with session/ and truth.json."""
    folder = cache_dir() / "benchmarks" / f"analysis-{whisper}-{trials}-{electrodes}"
    if not (folder / "truth.json").exists():
        words = [folder, "--whisper", whisper, "--trials", trials, "--electrodes", electrodes]
        _run([sys.executable, "-m", "benchmarks.analysis_session", *map(str, words)])
    return folder


def timed(folder: Path, whisper: str, out: Path, words: Sequence[str]) -> Row:
    """Run `corticast analyze` in a process of its own; seconds in all, of each step that it tells, peak memory."""
    command = ["analyze", str(folder / "session"), "--truth", str(folder / "truth.json"), "--out", str(out)]
    begun = time.perf_counter()
    steps, status, usage = _steps([sys.executable, "-m", "realtime.cli", *command, "--whisper", whisper, *words])
    if status:
        raise UserError(f"bench: corticast {' '.join(command[:2])} ended with status {status}")
    return {
        "wall_s": round(time.perf_counter() - begun, 1),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss / 1e6, 2),
        "steps": steps,
    }


def _steps(command: Sequence[str]) -> tuple[Row, int, Any]:
    """Seconds from each line `STEP ...` on standard error to the next line, which are shown too; status; usage."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    steps: dict[str, float] = {}
    step, since = "start", time.perf_counter()
    for line in process.stderr:
        sys.stderr.write(line)
        now = time.perf_counter()
        steps[step] = round(steps.get(step, 0.0) + now - since, 1)
        step = line.strip().removesuffix(" ...") if line.rstrip().endswith(" ...") else "between steps"
        since = now
    _, status, usage = os.wait4(process.pid, 0)
    return steps, os.waitstatus_to_exitcode(status), usage


def sweep(out: Path, fits: int) -> Row:
    """The same fits, of the layers under `out`, on one and on two Dask workers."""
    from distributed import LocalCluster

    features = sorted((out / "features").glob("*offline*.npy"))
    observed = next((out / "features").glob("heard-*.npz"))
    heard = load_heard(observed)
    folds, electrodes = len(folds_of(heard)), heard.observed.shape[1]
    found: Row = {"fits": fits}
    made: dict[int, list[Cell]] = {}
    for workers in (1, 2):
        cells = [
            make_cell(f"{path.stem} {fold}", path, observed, (0, electrodes), fold, out / f"on-{workers}")
            for path in features
            for fold in range(folds)
        ]
        made[workers] = cells[:fits]
        begun = time.perf_counter()
        with LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster:
            started = time.perf_counter()
            failed = run_cells(made[workers], scheduler=cluster.scheduler_address)
            ended = time.perf_counter()
        if failed:
            raise UserError(f"bench: a fit failed: {next(iter(failed.values()))}")
        found[f"{workers}_workers"] = {"start_s": round(started - begun, 1), "fits_s": round(ended - started, 1)}
        say(
            f"{fits} fits on {workers} Dask workers: {ended - started:.1f} s, and {started - begun:.1f} s to start them"
        )
    pairs = zip(made[1], made[2], strict=True)
    found["largest_difference"] = max(float(np.abs(np.load(a.out) - np.load(b.out)).max()) for a, b in pairs)
    one, two = (found[f"{n}_workers"] for n in (1, 2))
    found["gain"] = round(one["fits_s"] / two["fits_s"], 2)
    found["gain_with_start"] = round(sum(one.values()) / sum(two.values()), 2)
    return found


def _run(command: Sequence[str]) -> None:
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"bench: {' '.join(command[1:4])} failed: see above")


def show(result: Row) -> None:
    out = Console()
    for name in ROWS[:2]:
        if name in result:
            table = Table("step", "s", title=f"corticast analyze, {name} (SIMULATED session)")
            for step, seconds in result[name]["steps"].items():
                if seconds >= 1:
                    table.add_row(step, f"{seconds:.1f}")
            table.add_row("in all", f"{result[name]['wall_s']:.1f}")
            out.print(table)
            out.print(f"processor {result[name]['processor_s']:g} s, peak memory {result[name]['peak_gb']:g} GB")
    if "sweep" in result:
        row = result["sweep"]
        out.print(
            f"two Dask workers are {row['gain']} times as fast as one ({row['gain_with_start']} with their start); "
            f"largest difference of a prediction {row['largest_difference']:.1g} SD"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--whisper", default="base", help="base or tiny.en (default: base)")
    parser.add_argument("--trials", type=int, default=10, help="of about a minute of speech (default: 10)")
    parser.add_argument("--electrodes", type=int, default=64)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="(default: all)")
    parser.add_argument("--fits", type=int, default=30, help="of the sweep (default: 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the reports there, in new folders")
    options = parser.parse_args(arguments)
    folder = prepare(options.whisper, options.trials, options.electrodes)
    result: Row = {}
    with tempfile.TemporaryDirectory() as name:
        work = options.keep or Path(name)
        if "layers" in options.rows or "sweep" in options.rows:
            words = ["--parts", "layers", "--no-decoder"]
            result["layers"] = timed(folder, options.whisper, work / "layers", words)
        if "sweep" in options.rows:
            result["sweep"] = sweep(work / "layers", options.fits)
        if "whole" in options.rows:
            result["whole"] = timed(folder, options.whisper, work / "whole", [])
    result["machine"] = machine_facts()
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
