"""What a fit costs and how near it comes to the truth, on the demo's simulated patient.

    python -m benchmarks.fit --json fit.json

Ten minutes of 64 channels go through `corticast fit` in a process of its own, without cached embeddings: wall and
processor time, peak memory. Then the demo's calibration trials are fitted and its held-out ones evaluated: r against
what is attainable, lags against the truth, false discoveries. The patient is kept in the cache.
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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.archive import cache_dir
from realtime.commands import wiring
from realtime.commands.console import machine_facts, say, working
from realtime.commands.demo_session import DemoSettings, simulate, truth_of
from realtime.commands.embedding_cache import embedded
from realtime.config import WhisperTable
from realtime.errors import UserError
from realtime.sources.recording import RecordedStream, Recording, save_folder

MINUTES = 10.0
WITHIN_MS = 20.0
Row = dict[str, Any]


def prepare(settings: DemoSettings) -> Path:
    """Folder with the recordings `calibration`, `held_out` and `rest` (of ten minutes), and truth.json."""
    table = WhisperTable(
        model=settings.whisper, layer=settings.layer, block_ms=settings.block_ms, delay_ms=settings.delay_ms
    )
    embedding = wiring.embedding_of(table)
    folder = cache_dir() / "benchmarks" / f"fit-{settings.whisper}-{settings.seed}-{settings.repeats}"
    if (folder / "truth.json").exists():
        return folder
    made = simulate(settings, embedding)
    folder.mkdir(parents=True, exist_ok=True)
    sound = made.recorded.streams["sound"]
    left_s = MINUTES * 60 - len(sound.data) / sound.spec.rate_hz
    recordings = {"calibration": made.recorded, "held_out": made.heard, "rest": _first(made.heard, left_s)}
    for name, recording in recordings.items():
        if not (folder / name).exists():
            save_folder(recording, folder / name)
    with working("embeddings, for what is attainable") as progress:
        embeddings = embedded(sound, 0, embedding, progress)
    truth = {"settings": asdict(settings), "electrodes": truth_of(made, embeddings, embedding, settings)}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")
    return folder


def _first(recording: Recording, seconds: float) -> Recording:
    def cut(stream: RecordedStream) -> RecordedStream:
        rows = round(seconds * stream.spec.rate_hz)
        return replace(stream, data=stream.data[:rows], stamps=stream.stamps[:rows])

    return Recording({name: cut(stream) for name, stream in recording.streams.items()})


def measured(words: Sequence[object], cache: Path) -> Row:
    """Run `corticast` in a process of its own; its wall time, processor time and peak memory."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "realtime.cli", *map(str, words)]
    process = subprocess.Popen(command, env={**os.environ, "CORTICAST_CACHE": str(cache)})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise UserError(f"bench: {' '.join(command[2:5])} ended with status {os.waitstatus_to_exitcode(status)}")
    return {
        "wall_s": round(time.perf_counter() - begun, 1),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss / 1e6, 2),
    }


def accuracy(truth: Sequence[Row], found: Sequence[Row]) -> Row:
    """r against what is attainable, in all and by kind and ceiling; lags against the truth; false discoveries."""
    both = [
        {**t, **{k: f[k] for k in ("r", "p_fdr", "lag_ms")}, "true_ms": t["lag_ms"]}
        for t, f in zip(truth, found, strict=True)
    ]
    driven = [row for row in both if row["driven"]]
    discovered = [row for row in both if row["p_fdr"] is not None and row["p_fdr"] < 0.05]
    errors = np.array([row["lag_ms"] - row["true_ms"] for row in driven if row["lag_ms"] is not None])
    kinds = sorted({_kind(row) for row in driven})
    ceilings = [(0.0, 0.45), (0.45, 0.6), (0.6, 1.0)]
    return {
        "all": _ratio(driven),
        **{kind: _ratio([row for row in driven if _kind(row) == kind]) for kind in kinds},
        **{
            f"ceiling {low:g} to {high:g}": _ratio([row for row in driven if low <= row["ceiling"] < high])
            for low, high in ceilings
        },
        "lags_within": float(np.mean(np.abs(errors) <= WITHIN_MS)),
        "lag_error_ms": {"median": float(np.median(errors)), "p90_abs": float(np.percentile(np.abs(errors), 90))},
        "lag_errors": [[_kind(r), r["true_ms"], r["lag_ms"], r["r"]] for r in driven],
        "discovered": len(discovered),
        "false": sum(not row["driven"] for row in discovered),
    }


def _kind(row: Row) -> str:
    return f"layer {row['layer']}" if row["kind"] == "layer" else str(row["kind"])


def _ratio(rows: Sequence[Row]) -> Row:
    if not rows:
        return {"electrodes": 0, "r": None, "attainable": None, "ratio": None}
    r, attainable = (float(np.mean([row[key] for row in rows])) for key in ("r", "attainable"))
    return {"electrodes": len(rows), "r": r, "attainable": attainable, "ratio": r / attainable}


def show(result: Row) -> None:
    out = Console()
    table = Table("", "wall, s", "processor, s", "peak, GB", title="corticast fit, ten minutes of 64 channels")
    for name in ("fit, ten minutes", "fit --quick, embeddings cached"):
        cost = result["cost"][name]
        table.add_row(name, *(f"{cost[key]:g}" for key in ("wall_s", "processor_s", "peak_gb")))
    out.print(table)
    out.print("of the wall time, s:", result["seconds"])
    table = Table("driven by", "electrodes", "r", "attainable", "ratio", title="held-out speech, SIMULATED patient")
    for name, row in result["accuracy"].items():
        if isinstance(row, dict) and row.get("electrodes"):
            table.add_row(name, str(row["electrodes"]), *(f"{row[key]:.3f}" for key in ("r", "attainable", "ratio")))
    out.print(table)
    facts = result["accuracy"]
    out.print(
        f"best lag within {WITHIN_MS:.0f} ms of the truth: {100 * facts['lags_within']:.0f} % of driven electrodes"
    )
    out.print(f"found at a false discovery rate of 5 %: {facts['discovered']}, {facts['false']} of them undriven")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--whisper", default="base", help="base or tiny.en (default: base)")
    parser.add_argument("--repeats", type=int, default=20, help="for the patient's noise ceilings (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep models and pages there")
    options = parser.parse_args(arguments)
    folder = prepare(DemoSettings(whisper=options.whisper, repeats=options.repeats))
    with tempfile.TemporaryDirectory() as name:
        work = options.keep or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        cache = Path(name) / "cache"
        cache.mkdir()
        for weights in cache_dir().glob("whisper-*.safetensors"):
            (cache / weights.name).symlink_to(weights)
        say("ten minutes, nothing cached")
        both = [folder / "calibration", folder / "rest"]
        cost = {"fit, ten minutes": measured(["fit", *both, "--out", work / "ten.safetensors"], cache)}
        quick = ["fit", folder / "calibration", "--out", work / "model.safetensors", "--quick"]
        cost["fit --quick, embeddings cached"] = measured(quick, cache)
        scores = ["--json", work / "scores.json", "--report", work / "scores.html"]
        cost["evaluate"] = measured(
            ["evaluate", folder / "held_out", "--model", work / "model.safetensors", *scores], cache
        )
        truth = json.loads((folder / "truth.json").read_text())["electrodes"]
        found = json.loads((work / "scores.json").read_text())["electrodes"]
        seconds = json.loads((work / "ten.json").read_text())["seconds"]
    result = {"cost": cost, "seconds": seconds, "accuracy": accuracy(truth, found), "machine": machine_facts()}
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
