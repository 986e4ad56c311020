"""What the report shows of phonemes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps

from encoders.analysis.phone_classes import MANNER, PHONE_PLACE, PHONES
from realtime.commands.analysis_page import flat_places, label_places, told, unit_of
from realtime.commands.analysis_phonemes import F_LAGS_S
from realtime.commands.analysis_setup import Setup, Truth
from realtime.commands.analysis_store import Result
from realtime.commands.analysis_transcript import shortened
from realtime.commands.report import Report, new_figure

Rows = list[dict[str, Any]]
MOST_SHOWN = 80
BY_MANNER = sorted(PHONES, key=lambda phone: (MANNER[phone], phone))


def draw(patient: str, result: Result, setup: Setup, report: Report) -> Rows:
    """Add the part to the report; returns its numbers."""
    report.add_heading(f"Phonemes: {patient}")
    facts, arrays = result.facts, result.arrays
    _events_text(facts, report)
    if not told(facts, report):
        return []
    names = list(facts["electrodes"])
    encodes, phonetic = arrays["encodes"], arrays["phonetic"] & arrays["encodes"]
    start, stop = (1e3 * t for t in facts["window_s"])
    report.add_text(
        f"{encodes.sum()} of {len(names)} electrodes encode speech, {phonetic.sum()} of them tell phones apart (F over "
        "phones against labels turned round in time, false discovery rate 0.05). Responses are means from "
        f"{start:.0f} to {stop:.0f} ms after a phone's onset, in SDs of the recording. Phones within 500 ms after a "
        "pause, and those whose window a pause reaches, are left out."
    )
    shown = np.flatnonzero(phonetic)
    if not len(shown):
        report.add_text("No electrode tells phones apart: there is nothing to draw.")
    else:
        order = shown[np.lexsort((-arrays["index"][shown], arrays["cluster"][shown]))][:MOST_SHOWN]
        _vectors(report, arrays, names, order, "vector", f"{start:.0f} to {stop:.0f} ms after onset")
        own = "at each electrode's own latency, found on the first half of the phones and tested on the second"
        _vectors(report, arrays, names, order, "own_vector", own)
        _classes(report, arrays, names, order)
        _phones(report, arrays, names, order)
        _f_ratios(report, arrays, names, order)
        _clusters(report, facts, arrays, names, setup)
    rows = _numbers(patient, arrays, names)
    if isinstance(facts["compact"], dict):
        unit = unit_of(setup.system)
        named = {"spread": f"spread_{unit}", "expected": f"expected_{unit}", "p": "p"}
        rows += [_row(patient, "", "clusters", named[key], value) for key, value in facts["compact"].items()]
    if setup.truth:
        counts = _against_truth(report, arrays, names, setup.truth)
        rows += [_row(patient, "", f"electrodes driven by {one['electrodes']}", quantity, value)
                 for one in counts for quantity, value in one.items() if quantity != "electrodes"]  # fmt: skip
    report.add_table(_electrodes(arrays, names, setup), "Electrodes: selectivity", folded=True)
    return rows


def _events_text(facts: dict[str, Any], report: Report) -> None:
    if "events" in facts:
        rare = ", ".join(facts["rare"])
        report.add_text(
            f"{facts['spoken']} phones were spoken in {facts['seconds']:.0f} s; {facts['events']} of them are away "
            f"from pauses. Heard too rarely to be tested: {rare or 'none'}."
        )
    if facts.get("unknown"):
        report.add_text(f"Labels that are no phones, taken for pauses: {facts['unknown']}.")
    if facts.get("missing_words"):
        report.add_text(
            "Words that the dictionary does not hold; their sound went to their neighbours, whose phone times are "
            f"therefore wrong: {', '.join(facts['missing_words'])}."
        )
    if facts.get("outside_words"):
        report.add_text(
            f"{len(facts['outside_words'])} words of the transcript begin where there is no sound, and are left out: "
            f"{shortened(facts['outside_words'])}."
        )


def _vectors(report: Report, arrays: Any, names: list[str], order: npt.NDArray[np.intp], which: str, when: str) -> None:
    figure = new_figure(10.0, max(3.0, 0.16 * len(order) + 1.5))
    axes = figure.subplots()
    greyed = colormaps["magma"].with_extremes(bad="#dddddd")
    columns = np.array([PHONES.index(phone) for phone in BY_MANNER])
    picture = axes.imshow(np.ma.masked_invalid(arrays[which][np.ix_(order, columns)]), aspect="auto", cmap=greyed)
    axes.set_xticks(range(len(PHONES)), BY_MANNER, fontsize=7, rotation=90)
    axes.set_yticks(range(len(order)), [names[e] for e in order], fontsize=6)
    edges = [i for i in range(1, len(BY_MANNER)) if MANNER[BY_MANNER[i]] != MANNER[BY_MANNER[i - 1]]]
    for edge in edges:
        axes.axvline(edge - 0.5, color="w", lw=1)
    for cut in np.flatnonzero(np.diff(arrays["cluster"][order])):
        axes.axhline(cut + 0.5, color="c", lw=1)
    axes.set(xlabel=f"phone, by manner: {', '.join(dict.fromkeys(MANNER[p] for p in BY_MANNER))}", ylabel="electrode")
    figure.colorbar(picture, label="other phones whose responses differ")
    report.add_figure(
        figure,
        f"Phoneme selectivity vectors, {when} (rank-sum tests, false discovery rate 0.01); grey: heard too "
        "rarely. Lines: between manners, between clusters.",
    )


def _classes(report: Report, arrays: Any, names: list[str], order: npt.NDArray[np.intp]) -> None:
    figure = new_figure(10.0, max(3.2, 0.16 * len(order) + 1.8))
    panels = figure.subplots(1, 2, sharey=True, width_ratios=[5, 12])
    manner, place = sorted(set(MANNER.values())), sorted(set(PHONE_PLACE.values()))
    both = np.abs(np.concatenate([arrays["manner_mean"][order].ravel(), arrays["place_mean"][order].ravel()]))
    most = float(np.nanpercentile(both, 98))  # else one electrode bleaches all others
    for axes, values, labels in zip(panels, ("manner_mean", "place_mean"), (manner, place), strict=True):
        picture = axes.imshow(arrays[values][order], aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most)
        axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=60, ha="right")
        axes.set_title(values.split("_")[0])
    panels[0].set_yticks(range(len(order)), [names[e] for e in order], fontsize=6)
    panels[0].set_ylabel("electrode")
    figure.colorbar(picture, ax=panels, label="mean response (SD)", extend="both")
    report.add_figure(figure, "Mean response to each manner and place of articulation in the window.")


def _phones(report: Report, arrays: Any, names: list[str], order: npt.NDArray[np.intp]) -> None:
    report.add_table(
        [
            {"electrode": names[e], **{phone: arrays["phone_mean"][e, PHONES.index(phone)] for phone in BY_MANNER}}
            for e in order
        ],
        "Mean response to each phone in the window (SD), by manner; a dash: not heard",
        folded=True,
    )


def _f_ratios(report: Report, arrays: Any, names: list[str], order: npt.NDArray[np.intp]) -> None:
    figure = new_figure(8.0, max(3.0, 0.16 * len(order) + 1.2))
    axes = figure.subplots()
    half = 1e3 * (F_LAGS_S[1] - F_LAGS_S[0]) / 2
    extent = (1e3 * F_LAGS_S[0] - half, 1e3 * F_LAGS_S[-1] + half, len(order) - 0.5, -0.5)
    f = arrays["f_ratio"][:, order].T
    most = float(np.nanpercentile(f, 99))  # else one electrode darkens all others
    picture = axes.imshow(f, aspect="auto", extent=extent, cmap="viridis", vmin=0, vmax=most)
    axes.axvline(0, color="w", lw=1)
    axes.set_yticks(range(len(order)), [names[e] for e in order], fontsize=6)
    axes.set(xlabel="time after the phone's onset (ms)", ylabel="electrode")
    figure.colorbar(picture, label="F over phones", extend="max")
    report.add_figure(figure, "F-ratio of the response over phones, at each time after their onset.")


def _clusters(report: Report, facts: dict[str, Any], arrays: Any, names: list[str], setup: Setup) -> None:
    compact = facts["compact"]
    if isinstance(compact, str):
        report.add_text(f"Clusters: {compact}.")
    else:
        verdict = "lie nearer together than chance" if compact["p"] <= 0.05 else "are not shown to lie together"
        report.add_text(
            f"Electrodes of one cluster {verdict}: {compact['spread']:.1f} {unit_of(setup.system)} apart on average, "
            f"{compact['expected']:.1f} when the clusters are dealt out anew (p = {compact['p']:.4f})."
        )
    placed = [e for e, name in enumerate(names) if name in setup.positions]
    if not placed or not arrays["cluster"].any():
        return
    xy, axes_names = flat_places(np.array([setup.positions[names[e]] for e in placed], np.float64))
    cluster = arrays["cluster"][placed]
    figure = new_figure(7.5, 5.0)
    axes = figure.subplots()
    axes.plot(*xy[cluster == 0].T, "o", color="#cccccc", ms=6, label="not phonetic")
    for number in sorted(set(cluster[cluster > 0])):
        axes.plot(*xy[cluster == number].T, "o", color=f"C{number - 1}", ms=10, label=f"cluster {number}")
    label_places(axes, setup.system, axes_names)
    figure.legend(frameon=False, loc="outside right center")
    report.add_figure(
        figure,
        "Clusters of phonetic electrodes by their selectivity vectors at their own latency, at the electrodes' places.",
    )


def _against_truth(report: Report, arrays: Any, names: list[str], truth: dict[str, Truth]) -> Rows:
    """For a simulated patient: whose top is its own class, and who is wrongly called phonetic; returns the table."""
    of = {kind: [e for e, name in enumerate(names) if name in truth and truth[name].kind in kind.split()]
          for kind in ("phone", "onset", "undriven dead")}  # fmt: skip
    phonetic = arrays["phonetic"] & arrays["encodes"]

    def own(e: int, prefix: str) -> bool:
        wanted = truth[names[e]].phone_class
        return wanted in (arrays[f"{prefix}top_phone"][e], arrays[f"{prefix}top_manner"][e])

    rows: Rows = [
        {"electrodes": kind.replace(" ", ", "), "number": len(mine), "encode": sum(map(bool, arrays["encodes"][mine])),
         "phonetic": int(phonetic[mine].sum()),
         "own class on top": sum(own(e, "") for e in mine) if kind == "phone" else None,
         "the same at own latency": sum(own(e, "own_") for e in mine) if kind == "phone" else None}
        for kind, mine in of.items()
        if mine
    ]  # fmt: skip
    report.add_table(rows, "Simulated patient: what drives electrodes, and what is found.")
    return rows


def _electrodes(arrays: Any, names: list[str], setup: Setup) -> Rows:
    rows = []
    for e, name in enumerate(names):
        row = {
            "electrode": name,
            "encodes": bool(arrays["encodes"][e]),
            "r of phones": arrays["encoding_r"][e],
            "p (FDR)": arrays["encoding_p"][e],
            "phonetic": bool(arrays["phonetic"][e] & arrays["encodes"][e]),
            "index": arrays["index"][e],
            "top phone": str(arrays["top_phone"][e]) or None,
            "top manner": str(arrays["top_manner"][e]) or None,
            "own latency (ms)": float(1e3 * arrays["own_latency_s"][e]),
            "own index": arrays["own_index"][e],
            "own top phone": str(arrays["own_top_phone"][e]) or None,
            "own top manner": str(arrays["own_top_manner"][e]) or None,
        }
        if setup.truth:
            truth = setup.truth.get(name)
            row["truth (simulated)"] = (
                f"{truth.kind} {truth.phone_class or truth.layer or ''}".strip() if truth else None
            )
        rows.append(row)
    return sorted(rows, key=lambda row: -np.nan_to_num(row["index"], nan=-1.0))


def _numbers(patient: str, arrays: Any, names: list[str]) -> Rows:
    wide = {"vector": PHONES, "higher": PHONES, "phone_mean": PHONES, "phone_error": PHONES}
    manner, place = tuple(sorted(set(MANNER.values()))), tuple(sorted(set(PHONE_PLACE.values())))
    wide |= {"manner_mean": manner, "manner_error": manner, "place_mean": place, "place_error": place}
    wide |= {"own_vector": PHONES, "own_higher": PHONES}
    rows = []
    for quantity, values in arrays.items():
        for e, name in enumerate(names):
            of: list[tuple[str, Any]]
            if quantity in wide:
                of = list(zip(wide[quantity], values[e], strict=True))
            elif quantity == "f_ratio":
                of = [(f"{1e3 * t:.0f} ms", f) for t, f in zip(F_LAGS_S, values[:, e], strict=True)]
            else:
                of = [("", values[e])]
            rows += [_row(patient, name, what, quantity, value) for what, value in of]
    return rows


def _row(patient: str, electrode: str, what: str, quantity: str, value: Any) -> dict[str, Any]:
    return {"part": "phonemes", "patient": patient, "electrode": electrode, "of": what, "quantity": quantity,
            "value": value.item() if isinstance(value, np.generic) else value}  # fmt: skip
