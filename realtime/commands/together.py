"""`corticast fit --patient ... --patient ...`: several patients with one trunk, a model file for each.

Beside it each patient is fitted alone, to the same rows, so that what sharing gained stands in a table. What is held
out of one is held out of all, also where another heard the same sound.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from encoders.aligned import Aligned, Split
from encoders.model_file import model_hash, save_model
from encoders.several import fit_together
from encoders.training import FitConfig, FitResult, fit, mean_r
from encoders.whisper import pick_device
from realtime.block import Mask
from realtime.commands import wiring
from realtime.commands.claims import claimed_of, contaminated_names, keeps
from realtime.commands.console import machine_facts, say, titled, working
from realtime.commands.fit_report import KINDS, fit_content, fit_page
from realtime.commands.fitting import (
    at_row_rate,
    header_of,
    is_simulated,
    of_electrodes,
    reading,
    recording_facts,
    rounded,
)
from realtime.commands.judging import excluded
from realtime.commands.material import Calibration, Material, numbered_together, prepare
from realtime.commands.recorded import both_streams
from realtime.config import Config, EcogTable, WhisperTable, load_config
from realtime.errors import UserError, naming
from realtime.subframes import per_frame, unfolded

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Patient:
    """One of several: their recordings and how these are read."""

    recordings: list[Path]
    config: Config | None
    plan: wiring.EcogPlan
    calibrations: list[Calibration]

    @property
    def electrodes(self) -> tuple[str, ...]:
        return self.plan.electrodes(self.calibrations[0].ecog.spec)


def run(options: argparse.Namespace) -> int:
    _check(options)
    pick_device(options.device)
    named = _named(options.patients)
    configs = {name: _config(files, options) for name, files in named.items()}
    whisper = _one_whisper(configs)
    wiring.bound_threads(max(config.engine.threads if config else 1 for config in configs.values()))
    patients = {name: _patient(name, named[name], configs[name], options) for name in named}
    with working("loading Whisper"):
        embedding = wiring.embedding_of(whisper)
    clock = time.perf_counter()
    materials = {name: _prepared(name, one, embedding) for name, one in patients.items()}
    with working("sounds that several heard"):
        materials = numbered_together(materials)
    seconds = {"embed": time.perf_counter() - clock}
    config = FitConfig(seed=options.seed, horizon_s=options.horizon, device=options.device)
    config = at_row_rate(reading(config, embedding), options.row_rate)
    segments = {name: material.segments(config.horizon_s) for name, material in materials.items()}
    with working(f"fitting {len(patients)} patients together") as progress:
        together = fit_together(segments, config, progress)
    if not all(part.repeats_apart for part in together.parts.values()):
        say("warning: so much is heard again, by one or by several, that validation is on sounds that were learnt from")
    seconds["fit"] = time.perf_counter() - clock - seconds["embed"]
    options.out.mkdir(exist_ok=True)
    headers, claimed, results = {}, {}, {}
    for name, one in patients.items():
        material = materials[name]
        result = results[name] = of_electrodes(together.results[name], one.plan.row_rate_hz)
        facts = _facts(one, options.quick)
        claimed[name] = claimed_of(one.electrodes, facts.get("contaminated", ()), keeps(options, one.config))
        facts["together"] = {"patients": list(patients), "trunk_sha256": together.trunk_sha256}
        headers[name] = header_of(result, segments[name], material, embedding, one.plan, config, facts)
        path = options.out / f"{name}.safetensors"
        save_model(path, result.model, headers[name])
        say(f"wrote {path} (sha256 {model_hash(path)[:12]}, trunk {together.trunk_sha256[:12]}): {KINDS[result.kind]}")
    rate_hz = options.row_rate
    alone = (
        {}
        if options.quick
        else {name: _alone(name, segments[name], together.parts[name], config, rate_hz) for name in patients}
    )
    seconds["evaluate"] = time.perf_counter() - clock - seconds["embed"] - seconds["fit"]
    rows = _rows(claimed, results, alone)
    Console(markup=False).print(_table(rows, any(is_simulated(one.calibrations) for one in patients.values())))
    if options.quick:
        return 0
    for name, one in patients.items():
        bad = np.concatenate([unfolded(s.bad, per_frame(rate_hz)) for s in segments[name]])
        left_out = excluded(bad, headers[name].electrodes, one.plan)
        content = fit_content(headers[name], results[name], None, None, left_out, seconds)
        content["machine"] = machine_facts()
        content["together"] = {
            "patients": rows,
            "trunk_sha256": together.trunk_sha256,
            "r_alone": rounded(alone[name].validation[alone[name].kind]),
        }
        path = options.out / f"{name}.json"
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        fit_page(content, results[name], None, None, f"{name}.safetensors").write(path.with_suffix(".html"))
    say(f"wrote a report for each patient to {options.out}: open {next(iter(patients))}.html in a browser")
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.recordings:
        raise UserError(
            f"found {options.recordings[0]} beside --patient, expected every recording after a --patient of its own: "
            "corticast fit --patient A.xdf --patient B.xdf --out FOLDER"
        )
    if len(options.patients) < 2:
        raise UserError("found one --patient, expected two or more; one alone: corticast fit RECORDING... --out MODEL")
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file, expected a folder for the models of all patients")
    if options.horizon is None:
        raise UserError("--horizon auto is found for one patient, expected seconds for several: find it for one first")
    given = [f"--{name}" for name in ("report", "json", "acausal") if getattr(options, name)]
    if given:
        raise UserError(f"{' and '.join(given)}: not with --patient; reports are written beside each patient's model")


def _named(patients: list[list[Path]]) -> dict[str, list[Path]]:
    """Each patient's files, by the name of the first recording; with its folder's where two have the same."""
    firsts = [_recordings(files)[0].absolute() for files in patients]
    names = [path.name.removesuffix(path.suffix) for path in firsts]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}-{name}" for path, name in zip(firsts, names, strict=True)]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UserError(f"two patients would be called {name}, after their first recordings: rename one")
    return dict(zip(names, patients, strict=True))


def _recordings(files: list[Path]) -> list[Path]:
    recordings = [path for path in files if path.suffix != ".toml"]
    if not recordings:
        raise UserError(f"--patient {files[0]} has no recording: name it after the .toml")
    if len(files) - len(recordings) > 1:
        raise UserError(f"--patient {' '.join(map(str, files))} has several .toml, expected one at most")
    return recordings


def _config(files: list[Path], options: argparse.Namespace) -> Config | None:
    own = [path for path in files if path.suffix == ".toml"] or [options.config]
    return load_config(own[0]) if own[0] else None


def _one_whisper(configs: Mapping[str, Config | None]) -> WhisperTable:
    """Of all; UserError where they differ, because a trunk reads one kind of embedding."""
    tables = {name: config.whisper if config else WhisperTable() for name, config in configs.items()}
    (first, table), *others = tables.items()
    for name, other in others:
        for key in WhisperTable.model_fields:
            if getattr(other, key) != getattr(table, key):
                raise UserError(
                    f"[whisper] {key} is {getattr(other, key)!r} for {name} and {getattr(table, key)!r} for {first}: "
                    "patients who are fitted together need the same Whisper"
                )
    return table


def _patient(name: str, files: list[Path], config: Config | None, options: argparse.Namespace) -> Patient:
    recordings = _recordings(files)
    plan = wiring.EcogPlan.of(config.ecog if config else EcogTable(name="any"))
    plan = replace(plan, row_rate_hz=options.row_rate)
    with naming(name):
        calibrations = [both_streams(path, options, config) for path in recordings]
        plan.electrodes(calibrations[0].ecog.spec)  # a wrong channel name is told before minutes of work
    return Patient(recordings, config, plan, calibrations)


def _prepared(name: str, patient: Patient, embedding: wiring.Embedding) -> Material:
    say(f"{name}:")
    with naming(name):
        return prepare(patient.calibrations, embedding, patient.plan)


def _facts(patient: Patient, quick: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {"recordings": recording_facts(patient.recordings, patient.calibrations)}
    if is_simulated(patient.calibrations):
        facts["simulated"] = True
    if not quick:
        facts["contaminated"] = contaminated_names(patient.calibrations, patient.plan)
    return facts


def _alone(name: str, segments: list[Aligned], parts: Split, config: FitConfig, row_rate_hz: float) -> FitResult:
    with working(f"for comparison {name} alone") as progress, naming(name):
        return of_electrodes(fit(segments, config, lambda _what, share: progress(share), parts), row_rate_hz)


def _rows(claimed: Mapping[str, Mask], together: Mapping[str, FitResult], alone: Mapping[str, FitResult]) -> Rows:
    """One for each patient: mean r over claimed electrodes on its validation block, kept or not."""
    rows = []
    for name, counts in claimed.items():
        result = together[name]
        r = {kind: values[counts] for kind, values in result.validation.items()}
        row: dict[str, Any] = {"patient": name, "electrodes": int(counts.sum()), "kept": KINDS[result.kind]}
        row |= {f"{KINDS[kind]}, together": mean_r(values) for kind, values in r.items()}
        if name in alone:
            one = alone[name]
            mean = mean_r(one.validation[one.kind][counts])
            row |= {"fitted alone": mean, "alone a": KINDS[one.kind], "sharing gained": mean_r(r[result.kind]) - mean}
        rows.append(row)
    return rows


def _table(rows: Rows, simulated: bool) -> Table:
    title = titled("mean r on validation rows, of each patient's electrodes", simulated)
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    return table


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:+.3f}" if name == "sharing gained" else f"{value:.3f}"
