"""`corticast evaluate`: score a model on recordings that it was not fitted to."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from encoders.baselines import spectrogram_at
from encoders.model_file import ModelHeader, load_model, model_hash
from encoders.repeats import find_repeats, noise_ceiling
from encoders.scores import Scores, number, score_predictions
from realtime.block import Block, Floats, Mask, Times
from realtime.commands import figures, wiring
from realtime.commands.claims import add_keep_option, claimed_of, contaminated_names, keeps
from realtime.commands.console import machine_facts, say, titled, working
from realtime.commands.fit_report import KINDS
from realtime.commands.material import Calibration
from realtime.commands.options import add_whisper_option, file_to_write, refuse_one_file_twice
from realtime.commands.predicting import one_timeline, predict_recording, recorded_for
from realtime.commands.recorded import add_stream_options
from realtime.commands.report import Report
from realtime.config import load_config
from realtime.delay import delays_in_words
from realtime.offline import run_chain
from realtime.scoring import only
from realtime.sources.recording import FORMATS
from realtime.states import LISTENING
from realtime.subframes import FRAME_RATE_HZ, per_frame, rows_of_frames

Doubles = npt.NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help=FORMATS)
    parser.add_argument("--model", type=Path, required=True, help="what to score")
    add_stream_options(parser)
    add_whisper_option(parser)
    add_keep_option(parser)
    parser.add_argument("--report", type=file_to_write, metavar="FILE", help="write a page with the figures (.html)")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")


def run(options: argparse.Namespace) -> int:
    refuse_one_file_twice({"--model": options.model, "--report": options.report, "--json": options.json})
    model, header = load_model(options.model)
    config = load_config(options.config) if options.config else None
    plan = wiring.plan_for(config, header) if config else wiring.EcogPlan.fitted(header)
    delays = wiring.delays_for(config, header)
    count = per_frame(header.row_rate_hz)
    with working("loading Whisper"):
        embedding = wiring.embedding_for(header, config.whisper if config else None, options.whisper_file)
    aligned: list[Block] = []
    spectrograms: list[Floats] = []
    facts: list[dict[str, Any]] = []
    heard: list[Calibration] = []
    for path in options.recordings:
        recorded = recorded_for(header, path, options, config)
        sound, ecog, channel, timeline = recorded.sound, recorded.ecog, recorded.channel, recorded.timeline
        one = Calibration(sound.for_lane("sound"), ecog.for_lane("ecog"), channel, delays["sound"], timeline)
        heard.append(one)
        facts.append({"name": path.name, "fitted_to": fitted_to(one, header)})
        if facts[-1]["fitted_to"]:
            say(f"warning: the model was fitted to {path.name}: these figures say nothing of other recordings")
        with working(f"predicting {path.name}") as progress:
            blocks = predict_recording(sound, ecog, channel, embedding, model, header, progress, delays)
        with working(f"repeats in {path.name}"):
            spectrograms += _spectrograms(one, embedding, [b.times[::count] - header.horizon_s for b in blocks])
        aligned += [only(block, timeline.during(block.times, LISTENING)) for block in blocks]
    predicted, observed, bad = joined_rows(aligned)
    known = {*header.training.get("contaminated", ()), *contaminated_names(heard, plan)}
    contaminated = [name for name in header.electrodes if name in known]
    claimed = claimed_of(header.electrodes, contaminated, keeps(options, config))
    with working("null by shifts and by random phases"):
        scores = score_predictions(predicted, observed, bad, header.row_rate_hz, claimed=claimed)
        source = find_repeats(np.concatenate(spectrograms), FRAME_RATE_HZ)
        ceiling = noise_ceiling(observed, bad, rows_of_frames(source, count), header.row_rate_hz)
    rows = _with_known(scores.rows(header.electrodes), header, ceiling, claimed)
    Console(markup=False).print(score_table(rows, titled("predicted against observed", _simulated(header))))
    minutes = len(predicted) / header.row_rate_hz / 60
    content = {
        "simulated": _simulated(header),
        "recordings": facts,
        "model": {"sha256": model_hash(options.model), "kind": header.training.get("kind")},
        "electrodes": rows,
        "contaminated": contaminated,
        "left_out": [name for name, c in zip(header.electrodes, claimed, strict=True) if not c],
        "match_mismatch": {"together": number(scores.match.together), "segments": scores.match.segments},
        "null_draws": scores.draws,
        "minutes": round(minutes, 2),
        "minutes_counted": round(minutes * float(np.mean(~bad[:, claimed] if claimed.any() else ~bad)), 2),
        "row_rate_hz": header.row_rate_hz,
        "reference": header.reference,
        "delays_s": delays,
        "whisper": embedding.facts,
        "machine": machine_facts(),
    }
    if options.json:
        options.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if options.report:
        _page(content, options.model.name, header, scores, ceiling, (predicted, observed, bad)).write(options.report)
        say(f"wrote {options.report}: open it in a browser")
    return 0


def fitted_to(one: Calibration, header: ModelHeader) -> bool:
    """Whether the recording's content is among those that the model was fitted to."""
    known = [r.get("sha256") for r in header.training.get("recordings", []) if isinstance(r, dict)]
    return one.content_sha256() in known


def _simulated(header: ModelHeader) -> bool:
    return bool(header.training.get("simulated", False))


def _spectrograms(one: Calibration, embedding: wiring.Embedding, frames: list[Times]) -> list[Floats]:
    """Log-mel at the times of each block's frames."""
    mels = run_chain(one.sound, wiring.spectrogram_lane(one.sound.spec, one.channel, embedding, one.delay_s))
    mel = mels[0] if len(mels) == 1 else one_timeline(mels)
    return [spectrogram_at(mel, times) for times in frames]


def joined_rows(aligned: list[Block]) -> tuple[Floats, Floats, Any]:
    """Predicted, observed and bad, (rows, electrodes), of aligned blocks in order."""
    data = np.concatenate([block.data for block in aligned])
    bad = np.concatenate([np.asarray(block.extra["bad"], bool) for block in aligned])
    return data[:, :, 0], np.nan_to_num(data[:, :, 1]), bad


def score_rows(aligned: list[Block], electrodes: tuple[str, ...], row_rate_hz: float) -> list[dict[str, Any]]:
    """One JSON row for each electrode, over all aligned rows; see `Scores`. None where a number cannot be had."""
    return score_predictions(*joined_rows(aligned), row_rate_hz).rows(electrodes)


def _with_known(
    rows: list[dict[str, Any]], header: ModelHeader, ceiling: Doubles, claimed: Mask
) -> list[dict[str, Any]]:
    """With the ceiling, the best lag that the fit found, and whether anything is claimed of it."""
    lags_ms = header.training.get("lag_ms", [None] * len(rows))
    return [
        {**row, "claimed": bool(of), "ceiling": number(c), "lag_ms": lag_ms}
        for row, of, c, lag_ms in zip(rows, claimed, ceiling, lags_ms, strict=True)
    ]


def _page(
    content: dict[str, Any],
    name: str,
    header: ModelHeader,
    scores: Scores,
    ceiling: Doubles,
    rows: tuple[Floats, Floats, Any],
) -> Report:
    match = content["match_mismatch"]["together"]
    seen = [one["name"] for one in content["recordings"] if one["fitted_to"]]
    facts = {
        "recordings": [one["name"] for one in content["recordings"]],
        "length": f"{content['minutes']:.1f} min; {content['minutes_counted']:.1f} count, mean over electrodes",
        "model": f"{name}, {KINDS.get(content['model']['kind'], content['model']['kind'])}",
        "horizon": f"{1e3 * header.horizon_s:.0f} ms",
        "reference": header.reference.get("kind", "common average"),
        "delays": delays_in_words(content["delays_s"]),
        "match-mismatch": "-" if match is None else f"{100 * match:.0f} % of 5 s pairs told apart (chance 50 %)",
    }
    page = Report(f"Evaluation: {name}", facts, content["simulated"])
    if content["left_out"]:
        page.add_text(f"Recording the sound itself, and left out of all claims: {', '.join(content['left_out'])}.")
    if seen:
        page.add_text(f"The model was fitted to {', '.join(seen)}: these figures say nothing of other recordings.")
    page.add_heading("Each electrode")
    page.add_figure(
        figures.electrode_figure(scores, header.electrodes, ceiling),
        "Correlation of predicted with observed high gamma, the best first; 95 % intervals from 5 s blocks.",
    )
    page.add_figure(
        figures.trace_figure(*rows, scores, header.electrodes, header.row_rate_hz),
        f"Predicted over observed, the three best electrodes, {header.row_rate_hz:g} rows a second.",
    )
    page.add_table(content["electrodes"], "All electrodes as a table", folded=True)
    return page


def score_table(rows: list[dict[str, Any]], title: str) -> Table:
    """Electrodes, the best first, with what chance reaches."""
    table = Table("electrode", "r", "null p95", "p (FDR)", title=title)
    for row in sorted(rows, key=lambda row: -2.0 if row["r"] is None else row["r"], reverse=True):
        numbers = (row[key] for key in ("r", "null_p95", "p_fdr"))
        name = row["name"] if row.get("claimed", True) else f"{row['name']} (records the sound)"
        table.add_row(name, *("-" if number is None else f"{number:.3f}" for number in numbers))
    return table
