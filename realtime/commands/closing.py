"""The closing report of a session: counts, latency, states and scores, each with what chance alone would reach."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from realtime.contamination import ENOUGH_S
from realtime.delay import delays_in_words
from realtime.engine import Engine
from realtime.rig_watch import masked_words
from realtime.score import Score, ScoreState
from realtime.states import seconds_in

SHOWN = 12
STATED = ("simulated", "sham", "reference", "delays", "whisper", "model", "model_sha256", "horizon_s")


def closing_report(engine: Engine, seconds: float) -> dict[str, Any]:
    """What a finished engine has to say, as JSON. seconds: how long it ran."""
    settings, scorer = engine.settings, engine.scorer
    return {
        "engine": settings.name,
        "seconds": round(seconds, 1),
        **{key: settings.facts.get(key) for key in STATED},
        "samples": engine.samples(),
        "newest_s": {lane.name: lane.newest_s for lane in (engine.sound, engine.ecog) if lane.counts.received},
        "latency_ms": engine.telemetry.facts() if engine.telemetry.sound.compute.count else None,
        "states_s": seconds_in(engine.timeline, scorer.oldest_s, scorer.newest_s) if scorer.states else {},
        "scores": {
            name: score_facts(scorer.score, state, settings.electrodes) for name, state in scorer.states.items()
        },
        "score_rows_dropped": scorer.dropped,
        "left_out": list(engine.left_out),
        "rig": engine.rig.report(),
    }


def score_facts(score: Score, state: ScoreState, electrodes: Sequence[str]) -> dict[str, Any]:
    """r of each electrode over the whole session and what the best of them reaches by chance."""
    if not state.total.size:
        return {"null_max_p95": None, "electrodes": {}, "seconds": {}}
    r, _, seconds, null = score.overall(state)
    return {
        "null_max_p95": _number(null),
        "electrodes": {name: _number(value) for name, value in zip(electrodes, r, strict=True)},
        "seconds": {name: round(float(value), 2) for name, value in zip(electrodes, seconds, strict=True)},
    }


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def above_chance(scores: Mapping[str, Any], left_out: Collection[str] = ()) -> list[str]:
    """Electrodes, of those claimed, whose r is above the 95th percentile of what the best reaches by chance."""
    null = scores["null_max_p95"]
    claimed = {name: r for name, r in scores["electrodes"].items() if name not in left_out}
    return [name for name, r in claimed.items() if null is not None and r is not None and r > null]


def shown(report: Mapping[str, Any]) -> Group:
    """The report for a reader."""
    name = f"{report['engine']}, {report['seconds']:.0f} s"
    marks = [word for word, key in (("simulated patient", "simulated"), ("SHAM", "sham")) if report.get(key)]
    parts: list[Any] = [Text(", ".join([name, *marks]), style="bold"), _samples(report["samples"])]
    parts.append(Text(f"reference: {report['reference']}; {delays_in_words(report['delays'] or {})}"))
    if report["states_s"]:
        parts.append(Text("states: " + ", ".join(f"{k} {v:.0f} s" for k, v in report["states_s"].items())))
    if report["latency_ms"]:
        parts.append(_latency(report["latency_ms"]))
    left_out = report.get("left_out", ())
    parts += [_scores(state, scores, left_out) for state, scores in report["scores"].items()]
    if not report["scores"]:
        parts.append(Text("nothing was predicted, so nothing is scored"))
    parts += [Text(line) for line in rig_lines(report)]
    return Group(*parts)


def as_text(report: Mapping[str, Any]) -> str:
    """The same as plain text."""
    text = io.StringIO()
    Console(width=100, file=text, markup=False).print(shown(report), soft_wrap=True)
    return text.getvalue()


def _samples(samples: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table("", "received", "lost", "skipped", box=None, pad_edge=False)
    for lane, counts in samples.items():
        table.add_row(lane, *(str(counts[key]) for key in ("received", "lost", "skipped")))
    return table


def _latency(latency: Mapping[str, Any]) -> Table:
    columns = list(latency["compute"])
    table = Table("latency (ms)", *columns, box=None, pad_edge=False)
    for name in ("sound_to_prediction", "transport", "compute", "wait_for_block"):
        if name in latency:
            table.add_row(
                name.replace("_", " "),
                *(f"{latency[name][key]:.1f}" for key in columns if latency[name][key] is not None),
            )
    return table


def rig_lines(report: Mapping[str, Any]) -> list[str]:
    """Which electrodes record the sound, and how much of them was masked."""
    rig, left_out = report.get("rig"), report.get("left_out", ())
    if not rig:
        return []
    lines = []
    if rig["contaminated"]:
        fate = "left out of all claims" if left_out else "kept in the claims, as [ecog] keep_contaminated asks"
        lines.append(f"recording the sound itself, {fate}: {', '.join(rig['contaminated'])}")
    elif rig["contamination"] is None:
        lines.append("whether electrodes record the sound itself: not looked at")
    elif max(filter(None, rig["contamination"]["seconds"]), default=0.0) < ENOUGH_S:
        lines.append(f"whether electrodes record the sound itself: not known, that takes {ENOUGH_S:g} s of sound")
    else:
        lines.append("no electrode records the sound itself")
    masked = rig["masked"]
    if masked["rows"]:
        share = np.array(list(masked["share"].values()))
        lines.append(f"artefacts: {masked_words(share, tuple(masked['share']))}")
        by_minute = [float(np.mean(minute["share"])) for minute in masked["minutes"]]
        worst = int(np.argmax(by_minute)) if by_minute else 0
        if len(by_minute) > 1:
            minute = masked["minutes"][worst]["minute"] + 1
            lines.append(f"  the worst of {len(by_minute)} minutes: minute {minute}, {100 * by_minute[worst]:.1f} %")
    return lines


def _scores(state: str, scores: Mapping[str, Any], left_out: Collection[str]) -> Group:
    claimed = {name: r for name, r in scores["electrodes"].items() if name not in left_out}
    found = sorted(((r, name) for name, r in claimed.items() if r is not None), reverse=True)
    null = scores["null_max_p95"]
    chance = "unknown: too short" if null is None else f"{null:.3f}"
    above = above_chance(scores, left_out)
    head = f"{state}: {len(above)} of {len(claimed)} electrodes above chance (r > {chance})"
    best = "  ".join(f"{name} {r:.3f}" for r, name in found[:SHOWN]) or "no electrode has 30 s that count"
    return Group(Text(head), Text(f"  {best}"))
