"""Pages of the analysis: decoder layers against the truth and on maps; the units and axes of maps."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encoders.analysis.phone_classes import MANNER, PHONE_PLACE, PHONES
from encoders.whisper import StreamingSettings
from realtime.commands import analysis_layers_page, analysis_phonemes_page, analysis_time_page
from realtime.commands.analysis_anatomy_page import quantities
from realtime.commands.analysis_decoder import DECODERS
from realtime.commands.analysis_decoder_page import draw_decoder
from realtime.commands.analysis_depths_page import NO_REGION, draw_depths
from realtime.commands.analysis_page import flat_places, label_places
from realtime.commands.analysis_phonemes import F_LAGS_S
from realtime.commands.analysis_setup import Setup, Truth
from realtime.commands.analysis_store import Result
from realtime.commands.analysis_time import PAIRS
from realtime.commands.report import Report, new_figure

NAMES = ["A1", "A2", "A3", "A4"]
KINDS = ["layer", "phone", "undriven", "dead"]
FACTS: dict[str, Any] = {
    "electrodes": NAMES,
    "families": [["tiny", "offline", [1, 2]], ["tiny", DECODERS[0], [0]], ["tiny", DECODERS[1], [1, 2]],
                 ["tiny", DECODERS[2], [1, 2]]],
    "words": 200, "crop_ms": 0.0, "context_s": 10.0,
}  # fmt: skip
ARRAYS = {
    "p_fdr": np.array([0.01, 0.01, 0.5, np.nan]),
    "decoder p_fdr": np.array([0.5, 0.01, 0.03, np.nan]),
    "tiny offline/r": np.array([[0.3, 0.1, 0.0, np.nan], [0.2, 0.4, 0.0, np.nan]]),
    "tiny offline/best": np.array([1, 2, 1, 0]),
    f"tiny {DECODERS[0]}/r": np.full((1, 4), 0.05),
}
for decoder in DECODERS[1:]:
    ARRAYS[f"tiny {decoder}/r"] = np.array([[0.1, 0.2, 0.11, np.nan], [0.0, 0.1, 0.12, np.nan]])
    for quantity in ("best", "low", "high"):
        ARRAYS[f"tiny {decoder}/{quantity}"] = np.array([1, 1, 2, 0])


def test_maps_show_which_decoder_layer_an_electrode_follows() -> None:
    found = {("p", "layers"): Result(FACTS, ARRAYS)}
    shown = {title: (unit, values["p"]) for title, unit, values in quantities(found, ["p"])}
    unit, best = shown["best layer, Whisper tiny decoder, offline"]
    assert "decoder layer" in unit
    np.testing.assert_array_equal(best, [np.nan, 1, 2, np.nan])  # by the decoder's own p
    np.testing.assert_array_equal(shown["best layer, Whisper tiny offline"][1], [1, 2, np.nan, np.nan])
    np.testing.assert_allclose(shown["best r, Whisper tiny decoder, offline"][1], [0.1, 0.2, 0.12, np.nan])
    assert not any("untrained" in title or "word vector" in title for title in shown)


def test_that_no_decoder_layer_drives_a_simulated_electrode_is_said() -> None:
    truth = {name: Truth(kind) for name, kind in zip(NAMES, KINDS, strict=True)}
    for known, said in ((truth, True), ({}, False)):
        report = Report("a", {})
        draw_decoder(report, FACTS, ARRAYS, NAMES, "tiny", known)
        assert ("Of 2 electrodes that nothing drives 1 are said to follow one" in report.html()) == said


def test_places_on_a_picture_are_pixels_counted_from_its_top() -> None:
    systems = {"Pixels": "pixels", "MNI152NLin2009aSym": "mm", "": "mm", "coordinates of the NWB file, n/a": "units"}
    for system, unit in systems.items():
        axes = new_figure().subplots()
        label_places(axes, system)
        assert (axes.get_xlabel(), axes.get_ylabel()) == (f"x ({unit})", f"y ({unit})")
        assert axes.yaxis_inverted() == (unit == "pixels")


def test_a_map_keeps_the_axes_of_a_plane_and_finds_those_of_a_tilted_one() -> None:
    plane = np.array([[0.0, 0.0, 3.0], [40.0, 0.0, 3.0], [40.0, 10.0, 3.0], [np.nan] * 3])
    flat, labels = flat_places(plane)
    assert labels == ("x", "y")
    np.testing.assert_array_equal(flat, plane[:, :2])
    tilted = plane[:3] @ np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    flat, labels = flat_places(tilted)
    assert labels == ("first axis", "second axis")
    found, true = (np.linalg.norm(x[:, None] - x, axis=2) for x in (flat, plane[:3]))
    np.testing.assert_allclose(found, true, atol=1e-9)


def depths_of(found: dict[tuple[str, str], Result], of_file: dict[str, dict[str, str]]) -> dict[Any, Any]:
    """Electrodes, early, middle, late by patient and `of`, as numbers.csv has them."""
    report = Report("a", {})
    counted: dict[Any, dict[str, Any]] = {}
    for row in draw_depths(found, of_file, report):
        counted.setdefault((row["patient"], row["of"]), {})[row["quantity"]] = row["value"]
    assert ("Early, middle and late layers by region" in report.html()) == bool(counted)
    return counted


def test_depths_are_counted_by_the_anatomys_regions() -> None:
    """Four layers: 1 and 2 early, 3 middle, 4 late. The fourth electrode follows none, the fifth has no region."""
    names = ["A1", "A2", "A3", "A4", "A5"]
    facts = {"electrodes": names, "families": [["tiny", "offline", [1, 2, 3, 4]], ["tiny", "untrained", [1, 2, 3, 4]]]}
    r = np.array([[0.2, 0.5, 0.1, 0.0, 0.1], [0.1, 0.1, 0.1, 0.0, 0.1], [0.1, 0.1, 0.3, 0.0, 0.1], [0, 0, 0, 0, 0.4]])
    arrays = {"p_fdr": np.array([0.01, 0.05, 0.01, 0.06, 0.01]), "tiny offline/r": r}
    arrays["tiny offline/best"] = np.array([1, 1, 3, 4, 4])
    layers = Result(facts, arrays)
    anatomy = Result({"electrodes": names, "regions": ["STG", "STG", "STG", "MTG", ""]})
    of_file = {"p": dict.fromkeys(names, "file")}
    stg = {"electrodes": 3, "early": 2, "middle": 1, "late": 0, "mean best r": pytest.approx((0.2 + 0.5 + 0.3) / 3)}
    nowhere = {"electrodes": 1, "early": 0, "middle": 0, "late": 1, "mean best r": pytest.approx(0.4)}
    assert depths_of({("p", "layers"): layers, ("p", "anatomy"): anatomy}, of_file) == {
        ("p", "tiny offline, STG"): stg,
        ("p", f"tiny offline, {NO_REGION}"): nowhere,
    }
    unplaced = Result({"electrodes": names, "too_little": "no positions"})
    for found in ({("p", "layers"): layers}, {("p", "layers"): layers, ("p", "anatomy"): unplaced}):
        ((key, counts),) = depths_of(found, of_file).items()
        assert key == ("p", "tiny offline, file")
        assert (counts["early"], counts["middle"], counts["late"]) == (2, 1, 1)
    both = {("p", "layers"): layers, ("p", "anatomy"): anatomy, ("q", "layers"): layers}
    found_in_both = depths_of(both, {"q": {"A1": "STG", "A5": "STG"}})
    assert found_in_both["all", "tiny offline, STG"]["early"] == 3
    assert found_in_both["all", "tiny offline, STG"]["late"] == 1
    assert found_in_both["all", f"tiny offline, {NO_REGION}"]["electrodes"] == 3
    none = Result(facts, {**arrays, "p_fdr": np.full(5, np.nan)})
    assert depths_of({("p", "layers"): none}, of_file) == {}


SETUP = Setup((), StreamingSettings(3), system="MNI152, mm")


def written(rows: list[dict[str, Any]]) -> dict[tuple[str, str, str], Any]:
    """By electrode, `of` and quantity."""
    return {(row["electrode"], row["of"], row["quantity"]): row["value"] for row in rows}


def test_confusion_of_layers_counts_electrodes_of_a_known_layer_and_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row: the layer that drives, column: the one found. Out: a low or unknown ceiling, another kind, a stranger."""
    of = {"A": (1, 0.4), "B": (1, 0.9), "C": (2, 0.5), "D": (3, 0.6), "E": (3, 0.39), "F": (3, None), "G": (None, 0.9)}
    truth = {name: Truth("layer" if layer else "phone", layer, None, ceiling) for name, (layer, ceiling) in of.items()}
    names = [*of, "stranger"]
    arrays = {
        "m offline/best": np.array([1, 2, 2, 1, 3, 3, 3, 1]),
        "m causal/best": np.array([1, 1, 2, 3, 1, 1, 1, 1]),
    }
    drawn: list[Any] = []
    matrix = analysis_layers_page._matrix

    def kept(axes: Axes, counts: Any, layers: tuple[int, ...]) -> None:
        matrix(axes, counts, layers)
        drawn.append(axes)

    monkeypatch.setattr(analysis_layers_page, "_matrix", kept)
    report = Report("a", {})
    counts = analysis_layers_page.against_truth(report, arrays, names, "m", (1, 2, 3), truth)
    expected = {"offline": [[1, 1, 0], [0, 1, 0], [1, 0, 0]], "causal": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]}
    for axes, (hearing, table) in zip(drawn, expected.items(), strict=True):
        assert axes.get_title() == hearing
        np.testing.assert_array_equal(axes.images[0].get_array(), table)
        shown = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}
        assert shown == {at: str(n) for at, n in np.ndenumerate(np.array(table)) if n}
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("layer that drives", "layer found")
        assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "3"]
    assert counts == [
        (f"m {hearing}, electrodes driven by layer {i + 1}", f"found in layer {j + 1}", n)
        for hearing, table in expected.items()
        for i, row in enumerate(table)
        for j, n in enumerate(row)
    ]
    page = report.html()
    assert "4 electrodes with a ceiling of 0.4 or more" in page
    assert "offline: 50% exact, 75% within one; causal: 100% exact, 100% within one" in page
    empty = Report("a", {})
    assert analysis_layers_page.against_truth(empty, arrays, ["G", "stranger"], "m", (1, 2, 3), truth) == []
    assert "Simulated" not in empty.html()


def test_what_time_gains_over_all_electrodes_is_in_the_table() -> None:
    arrays = {f"{kind}/r": np.array([0.1, 0.2]) for kind in ("instantaneous", "lagged", "lstm", "lstm_attention")}
    for better, plain in PAIRS:
        arrays |= {f"{better} over {plain}/gain": np.zeros(2), f"{better} over {plain}/p_fdr": np.ones(2)}
    tests = [{"pair": list(pair), "mean_gain": 0.1 * n, "p": 0.01 * n} for n, pair in enumerate(PAIRS, start=1)]
    facts = {"electrodes": ["A1", "A2"], "embedding": "tiny causal, layer 3", "epochs": 8, "tests": tests}
    rows = written(analysis_time_page.draw("p", Result(facts, arrays), SETUP, Report("a", {})))
    for n, (better, plain) in enumerate(PAIRS, start=1):
        assert rows["", f"{better} over {plain}", "mean gain over electrodes"] == 0.1 * n
        assert rows["", f"{better} over {plain}", "p over electrodes"] == 0.01 * n
    assert rows["A2", "lagged", "r"] == 0.2


def phonemes(found: dict[str, Any], compact: dict[str, float] | str, names: list[str], **more: Any) -> Result:
    """A result of the part, of which only what is found is told."""
    count = len(names)
    numbers = ("encoding_r", "encoding_p", "index", "own_index", "own_latency_s")
    labels = ("top_phone", "top_manner", "own_top_phone", "own_top_manner")
    arrays = {name: np.full(count, 0.1) for name in numbers} | {name: np.full(count, "") for name in labels}
    return Result(
        {"electrodes": names, "window_s": [0.15, 0.2], "compact": compact, **more},
        arrays | {name: np.array(values) for name, values in found.items()},
    )


def test_clusters_and_what_drives_electrodes_are_in_the_table() -> None:
    names = ["A", "B", "C", "D"]
    truth = dict(zip(names, (Truth("phone", None, "S"), Truth("phone", None, "nasal"), Truth("onset"), Truth("dead")),
                     strict=True))  # fmt: skip
    found = {"encodes": [True, True, True, False], "phonetic": [False] * 4, "top_phone": ["S", "", "", ""]}
    found |= {"own_top_manner": ["fricative", "nasal", "", ""], "own_top_phone": ["S", "N", "", ""]}
    setup = replace(SETUP, truth=truth)
    result = phonemes(found, {"spread": 12.5, "expected": 30.0, "p": 0.002}, names)
    rows = written(analysis_phonemes_page.draw("p", result, setup, Report("a", {})))
    assert [rows["", "clusters", q] for q in ("spread_mm", "expected_mm", "p")] == [12.5, 30.0, 0.002]
    phone = {q: rows["", "electrodes driven by phone", q] for q in ("number", "encode", "phonetic")}
    assert phone == {"number": 2, "encode": 2, "phonetic": 0}
    assert rows["", "electrodes driven by phone", "own class on top"] == 1
    assert rows["", "electrodes driven by phone", "the same at own latency"] == 2
    assert rows["", "electrodes driven by undriven, dead", "encode"] == 0
    assert rows["A", "", "top_phone"] == "S"
    without = phonemes(found, "2 phonetic electrodes, at least 6 are needed for clusters", names)
    assert not any(
        "clusters" in key for key in written(analysis_phonemes_page.draw("p", without, setup, Report("a", {})))
    )


def test_clusters_are_drawn_as_they_lie_and_every_phones_mean_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid on the side of a head in MNI space: seen from above it would be a line."""
    rng = np.random.default_rng(0)
    names = [f"G{i + 1}" for i in range(12)]
    places: dict[str, tuple[float, ...]] = {
        name: (-62.0, 10.0 * (i % 4), 10.0 * (i // 4)) for i, name in enumerate(names[:11])
    }
    found: dict[str, Any] = {"encodes": [True] * 12, "phonetic": [True] * 8 + [False] * 4}
    found["cluster"] = [1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0]
    found |= {name: rng.integers(0, 20, (12, len(PHONES))).astype(float) for name in ("vector", "own_vector")}
    found |= {"manner_mean": rng.standard_normal((12, len(set(MANNER.values()))))}
    found |= {"place_mean": rng.standard_normal((12, len(set(PHONE_PLACE.values()))))}
    found |= {"phone_mean": rng.standard_normal((12, len(PHONES))), "f_ratio": rng.random((len(F_LAGS_S), 12))}
    found["phone_mean"][0, PHONES.index("ZH")] = np.nan
    figures: dict[str, Figure] = {}
    monkeypatch.setattr(Report, "add_figure", lambda _, figure, caption: figures.update({caption: figure}))
    report = Report("a", {})
    result = phonemes(found, {"spread": 12.5, "expected": 30.0, "p": 0.002}, names)
    analysis_phonemes_page.draw("p", result, replace(SETUP, positions=places), report)
    (axes,) = next(figure for caption, figure in figures.items() if "at the electrodes' places" in caption).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("first axis (mm)", "second axis (mm)")
    drawn = np.concatenate([line.get_xydata() for line in axes.lines])  # type: ignore[arg-type]
    order = sorted(range(11), key=lambda e: found["cluster"][e])
    true = np.array([places[names[e]] for e in order])
    apart, expected = (np.linalg.norm(x[:, None] - x, axis=2) for x in (drawn, true))
    np.testing.assert_allclose(apart, expected, atol=1e-9)
    page = report.html()
    assert "Electrodes of one cluster lie nearer together than chance: 12.5 mm apart on average, 30.0 when" in page
    table = re.search(r"Mean response to each phone in the window.*?</table>", page, re.DOTALL)
    assert table
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", table[0])]
    assert sorted(rows[0][1:]) == sorted(PHONES)
    assert len(rows) == 1 + 8, "those that tell phones apart"
    for name, *cells in rows[1:]:
        mean = found["phone_mean"][names.index(name)]
        told = dict(zip(rows[0][1:], cells, strict=True))
        assert told == {phone: f"{m:.3f}" if np.isfinite(m) else "-" for phone, m in zip(PHONES, mean, strict=True)}
