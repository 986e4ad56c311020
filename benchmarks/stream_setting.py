"""What a stream's setting means for predictions: held-out r of a lagged ridge on simulated patients.

    python -m benchmarks.stream_setting --json settings.json

The electrodes are simulated: what drives them is the offline Whisper's embedding, or phones. Real speech, ten trials,
in two halves that predict each other. Settings read the same sound, electrodes and noise; a row's difference to the
first setting has a 95 % interval over patients and one over trials (Student's t).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.fidelity import embed, parse_row
from benchmarks.models import interval
from benchmarks.simulated_rows import Responses, respond
from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.phones import align_phones
from encoders.ridge import RidgeConfig, fit_ridge
from encoders.speech import Trial, load_trials
from encoders.training import masked_r
from encoders.weights import load_whisper
from encoders.whisper import StreamingSettings, offline_embedding, streaming_encoder, whisper_stages
from realtime.audio import Resample
from realtime.block import Floats, regular
from realtime.commands.console import machine_facts, say, working
from realtime.commands.options import file_to_write
from realtime.errors import UserError

SETTINGS = ("100+0", "40+60", "20+80")  # of one worst wait, 112.5 ms
OFFLINE = "offline"  # sees the future: what a setting could reach
PATIENT = PatientConfig(electrodes=19, layer_driven=12, phone_driven=6, onset_driven=0)  # and a dead one, left out
KINDS = ("layer", "phone")
HORIZONS_MS = (0.0, 100.0)
FIRST_SEED = 5000
ROW_S = 0.02

Values = npt.NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Electrodes:
    """All patients' electrodes side by side. observed: of each trial (rows, E). kinds, seeds: (E,)."""

    observed: list[Floats]
    kinds: npt.NDArray[np.str_]
    seeds: npt.NDArray[np.int64]


def heard(trial: Trial, model: Any, layer: int) -> Stimulus:
    """A trial as a patient hears it, with the offline embedding that drives electrodes."""
    sound = Resample(trial.rate_hz).layer(regular(trial.sound[:, None], trial.rate_hz)).data[:, 0]
    sound = np.ascontiguousarray(np.clip(sound, -1, 1), np.float32)
    return Stimulus(sound, offline_embedding(model, sound, [layer]), align_phones(sound, trial.transcript))


def electrodes(stimuli: Sequence[Stimulus], seeds: Sequence[int]) -> Electrodes:
    """Driven electrodes of one simulated patient for each seed, each with weights, lag, ceiling and noise."""
    observed: list[list[Floats]] = [[] for _ in stimuli]
    kinds, of = [], []
    for seed in seeds:
        subject = SimulatedPatient(replace(PATIENT, seed=seed), stimuli)
        driven = [e for e, truth in enumerate(subject.truth) if truth.driven]
        for number, stimulus in enumerate(stimuli):
            noise_seed = seed * len(stimuli) + number
            found: Responses = respond(subject.drive(stimulus), subject.truth, noise_seed)
            observed[number].append(found.observed[:, driven])
        kinds += [subject.truth[e].kind for e in driven]
        of += [seed] * len(driven)
    return Electrodes([np.concatenate(each, axis=1) for each in observed], np.array(kinds), np.array(of))


def held_out_r(embeddings: Sequence[Floats], observed: Sequence[Floats], horizon_ms: float) -> Values:
    """(trials, E) r of a lagged ridge: each half of the trials is predicted by what the other one taught."""
    ahead = round(horizon_ms / 1e3 / ROW_S)
    x = [e[: len(o) - ahead] for e, o in zip(embeddings, observed, strict=True)]
    y = [o[ahead : ahead + len(e)] for e, o in zip(x, observed, strict=True)]
    numbers, found = np.arange(len(x)), np.zeros((len(x), y[0].shape[1]))
    for test in np.array_split(numbers, 2):
        learn = np.setdiff1d(numbers, test)
        some = [y[i] for i in learn]
        ridge = fit_ridge([x[i] for i in learn], some, [np.zeros(o.shape, bool) for o in some], RidgeConfig())
        for i in test:
            predicted = ridge.layer(regular(x[i], 1 / ROW_S)).data
            found[i] = masked_r(predicted, y[i], np.ones(y[i].shape, bool))
    return found


def compare(found: Mapping[str, Values], several: Electrodes, horizon_ms: float) -> list[Row]:
    """found: of each setting (trials, E). A row for each setting and kind of electrode, against the first setting."""
    rows, first = [], next(iter(found.values()))
    for setting, r in found.items():
        for kind in KINDS:
            own = several.kinds == kind
            gain = (r - first)[:, own]
            by_patient = [float(gain[:, several.seeds[own] == seed].mean()) for seed in np.unique(several.seeds)]
            row: Row = {"setting": setting, "kind": kind, "horizon_ms": horizon_ms, "r": float(r[:, own].mean())}
            row["gain"] = float(gain.mean())
            row["over_patients"] = interval(by_patient)[1:]
            row["over_trials"] = interval([float(g) for g in gain.mean(axis=1)])[1:]
            rows.append(row)
    return rows


def measure(options: argparse.Namespace, asked: Mapping[str, StreamingSettings]) -> list[Row]:
    loaded = load_whisper(options.model)
    trials = load_trials()
    with working("simulated patients") as progress:
        stimuli = []
        for done, trial in enumerate(trials, start=1):
            stimuli.append(heard(trial, loaded.model, options.layer))
            progress(done / len(trials))
        several = electrodes(stimuli, range(FIRST_SEED, FIRST_SEED + options.seeds))
    embeddings: dict[str, list[Floats]] = {}
    for text, settings in asked.items():
        chain = whisper_stages(streaming_encoder(loaded.model, settings), settings)
        with working(f"embeddings of {text}") as progress:
            embeddings[text] = []
            for done, stimulus in enumerate(stimuli, start=1):
                embeddings[text].append(embed(chain, stimulus.sound)[: stimulus.rows])
                progress(done / len(stimuli))
    embeddings[OFFLINE] = [np.asarray(s.embeddings[options.layer], np.float32)[: s.rows] for s in stimuli]
    rows = []
    for horizon_ms in options.horizon_ms:
        found = {}
        with working(f"ridges, horizon {horizon_ms:g} ms") as progress:
            for done, (setting, own) in enumerate(embeddings.items(), start=1):
                found[setting] = held_out_r(own, several.observed, horizon_ms)
                progress(done / len(embeddings))
        rows += compare(found, several, horizon_ms)
    return rows


def show(rows: Sequence[Row]) -> Table:
    table = Table(title="simulated patients: held-out r of a lagged ridge, by the stream's setting")
    for name in (
        "setting",
        "electrodes",
        "horizon ms",
        "r",
        f"more than {rows[0]['setting']}",
        "over patients",
        "over trials",
    ):
        table.add_column(name, justify="left" if name in ("setting", "electrodes") else "right")
    for row in rows:
        spans = ["{:+.4f} to {:+.4f}".format(*row[name]) for name in ("over_patients", "over_trials")]
        against = ["", "", ""] if row["setting"] == rows[0]["setting"] else [f"{row['gain']:+.4f}", *spans]
        table.add_row(row["setting"], row["kind"], f"{row['horizon_ms']:g}", f"{row['r']:.4f}", *against)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stream_setting", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", default="base", help="Whisper model (default: base)")
    parser.add_argument("--layer", type=int, default=3, help="encoder block, read and driving (default: 3)")
    parser.add_argument(
        "--settings", nargs="+", default=SETTINGS, metavar="ROW", help="[MODE:]BLOCK+DELAY, first: base"
    )
    parser.add_argument("--seeds", type=int, default=10, help="simulated patients (default: 10)")
    parser.add_argument("--horizon-ms", nargs="+", type=float, default=HORIZONS_MS, help="default: 0 100")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    began = time.perf_counter()
    try:
        asked = {text: parse_row(text, options.layer) for text in options.settings}
        rows = measure(options, asked)
    except UserError as error:
        say(str(error))
        return 2
    Console(width=140).print(show(rows))
    if options.json:
        facts = {"simulated": True, "model": options.model, "layer": options.layer, "patients": options.seeds}
        facts |= {"seconds": round(time.perf_counter() - began), "machine": machine_facts()}
        options.json.write_text(json.dumps({"rows": rows, **facts}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
