"""`corticast analyze`: which layers, phonemes and moments the electrodes follow, as a report and a table."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from encoders.weights import load_whisper
from encoders.whisper import StreamingSettings
from realtime.commands import (
    analysis_anatomy,
    analysis_anatomy_page,
    analysis_attention,
    analysis_attention_page,
    analysis_depths_page,
    analysis_layers,
    analysis_layers_page,
    analysis_phonemes,
    analysis_phonemes_page,
    analysis_time,
    analysis_time_page,
    wiring,
)
from realtime.commands.analysis_data import Patient, load_patients
from realtime.commands.analysis_setup import Setup, Truth
from realtime.commands.analysis_store import Result, Store
from realtime.commands.claims import add_keep_option
from realtime.commands.console import machine_facts, say, working
from realtime.commands.options import channel
from realtime.commands.report import Report, write_csv
from realtime.config import Config, WhisperTable, load_config
from realtime.delay import delays_in_words
from realtime.errors import UserError, nearest
from realtime.sources.recording import FORMATS

MOST_THREADS = 8  # of Whisper's passes, which gain little from more
Compute = Callable[[Patient, Setup, Store], Result]
Draw = Callable[[str, Result, Setup, Report], list[dict[str, Any]]]

PARTS: dict[str, tuple[Compute, Draw]] = {
    "layers": (analysis_layers.compute, analysis_layers_page.draw),
    "phonemes": (analysis_phonemes.compute, analysis_phonemes_page.draw),
    "time": (analysis_time.compute, analysis_time_page.draw),
    "attention": (analysis_attention.compute, analysis_attention_page.draw),
    "anatomy": (analysis_anatomy.compute, analysis_anatomy_page.draw),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help=FORMATS)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the report; a second run goes on in it"
    )
    parser.add_argument("--parts", type=parts, default=tuple(PARTS), help=f"which of {','.join(PARTS)} (default: all)")
    parser.add_argument("--config", type=Path, help="a .toml file: its streams, channels and Whisper are used")
    parser.add_argument(
        "--whisper",
        nargs="+",
        metavar="NAME",
        help="Whisper models to compare (default: the configuration's, else base)",
    )
    parser.add_argument("--sound", help="name of the sound stream, where it is not clear")
    parser.add_argument("--ecog", help="name of the ECoG stream, where it is not clear")
    parser.add_argument(
        "--high-gamma", metavar="NAME", help="name of a stream that is high gamma already, instead of raw ECoG"
    )
    parser.add_argument("--channel", type=channel, help="label or number of the sound's channel (default: 0)")
    parser.add_argument(
        "--phones",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="phone times of each recording: TextGrid, CSV or CTM, - for none (default: phones.* in its folder)",
    )
    parser.add_argument(
        "--transcript",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="text of each recording, or its words with times, aligned to its sound here; - for none",
    )
    parser.add_argument(
        "--montage",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="electrodes' places and regions: montage.csv, BIDS electrodes.tsv; one for all recordings or one each",
    )
    parser.add_argument(
        "--atlas",
        default="destrieux",
        metavar="NAME",
        help="of regions, for MNI coordinates: destrieux, none, or a NIfTI label image with its names in FILE.csv",
    )
    parser.add_argument(
        "--crop-ms",
        type=float,
        default=0.0,
        metavar="MS",
        help="of sound after a word's end that decoder layers still hear (default: 0)",
    )
    parser.add_argument(
        "--word-context-s",
        type=float,
        default=10.0,
        metavar="S",
        help="of sound that decoder layers hear up to each word, at most 30; time grows with it (default: 10)",
    )
    parser.add_argument(
        "--no-decoder", action="store_true", help="leave decoder layers out, which take a pass of Whisper for each word"
    )
    add_keep_option(parser)
    parser.add_argument("--truth", type=Path, metavar="FILE", help="what drives a simulated patient's electrodes, JSON")
    parser.add_argument(
        "--phone-window-ms",
        nargs=2,
        type=float,
        default=(150.0, 200.0),
        metavar=("FROM", "TO"),
        help="after a phone's onset (default: 150 200)",
    )
    parser.add_argument(
        "--percentile", type=float, help="of r, above which an electrode encodes (default: false discovery rate 0.05)"
    )
    parser.add_argument("--epochs", type=int, default=8, help="of training each LSTM, at most (default: 8)")
    parser.add_argument("--workers", type=int, help="processes on this machine (default: one for each core)")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask scheduler whose workers share DIR, tcp://host:8786"
    )


def parts(text: str) -> tuple[str, ...]:
    """Some of PARTS, for argparse's `type`."""
    chosen = tuple(part.strip() for part in text.split(",") if part.strip())
    for part in chosen:
        if part not in PARTS:
            raise UserError(f"--parts: unknown part {part!r}{nearest(part, PARTS)}; there are: {', '.join(PARTS)}")
    if not chosen:
        raise UserError(f"--parts: found none, expected some of {', '.join(PARTS)}")
    return chosen


def run(options: argparse.Namespace) -> int:
    config = load_config(options.config) if options.config else None
    wiring.bound_threads(min(os.cpu_count() or 1, MOST_THREADS))  # nothing runs live beside it
    out: Path = options.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {str(out)!r} is a file, expected a folder or a new name: choose another")
    setup = _setup(options, config)
    patients = load_patients(options, config)
    store = Store(out)
    report = Report(
        "What the electrodes follow",
        _facts(options, setup, patients),
        simulated=bool(setup.truth) or _simulated(patients),
    )
    rows: list[dict[str, Any]] = []
    found: dict[tuple[str, str], Result] = {}
    for patient in patients:
        placed = setup.for_patient(patient.positions, patient.regions, patient.system)
        for part in options.parts:
            compute, draw = PARTS[part]
            result = found[patient.name, part] = compute(patient, placed, store)
            rows += draw(patient.name, result, placed, report)
            if "too_little" in result.facts:
                say(f"{patient.name}, {part}: too little data: {result.facts['too_little']}")
    rows += analysis_depths_page.draw_depths(found, {one.name: one.regions for one in patients}, report)
    if "anatomy" in options.parts:
        rows += analysis_anatomy_page.draw_together(found, report)
    with working("writing the report"):
        report.write(out / "report.html")
        write_csv(out / "numbers.csv", rows)
    say(f"wrote {out / 'report.html'} and {out / 'numbers.csv'} ({len(rows)} numbers)")
    return 0


def _setup(options: argparse.Namespace, config: Config | None) -> Setup:
    table = config.whisper if config else WhisperTable()
    names = options.whisper or [table.model]
    if not 0 <= options.phone_window_ms[0] < options.phone_window_ms[1]:
        raise UserError(
            f"--phone-window-ms: found {options.phone_window_ms[0]:g} to {options.phone_window_ms[1]:g}, expected a "
            "later end than start, both after the onset"
        )
    if options.percentile is not None and not 0 < options.percentile < 100:
        raise UserError(f"--percentile: found {options.percentile:g}, expected a number between 0 and 100")
    if not 0 <= options.crop_ms <= 1000:
        raise UserError(f"--crop-ms: found {options.crop_ms:g}, expected 0 to 1000 ms after a word's end")
    if not 1 <= options.word_context_s <= 30:
        raise UserError(f"--word-context-s: found {options.word_context_s:g}, expected 1 to 30 s of sound up to a word")
    if options.epochs < 1 or (options.workers is not None and options.workers < 1):
        raise UserError("--workers and --epochs: expected 1 or more")
    truth, positions = _read_truth(options.truth) if options.truth else ({}, {})
    needed = {"layers", "time", "attention"} & set(options.parts)
    with working("loading Whisper"):
        whispers = [load_whisper(name, table.file if name == table.model else None) for name in names] if needed else []
    return Setup(
        whispers=tuple(whispers),
        streaming=StreamingSettings(
            table.layer, table.block_ms, table.history_s, table.delay_ms, table.mode, table.dtype
        ),
        workers=options.workers,
        scheduler=options.scheduler,
        window_s=(options.phone_window_ms[0] / 1e3, options.phone_window_ms[1] / 1e3),
        percentile=options.percentile,
        epochs=options.epochs,
        positions=positions,
        truth=truth,
        atlas=options.atlas,
        crop_s=None if options.no_decoder else options.crop_ms / 1e3,
        context_s=options.word_context_s,
    )


def _read_truth(path: Path) -> tuple[dict[str, Truth], dict[str, tuple[float, ...]]]:
    """What drives each electrode, and where it lies, from a list of electrodes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed: Sequence[dict[str, Any]] = content["electrodes"] if isinstance(content, dict) else content
        truth = {
            str(one["name"]): Truth(str(one["kind"]), one.get("layer"), one.get("phone_class"), one.get("ceiling"))
            for one in listed
        }
        places = {str(one["name"]): tuple(map(float, one["position_mm"])) for one in listed if one.get("position_mm")}
    except OSError as error:
        raise UserError(f"truth {str(path)!r} cannot be read ({error.strerror}): give an existing file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"truth {str(path)!r} is not what is expected ({type(error).__name__}: {error}): a JSON list of electrodes "
            "with name, kind, layer, phone_class, ceiling"
        ) from None
    return truth, places


def _simulated(patients: Sequence[Patient]) -> bool:
    return any(one.simulated for patient in patients for one in patient.recordings)


def _facts(options: argparse.Namespace, setup: Setup, patients: Sequence[Patient]) -> dict[str, Any]:
    machine = machine_facts()
    config = load_config(options.config) if options.config else None
    facts: dict[str, Any] = {
        "recordings": [path.name for path in options.recordings],
        "patients": len(patients),
        "electrodes": sum(len(patient.electrodes) for patient in patients),
    }
    for one in setup.whispers:
        facts[f"Whisper {one.name}"] = f"sha256 {one.sha256[:12]}"
    left_out = [name for patient in patients for name in patient.left_out]
    if left_out:
        facts["left out"] = f"{', '.join(left_out)}: these electrodes record the sound itself"
    streaming = setup.streaming
    facts["causal Whisper"] = (
        f"{streaming.mode}, block {streaming.block_ms:g} ms, delay {streaming.delay_ms:g} ms, "
        f"history {streaming.history_s:g} s"
    )
    made = config.ecog.reference if config else "common average"
    facts["reference"] = "high gamma as recorded" if options.high_gamma else made
    facts["delays"] = delays_in_words(wiring.delays_for(config, None))
    return {**facts, "machine": f"{machine['cores']} cores, {machine['processor']}"}
