"""The part `attention` of an analysis: how far back a model listens, who reads it, and what its peaks fall on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.analysis.attention import PLANTED_LAGS_S, PLANTED_R, groups_of, listen_cell, load_listening, planted
from encoders.analysis.attention_peaks import coincidence, event_rows, peaks_of, received
from encoders.analysis.lagged import LAGGED, Heard, folds_of
from encoders.analysis.paired import paired_p
from encoders.analysis.phone_events import Speech
from encoders.analysis.sweep import Cell, make_cell, run_cells
from encoders.bootstrap import r_draws
from encoders.evaluation import benjamini_hochberg, correlation
from realtime.block import Floats
from realtime.commands.analysis_data import Patient, heard, segments_key
from realtime.commands.analysis_features import Family, features_of, observed_file
from realtime.commands.analysis_layers import BLOCK_ROWS, DRAWS
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result, Store
from realtime.commands.analysis_time import facts_of
from realtime.commands.console import working

Doubles = npt.NDArray[np.float64]
VERSION = 1
ROW_S = 0.02
NEAR_S = 0.04  # a planted lag found within this is recovered
RECOVERED = 0.8  # share of the planted lags that must be, or no lag is called a latency
Q = 0.05


def compute(patient: Patient, setup: Setup, store: Store) -> Result:
    """Weights over lags, what masking each costs, latencies where that is shown, and what attention peaks fall on."""
    segments = patient.segments(with_sound=True)
    whisper, layer = setup.whispers[0], setup.streaming.layer
    facts = facts_of(patient, segments, setup)
    if "too_little" in facts:
        return Result(facts)
    speech, words = _spoken(patient)
    spoken = [[one.phones if one else None, some] for one, some in zip(speech, words, strict=True)]
    key = [VERSION, segments_key(segments), setup.facts(), setup.epochs, str(LAGGED), spoken]

    def make() -> Result:
        one = heard(segments)
        family = Family(whisper.name, "causal", (layer,))
        features = features_of(family, segments, {whisper.name: whisper}, setup.streaming, store)[layer]
        with working(f"{patient.name}: simulated electrodes with known lags"):
            true = planted(np.load(features, allow_pickle=False).astype(np.float32), one, PLANTED_LAGS_S, PLANTED_R)
        cells = _cells(patient, one, true, features, setup, store)
        with working(f"{patient.name}: what {len(cells)} fits of attention listen to") as progress:
            failed = run_cells(cells, setup.workers, setup.scheduler, progress, listen_cell)
        if failed:
            return Result({**facts, "failed": failed})
        with working(f"{patient.name}: what masking each lag costs") as progress:
            lags = load_listening(cells[0]).weights.shape[2]
            groups = groups_of(lags)
            known = _costs(cells[-1:], true, len(groups))
            progress(0.4)
            found = _costs(cells[:-1], one, len(groups))
            progress(1.0)
        middle_s = np.array([ROW_S * (first + stop - 1) / 2 for first, stop in groups])
        right = np.abs(middle_s[known["lag_drop"].argmax(axis=0)] - PLANTED_LAGS_S) <= NEAR_S + 1e-9
        recovered = float(np.mean(right & _called(known)))
        arrays = {**found, "lags_s": middle_s, "planted_s": PLANTED_LAGS_S}
        arrays["planted_found_s"] = middle_s[known["lag_drop"].argmax(axis=0)]
        arrays["costliest_s"] = middle_s[found["lag_drop"].argmax(axis=0)]
        believed = _called(found) & (recovered >= RECOVERED)
        arrays["latency_s"] = np.where(believed, arrays["costliest_s"], np.nan)
        weights = [load_listening(cell).weights for cell in cells[:-1]]
        arrays["weights"] = np.concatenate(weights).mean(axis=0, dtype=np.float64)  # (heads, lags)
        peaks = _peaks(weights, one, speech, words)
        return Result({**facts, "failed": {}, "recovered": recovered, "peaks": peaks}, arrays)

    return store.result(f"attention {patient.name}", key, make)


def _spoken(patient: Patient) -> tuple[list[Speech | None], list[Any]]:
    """Phones and words of each segment with sound."""
    pairs = [(r.phones, s) for r in patient.recordings for s in r.segments if s.sound is not None]
    speech = [Speech(segment.times, phones.phones) if phones else None for phones, segment in pairs]
    return speech, [phones.words if phones else [] for phones, _ in pairs]


def _cells(patient: Patient, one: Heard, true: Heard, features: Path, setup: Setup, store: Store) -> list[Cell]:
    """One for each fold, whose fits are those of the part `time`, and last one for the planted lags."""
    folder = store.cells(f"attention {patient.name}")
    each = [("attention", one, fold) for fold in range(len(folds_of(one)))] + [("planted", true, 0)]
    made = [
        make_cell(
            f"{patient.name}, {what}, fold {fold + 1}", features, observed_file(some, store),
            (0, some.observed.shape[1]), fold, folder, "lstm_attention", epochs=setup.epochs, fits=store.fits,
        )
        for what, some, fold in each
    ]  # fmt: skip
    return [replace(cell, out=cell.out.with_suffix(".npz")) for cell in made]


def _costs(cells: Sequence[Cell], one: Heard, groups: int) -> dict[str, Doubles]:
    """r (electrodes,), and of lags (groups, electrodes) and heads (heads, electrodes) the drop of r and its p."""
    folds = folds_of(one)
    rows = np.concatenate([folds[cell.fold].test for cell in cells])
    observed = np.nan_to_num(one.observed[rows])
    bad = one.bad[rows] | ~np.isfinite(one.observed[rows])
    predicted: Floats = np.concatenate([load_listening(cell).predicted for cell in cells], axis=1)
    r = correlation(predicted[0], observed, bad)
    whole = r_draws(predicted[0], observed, bad, DRAWS, seed=0, block_rows=BLOCK_ROWS)
    drop = np.stack([r - correlation(other, observed, bad) for other in predicted[1:]])
    p = np.stack(
        [
            paired_p(whole - r_draws(other, observed, bad, DRAWS, seed=0, block_rows=BLOCK_ROWS))
            for other in predicted[1:]
        ]
    )
    found = {"r": r, "lag_drop": np.nan_to_num(drop[:groups]), "head_drop": drop[groups:]}
    for name, some in (("lag_p_fdr", p[:groups]), ("head_p_fdr", p[groups:])):
        found[name] = benjamini_hochberg(some.ravel()).reshape(some.shape)
    return found


def _called(found: dict[str, Doubles]) -> npt.NDArray[np.bool_]:
    """(electrodes,) whether masking the costliest lag is shown to lower r."""
    best = found["lag_drop"].argmax(axis=0)
    each = np.arange(len(best))
    sure = np.nan_to_num(found["lag_p_fdr"][best, each], nan=1.0) <= Q
    called: npt.NDArray[np.bool_] = sure & (found["lag_drop"][best, each] > 0)
    return called


def _peaks(weights: Sequence[Floats], one: Heard, speech: Sequence[Speech | None], words: Sequence[Any]) -> list[Any]:
    """What each head's peaks fall on; empty where no phone times are known."""
    if not any(speech):
        return []
    attention = received(weights, folds_of(one), one.segments)
    events = {name: some for name, some in event_rows(speech, words, one.segments).items() if some.any()}
    rows = [
        {"head": head + 1, "event": name, **asdict(coincidence(peaks_of(attention[:, head], one.segments), some))}
        for head in range(attention.shape[1])
        for name, some in events.items()
    ]
    p = benjamini_hochberg(np.array([row["p"] for row in rows]))
    return [{**row, "p_fdr": float(value)} for row, value in zip(rows, p, strict=True)]
