"""The part `phonemes` of an analysis: which electrodes encode speech, which phones they tell apart, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.analysis.clusters import LEAST_ELECTRODES, cluster_profiles, spatial_compactness
from encoders.analysis.lagged import Heard
from encoders.analysis.phone_classes import MANNER, PHONE_PLACE, PHONES
from encoders.analysis.phone_encoding import encoding_p, phone_features
from encoders.analysis.phone_events import PhoneEvents, phone_events, responses, window_means
from encoders.analysis.selectivity import LEAST, class_means, f_ratio, selectivity, shifted_f_null
from encoders.evaluation import benjamini_hochberg, p_values
from realtime.commands.analysis_data import Patient, content_key
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result, Store
from realtime.commands.console import working

Doubles = npt.NDArray[np.float64]
VERSION = 5
LEAST_EVENTS, LEAST_PHONES = 200, 5
F_LAGS_S = np.round(np.arange(-0.1, 0.5001, 0.02), 3)
F_DRAWS = 1000
Q = 0.05
LATENCIES_S = (0.0, 0.4)  # where an electrode's own window is looked for


def compute(patient: Patient, setup: Setup, store: Store) -> Result:
    """Everything about phones, arrays by electrode; what is too little is said instead."""
    known = patient.speech()
    facts: dict[str, Any] = {"electrodes": patient.electrodes, "window_s": list(setup.window_s)}
    if not known:
        return Result({**facts, "too_little": "no phone times: give --phones, or --transcript to align one"})
    speech = [one for one, _ in known]
    observed, bad = [s.observed for _, s in known], [s.bad for _, s in known]
    spoken = [[label, round(a, 4), round(b, 4)] for one in speech for label, a, b in one.phones]
    positions = [setup.positions.get(name) for name in patient.electrodes]
    key = [VERSION, content_key(*observed, *bad), spoken, setup.window_s, setup.percentile, positions]
    events = phone_events(speech, setup.window_s)
    counts = np.bincount(events.labels, minlength=len(PHONES))
    facts |= {
        "seconds": round(sum(len(o) for o in observed) / 50.0, 1),
        "spoken": sum(label != "SIL" for label, _, _ in spoken),
        "events": len(events),
        "counts": {phone: int(n) for phone, n in zip(PHONES, counts, strict=True)},
        "rare": [phone for phone, n in zip(PHONES, counts, strict=True) if n < LEAST],
        "unknown": {k: v for one in patient.recordings if one.phones for k, v in one.phones.unknown.items()},
        "missing_words": sorted({w for one in patient.recordings if one.phones for w in one.phones.missing_words}),
        "outside_words": [w for one in patient.recordings if one.phones for w in one.phones.outside_words],
    }
    if len(events) < LEAST_EVENTS or np.sum(counts >= LEAST) < LEAST_PHONES:
        return Result({**facts, "too_little": _too_little(len(events), int(np.sum(counts >= LEAST)))})

    def make() -> Result:
        with working(f"{patient.name}: electrodes that encode") as progress:
            one = Heard(tuple(len(o) for o in observed), np.concatenate(observed), np.concatenate(bad))
            sets = zip(*(phone_features(s.phones, s.times) for s in speech), strict=True)
            r, p = encoding_p([np.concatenate(some) for some in sets], one)
            progress(1.0)
        with working(f"{patient.name}: responses to {len(events)} phones") as progress:
            means = window_means(events, speech, observed, bad, setup.window_s)
            curves = responses(events, speech, observed, bad, F_LAGS_S)
            progress(1.0)
        with working(f"{patient.name}: selectivity"):
            arrays: dict[str, Any] = {"encoding_r": r, "encoding_p": p, "encodes": encodes(r, p, setup.percentile)}
            arrays |= phone_numbers(means, curves, events)
        clusters, compact = _clusters(arrays["phonetic"] & arrays["encodes"], arrays["own_vector"], positions)
        return Result({**facts, "compact": compact}, {**arrays, "cluster": clusters})

    return store.result(f"phonemes {patient.name}", key, make)


def _too_little(events: int, phones: int) -> str:
    return (
        f"{events} phones away from pauses, {phones} different ones heard {LEAST} times or more; at least "
        f"{LEAST_EVENTS} and {LEAST_PHONES} are needed, so nothing is tested"
    )


def encodes(r: Doubles, p: Doubles, percentile: float | None) -> npt.NDArray[np.bool_]:
    """By the false discovery rate, or above a percentile of r where one was chosen."""
    if percentile is None:
        return np.nan_to_num(p, nan=1.0) <= Q
    return np.nan_to_num(r, nan=-1.0) >= np.nanpercentile(r, percentile)


def phone_numbers(means: Doubles, curves: Doubles, events: PhoneEvents) -> dict[str, Any]:
    """Selectivity, F-ratio and mean responses, by electrode."""
    labels = events.labels
    found = selectivity(means, labels)
    curve = f_ratio(curves, labels)
    p = p_values(f_ratio(means, labels), shifted_f_null(means, labels, F_DRAWS, seed=0))
    p_fdr = benjamini_hochberg(p)
    _, manner_mean, manner_error = class_means(means, labels, MANNER)
    _, place_mean, place_error = class_means(means, labels, PHONE_PLACE)
    _, phone_mean, phone_error = class_means(means, labels, {phone: phone for phone in PHONES})
    own = own_window(curves, labels)
    return {
        "index": found.index,
        "vector": found.vector,
        "higher": found.higher,
        "phonetic_p": p_fdr,
        "phonetic": np.nan_to_num(p_fdr, nan=1.0) <= Q,
        "top_phone": np.array([name or "" for name in found.top_phone()]),
        "top_manner": np.array([name or "" for name in found.top_class()]),
        "f_ratio": curve,
        "manner_mean": manner_mean,
        "manner_error": manner_error,
        "place_mean": place_mean,
        "place_error": place_error,
        "phone_mean": phone_mean,
        "phone_error": phone_error,
        **own,
    }


def own_window(curves: Doubles, labels: npt.NDArray[np.intp]) -> dict[str, Any]:
    """Selectivity at each electrode's own latency: the lag of the largest F-ratio in the first half of the phones,
    tested on the second half alone, so that the choice costs nothing."""
    half = len(labels) // 2
    allowed = np.flatnonzero((LATENCIES_S[0] <= F_LAGS_S) & (LATENCIES_S[1] >= F_LAGS_S))
    first = np.nan_to_num(f_ratio(curves[:half][:, allowed], labels[:half]), nan=0.0)  # (lags, electrodes)
    best = allowed[first.argmax(axis=0)]
    at = np.clip(best[:, None] + np.array([-1, 0, 1]), 0, len(F_LAGS_S) - 1)  # (electrodes, 3): 40 ms
    second = np.stack([curves[half:][:, at[e], e].mean(axis=1) for e in range(len(best))], axis=1)
    found = selectivity(second, labels[half:])
    return {
        "own_latency_s": F_LAGS_S[best],
        "own_index": found.index,
        "own_vector": found.vector,
        "own_higher": found.higher,
        "own_top_phone": np.array([name or "" for name in found.top_phone()]),
        "own_top_manner": np.array([name or "" for name in found.top_class()]),
    }


def _clusters(
    told: npt.NDArray[np.bool_], vector: Doubles, positions: list[tuple[float, ...] | None]
) -> tuple[npt.NDArray[np.intp], dict[str, Any] | str]:
    """Cluster of each electrode, 0 for those that are not clustered; and whether clusters are compact, or why not."""
    labels = np.zeros(len(told), np.intp)
    chosen = np.flatnonzero(told)
    if len(chosen) < LEAST_ELECTRODES:
        return labels, f"{len(chosen)} phonetic electrodes, at least {LEAST_ELECTRODES} are needed for clusters"
    labels[chosen] = cluster_profiles(vector[chosen]).labels
    if not any(positions):
        return labels, "no positions of electrodes: whether clusters are compact cannot be said"
    width = max(len(position) for position in positions if position)
    xyz = np.array([position or (np.nan,) * width for position in positions])
    found = spatial_compactness(labels[chosen], xyz[chosen])
    if found is None:
        return labels, "too few electrodes of known positions share a cluster"
    return labels, {"spread": found.spread, "expected": found.expected, "p": found.p}
