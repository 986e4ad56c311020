"""Which model predicts simulated electrodes of each kind best: `python -m benchmarks.models [--seeds N] [--json FILE]`.

Nine minutes of real speech to learn from, two held out, embeddings of a causal Whisper tiny.en; the electrodes are
simulated, their rows drawn directly, another patient for each seed. What is compared: r on held-out speech over the
ceiling, averaged over the electrodes of a kind; intervals over seeds (Student's t, 95 %).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from benchmarks.models_picture import draw
from benchmarks.simulated_rows import Speech, patient, respond, speech
from encoders.aligned import Aligned, split
from encoders.bidirectional import fit_reference
from encoders.lstm_attention import LstmAttentionConfig
from encoders.patient import PatientConfig, SimulatedPatient
from encoders.ridge import LaggedRidge, fit_ridge
from encoders.training import FitConfig, learn_lstm, masked_r, refit_lstm, winner
from encoders.training import score as r_of
from realtime.block import Floats, regular
from realtime.commands.console import machine_facts, working
from realtime.commands.options import file_to_write

FIRST_SEED = 3000  # settings were chosen on others
PATIENT = PatientConfig(electrodes=29, layer_driven=8, phone_driven=4, onset_driven=4, history_driven=8)
KINDS = ("layer", "phone", "onset", "history", "undriven")
GAP = 70  # rows between training and validation
OFFLINE_LAYER = 2  # of the Whisper that the offline reference reads: as the causal one
RIDGE, LSTM, FORGETFUL = "ridge", "LSTM with attention", "the same without gain and memory to begin with"
BOTH_WAYS, OFFLINE = "bidirectional, whole segment", "the same on offline Whisper"
OTHERS = {"lstm": LSTM, "forgetful": FORGETFUL, "bidirectional": BOTH_WAYS, "offline": OFFLINE}
Figures = dict[str, dict[str, float]]
Tell = Callable[[float], None]


def one_seed(seed: int, wanted: Sequence[str], tell: Tell) -> tuple[Figures, dict[str, Any]]:
    """Share of the ceiling reached by model and kind of electrode (of undriven ones r), and how the fit went."""
    learn, test = speech()
    subject = patient(replace(PATIENT, seed=seed))
    heard, unheard = (
        respond(subject.drive(one.stimulus)[: one.rows], subject.truth, 2 * seed + i)
        for i, one in enumerate((learn, test))
    )
    config = FitConfig(seed=seed)
    segments = [heard.aligned(learn)]
    parts = split(segments, config.validation, (GAP, GAP))
    train, held_out = parts.train, parts.held_out
    part = _ridge(train, config)
    ridge = _ridge(segments, config, part)
    x = regular(test.embeddings[: test.rows], 50.0)
    predicted: dict[str, Floats] = {RIDGE: ridge.layer(x).data}
    tell(0.2)
    facts: dict[str, Any] = {}
    forgetful = LstmAttentionConfig(head_width=8, remembers=False)
    for name, settings in ((LSTM, config), (FORGETFUL, replace(config, lstm=forgetful))):
        if name not in wanted:
            continue
        began = time.perf_counter()
        trained = learn_lstm(train, held_out, part, settings, lambda _: None)
        r = {"ridge": r_of(part, held_out), "lstm_attention": r_of(trained.stage, held_out)}
        predicted[name] = refit_lstm(segments, ridge, trained, settings, lambda _: None).layer(x).data
        facts[name] = {"kept": winner(r, settings), "epochs": trained.epochs, "s": time.perf_counter() - began}
        tell(0.4 if name == LSTM else 0.6)
    for name, (heard_as, unheard_as) in {
        BOTH_WAYS: (learn.embeddings, test.embeddings),
        OFFLINE: (offline(learn), offline(test)),
    }.items():
        if name not in wanted:
            continue
        aligned = replace(segments[0], embeddings=heard_as[: len(segments[0])])
        reference, _ = fit_reference([aligned], config, lambda _: None)
        predicted[name] = reference.predict(unheard_as[: test.rows])
        tell(0.8 if name == BOTH_WAYS else 1.0)
    return {name: _shares(rows, unheard.observed, subject) for name, rows in predicted.items()}, facts


def offline(one: Speech) -> Floats:
    """(rows, D) embeddings that see all of the sound."""
    rows: Floats = np.asarray(one.stimulus.embeddings[OFFLINE_LAYER], np.float32)
    return rows


def _ridge(segments: list[Aligned], config: FitConfig, before: LaggedRidge | None = None) -> LaggedRidge:
    embeddings, observed, bad = ([getattr(s, name) for s in segments] for name in ("embeddings", "observed", "bad"))
    return fit_ridge(embeddings, observed, bad, config.ridge, before.choice if before else None)


def _shares(predicted: Floats, observed: Floats, subject: SimulatedPatient) -> dict[str, float]:
    r = masked_r(predicted, observed, np.ones(predicted.shape, bool))
    ceiling = np.array([t.ceiling_drawn or 1.0 for t in subject.truth])
    kinds = np.array([t.kind for t in subject.truth])
    return {kind: float(np.mean((r / ceiling)[kinds == kind])) for kind in KINDS}


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval over seeds."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = float(student.ppf(0.975, len(values) - 1)) * error
    return mean, mean - half, mean + half


def summarise(seeds: list[Figures]) -> list[dict[str, Any]]:
    """A row for each model and kind: the mean share of the ceiling, and how much more than the ridge's it is."""
    rows = []
    for model in seeds[0]:
        for kind in KINDS:
            share = float(np.mean([figures[model][kind] for figures in seeds]))
            gain, low, high = interval([figures[model][kind] - figures[RIDGE][kind] for figures in seeds])
            rows.append({"model": model, "kind": kind, "share": share, "gain": gain, "low": low, "high": high})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"first seed (default: {FIRST_SEED})")
    parser.add_argument(
        "--models", nargs="+", choices=list(OTHERS), default=list(OTHERS), help="beside the ridge (default: all)"
    )
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began, seeds, fits = time.perf_counter(), [], []
    with working("fitting simulated patients") as progress:
        for number in range(options.seeds):
            done = number / options.seeds

            def tell(share: float, done: float = done) -> None:
                progress(done + share / options.seeds)

            figures, facts = one_seed(options.first + number, [OTHERS[name] for name in options.models], tell)
            seeds.append(figures)
            fits.append(facts)
    rows = summarise(seeds)
    Console().print(_table(rows))
    if options.json:
        facts = {"simulated": True, "seconds": round(time.perf_counter() - began), "machine": machine_facts()}
        content = {"rows": rows, "seeds": seeds, "first_seed": options.first, "fits": fits, **facts}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        draw(rows, options.picture, RIDGE, KINDS[:-1])


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "model", "electrodes", "share of the ceiling", "more than the ridge, 95 %", title="simulated patients"
    )
    for row in rows:
        gain = f"{row['gain']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        table.add_row(row["model"], row["kind"], f"{row['share']:.3f}", "" if row["model"] == RIDGE else gain)
    return table


if __name__ == "__main__":
    main()
