"""The engine's own process: streams, lanes, score and outlets, until Ctrl-C. `corticast run` starts it."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from realtime.carried import StateFolder
from realtime.commands.console import console, say
from realtime.commands.health import health, latency_table, lead_table, status_line
from realtime.commands.obey import obeying
from realtime.commands.recordings import Recordings, planned_file, recording
from realtime.commands.search import StreamSearch
from realtime.commands.speaker import Speaker
from realtime.commands.window import open_monitor
from realtime.config import Config, checked, load_config
from realtime.errors import UserError
from realtime.manners import ask_system, leave_realtime
from realtime.sinks.recording_status import require_free

if TYPE_CHECKING:
    from realtime.commands.session import Session

SLOW_TO_LOAD = "realtime.commands.session"  # torch and Whisper: 3 s
REFRESH_S = 0.5
LINE_EVERY_S = 10.0
LONG_WAIT_S = 600.0  # for the streams of a session that was running: they come back


def run(options: argparse.Namespace) -> int:
    """options.supervised: a folder of the supervisor's, for the state; `ready` in it says that the engine runs.

    options.standby: all is loaded, and this process waits until the supervisor tells it to take over.
    """
    if options.standby:
        importlib.import_module(SLOW_TO_LOAD)
        if not _told_to_take_over(options):
            return 0
    config = _with_options(load_config(options.config), options)
    folder: Path | None = options.supervised
    restarted = folder is not None and (folder / "ready").exists()
    require_free(planned_file(config, folder), config.engine.name)
    if restarted:
        config = config.model_copy(update={"engine": config.engine.model_copy(update={"wait_s": LONG_WAIT_S})})
    state = None if folder is None else StateFolder(folder)
    search = StreamSearch(config)  # while the rest is loaded
    from realtime.commands.session import open_session
    from realtime.commands.session_log import open_log

    log, speaker = open_log(config, options.session, folder), Speaker()

    def on_event(event: dict[str, object]) -> None:
        log.event(event)
        speaker.event(event)

    session = open_session(config, on_event=on_event, state=state, search=search)
    log.begin(config, session)
    engine = session.engine
    window = None if options.no_monitor else open_monitor(config.engine.name)
    passed = 0.0

    def goes_on() -> bool:
        return folder is not None and engine.failed.is_set()

    try:
        engine.warm_up()  # while the recorder finds a restarted engine's outlets
        with (
            recording(config, session, goes_on, folder) as recordings,
            obeying(engine, recordings, config.engine.accept_commands),
        ):
            engine.facts_now["manners"] = ask_system(config.engine.cores, config.engine.realtime)
            engine.start()
            if folder is not None:
                (folder / "ready").write_text(config.engine.name, encoding="utf-8")
            try:
                passed = _watch(session, recordings, options.seconds)
            finally:
                engine.stop()
                leave_realtime()
                speaker.close()
                log.finish(engine, passed)
    finally:
        if window is not None:
            window.terminate()
    out = Console(markup=False)
    out.print(health(engine, passed))
    if engine.telemetry.sound.compute.count:
        out.print(latency_table(engine.telemetry))
        out.print(lead_table(engine.telemetry))
    for lane in (engine.sound, engine.ecog):
        if isinstance(lane.error, UserError):
            raise lane.error
    return 1 if engine.failed.is_set() else 0


def _told_to_take_over(options: argparse.Namespace) -> bool:
    """Waits for the supervisor's word, which brings what is left of --seconds; False where it ended instead."""
    try:
        word = sys.stdin.readline()
    except KeyboardInterrupt:
        return False
    if word:
        options.seconds = json.loads(word)["seconds"]
    return bool(word)


def _with_options(config: Config, options: argparse.Namespace) -> Config:
    content = config.model_dump(exclude_unset=True)
    if options.name is not None:
        content["engine"] = {**content.get("engine", {}), "name": options.name}
    if options.accept_commands:
        content["engine"] = {**content.get("engine", {}), "accept_commands": True}
    if options.record is not None:
        content["record"] = {**content.get("record", {}), "file": options.record}
    if options.adapt:
        content["model"] = {**content.get("model", {}), "adapt": True}
    return checked(content, "the command line")


def _watch(session: Session, recordings: Recordings, seconds: float | None) -> float:
    """Show the engine's health until the time is over, Ctrl-C, or a lane ends; gives the seconds that passed."""
    begun, said, passed = time.monotonic(), 0.0, 0.0
    engine = session.engine
    try:
        with Live(console=console, refresh_per_second=4) if console.is_terminal else _Lines() as live:
            while not engine.failed.wait(REFRESH_S if seconds is None else min(REFRESH_S, seconds - passed)):
                passed = time.monotonic() - begun
                recordings.look()
                if console.is_terminal:
                    live.update(health(engine, passed))
                elif passed - said >= LINE_EVERY_S:
                    said = passed
                    say(status_line(engine, passed, seconds))
                if seconds is not None and passed >= seconds:
                    break
    except KeyboardInterrupt:
        say("stopping")
    return time.monotonic() - begun


class _Lines:
    """Stands where a terminal's live table would."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, _table: object) -> None:
        return None
