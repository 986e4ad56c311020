"""The part `time` of an analysis: prediction from one frame, from lags, from an LSTM, and with attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from encoders.analysis.lagged import LAGGED, folds_of
from encoders.analysis.paired import overall_p, paired_p
from encoders.analysis.sweep import TIME_MODELS, gather, make_cell, run_cells
from encoders.evaluation import benjamini_hochberg
from realtime.commands.analysis_data import Patient, Segment, heard, segments_key
from realtime.commands.analysis_features import Family, features_of, observed_file
from realtime.commands.analysis_layers import LEAST_S, scores, too_little
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result, Store
from realtime.commands.console import working

VERSION = 1
PAIRS = (
    ("lagged", "instantaneous"),
    ("lstm", "instantaneous"),
    ("lstm_attention", "lstm"),
    ("lstm_attention", "lagged"),
)


def facts_of(patient: Patient, segments: Sequence[Segment], setup: Setup) -> dict[str, Any]:
    """What models of time are fitted to; with `too_little` where that is so."""
    seconds = sum(len(s.times) for s in segments) / 50.0
    facts = {
        "seconds": round(seconds, 1),
        "electrodes": patient.electrodes,
        "embedding": f"{setup.whispers[0].name} causal, layer {setup.streaming.layer}",
        "epochs": setup.epochs,
    }
    enough = seconds >= 2 * LEAST_S
    return facts if enough else {**facts, "too_little": too_little(seconds, 2 * LEAST_S)}


def compute(patient: Patient, setup: Setup, store: Store) -> Result:
    """r of each model of time on the causal layer of the settings, and what each gains over another."""
    segments = patient.segments(with_sound=True)
    whisper, layer = setup.whispers[0], setup.streaming.layer
    facts = facts_of(patient, segments, setup)
    if "too_little" in facts:
        return Result(facts)
    key = [VERSION, segments_key(segments),
           setup.facts(), setup.epochs, str(LAGGED)]  # fmt: skip

    def make() -> Result:
        one = heard(segments)
        family = Family(whisper.name, "causal", (layer,))
        features = features_of(family, segments, {whisper.name: whisper}, setup.streaming, store)[layer]
        observed, whole = observed_file(one, store), (0, len(patient.electrodes))
        folder = store.cells(f"time {patient.name}")
        cells = {
            kind: [
                make_cell(
                    f"{patient.name}, {kind}, fold {fold + 1}", features, observed, whole, fold, folder, kind,
                    epochs=setup.epochs if kind.startswith("lstm") else 0, fits=store.fits,
                )
                for fold in range(len(folds_of(one)))
            ]
            for kind in TIME_MODELS
        }  # fmt: skip
        every = [cell for kind in reversed(TIME_MODELS) for cell in cells[kind]]  # the slow ones first
        with working(f"{patient.name}: {len(every)} fits of models of time") as progress:
            failed = run_cells(every, setup.workers, setup.scheduler, progress)
        with working(f"{patient.name}: what time gains"):
            found = {kind: scores(gather(some, one), one) for kind, some in cells.items()}
        arrays: dict[str, Any] = {f"{kind}/r": r for kind, (r, _, _) in found.items()}
        tests = []
        for better, plain in PAIRS:
            gain = found[better][0] - found[plain][0]
            p = benjamini_hochberg(paired_p(found[better][1] - found[plain][1]))
            arrays[f"{better} over {plain}/gain"], arrays[f"{better} over {plain}/p_fdr"] = gain, p
            tests.append({"pair": [better, plain], "mean_gain": float(np.nanmean(gain)), "p": overall_p(gain)})
        return Result({**facts, "failed": failed, "tests": tests}, arrays)

    return store.result(f"time {patient.name}", key, make)
