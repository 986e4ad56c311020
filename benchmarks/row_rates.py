"""What 100 or 200 predicted rows a second buy and cost, on the demo's simulated patient.

    python -m benchmarks.row_rates --json row_rates.json

For each rate the calibration trials are fitted and the held-out ones predicted: r over driven electrodes, of the rows
as they are and of their means within each frame of 20 ms, which a finer grid must not make worse; seconds of fit and
prediction, and how late the high gamma is. The patient is that of `benchmarks.fit`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.fit import measured, prepare
from encoders.archive import cache_dir
from encoders.model_file import load_model
from encoders.training import masked_r
from realtime.block import Floats
from realtime.commands import wiring
from realtime.commands.console import machine_facts, say
from realtime.commands.demo_session import DemoSettings
from realtime.sources.recording import load_recording
from realtime.subframes import ROW_RATES_HZ, per_frame

ECOG = "ecog"
Row = dict[str, Any]


def one_rate(folder: Path, work: Path, row_rate_hz: float, driven: Any) -> Row:
    """folder: of the recordings. driven: (electrodes,), over which the means are."""
    model, out = work / f"{row_rate_hz:g}.safetensors", work / f"{row_rate_hz:g}.npz"
    words = ["fit", folder / "calibration", "--out", model, "--row-rate", f"{row_rate_hz:g}", "--quick"]
    fit = measured(words, cache_dir())
    predict = measured(["replay", folder / "held_out", "--fast", "--model", model, "--out", out], cache_dir())
    _, header = load_model(model)
    spec = load_recording(folder / "held_out").streams[ECOG].spec
    lane = wiring.ecog_lane(spec, wiring.EcogPlan.fitted(header))
    with np.load(out) as rows:
        predicted, observed = rows["predicted"], rows["observed"]
    count = per_frame(row_rate_hz)
    return {
        "row_rate_hz": row_rate_hz,
        "kept": header.training["kind"],
        "r": mean_r(predicted, observed, driven),
        "r_of_frames": mean_r(framewise(predicted, count), framewise(observed, count), driven),
        "seconds": header.training["seconds"],
        "fit": fit,
        "predict": predict,
        "delay_ms": 1e3 * lane.lag_s,
        "megabytes": model.stat().st_size / 1e6,
    }


def framewise(rows: Floats, count: int) -> Floats:
    """(count frames, E) -> (frames, E): the mean of each frame's rows, NaN where one is."""
    means: Floats = rows.reshape(-1, count, rows.shape[1]).mean(axis=1)
    return means


def mean_r(predicted: Floats, observed: Floats, driven: Any) -> float:
    return float(masked_r(predicted, np.nan_to_num(observed), np.isfinite(observed))[driven].mean())


def show(rows: Sequence[Row]) -> None:
    table = Table(
        "rows/s", "model", "r", "r, frames' means", "training, s", "fit, processor s", "peak, GB", "predicting, s",
        "high gamma late, ms", "file, MB", title="driven electrodes, held-out speech, SIMULATED patient",
    )  # fmt: skip
    for row in rows:
        training = sum(row["seconds"].values())
        fit, predict = row["fit"], row["predict"]
        numbers = (row["r"], row["r_of_frames"])
        costs = (
            training,
            fit["processor_s"],
            fit["peak_gb"],
            predict["processor_s"],
            row["delay_ms"],
            row["megabytes"],
        )
        table.add_row(
            f"{row['row_rate_hz']:g}", row["kept"], *(f"{v:.3f}" for v in numbers), *(f"{v:.1f}" for v in costs)
        )
    Console(width=140).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.row_rates", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--whisper", default="base", help="base or tiny.en (default: base)")
    parser.add_argument("--repeats", type=int, default=20, help="for the patient's noise ceilings (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    folder = prepare(DemoSettings(whisper=options.whisper, repeats=options.repeats))
    truth = json.loads((folder / "truth.json").read_text())["electrodes"]
    driven = np.array([one["driven"] for one in truth])
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for row_rate_hz in ROW_RATES_HZ:
            say(f"{row_rate_hz:g} rows a second")
            rows.append(one_rate(folder, Path(name), row_rate_hz, driven))
    show(rows)
    if options.json:
        content = {"simulated": True, "rates": rows, "machine": machine_facts()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
