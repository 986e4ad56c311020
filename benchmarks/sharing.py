"""What fitting several patients together gains over fitting each alone: `python -m benchmarks.sharing [--json FILE]`.

Simulated patients, their rows drawn directly from real speech, embeddings of a causal Whisper tiny.en; groups of them
for each seed, each with a short recording. `alike`: one simulator with other seeds. `other`: each follows a Whisper
layer, lags and memories of its own, so that there is less to share. What is compared is r on two held-out minutes: of
what a patient's model file would hold when fitted together, alone, and of the ridge alone; the same settings for all.
Differences are paired over patients; intervals are over seeds (Student's t, 95 %).
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.models import interval
from benchmarks.simulated_rows import LAYERS, ROW_HZ, Speech, respond, speech
from encoders.aligned import Aligned
from encoders.lstm_attention import LstmAttentionStage
from encoders.patient import PatientConfig, SimulatedPatient
from encoders.ridge import LaggedRidge
from encoders.several import fit_together
from encoders.training import FitConfig, fit
from encoders.training import score as r_of
from realtime.commands.console import machine_facts, say, working
from realtime.commands.options import file_to_write

FIRST_SEED = 4000  # nothing was chosen on these
PATIENT = PatientConfig(electrodes=12, layer_driven=4, phone_driven=0, onset_driven=2, history_driven=4)
LIKENESS = ("alike", "other")
KINDS = ("driven", "history")
SOME = 4  # patients of a group whom lags and memories are dealt to
Heard = tuple[Speech, Speech]  # to learn from, held out
Row = dict[str, Any]
Model = LaggedRidge | LstmAttentionStage


@dataclass(frozen=True)
class Subject:
    """learn: all that a patient heard before the held-out rows, test. kinds: (E,) of the electrodes.

    place: 0 to 1, where in the speech the patient's short recordings lie.
    """

    learn: Aligned
    test: Aligned
    kinds: npt.NDArray[np.str_]
    place: float

    def recording(self, minutes: float) -> list[Aligned]:
        rows = round(60 * minutes * ROW_HZ)
        begin = round((len(self.learn) - rows) * self.place)
        return [self.learn.rows(begin, begin + rows)]

    def r(self, model: Model) -> dict[str, float]:
        """Mean r on held-out rows, over the electrodes of each of KINDS."""
        r = r_of(model, [self.test])
        driven = ~np.isin(self.kinds, ("undriven", "dead"))
        return {"driven": float(r[driven].mean()), "history": float(r[self.kinds == "history"].mean())}


def subjects(heard: Heard, likeness: str, count: int, seed: int) -> list[Subject]:
    """A group's patients; each is recorded during another stretch, as far from the others' as there is room for."""
    group = []
    for i in range(count):
        subject = patient(heard, likeness, seed, i)
        learn, test = (
            respond(subject.drive(one.stimulus)[: one.rows], subject.truth, 2 * subject.config.seed + late).aligned(one)
            for late, one in enumerate(heard)
        )
        group.append(Subject(learn, test, np.array([t.kind for t in subject.truth]), i / max(count - 1, 1)))
    return group


def patient(heard: Heard, likeness: str, seed: int, number: int) -> SimulatedPatient:
    """One of a group; `other`: with one Whisper layer and with a part of lags and memories of its own."""
    stimuli, config = [one.stimulus for one in heard], replace(PATIENT, seed=10 * seed + number)
    if likeness == "other":
        layer = LAYERS[number % len(LAYERS)]
        stimuli = [replace(one, embeddings={layer: one.embeddings[layer]}) for one in stimuli]
        config = replace(config, lag_s=_part(config.lag_s, number), memory_s=_part(config.memory_s, number))
    return SimulatedPatient(config, stimuli)


def _part(whole: tuple[float, float], number: int) -> tuple[float, float]:
    low, high = np.linspace(*whole, SOME + 1)[number % SOME :][:2]
    return float(low), float(high)


def one_case(everybody: Sequence[Subject], minutes: float, groups: Sequence[int], config: FitConfig) -> list[Row]:
    """A row for each group: mean r over its patients, the first of everybody, by way of fitting and electrodes."""
    recordings = {str(i): one.recording(minutes) for i, one in enumerate(everybody)}
    alone = {name: fit(recording, config).model for name, recording in recordings.items()}
    ridge = {name: ridge_of(model) for name, model in alone.items()}
    rows = []
    for count in groups:
        names = list(recordings)[:count]
        fitted = fit_together({name: recordings[name] for name in names}, config, lambda _: None).results
        together = {name: fitted[name].model for name in names}
        row: Row = {"minutes": minutes, "group": count, "seed": config.seed}
        for way, models in (("ridge", ridge), ("alone", alone), ("together", together)):
            r = [one.r(models[name]) for one, name in zip(everybody, names, strict=False)]
            row[way] = {kind: float(np.mean([of[kind] for of in r])) for kind in KINDS}
            row[f"{way}, LSTM kept"] = sum(isinstance(models[name], LstmAttentionStage) for name in names)
        rows.append(row)
    return rows


def _gains(row: Row) -> str:
    return f"{row['group']} patients " + ", ".join(f"{k} {row['together'][k] - row['alone'][k]:+.4f}" for k in KINDS)


def ridge_of(model: Model) -> LaggedRidge:
    """The ridge that the model began as, but for its intercept, to which r is blind."""
    if isinstance(model, LaggedRidge):
        return model
    return LaggedRidge(model.projection, model.model.skip.numpy(), np.zeros(model.model.config.electrodes, np.float32))


def summarise(rows: Sequence[Row]) -> list[Row]:
    """One for each case and kind of electrode: mean r of each way, and what sharing gained."""
    cases = dict.fromkeys((row["patients"], row["minutes"], row["group"]) for row in rows)
    summary = []
    for case in cases:
        seeds = [row for row in rows if (row["patients"], row["minutes"], row["group"]) == case]
        for kind in KINDS:
            r = {way: [row[way][kind] for row in seeds] for way in ("ridge", "alone", "together")}
            one: Row = dict(zip(("patients", "minutes", "group"), case, strict=True)) | {"electrodes": kind}
            one |= {way: float(np.mean(values)) for way, values in r.items()}
            for way in ("alone", "ridge"):
                one[f"more than {way}"] = interval(list(np.subtract(r["together"], r[way])))
            for way in ("alone", "together"):
                one[f"{way}, LSTM kept"] = sum(row[f"{way}, LSTM kept"] for row in seeds)
            summary.append(one | {"fits": case[2] * len(seeds)})
    return summary


def show(summary: Sequence[Row]) -> None:
    table = Table(
        "patients", "minutes of each", "together", "electrodes", "ridge", "alone", "together", "together - alone, 95 %",
        "together - ridge, 95 %", "LSTM kept alone, together", title="mean r, held-out speech, SIMULATED patients",
    )  # fmt: skip
    for row in summary:
        cells = [row["patients"], f"{row['minutes']:g}", str(row["group"]), row["electrodes"]]
        cells += [f"{row[way]:.3f}" for way in ("ridge", "alone", "together")]
        for way in ("alone", "ridge"):
            mean, low, high = row[f"more than {way}"]
            cells.append(f"{mean:+.3f} ({low:+.3f} to {high:+.3f})")
        kept = [row[f"{way}, LSTM kept"] for way in ("alone", "together")]
        table.add_row(*cells, f"{kept[0]}, {kept[1]} of {row['fits']}")
    Console(width=170).print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="groups of patients, two or more (default: 5)")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"first seed (default: {FIRST_SEED})")
    parser.add_argument("--minutes", nargs="+", type=float, default=[2.0, 4.0], help="of each patient (default: 2 4)")
    parser.add_argument("--groups", nargs="+", type=int, default=[2, 4], help="patients together (default: 2 4)")
    parser.add_argument("--patients", nargs="+", choices=LIKENESS, default=list(LIKENESS), help="(default: both)")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    heard, began, rows = speech(), time.process_time(), []
    cases = list(itertools.product(options.patients, range(options.first, options.first + options.seeds)))
    with working("fitting simulated patients") as progress:
        for number, (likeness, seed) in enumerate(cases):
            everybody = subjects(heard, likeness, max(options.groups), seed)
            for minutes in options.minutes:
                found = one_case(everybody, minutes, options.groups, FitConfig(seed=seed))
                rows += [{"patients": likeness, **row} for row in found]
                say(f"{likeness}, seed {seed}, {minutes:g} min: {[_gains(row) for row in found]}")
            progress((number + 1) / len(cases))
    summary = summarise(rows)
    show(summary)
    if options.json:
        facts = {"simulated": True, "processor_s": round(time.process_time() - began), "machine": machine_facts()}
        options.json.write_text(
            json.dumps({"rows": summary, "seeds": rows, **facts}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
