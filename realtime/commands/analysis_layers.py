"""The part `layers` of an analysis: which layer of which Whisper each electrode follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.analysis.lagged import LAGGED, Heard, folds_of
from encoders.analysis.layers import best_of_all, choose_layer
from encoders.analysis.sweep import Cell, gather, make_cell, run_cells
from encoders.bootstrap import r_draws
from encoders.evaluation import correlation, shift_null
from realtime.block import Floats
from realtime.commands.analysis_data import Patient, heard, segments_key
from realtime.commands.analysis_decoder import (
    DECODERS,
    DecoderFeatures,
    decoder_families,
    decoders_of,
)
from realtime.commands.analysis_features import Family, families_of, features_of, observed_file
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result, Store
from realtime.commands.console import working

Doubles = npt.NDArray[np.float64]
ELECTRODES_A_CELL, LEAST_S = 64, 60.0
DRAWS, NULL_DRAWS, BLOCK_ROWS = 1000, 2000, 500
VERSION = 1
Scores = tuple[Doubles, Doubles, Doubles]


def compute(patient: Patient, setup: Setup, store: Store) -> Result:
    """r of every layer of every family at every electrode, the best layer with its interval, and what encodes."""
    segments = patient.segments(with_sound=True)
    seconds = sum(len(s.times) for s in segments) / 50.0
    facts: dict[str, Any] = {"seconds": round(seconds, 1), "electrodes": patient.electrodes}
    if seconds < LEAST_S:
        return Result({**facts, "too_little": too_little(seconds)})
    families = families_of(setup.whispers)
    key = [VERSION, segments_key(segments),
           setup.facts(), str(LAGGED)]  # fmt: skip
    decoders, reason = decoders_of(patient, setup.whispers, setup.crop_s, setup.context_s, store)
    if decoders:
        families += decoder_families(setup.whispers)
        key += ["decoder", [one.key for one in decoders.values()]]
        facts |= {"crop_ms": 1e3 * (setup.crop_s or 0.0), "context_s": setup.context_s}
        facts["words"] = next(iter(decoders.values())).count

    def make() -> Result:
        one = heard(segments)
        cells = _cells(patient, one, families, decoders, setup, store)
        every = [cell for some in cells.values() for cell in some]
        with working(f"{patient.name}: {len(every)} fits of layers") as progress:
            failed = run_cells(every, setup.workers, setup.scheduler, progress)
        found: dict[tuple[Family, int], Scores] = {}
        with working(f"{patient.name}: intervals and nulls") as progress:
            for number, (name, some) in enumerate(cells.items()):
                found[name] = scores(gather(some, one), one)
                progress((number + 1) / len(cells))
        names = [[f.model, f.hearing, list(f.layers)] for f in families]
        return Result({**facts, "failed": failed, "families": names}, _arrays(families, found))

    result = store.result(f"layers {patient.name}", key, make)
    return replace(result, facts={**result.facts, "no_decoder": reason})


def too_little(seconds: float, least_s: float = LEAST_S) -> str:
    return f"{seconds:.0f} s of sound and ECoG together; at least {least_s:.0f} s are needed, so nothing is fitted"


def scores(predicted: Floats, one: Heard) -> Scores:
    """r (electrodes,), bootstrap draws (draws, electrodes) and shift null (draws, electrodes) of predictions."""
    observed, bad = np.nan_to_num(one.observed), one.bad | ~np.isfinite(one.observed)
    r = correlation(predicted, observed, bad)
    draws = r_draws(predicted, observed, bad, DRAWS, seed=0, block_rows=BLOCK_ROWS)
    return r, draws, shift_null(predicted, observed, bad, 50.0, NULL_DRAWS, seed=0)


def _cells(
    patient: Patient,
    one: Heard,
    families: Sequence[Family],
    decoders: Mapping[str, DecoderFeatures],
    setup: Setup,
    store: Store,
) -> dict[tuple[Family, int], list[Cell]]:
    """The fits of each layer of each family: electrodes in groups, fold by fold."""
    segments, observed = patient.segments(with_sound=True), observed_file(one, store)
    whispers = {whisper.name: whisper for whisper in setup.whispers}
    electrodes, folder = len(patient.electrodes), store.cells(f"layers {patient.name}")

    def files(family: Family) -> dict[int, Path]:
        if family.hearing in DECODERS:
            return decoders[family.model].rows_of(family, segments)
        return features_of(family, segments, whispers, setup.streaming, store)

    groups = [(a, min(a + ELECTRODES_A_CELL, electrodes)) for a in range(0, electrodes, ELECTRODES_A_CELL)]
    return {
        (family, layer): [
            make_cell(
                f"{patient.name}, {family.name} {layer}, electrodes {a + 1} to {b}, fold {fold + 1}",
                path, observed, (a, b), fold, folder,
            )
            for a, b in groups
            for fold in range(len(folds_of(one)))
        ]
        for family in families
        for layer, path in files(family).items()
    }  # fmt: skip


def _arrays(families: Sequence[Family], found: dict[tuple[Family, int], Scores]) -> dict[str, Any]:
    """Per family r (layers, electrodes) and, (electrodes,), best, low, high, agreement; p of any trained layer."""
    arrays: dict[str, Any] = {}
    for family in families:
        some = [found[family, layer] for layer in family.layers]
        r = arrays[f"{family.name}/r"] = np.stack([one[0] for one in some])
        if len(family.layers) > 1:
            choice = choose_layer(r, np.stack([one[1] for one in some]), family.layers)
            for name in ("best", "low", "high", "agreement"):
                arrays[f"{family.name}/{name}"] = getattr(choice, name)
    for named, hearings in (("", ("offline", "causal")), ("decoder ", DECODERS[1:2])):
        trained = [one for (family, _), one in found.items() if family.hearing in hearings]
        if trained:
            null = np.stack([one[2] for one in trained])
            p, adjusted = best_of_all(np.stack([one[0] for one in trained]), null)
            p95 = np.percentile(np.nan_to_num(null, nan=-1.0).max(axis=0), 95, axis=0)
            arrays |= {f"{named}p": p, f"{named}p_fdr": adjusted, f"{named}null_p95": p95}
    return arrays
