"""`corticast demo`: everything at once, on a simulated patient who hears real speech."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from realtime.block import Block
from realtime.commands.console import machine_facts, say, working
from realtime.commands.demo_session import ECOG, SOUND, DemoSession, DemoSettings, prepare
from realtime.commands.evaluate import score_rows
from realtime.commands.health import latency_table, lead_table, status_line
from realtime.commands.obey import obeying
from realtime.commands.options import file_to_write, seconds
from realtime.commands.recordings import Recordings
from realtime.commands.session import Session, open_session
from realtime.commands.window import open_monitor
from realtime.config import Config
from realtime.errors import UserError
from realtime.manners import ask_system, leave_realtime

LINE_EVERY_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--headless", action="store_true", help="open no window; print a status line")
    parser.add_argument("--seconds", type=seconds, help="of held-out speech (default: all of it, about two minutes)")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the closing table as JSON")
    parser.add_argument("--whisper", default="base", help="base or tiny.en, or any that can be had (default: base)")
    parser.add_argument("--name", default="corticast", help="of the engine and its outlets (default: corticast)")


def run(options: argparse.Namespace) -> int:
    settings = DemoSettings(whisper=options.whisper)
    report = run_demo(settings, options.name, seconds=options.seconds, window=not options.headless)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def run_demo(
    settings: DemoSettings, name: str, *, seconds: float | None = None, window: bool = False
) -> dict[str, Any]:
    """Prepare, go live, print the closing table and return what it says as JSON values."""
    demo = prepare(settings)
    aligned: list[Block] = []
    replay = _start_replay(demo.recording)
    shown = None
    try:
        config = _config(demo, name)
        session = open_session(config, facts={"simulated": True}, on_aligned=aligned.append)
        recordings = Recordings(config, session)
        shown = open_monitor(name) if window else None
        say("live: predicted beside observed, on held-out speech that no model has heard")
        session.engine.facts_now["manners"] = ask_system()
        try:
            with obeying(session.engine, recordings, accepts=True):
                session.engine.start()
                _watch(session, recordings, replay, seconds)
        finally:
            session.engine.stop()
            leave_realtime()
            recordings.end()
    finally:
        _end(replay)
        if shown is not None:
            shown.terminate()
    if not aligned:
        raise UserError("nothing was predicted: the demo was stopped before the first block; let it run for longer")
    report = _report(demo, session, aligned)
    _show(report, session)
    return report


def _config(demo: DemoSession, name: str) -> Config:
    return Config.model_validate(
        {
            "sound": {"name": SOUND},
            "ecog": {"name": ECOG},
            "model": {"file": demo.model},
            "engine": {"name": name, "wait_s": 30.0},
        }
    )


def _start_replay(recording: Path) -> subprocess.Popen[str]:
    """The held-out session from a process of its own, over real LSL."""
    command = [sys.executable, "-m", "realtime.sources.replay", str(recording), "--wait", "120"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _watch(session: Session, recordings: Recordings, replay: subprocess.Popen[str], seconds: float | None) -> None:
    """Until the replay has finished, `seconds` are over, or Ctrl-C; then what was sent is left to arrive."""
    finished = threading.Event()
    threading.Thread(target=_await_finish, args=(replay, finished), daemon=True).start()
    begun, said = time.monotonic(), 0.0
    try:
        while not finished.wait(0.25) and not session.engine.failed.is_set():
            passed = time.monotonic() - begun
            recordings.look()
            if passed - said >= LINE_EVERY_S:
                said = passed
                say(status_line(session.engine, passed, seconds))
            if seconds is not None and passed >= seconds:
                break
        session.engine.failed.wait(1.0)
    except KeyboardInterrupt:
        say("stopping")


def _await_finish(replay: subprocess.Popen[str], finished: threading.Event) -> None:
    assert replay.stdout is not None
    for line in replay.stdout:
        if json.loads(line).get("state") in ("finished", "interrupted"):
            break
    finished.set()


def _end(replay: subprocess.Popen[str]) -> None:
    replay.terminate()
    try:
        replay.wait(10.0)
    except subprocess.TimeoutExpired:
        replay.kill()


def _report(demo: DemoSession, session: Session, aligned: list[Block]) -> dict[str, Any]:
    with working("scoring against the null"):
        settings = session.engine.settings
        scored = score_rows(aligned, settings.electrodes, settings.row_rate_hz)
    assert session.header is not None
    facts = session.embedding.facts
    return {
        "simulated": True,
        "electrodes": [{**truth, **row} for truth, row in zip(demo.electrodes, scored, strict=True)],
        "model": {"shown": demo.training["kind"], "mean_validation_r": demo.training["mean_validation_r"]},
        "fit_seconds": demo.training["seconds"],
        "latency_ms": session.engine.telemetry.facts(),
        "samples": session.engine.samples(),
        "seconds": sum(len(block) for block in aligned) / session.engine.settings.row_rate_hz,
        "whisper": {**facts, "model": facts["name"]},
        "machine": machine_facts(),
    }


def _show(report: dict[str, Any], session: Session) -> None:
    out = Console()
    out.print(_electrode_table(report["electrodes"], report["seconds"]))
    out.print(latency_table(session.engine.telemetry))
    out.print(lead_table(session.engine.telemetry))
    for lane, counts in report["samples"].items():
        out.print(f"{lane}: {counts['received']} samples received, {counts['lost']} lost, {counts['skipped']} skipped")
    shown, validation = report["model"]["shown"], report["model"]["mean_validation_r"]
    both = ", ".join(f"{kind} {r:.3f}" for kind, r in validation.items())
    out.print(f"mean r on validation data: {both}; shown: {shown}")
    out.print(summary(report["electrodes"]))


def summary(electrodes: list[dict[str, Any]]) -> str:
    """Two lines: how near the driven come to what is attainable, and how many undriven pass their null."""
    driven = [e for e in electrodes if e["driven"]]
    silent = [e for e in electrodes if not e["driven"] and e["r"] is not None]
    r, attainable = (float(np.mean([e[key] for e in driven])) for key in ("r", "attainable"))
    above = sum(e["r"] > e["null_p99"] for e in silent)
    return (
        f"driven electrodes: mean r {r:.3f}, attainable {attainable:.3f}, ratio {r / attainable:.2f}\n"
        f"undriven electrodes above their null's 99th percentile: {above} of {len(silent)}"
    )


def _electrode_table(electrodes: list[dict[str, Any]], seconds: float) -> Table:
    title = f"simulated patient, {seconds:.0f} s of held-out speech"
    table = Table("electrode", "driven by", "r", "ceiling", "attainable", "null p95", title=title)
    for row in sorted(electrodes, key=lambda row: -2.0 if row["r"] is None else row["r"], reverse=True):
        numbers = [row[key] for key in ("r", "ceiling", "attainable", "null_p95")]
        table.add_row(row["name"], row["kind"], *("-" if n is None else f"{n:.3f}" for n in numbers))
    return table
