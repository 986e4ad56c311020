"""The closing report of a session: counts, latency, states and scores, each with what chance alone would reach."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from realtime.delay import delays_in_words
from realtime.engine import Engine
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


def above_chance(scores: Mapping[str, Any]) -> list[str]:
    """Electrodes whose r is above the 95th percentile of what the best reaches by chance."""
    null = scores["null_max_p95"]
    return [name for name, r in scores["electrodes"].items() if null is not None and r is not None and r > null]


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
    parts += [_scores(state, scores) for state, scores in report["scores"].items()]
    if not report["scores"]:
        parts.append(Text("nothing was predicted, so nothing is scored"))
    return Group(*parts)


def as_text(report: Mapping[str, Any]) -> str:
    """The same as plain text."""
    text = io.StringIO()
    Console(width=100, file=text, markup=False).print(shown(report))
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


def _scores(state: str, scores: Mapping[str, Any]) -> Group:
    found = sorted(((r, name) for name, r in scores["electrodes"].items() if r is not None), reverse=True)
    null = scores["null_max_p95"]
    chance = "unknown: too short" if null is None else f"{null:.3f}"
    above = above_chance(scores)
    head = f"{state}: {len(above)} of {len(scores['electrodes'])} electrodes above chance (r > {chance})"
    best = "  ".join(f"{name} {r:.3f}" for r, name in found[:SHOWN]) or "no electrode has 30 s that count"
    return Group(Text(head), Text(f"  {best}"))
