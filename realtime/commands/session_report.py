"""`corticast report`: a session's closing report once more, from its folder and its recording."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.model_file import load_model, model_hash
from realtime.block import Block, Mask, Times
from realtime.commands import wiring
from realtime.commands.choose import pick_stream
from realtime.commands.closing import STATED, score_facts, shown
from realtime.commands.console import say, working
from realtime.commands.options import file_to_write
from realtime.commands.predicting import ecog_of, predict_recording
from realtime.commands.recorded_states import recorded_timeline
from realtime.commands.rig_again import largest_apart, rig_again, rig_told
from realtime.commands.session_log import CLOSING, FORMAT, SETTINGS
from realtime.config import Config, WhisperTable
from realtime.errors import UserError
from realtime.latency import Histogram
from realtime.score import Score, ScoreState
from realtime.scoring import only
from realtime.sources.recording import RecordedStream, Recording, load_recording, to_blocks
from realtime.states import LISTENING, SHAM, Timeline, seconds_in
from realtime.subframes import FRAME_RATE_HZ
from realtime.telemetry import TELEMETRY

R_TOLERANCE = 2e-3
MS_TOLERANCE = 0.5
SHARE_TOLERANCE = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, help="the folder that corticast run wrote")
    parser.add_argument("--recording", type=Path, metavar="FILE.xdf", help="where it is, if it was moved")
    parser.add_argument("--model", type=Path, metavar="FILE", help="where the model is, if it was moved")
    parser.add_argument(
        "--from-sources",
        action="store_true",
        help="predict and filter the recorded sound and ECoG again, rather than score the recorded predictions",
    )
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """Exit status 0 where the figures are the closing report's, 1 where they differ."""
    content = _read(options.session, SETTINGS)
    if content.get("format") != FORMAT:
        raise UserError(f"{options.session} is no session folder: {SETTINGS} has format {content.get('format')!r}")
    with working("reading the recording"):
        recording = load_recording(_recording_of(content, options))
    config = Config.model_validate(content["config"])
    if options.from_sources:
        config = with_model(config, options.model, content["facts"].get("model_sha256"))
    closing = _read(options.session, CLOSING) if (options.session / CLOSING).exists() else None
    newest_s = closing["newest_s"] if closing else {}
    report = repeated(recording, config, content, newest_s, options.from_sources)
    out = Console(markup=False)
    out.print(shown(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if closing is None:
        say(f"{CLOSING} is not there, as after a crash: nothing to compare with")
        return 0
    rows = [*compared(closing, report), *(rig_compared(closing, report) if options.from_sources else ())]
    table = Table("figure", "closing report", "from the recording", "")
    for what, before, now, same in rows:
        table.add_row(what, _words(before), _words(now), "" if same else "differs")
    out.print(table)
    return 0 if all(same for *_, same in rows) else 1


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{folder / name} cannot be read ({error.strerror}): give a folder of corticast run") from None
    except ValueError as error:
        raise UserError(f"{folder / name} is damaged ({error}): copy it again") from None
    return found


def with_model(config: Config, given: Path | None, expected: str | None) -> Config:
    """The session's configuration with the model file that is there. given: if it was moved. expected: its sha256.

    Raises UserError where the file is another model, or is not there.
    """
    file = given or config.model.file
    if file is None or expected is None:
        return config
    remedy = "give --model the file that the session ran with"
    if not file.is_file():
        raise UserError(f"the session's model {file} is not there: {remedy} (sha256 {expected[:12]})")
    found = model_hash(file)
    if found != expected:
        raise UserError(
            f"{file} has sha256 {found[:12]}, but the session ran with a model of sha256 {expected[:12]}: {remedy}"
        )
    return config.model_copy(update={"model": config.model.model_copy(update={"file": file})})


def _recording_of(content: Mapping[str, Any], options: argparse.Namespace) -> Path:
    if options.recording is not None:
        return Path(options.recording)
    if content.get("recording") is None:
        raise UserError(f"the session {options.session} was not recorded: there is nothing to repeat its figures from")
    beside = options.session / content["recording"]
    inside: Path = options.session / Path(content["recording"]).name
    return inside if inside.exists() else Path(beside)


def repeated(
    recording: Recording,
    config: Config,
    content: Mapping[str, Any],
    newest_s: Mapping[str, float],
    from_sources: bool = False,
) -> dict[str, Any]:
    """A report of the closing report's shape, from the recording. newest_s: of each lane, where the engine ended."""
    timeline = recorded_timeline(recording, config.states)
    hushes = hushed(recording, config.engine.name)
    engine = config.engine.name
    electrodes = content["electrodes"]
    row_rate_hz = content["facts"].get("row_rate_hz", FRAME_RATE_HZ)
    contaminated = content.get("contaminated", [])
    if from_sources:
        aligned, rig = _from_sources(recording, config, newest_s, contaminated)
    else:
        aligned = _from_outlets(recording, engine, row_rate_hz)
        rig = rig_told(recording, engine, electrodes, contaminated)
    aligned = [replace(block, extra={**block.extra, "silent": hushes(block.times)[:, None]}) for block in aligned]
    times = np.concatenate([block.times for block in aligned]) if aligned else np.zeros(0)
    left_out = content.get("left_out", ())
    claimed = np.array([name not in left_out for name in electrodes])
    score = Score(row_rate_hz, config.engine.score_window_s)
    score.claimed = claimed
    return {
        "engine": engine,
        "seconds": round(float(np.ptp(times)), 1) if len(times) else 0.0,
        **{key: content["facts"].get(key) for key in STATED},
        "samples": _samples(recording, config, newest_s),
        "latency_ms": _latency(recording, engine, content["facts"].get("horizon_s", 0.0)),
        "states_s": seconds_in(timeline, float(times[0]), float(times[-1])) if len(times) else {},
        "scores": {
            name: score_facts(score, state, electrodes) for name, state in scored(score, aligned, timeline).items()
        },
        "left_out": list(left_out),
        **({"rig": rig} if rig else {}),
    }


def hushed(recording: Recording, engine: str) -> Callable[[Times], Mask]:
    """Whether nothing was heard at each time, (rows,), as the engine told."""
    told = []
    for _, text in recording.markers.get(f"{engine}.status", ()):
        event = json.loads(text)
        if event.get("event") == "hush":
            told.append((float(event["time_s"]), bool(event["silent"])))
    edges = np.array([time_s for time_s, _ in told])
    states = np.array([False, *(silent for _, silent in told)])
    return lambda times: states[np.searchsorted(edges, times + 1e-6, side="right")]


def scored(score: Score, aligned: list[Block], timeline: Timeline) -> dict[str, ScoreState]:
    """The score's state after all rows of listening, and of sham where there are any."""
    states: dict[str, ScoreState] = {}
    for name in (LISTENING, SHAM):
        for block in aligned:
            counts = timeline.during(block.times, name)
            if name == LISTENING or counts.any() or name in states:
                state = states.get(name) or score.initial_state()
                _, states[name] = score.step(only(block, counts), state)
    return states


def _from_outlets(recording: Recording, engine: str, row_rate_hz: float) -> list[Block]:
    """What the engine sent, predicted beside observed, numbered as it was: NaN in observed is what was masked."""
    predicted, observed = (recording.streams.get(f"{engine}.{what}") for what in ("predicted", "observed"))
    if predicted is None or observed is None:
        return []
    numbers = _row_numbers(predicted, recording.streams.get(f"{engine}.telemetry"), row_rate_hz)
    place = np.searchsorted(observed.stamps, predicted.stamps - 1e-6)
    place = np.minimum(place, len(observed.stamps) - 1)
    there = np.abs(observed.stamps[place] - predicted.stamps) < 1e-6
    data = np.stack([predicted.data, observed.data[place]], axis=-1).astype(np.float32)
    bad = ~there[:, None] | ~np.isfinite(data[..., 1])
    edges = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
    return [
        Block(np.nan_to_num(data[a:b]), predicted.stamps[a:b], int(numbers[a]), {"bad": bad[a:b]})
        for a, b in itertools.pairwise(edges)
        if b > a
    ]


def _row_numbers(predicted: RecordedStream, telemetry: RecordedStream | None, row_rate_hz: float) -> Any:
    """Index of each row in the engine's count, which goes on by time over a restart."""
    first = 0
    if telemetry is not None and len(telemetry.data):
        near = int(np.argmin(np.abs(telemetry.stamps - predicted.stamps[0])))
        first = int(telemetry.data[near, TELEMETRY.index("row_index")])
    after_s = predicted.stamps - predicted.stamps[0]
    return first + np.round(after_s * row_rate_hz).astype(np.int64)


def _from_sources(
    recording: Recording, config: Config, newest_s: Mapping[str, float], contaminated: list[str]
) -> tuple[list[Block], dict[str, Any]]:
    """Aligned blocks, and what the rig's watch would have found."""
    if config.model.file is None:
        return [], {}
    model, header = load_model(config.model.file)
    with working("loading Whisper"):
        embedding = wiring.embedding_for(header, _machine_only(config.whisper))
    sound = pick_stream(recording, "sound", config.sound.name, lambda _: False)
    ecog = pick_stream(recording, "ecog", config.ecog.name, ecog_of(header))
    if config.model.adapt:
        say("the session's model learnt while it ran; from the sources the fitted one predicts")
    delays = wiring.delays_for(config, header)
    sound, ecog = (_until(s.for_lane(lane), newest_s.get(lane)) for s, lane in ((sound, "sound"), (ecog, "ecog")))
    with working("predicting") as progress:
        aligned = predict_recording(sound, ecog, config.sound.channel, embedding, model, header, progress, delays)
    return aligned, rig_again(sound, ecog, config, header, contaminated)


def _machine_only(table: WhisperTable) -> WhisperTable:
    """What a model file leaves free: the rest stands in session.json as if it had been said, though a default."""
    return WhisperTable(**table.model_dump(include={"file", "device", "graph"}))


def _until(stream: RecordedStream, newest_s: float | None) -> RecordedStream:
    """Without the rows that came after the engine's last: the recorder goes on for a moment."""
    if newest_s is None:
        return stream
    late = sum(int(np.sum(block.times > newest_s + 1e-6)) for block in to_blocks(stream))
    kept = len(stream.stamps) - late
    return replace(stream, data=stream.data[:kept], stamps=stream.stamps[:kept], lanes={})


def _samples(recording: Recording, config: Config, newest_s: Mapping[str, float]) -> dict[str, dict[str, int]]:
    """Rows of each lane from the engine's first to its last; lost and skipped as the last telemetry row says."""
    telemetry = recording.streams.get(f"{config.engine.name}.telemetry")
    found = {}
    for lane, name in (("sound", config.sound.name), ("ecog", config.ecog.name)):
        stream = recording.streams.get(name or "")
        if stream is None:
            continue
        until_s = newest_s.get(lane, np.inf) + 1e-6
        received = sum(int(np.sum(block.times <= until_s)) for block in to_blocks(stream.for_lane(lane)))
        found[lane] = {"received": received, "lost": 0, "skipped": 0}
        if telemetry is not None and len(telemetry.data):
            for what in ("lost", "skipped"):
                found[lane][what] = int(telemetry.data[-1, TELEMETRY.index(f"{lane}_{what}")])
    return found


def _latency(recording: Recording, engine: str, horizon_s: float) -> dict[str, Any] | None:
    telemetry = recording.streams.get(f"{engine}.telemetry")
    if telemetry is None or not len(telemetry.data):
        return None
    column = {name: telemetry.data[:, i] for i, name in enumerate(telemetry.spec.channels)}
    newest, arrival, published = (column[f"{what}_time"] for what in ("newest_sample", "arrival", "published"))
    parts = {
        "sound_to_prediction": published - newest,
        "compute": published - arrival,
        "transport": arrival - newest,
        "wait_for_block": newest - (telemetry.stamps - horizon_s),
    }
    return {name: _histogram(1e3 * values).summary() for name, values in parts.items()}


def _histogram(values_ms: Any) -> Histogram:
    found = Histogram()
    found.add(values_ms)
    return found


def compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any, bool]]:
    """(figure, closing report's, the recording's, whether they agree), the scores by their largest difference."""
    for lane, counts in before["samples"].items():
        for what, count in counts.items():
            again = now["samples"].get(lane, {}).get(what)
            if again is not None:
                yield f"{lane} {what}", count, again, count == again
    for name, values in (now["latency_ms"] or {}).items():
        for key in ("p50", "p99"):
            a, b = (before["latency_ms"] or {}).get(name, {}).get(key), values[key]
            if a is not None:
                yield f"{name.replace('_', ' ')} {key} (ms)", round(a, 1), round(b, 1), abs(a - b) <= MS_TOLERANCE
    for state, scores in before["scores"].items():
        again = now["scores"].get(state, {"electrodes": {}, "null_max_p95": None})
        pairs = [(r, again["electrodes"].get(name)) for name, r in scores["electrodes"].items()]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        same = all((a is None) == (b is None) for a, b in pairs)
        apart = max((abs(a - b) for a, b in both), default=0.0)
        mean_a, mean_b = (float(np.mean([p[i] for p in both])) if both else None for i in (0, 1))
        yield f"{state}: mean r", mean_a, mean_b, same and apart <= R_TOLERANCE
        a, b = scores["null_max_p95"], again["null_max_p95"]
        yield f"{state}: null", a, b, (a is None) == (b is None) and abs((a or 0.0) - (b or 0.0)) <= R_TOLERANCE


def rig_compared(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any, bool]]:
    """As `compared`, of masks and contamination, where both reports tell of them."""
    if "rig" not in before or "rig" not in now:
        return
    share, r = largest_apart(before["rig"], now["rig"])
    a, b = (float(np.mean(list(one["rig"]["masked"]["share"].values()))) for one in (before, now))
    yield "share masked, mean", a, b, share <= SHARE_TOLERANCE
    c, d = (_largest((one["rig"]["contamination"] or {"r": []})["r"]) for one in (before, now))
    yield "r with the sound, largest", c, d, r <= R_TOLERANCE


def _largest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _words(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
