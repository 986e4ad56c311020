"""`corticast fit`: a model for this patient from calibration recordings, and a report of how far to trust it."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.horizon import HorizonCurve
from encoders.model_file import ModelHeader, model_hash, save_model
from encoders.training import FitConfig, FitResult
from encoders.whisper import pick_device
from realtime.block import Mask
from realtime.commands import together, wiring
from realtime.commands.causality import cost_of_causality
from realtime.commands.claims import add_keep_option, claimed_of, contaminated_names, keeps, tell_of_reference
from realtime.commands.console import machine_facts, say, titled, working
from realtime.commands.fit_report import fit_content, fit_page, ridge_ahead
from realtime.commands.fitting import at_row_rate, fit_material, is_simulated, reading, recording_facts
from realtime.commands.judging import Judgement, excluded, horizons, judge
from realtime.commands.material import Calibration, prepare
from realtime.commands.options import file_to_write, horizon, place_to_write, refuse_one_file_twice
from realtime.commands.recorded import add_stream_options, both_streams
from realtime.config import EcogTable, WhisperTable, load_config
from realtime.delay import delays_in_words
from realtime.errors import UserError
from realtime.sources.recording import FORMATS
from realtime.subframes import FRAME_RATE_HZ, ROW_RATES_HZ, per_frame, unfolded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="*", type=Path, metavar="RECORDING", help=FORMATS)
    parser.add_argument(
        "--patient",
        dest="patients",
        nargs="+",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="one of several patients who are fitted together, with one trunk: recordings, and a .toml where --config "
        "is not theirs; given once for each patient, --out is a folder then",
    )
    parser.add_argument(
        "--out",
        type=place_to_write,
        required=True,
        metavar="MODEL",
        help="the .safetensors file to write; with --patient a folder, for one of each patient",
    )
    add_stream_options(parser)
    add_keep_option(parser)
    parser.add_argument(
        "--horizon",
        type=horizon,
        default=0.0,
        metavar="S",
        help="seconds ahead of the sound to predict, or auto: as far as costs 2 %% of r at most (default: 0)",
    )
    parser.add_argument(
        "--row-rate",
        type=float,
        choices=ROW_RATES_HZ,
        default=FRAME_RATE_HZ,
        metavar="HZ",
        help="rows a second that the model predicts: 50, 100 or 200 (default: 50)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same model on one machine")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="what trains the LSTM; cuda in mixed precision (default: cpu)",
    )
    parser.add_argument("--quick", action="store_true", help="the model alone: no baselines, no null, no report")
    parser.add_argument(
        "--acausal",
        action="store_true",
        help="also fit the offline, bidirectional form, for comparison: what causality costs",
    )
    parser.add_argument("--report", type=file_to_write, metavar="FILE", help="the page to write (default: MODEL.html)")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="its figures (default: MODEL.json)")


@dataclass(frozen=True)
class Fitted:
    """All that a fit found, for the report. curve, judgement, acausal: None where not asked for or not possible."""

    header: ModelHeader
    result: FitResult
    curve: HorizonCurve | None
    judgement: Judgement | None
    excluded: list[dict[str, Any]]
    seconds: dict[str, float]
    acausal: dict[str, Any] | None = None


def run(options: argparse.Namespace) -> int:
    if options.patients:
        return together.run(options)
    _check(options)
    pick_device(options.device)  # that there is none is told before minutes of work
    config = load_config(options.config) if options.config else None
    wiring.bound_threads(config.engine.threads if config else 1)
    plan = wiring.EcogPlan.of(config.ecog if config else EcogTable(name="any"))
    plan = replace(plan, row_rate_hz=options.row_rate)
    calibrations = [both_streams(path, options, config) for path in options.recordings]
    plan.electrodes(calibrations[0].ecog.spec)  # a wrong channel name is told before minutes of work
    with working("loading Whisper"):
        embedding = wiring.embedding_of(config.whisper if config else WhisperTable())
    facts: dict[str, Any] = {"recordings": recording_facts(options.recordings, calibrations)}
    if is_simulated(calibrations):
        facts["simulated"] = True
    claimed = None
    if not options.quick:
        facts["contaminated"] = contaminated_names(calibrations, plan)
        tell_of_reference(facts["contaminated"], plan)
        claimed = claimed_of(plan.electrodes(calibrations[0].ecog.spec), facts["contaminated"], keeps(options, config))
    fitted = fit_and_judge(calibrations, embedding, plan, options, facts, claimed)
    content = fit_content(fitted.header, fitted.result, fitted.curve, fitted.judgement, fitted.excluded, fitted.seconds)
    Console(markup=False).print(_table(fitted, ridge_ahead(content)))
    content["machine"] = machine_facts()
    if fitted.acausal:
        content["acausal"] = fitted.acausal
    files = _reports(options)
    if not options.quick or options.json:
        text = json.dumps(content, indent=1, allow_nan=False)
        files["--json"].write_text(text + "\n", encoding="utf-8")
    if not options.quick or options.report:
        page = fit_page(content, fitted.result, fitted.curve, fitted.judgement, options.out.name)
        page.write(files["--report"])
        say(f"wrote {files['--report']}: open it in a browser")
    return 0


def _check(options: argparse.Namespace) -> None:
    if not options.recordings:
        raise UserError("found no recording, expected at least one: corticast fit RECORDING... --out MODEL")
    if options.out.is_dir():
        raise UserError(f"--out {options.out} is a folder, expected the name of a file: give the model one in it")
    if options.out.suffix != ".safetensors":
        raise UserError(
            f"--out {options.out}: expected a name that ends in .safetensors; the report gets the same name with .html "
            "and .json"
        )
    refuse_one_file_twice({"--out": options.out, **_reports(options)})


def _reports(options: argparse.Namespace) -> dict[str, Path]:
    """Where the page and its figures go."""
    return {
        "--report": options.report or options.out.with_suffix(".html"),
        "--json": options.json or options.out.with_suffix(".json"),
    }


def fit_and_judge(
    calibrations: list[Calibration],
    embedding: wiring.Embedding,
    plan: wiring.EcogPlan,
    options: argparse.Namespace,
    facts: dict[str, Any],
    claimed: Mask | None = None,
) -> Fitted:
    """The model is written as soon as it is fitted; what follows says how good it is."""
    clock = time.perf_counter()
    material = prepare(calibrations, embedding, plan)
    seconds = {"embed": time.perf_counter() - clock}
    fit_config = FitConfig(seed=options.seed, device=options.device)
    fit_config = at_row_rate(reading(fit_config, embedding), plan.row_rate_hz)
    curve = horizons(material, fit_config) if options.horizon is None or not options.quick else None
    fit_config = _with_horizon(fit_config, options.horizon, curve)
    result, header = fit_material(material, embedding, plan, fit_config, facts)
    if not result.chosen_on["repeats_apart"]:
        say("warning: so much is heard again that ridge and LSTM were compared on sounds that both had learnt from")
    save_model(options.out, result.model, header)
    say(f"reference: {header.reference['kind']}; {delays_in_words(header.delays)}")
    seconds["fit"] = time.perf_counter() - clock - seconds["embed"]
    say(
        f"wrote {options.out} (sha256 {model_hash(options.out)[:12]}): "
        "give it to corticast run in [model] file, or to corticast evaluate"
    )
    judgement = None
    if not options.quick:
        try:
            judgement = judge(material, embedding, fit_config, result, claimed)
        except UserError as error:
            say(f"the model is written but not judged: {error}")
    acausal = cost_of_causality(material, fit_config, result) if options.acausal else None
    seconds["evaluate"] = time.perf_counter() - clock - seconds["embed"] - seconds["fit"]
    segments = material.segments(fit_config.horizon_s)
    bad = np.concatenate([unfolded(s.bad, per_frame(plan.row_rate_hz)) for s in segments])
    return Fitted(header, result, curve, judgement, excluded(bad, header.electrodes, plan), seconds, acausal)


def _with_horizon(config: FitConfig, asked_s: float | None, curve: HorizonCurve | None) -> FitConfig:
    if asked_s is not None:
        return replace(config, horizon_s=asked_s)
    assert curve is not None
    say(f"horizon: {1e3 * curve.recommended_s:.0f} ms, the largest within 2 % of the best r")
    return replace(config, horizon_s=curve.recommended_s)


def _table(fitted: Fitted, caption: str) -> Table:
    """r per electrode, the best first: on rows left out where they were judged, else on validation rows."""
    validation: dict[str, Any] = fitted.header.training["validation_r"]
    kind = fitted.header.training["kind"]
    names = fitted.header.electrodes
    columns: dict[str, Any] = {f"validation r, {name}": _floats(r) for name, r in validation.items()}
    key = f"validation r, {kind}"
    if fitted.judgement is not None:
        scores = fitted.judgement.scores
        judged = {"r": scores.r, "null p95": scores.null_p95, "p (FDR)": scores.p_fdr}
        others = {name: r for name, r in fitted.judgement.baselines.items() if name != kind}
        columns, key = {**judged, **others}, "r"
    words = f"the model: {kind}; rows that it was not fitted to"
    title = titled(words, bool(fitted.header.training.get("simulated")))
    table = Table("electrode", *columns, title=title, caption=caption or None)
    claimed = fitted.judgement.claimed if fitted.judgement is not None else np.ones(len(names), np.bool_)
    for e in np.argsort(-np.nan_to_num(columns[key], nan=-1.0)):
        name = names[e] if claimed[e] else f"{names[e]} (records the sound)"
        table.add_row(name, *(_number(values[e]) for values in columns.values()))
    words = "mean" if claimed.all() else "mean, without those that record the sound"
    table.add_row(words, *(_number(_mean_of(values[claimed])) for values in columns.values()))
    return table


def _floats(values: list[float | None]) -> Any:
    return np.array([np.nan if r is None else r for r in values])


def _mean_of(values: Any) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
