"""A long run: sources, engine and an outside client over LSL, watched until the time is over, then judged.

    python -m benchmarks.soak --minutes 60 --json soak.json --picture soak.png

The sources' clocks drift against each other. It ends with status 1 where memory grew, a sample is unaccounted for, or
the lanes' times have drifted apart.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency_case import ECOG, ENGINE, SOUND, SOUND_HZ, START_S, Case, require_possible, write_files
from benchmarks.processes import Child, Children
from benchmarks.soak_verdict import Arrays, Samples, Verdict, judge
from realtime.commands.console import machine_facts, working
from realtime.commands.options import file_to_write
from realtime.errors import UserError

SOUND_PPM, ECOG_PPM = 40.0, -30.0
COUNTED_S = 30.0  # the engine tells its counts every 10 s


@dataclass(frozen=True)
class Soaked:
    verdict: Verdict
    samples: Samples
    client: Arrays


def soak(case: Case, seconds: float, warm_up_s: float, random_weights: bool, share: Callable[[float], None]) -> Soaked:
    """Run it all in processes of its own; they end whatever happens. Raises UserError where one of them fails."""
    with tempfile.TemporaryDirectory(prefix="corticast-soak-") as name:
        folder = Path(name)
        write_files(folder, case, random_weights)
        (folder / "state").mkdir()
        with Children(folder) as children:
            sources = _start_sources(children, folder, case)
            words = ("--engine", ENGINE, "--sound", SOUND, "--ecog", ECOG, "--out", folder / "client.npz")
            client = children.start("client", "benchmarks.soak_client", *words)
            children.await_state(client, "listening", 60)
            config = folder / "rig.toml"
            engine = children.start("engine", "benchmarks.latency_engine", config, "--supervised", folder / "state")
            children.await_state(client, "predicting", START_S)
            samples = _watch(children, engine, seconds, share)
            for source in sources:
                source.close()
            _await_all_counted(children, client)
            engine.close()
            client.close()
        files = {name: dict(np.load(folder / f"{name}.npz")) for name in ("client", "sound", "ecog")}
    verdict = judge(files["client"], files, samples, warm_up_s)
    return Soaked(verdict, samples, files["client"])


def _start_sources(children: Children, folder: Path, case: Case) -> list[Child]:
    sound = ("--name", SOUND, "--rate-hz", SOUND_HZ, "--sound", folder / "sound.npy", "--drift-ppm", SOUND_PPM)
    ecog = ("--name", ECOG, "--rate-hz", case.rate_hz, "--channels", case.channels, "--drift-ppm", ECOG_PPM)
    return [
        children.start(kind, "benchmarks.latency_source", kind, "--beat", *words, "--log", folder / f"{kind}.npz")
        for kind, words in (("sound", sound), ("ecog", ecog))
    ]


def _watch(children: Children, engine: Child, seconds: float, share: Callable[[float], None]) -> Samples:
    """Look at the engine's process every few seconds."""
    process = _psutil().Process(engine.process.pid)
    rows: list[tuple[float, ...]] = []
    begin, step_s = time.monotonic(), min(5.0, max(1.0, seconds / 60))
    before_s, cpu_before = begin, sum(process.cpu_times()[:2])
    while (passed := time.monotonic() - begin) < seconds:
        children.require_all()
        now_s, cpu_s = time.monotonic(), sum(process.cpu_times()[:2])
        percent = 100 * (cpu_s - cpu_before) / max(1e-3, now_s - before_s)
        before_s, cpu_before = now_s, cpu_s
        rows.append((passed, process.memory_info().rss / 1e6, process.num_threads(), percent, os.getloadavg()[0]))
        share(passed / seconds)
        time.sleep(min(step_s, max(0.0, seconds - passed)))
    return Samples(*np.array(rows).T)


def _await_all_counted(children: Children, client: Child) -> None:
    """The engine has told its counts after the sources ended: the clocks of both are this machine's."""
    from realtime.sources.lsl import local_clock

    ended_s = local_clock() + 0.5
    until = time.monotonic() + COUNTED_S
    while time.monotonic() < until:
        if float(children.await_state(client, "counted", COUNTED_S)["time"]) > ended_s:
            return
    raise UserError(f"soak: the engine told no counts within {COUNTED_S:g} s of the sources' end: run again")


def _psutil() -> Any:
    try:
        return importlib.import_module("psutil")
    except ImportError:
        raise UserError("soak: found no psutil, expected 5.9 or later; run: pip install 'corticast[bench]'") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="after the first prediction (default: 60)")
    parser.add_argument("--warm-up", type=float, metavar="S", help="not judged (default: 2 min, a fifth at most)")
    parser.add_argument("--model", default="base", help="of Whisper (default: base)")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2000.0, metavar="HZ")
    parser.add_argument("--random-weights", action="store_true", help="an untrained Whisper: no download")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write verdict and figures")
    parser.add_argument("--picture", type=file_to_write, metavar="PNG", help="draw the run")
    try:
        return run(parser.parse_args(arguments))
    except UserError as error:
        print(f"corticast: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("corticast: interrupted", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    _psutil()
    case = Case(model=options.model, layer=options.layer, channels=options.channels, rate_hz=options.rate)
    require_possible(case, options.random_weights)
    seconds = 60 * options.minutes
    warm_up_s = min(120.0, seconds / 5) if options.warm_up is None else options.warm_up
    began = datetime.now(UTC).isoformat(timespec="seconds")
    with working(f"soak: {case}") as share:
        soaked = soak(case, seconds, warm_up_s, options.random_weights, share)
    failures = soaked.verdict.failures()
    for line in soaked.verdict.lines():
        print(line)
    print("FAILED: " + "; ".join(failures) if failures else "passed")
    if options.json:
        content = {"case": str(case), "began": began, "drift_ppm": {"sound": SOUND_PPM, "ecog": ECOG_PPM}}
        content |= {**soaked.verdict.content(), "machine": machine_facts(), "series": _series(soaked)}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        from benchmarks.soak_picture import draw_soak

        draw_soak(soaked.verdict, soaked.samples, soaked.client, f"soak: {case}, begun {began}", options.picture)
    return 1 if failures else 0


def _series(soaked: Soaked) -> dict[str, list[float]]:
    samples = {name: np.round(values, 3).tolist() for name, values in vars(soaked.samples).items()}
    drift = {name: np.round(getattr(soaked.verdict, name), 4).tolist() for name in ("drift_s", "drift_ms")}
    return {**samples, **drift}


if __name__ == "__main__":
    sys.exit(main())
