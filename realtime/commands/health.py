"""The engine's health and its best electrodes as a table for the terminal."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from realtime.engine import Engine
from realtime.rig_watch import masked_words
from realtime.score import NOT_ENOUGH, SILENT, score_words
from realtime.sources.pump import SILENT_S
from realtime.telemetry import Latencies, Telemetry

BEST = 10
NO_SCORE = {
    NOT_ENOUGH: "running r: not enough data, a score needs 30 s",
    SILENT: "running r: silent, not scored",
    "": "running r: no electrode varies",
}


def health(engine: Engine, seconds: float) -> Group:
    """What came in, how late predictions leave, and the best electrodes by running score."""
    lanes = Table("", "received", "lost", "skipped", "rate off by", "jitter", "last row", box=None, pad_edge=False)
    for column in lanes.columns[1:]:
        column.justify = "right"
    clocks, ages_s = engine.clocks(), engine.ages_s()
    for lane, counts in engine.samples().items():
        wrong = [_wrong(counts[key]) for key in ("lost", "skipped")]
        clock = (f"{clocks[lane]['rate_ppm']:+.0f} ppm", f"{clocks[lane]['jitter_ms']:.1f} ms")
        lanes.add_row(lane, str(counts["received"]), *wrong, *clock, _age(ages_s[lane]))
    name = Text(f"{engine.settings.name}: {seconds:.0f} s", style="bold")
    for key, value in shown_facts(engine.facts_now):
        name.append(f"  {key}: {value}")
    if engine.failed.is_set():
        name.append("  a lane has stopped", style="bold red")
    adapting = [Text(line)] if (line := adaptation_line(engine)) else []
    latency = Text(latency_line(engine.telemetry.sound))
    rig = [Text(line) for line in rig_lines(engine)]
    return Group(name, Text(standing_line(engine)), lanes, latency, *adapting, best_table(engine), *rig)


def rig_lines(engine: Engine) -> list[str]:
    """Which electrodes record the sound, and how much was masked so far."""
    lines = []
    if engine.rig.contaminated:
        fate = "left out" if engine.left_out else "kept"
        lines.append(f"these record the sound itself, {fate}: {', '.join(engine.rig.contaminated)}")
    if engine.rig.masked.rows:
        lines.append(f"artefacts: {masked_words(engine.rig.masked.share, engine.settings.electrodes)}")
    return lines


def standing_line(engine: Engine) -> str:
    """What is simulated, connected, recorded, adapted and measured."""
    facts = {**engine.settings.facts, **engine.facts_now}
    ages_s = engine.ages_s()
    well = sum(age_s < SILENT_S for age_s in ages_s.values())
    known = [f"{name} {1e3 * s:.1f} ms" for name, s in (facts.get("delays") or {}).items() if s is not None]
    parts = ["SIMULATED PATIENT"] if facts.get("simulated") else []
    parts += [f"streams {well} of {len(ages_s)}", f"recording {recording_words(facts.get('recording') or {})}"]
    adapting = engine.adapter is not None and engine.adapter.facts["adaptation"]
    return "; ".join(
        [*parts, f"adaptation {'on' if adapting else 'off'}", f"delay {', '.join(known) or 'not measured'}"]
    )


def recording_words(recording: dict[str, Any]) -> str:
    """On or off, with the size of the file and what is left of its disk."""
    if not recording.get("on"):
        return "off"
    return f"on, {recording['bytes'] / 1e6:.1f} MB, {recording['free_bytes'] / 1e9:.0f} GB left"


def _age(age_s: float) -> Text:
    if np.isnan(age_s):
        return Text("-")
    return Text(f"{age_s:.1f} s", style="bold red" if age_s > SILENT_S else "")


def shown_facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The state that markers gave, and the level of the sound that is only watched."""
    watched = facts.get("watch") or {}
    level = watched.get("level_db")
    found = [("state", str(facts["state"]))] if "state" in facts else []
    found += [("recording", "voices")] if facts.get("recording_voices") else []
    return found + (
        [(str(watched["stream"]), "no level yet" if level is None else f"{level:.0f} dBFS")] if watched else []
    )


def _wrong(count: int) -> Text:
    return Text(str(count), style="bold red" if count else "")


def latency_line(latencies: Latencies) -> str:
    """From the newest sound sample to the prediction, and what of it was computing."""
    if not latencies.compute.count:
        return "latency: nothing predicted yet"
    whole, compute = latencies.to_publication, latencies.compute
    return (
        f"latency p50 {whole.percentile(0.5):.1f} ms, p99 {whole.percentile(0.99):.1f} ms; "
        f"of it computing p50 {compute.percentile(0.5):.1f} ms, p99 {compute.percentile(0.99):.1f} ms"
    )


def adaptation_line(engine: Engine) -> str:
    """Which prediction is shown while the model adapts; empty while it does not."""
    if engine.adapter is None or not engine.adapter.facts["adaptation"]:
        return ""
    facts = engine.adapter.facts
    both = facts.get("adaptation_r", {})
    known = ", ".join(f"{name} {r:.2f}" for name, r in both.items() if r is not None)
    score = f" (mean r of the last minute: {known})" if known else ""
    return f"adaptation on, shown: {facts['adaptation_shown']}{score}"


def best_table(engine: Engine) -> Group | Text:
    """The best electrodes by running r in rows of five, those not above chance dim."""
    found = _best(engine)
    if not found:
        return Text(NO_SCORE[score_words(engine.score)])
    score = engine.score
    null_r = (
        float(score.extra["null_max_p95"][-1, 0]) if score is not None and "null_max_p95" in score.extra else np.nan
    )
    chance = "" if np.isnan(null_r) else f"; dim: not above chance ({null_r:.2f})"
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(5):
        table.add_column()
        table.add_column(justify="right")
    for first in range(0, len(found), 5):
        cells = [
            (Text(name), Text(f"{r:.2f}", style="dim" if r <= null_r else "bold")) for name, r in found[first:][:5]
        ]
        table.add_row(*(part for cell in cells for part in cell))
    return Group(Text(f"best electrodes, running r{chance}"), table)


def _best(engine: Engine) -> list[tuple[str, float]]:
    score = engine.score
    if score is None or not len(score):
        return []
    r, names = score.data[-1], engine.settings.electrodes
    left_out = engine.left_out
    order = np.argsort(-np.nan_to_num(r, nan=-np.inf), kind="stable")
    known = [k for k in order if np.isfinite(r[k]) and names[k] not in left_out]
    return [(names[k], float(r[k])) for k in known[:BEST]]


def best_electrodes(engine: Engine) -> str:
    """The same in one line."""
    return "  ".join(f"{name} {r:.2f}" for name, r in _best(engine)) or NO_SCORE[score_words(engine.score)]


def status_line(engine: Engine, seconds: float, total: float | None = None) -> str:
    """The same in one line, for a terminal that is none."""
    samples = engine.samples()
    lost = sum(counts["lost"] for counts in samples.values())
    skipped = sum(counts["skipped"] for counts in samples.values())
    of = "" if total is None else f" of {total:.0f}"
    compute = engine.telemetry.sound.compute
    p99 = f"{compute.percentile(0.99):.1f} ms" if compute.count else "-"
    return f"{seconds:.0f}{of} s | lost {lost} skipped {skipped} | compute p99 {p99} | {best_electrodes(engine)}"


def latency_table(telemetry: Telemetry) -> Table:
    """Percentiles of each part of both lanes, and of the leads, milliseconds."""
    table = Table("latency (ms)", "p50", "p95", "p99", "p99.9", "max", title_justify="left")
    sound, ecog = telemetry.sound, telemetry.ecog
    rows: dict[str, Any] = {
        "newest sound sample to prediction": sound.to_publication,
        "  of it: transport to this engine": sound.transport,
        "  of it: computing, block complete to published": sound.compute,
        **{f"    {name}": histogram for name, histogram in sound.stages.items()},
        "beside it: wait for the block and look-ahead": sound.wait,
        "newest ECoG sample to observed row": ecog.to_publication,
        "  of it: computing": ecog.compute,
    }
    for name, histogram in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in histogram.summary().values()))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def lead_table(telemetry: Telemetry) -> Table:
    """How long before something predictions were out, milliseconds: of a lead the small values are the bad ones."""
    table = Table("lead (ms)", "min", "p1", "p5", "p50", "p95", title_justify="left")
    rows = {
        "before the time that the row speaks of": telemetry.leads.physical,
        "before its observed row was there (our filters' slowness included)": telemetry.leads.display,
    }
    for name, histogram in rows.items():
        table.add_row(name, *(f"{value:.0f}" for value in histogram.summary().values()))
    for column in table.columns[1:]:
        column.justify = "right"
    return table
