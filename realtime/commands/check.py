"""`corticast check`: a look at a rig before a session."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.signal import welch

from realtime.audio import sound_level_db
from realtime.block import Block
from realtime.commands import wiring
from realtime.commands.options import seconds
from realtime.commands.session import Session, open_session
from realtime.config import Config, load_config
from realtime.delay import NOT_MEASURED
from realtime.lane import Lane, Step
from realtime.manners import ask_system, knows_realtime, leave_realtime
from realtime.pick import channel_number
from realtime.sources.lsl import stream_names
from realtime.sources.markers import missing

SECONDS = 10.0
QUIET_DB, LOUD_DB = -60.0, -1.0
HUM_RATIO = 100.0  # of the power in 1 Hz about the mains, to that 3 to 5 Hz beside it
FLAT = 1e-9
FREE_GB = 5.0
RATE_SHARE = 0.01
CHUNK_S = 0.2  # by which the first and last arrival may mislead: sources send in chunks


@dataclass(frozen=True)
class Finding:
    """One line of the report. good: nothing to do; else advice says what."""

    what: str
    found: str
    good: bool
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="a .toml file; configs/live.toml explains every key")
    parser.add_argument("--seconds", type=seconds, default=SECONDS, help=f"how long to listen (default: {SECONDS:g})")


def run(options: argparse.Namespace) -> int:
    """Exit status 0 where all is well, 1 where something needs attention."""
    config = load_config(options.config)
    session = open_session(config)
    manners = ask_system(config.engine.cores, config.engine.realtime)
    with _Listening(session) as heard:
        session.engine.failed.wait(options.seconds)
    leave_realtime()
    findings = [*_findings(config, session, heard), _priority(config, manners["priority"])]
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        table.add_row(
            "ok" if finding.good else "!", finding.what, finding.found, "" if finding.good else finding.advice
        )
    Console(markup=False).print(table)
    return 0 if all(finding.good for finding in findings) else 1


class _Listening:
    """The engine running, and what the first stage of each lane was given, for as long as it listens."""

    def __init__(self, session: Session):
        self.session = session
        self.rows: dict[str, list[Block]] = {"sound": [], "ecog": []}
        self.arrivals: dict[str, list[tuple[int, float]]] = {"sound": [], "ecog": []}  # (rows so far, seconds)
        for lane in (session.engine.sound, session.engine.ecog):
            self._tap(lane)

    def _tap(self, lane: Lane) -> None:
        publish = lane.publish

        def tapped(y: Block, step: Step) -> None:
            self.rows[lane.name].append(step.x)
            before = self.arrivals[lane.name][-1][0] if self.arrivals[lane.name] else 0
            self.arrivals[lane.name].append((before + len(step.x), step.arrival_s))
            publish(y, step)

        lane.publish = tapped

    def __enter__(self) -> _Listening:
        self.session.engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.session.engine.stop()

    def data(self, name: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        blocks = self.rows[name]
        lane = getattr(self.session.engine, name)
        if not blocks:
            return np.zeros((0, len(lane.spec.channels)))
        return np.concatenate([block.data for block in blocks]).astype(np.float64)


def arrival_rate(arrivals: list[tuple[int, float]]) -> tuple[float, float]:
    """Rows that arrived in a second, and the seconds over which that was measured.

    arrivals: (rows so far, seconds) of each arrival. The first one only starts the watch: what came before it, such
    as a source that was not yet sending, says nothing of the rate.
    """
    if len(arrivals) < 2 or arrivals[-1][1] <= arrivals[0][1]:
        return 0.0, 0.0
    span_s = arrivals[-1][1] - arrivals[0][1]
    return (arrivals[-1][0] - arrivals[0][0]) / span_s, span_s


def _findings(config: Config, session: Session, heard: _Listening) -> Iterator[Finding]:
    for name in ("sound", "ecog"):
        yield from _stream(getattr(session.engine, name), heard)
        yield _delay(name, session)
    yield _level(config, session, heard)
    yield from beside(config, session)
    yield from _electrodes(config, session, heard)
    yield _disk(config)
    yield _latency(session)


def _stream(lane: Lane, heard: _Listening) -> Iterator[Finding]:
    spec, data = lane.spec, heard.data(lane.name)
    rate, span_s = arrival_rate(heard.arrivals[lane.name])
    near = span_s > 0 and abs(rate - spec.rate_hz) < max(RATE_SHARE, CHUNK_S / span_s) * spec.rate_hz
    found = f"{len(spec.channels)} channels, {rate:.1f} Hz received, {spec.rate_hz:g} Hz stated"
    yield Finding(f"stream {spec.name}", found, near, "check its program, the network and the rate that it states")
    if lane.error is not None:
        yield Finding(f"{spec.name}: lane", str(lane.error), False, "it stopped: correct what it names")
    gone = lane.lost + lane.skipped
    yield Finding(
        f"{spec.name}: loss", f"{lane.lost} lost, {lane.skipped} skipped", gone == 0, "check cable and network"
    )
    nans = int(np.sum(~np.isfinite(data)))
    yield Finding(f"{spec.name}: samples", f"{nans} that are no numbers", nans == 0, "look at the source's settings")


def _delay(name: str, session: Session) -> Finding:
    delay_s = session.engine.settings.facts["delays"][name]
    unknown = f"{NOT_MEASURED}: measure it, and write [{name}] delay_s"
    return Finding(f"{name}: delay", unknown if delay_s is None else f"{1e3 * delay_s:g} ms", good=True)


def _level(config: Config, session: Session, heard: _Listening) -> Finding:
    spec = session.engine.sound.spec
    data = np.nan_to_num(heard.data("sound")[:, channel_number(spec, config.sound.channel)])
    if not len(data):
        return Finding("sound level", "nothing heard", False, "check that its program sends")
    level, peak = sound_level_db(data), float(np.max(np.abs(data)))
    advice = "play speech and raise the gain" if level < QUIET_DB else "lower the gain: it clips"
    good = level >= QUIET_DB and 20 * np.log10(max(peak, 1e-12)) < LOUD_DB
    return Finding("sound level", f"{level:.0f} dBFS, peak {peak:.2f}", good, advice)


def beside(config: Config, session: Session) -> Iterator[Finding]:
    """The marker stream and the watched sound, where the configuration names them."""
    named = {"states": config.states.stream, "watch": config.watch.stream}
    there = stream_names(config.engine.name) if any(named.values()) else []
    for table, name in named.items():
        if name is None:
            continue
        what = f"[{table}] stream {name}"
        if name not in there:
            found, advice = missing(name, there)
            yield Finding(what, found, False, advice)
        elif table == "states":
            yield Finding(what, "there", good=True)
        else:
            level_db = session.engine.facts_now.get("watch", {}).get("level_db")
            found = "there, no sound from it" if level_db is None else f"there, {level_db:.0f} dBFS"
            yield Finding(what, found, level_db is not None, "check that its program sends, and [watch] channel")


def _electrodes(config: Config, session: Session, heard: _Listening) -> Iterator[Finding]:
    spec, data = session.engine.ecog.spec, np.nan_to_num(heard.data("ecog"))
    plan = wiring.plan_for(config, session.header)
    left_out = set(plan.bad_channels(spec))
    names = [label for place, label in enumerate(plan.channels(spec)) if place not in left_out]
    data = data[:, [spec.channels.index(name) for name in names]]
    if len(data) < spec.rate_hz:
        yield Finding("electrodes", "under a second received", False, "check that the amplifier's program sends")
        return
    flat = [names[i] for i in np.flatnonzero(data.std(axis=0) < FLAT)]
    yield Finding("flat electrodes", _names(flat), not flat, "check the connector, or list them in [ecog] bad")
    mains = float(config.ecog.mains_hz)
    hum = [names[i] for i in np.flatnonzero(_hum_ratio(data, spec.rate_hz, mains) > HUM_RATIO)]
    yield Finding(f"mains hum at {mains:g} Hz", _names(hum), not hum, "check ground and reference of these electrodes")


def _hum_ratio(
    data: np.ndarray[tuple[int, int], np.dtype[np.float64]], rate_hz: float, mains_hz: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Power density within 0.5 Hz of the mains over that 3 to 5 Hz beside it, per channel."""
    frequencies, density = welch(data, rate_hz, nperseg=min(len(data), round(2 * rate_hz)), axis=0)
    away = np.abs(frequencies - mains_hz)
    at, beside = density[away <= 0.5].max(axis=0), density[(away >= 3) & (away <= 5)].mean(axis=0)
    ratio: np.ndarray[tuple[int], np.dtype[np.float64]] = at / np.maximum(beside, 1e-30)
    return np.where(at > 1e-20, ratio, 0.0)


def _names(channels: list[str]) -> str:
    if not channels:
        return "none"
    return f"{len(channels)}: {', '.join(channels[:6])}{', ...' if len(channels) > 6 else ''}"


def _disk(config: Config) -> Finding:
    folder = (config.record.file or Path.cwd() / "x").resolve().parent
    while not folder.exists():
        folder = folder.parent
    free_gb = shutil.disk_usage(folder).free / 1e9
    return Finding("disk", f"{free_gb:.0f} GB free at {folder}", free_gb > FREE_GB, "make room before recording")


def _latency(session: Session) -> Finding:
    compute = session.engine.telemetry.sound.compute
    if not compute.count:
        what = "no model: nothing was predicted" if session.header is None else "nothing was predicted"
        return Finding("latency", what, session.header is None, "check the sound stream")
    block_ms = session.embedding.settings.block_ms
    p50, p99 = compute.percentile(0.5), compute.percentile(0.99)
    found = f"compute p50 {p50:.1f} ms, p99 {p99:.1f} ms, blocks of {block_ms:g} ms"
    return Finding(
        "latency", found, p99 < block_ms, "close other programs, or choose a longer block or smaller Whisper"
    )


def _priority(config: Config, given: str) -> Finding:
    wanted = config.engine.realtime and knows_realtime()
    advice = "allow rtprio 1 in /etc/security/limits.d (docs/latency.md), or other programs make the engine wait"
    return Finding("priority", given, not wanted or given.startswith("real-time"), advice)
