"""Montages: every difference gives one clear message; groups and bad electrodes change the reference as by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.model_file import ModelHeader
from realtime.bipolar import Bipolar
from realtime.block import Block, Spec, regular
from realtime.commands.ecog_plan import EcogPlan, plan_for
from realtime.commands.montage import draft
from realtime.commands.wiring import ecog_lane
from realtime.config import Config
from realtime.delay import Delay
from realtime.errors import UserError
from realtime.montage import Electrode, Montage, from_facts, model_differences, stream_differences
from realtime.montage_file import load_montage, save_montage
from tests.contract import verify_contract

LABELS = ("ch1", "ch2", "ch3", "ch4", "ch5", "ch6", "AUX")
SPEC = Spec("amp", 1000.0, LABELS, "microvolts")
MONTAGE = Montage(
    (
        Electrode("ch1", "G1", "G", "grid", False, (1.0, 2.0, 3.0), "STG"),
        Electrode("ch2", "G2", "G", "grid", False, (11.0, 2.0, 3.0), "STG"),
        Electrode("ch3", "G3", "G", "grid", True, (21.0, 2.0, 3.0), "MTG"),
        Electrode("ch4", "D1", "D", "depth", False, (-30.0, 0.0, 0.0), "HG"),
        Electrode("ch6", "D2", "D", "depth", False, (-34.0, 0.0, 0.0), "HG"),
        Electrode("ch5", "D3", "D", "depth", False, (-38.0, 0.0, 0.0), ""),
    ),
    "MNI152",
    "montage.csv",
)


def changed(place: int, **what: Any) -> Montage:
    electrodes = list(MONTAGE.electrodes)
    electrodes[place] = replace(electrodes[place], **what)
    return replace(MONTAGE, electrodes=tuple(electrodes))


def only(messages: Any) -> str:
    found = list(messages)
    assert len(found) == 1, found
    return str(found[0])


def test_a_montage_that_fits_says_nothing() -> None:
    assert not list(stream_differences(MONTAGE, SPEC, ["AUX"]))
    assert not list(model_differences(MONTAGE, MONTAGE))
    MONTAGE.require_stream(SPEC, ["AUX"])


def test_a_wrong_count_names_what_is_lacking() -> None:
    short = replace(MONTAGE, electrodes=MONTAGE.electrodes[:-1])
    message = only(stream_differences(short, SPEC, ["AUX"]))
    assert message.startswith("5 electrodes, but 6 channels that are not excluded: no line for 'ch5'")
    assert "2 channels" not in message
    assert "'AUX'" in only(stream_differences(MONTAGE, SPEC))
    with pytest.raises(UserError, match=r"montage\.csv does not fit stream 'amp': 5 electrodes"):
        short.require_stream(SPEC, ["AUX"])


def test_an_unknown_channel_names_the_nearest() -> None:
    found = list(stream_differences(changed(5, channel="ch55"), SPEC, ["AUX"]))
    assert found[0] == "channel 'ch55' is unknown to the stream, did you mean 'ch5'?"
    assert len(found) == 2, "and ch5 has no line"


@pytest.mark.parametrize(("what", "value"), [("channel", "ch1"), ("name", "G1")])
def test_a_duplicate_is_told_once(what: str, value: str) -> None:
    word = "channel" if what == "channel" else "electrode"
    found = list(stream_differences(changed(1, **{what: value}), SPEC, ["AUX"]))
    assert found[0] == f"{word} {value!r} stands in 2 lines, expected one: remove or rename the others"


def test_swapped_channels_are_told_against_stream_and_model() -> None:
    labelled = Spec("amp", 1000.0, ("G1", "G2"))
    crossed = Montage((Electrode("G1", "G2"), Electrode("G2", "G1")), origin="m.csv")
    assert "'G1' and 'G2' are swapped" in only(stream_differences(crossed, labelled))
    electrodes = list(MONTAGE.electrodes)
    electrodes[0], electrodes[3] = (
        replace(electrodes[0], channel=electrodes[3].channel),
        replace(electrodes[3], channel=electrodes[0].channel),
    )
    message = only(model_differences(MONTAGE, replace(MONTAGE, electrodes=tuple(electrodes))))
    assert (
        "electrode 'G1' has channel 'ch1' in the model and 'ch4' in montage.csv: 'G1' and 'D1' are swapped" in message
    )


def test_other_coordinates_and_other_flags_are_told() -> None:
    message = only(model_differences(MONTAGE, changed(0, position=(1.0, 2.0, 13.0))))
    assert message == "electrode 'G1' has other coordinates: (1, 2, 3) in the model, (1, 2, 13) in montage.csv"
    assert not list(model_differences(MONTAGE, changed(0, position=(1.0, 2.0, 3.4))))
    assert "coordinates are MNI152 in the model, ACPC in" in only(
        model_differences(MONTAGE, replace(MONTAGE, system="ACPC"))
    )
    assert "bad no in the model and yes in montage.csv" in only(model_differences(MONTAGE, changed(0, bad=True)))
    assert "unknown to montage.csv" in next(model_differences(MONTAGE, changed(0, name="X1")))


def test_a_model_refuses_another_montage_and_names_both_sides(tmp_path: Path) -> None:
    save_montage(MONTAGE, tmp_path / "m.csv")
    plan = EcogPlan(montage=MONTAGE, exclude=("AUX",))
    header = ModelHeader(
        plan.electrodes(SPEC),
        1000.0,
        SPEC.channels,
        np.zeros(6),
        np.ones(6),
        montage=MONTAGE.facts(),
        reference=plan.reference_facts(SPEC),
        ecog=plan.facts(),
    )

    def config(**ecog: Any) -> Config:
        return Config.model_validate({"sound": {"name": "mic"}, "ecog": {"name": "amp", **ecog}})

    assert plan_for(config(montage=tmp_path / "m.csv"), header).montage == MONTAGE
    assert plan_for(config(), header).electrodes(SPEC) == ("G1", "G2", "G3", "D1", "D3", "D2")
    save_montage(changed(0, position=(9.0, 2.0, 3.0)), tmp_path / "moved.csv")
    with pytest.raises(UserError, match=r"another montage: electrode 'G1' .* in the model, .*moved\.csv"):
        plan_for(config(montage=tmp_path / "moved.csv"), header)
    with pytest.raises(UserError, match="reference = 'bipolar', but the model was fitted with 'common average'"):
        plan_for(config(reference="bipolar"), header)
    with pytest.raises(UserError, match="fitted without a montage"):
        plan_for(config(montage=tmp_path / "m.csv"), replace(header, montage={}))


# --- the reference, by hand ------------------------------------------------------------------------


def reference_of(plan: EcogPlan) -> Any:
    chain = ecog_lane(SPEC, plan)
    return chain.stages[chain.names.index("reference")]


def raw(rows: int = 40) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(0, 50, (rows, len(LABELS))).astype(np.float32)


def test_groups_and_bad_electrodes_change_the_common_average_as_by_hand() -> None:
    data = raw().astype(np.float64)
    plan = EcogPlan(montage=MONTAGE, exclude=("AUX",), bad=("D3",))
    found = reference_of(plan).layer(regular(data[:, :6], 1000.0))
    grid = (data[:, 0] + data[:, 1]) / 2  # ch3 is bad in the montage
    depth = (data[:, 3] + data[:, 5]) / 2  # ch5 is D3, bad in the file
    for channel, average in ((0, grid), (1, grid), (2, grid), (3, depth), (4, depth), (5, depth)):
        np.testing.assert_allclose(found.data[:, channel], data[:, channel] - average, atol=1e-9)
    assert found.extra["bad"][0].tolist() == [False, False, True, False, True, False]
    assert plan.reference_facts(SPEC) == {
        "kind": "common average",
        "groups": [["G1", "G2", "G3"], ["D1", "D3", "D2"]],
        "pairs": [],
        "bad": ["G3", "D3"],
    }
    ungrouped = reference_of(EcogPlan(exclude=("AUX",))).layer(regular(data[:, :6], 1000.0))
    np.testing.assert_allclose(ungrouped.data, data[:, :6] - data[:, :6].mean(axis=1, keepdims=True), atol=1e-9)


def test_bipolar_takes_neighbours_in_the_montages_order_as_by_hand() -> None:
    data = raw().astype(np.float64)
    plan = EcogPlan(montage=MONTAGE, exclude=("AUX",), reference="bipolar")
    assert plan.electrodes(SPEC) == ("G1-G2", "G2-G3", "D1-D2", "D2-D3")
    found = reference_of(plan).layer(regular(data[:, :6], 1000.0))
    for pair, (first, second) in enumerate(((0, 1), (1, 2), (3, 5), (5, 4))):  # D2 is ch6, D3 is ch5
        np.testing.assert_allclose(found.data[:, pair], data[:, first] - data[:, second], atol=1e-9)
    assert found.extra["bad"][0].tolist() == [False, True, False, False]
    places = plan.places(SPEC)
    assert places["positions"]["G1-G2"] == [6.0, 2.0, 3.0]
    assert places["regions"] == {"G1-G2": "STG", "G2-G3": "STG/MTG", "D1-D2": "HG", "D2-D3": "HG"}
    assert places["groups"]["D2-D3"] == "D"


def test_without_a_reference_the_data_stay_as_they_are() -> None:
    data = raw()
    plan = EcogPlan(montage=MONTAGE, exclude=("AUX",), reference="none")
    found = reference_of(plan).layer(regular(data[:, :6], 1000.0))
    np.testing.assert_array_equal(found.data, data[:, :6].astype(np.float64))
    assert found.extra["bad"][0].tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("reference", ["common average", "bipolar", "none"])
def test_each_reference_goes_through_the_whole_chain(reference: str) -> None:
    data = np.random.default_rng(0).normal(0, 30, (2000, len(LABELS))).astype(np.float32)
    plan = EcogPlan(montage=MONTAGE, exclude=("AUX",), reference=reference)
    names = plan.electrodes(SPEC)
    lane = ecog_lane(SPEC, plan, (np.full(len(names), 3.0), np.ones(len(names))))
    assert lane.layer(regular(data, 1000.0)).data.shape[1] == len(names)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=6), st.integers(0, 20))
def test_bipolar_keeps_the_contract(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bad = rng.random((200, 4)) < 0.3
    x = regular(rng.normal(0, 50, (200, 4)).astype(np.float32), 1000.0)
    x = Block(x.data, x.times, 0, {"bad": bad})
    found = verify_contract(Bipolar([(0, 1), (3, 2)], [1]), x, cuts)
    for row in range(len(x)):
        for pair, (a, b) in enumerate(((0, 1), (3, 2))):
            assert found.data[row, pair] == pytest.approx(float(x.data[row, a]) - float(x.data[row, b]), abs=1e-9)
            assert found.extra["bad"][row, pair] == (bad[row, a] or bad[row, b] or 1 in (a, b))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 100), max_size=6), st.floats(-1, 1))
def test_delay_moves_times_alone(cuts: list[int], delay_s: float) -> None:
    x = regular(raw(100), 10.0, 7.0)
    found = verify_contract(Delay(delay_s), x, cuts)
    np.testing.assert_array_equal(found.data, x.data)
    np.testing.assert_array_equal(found.times, x.times - delay_s)


def test_a_delay_moves_what_the_lane_gives_and_nothing_else() -> None:
    data = raw(3000)
    plain, late = (
        ecog_lane(SPEC, EcogPlan(exclude=("AUX",), delay_s=d), (np.zeros(6), np.ones(6))).layer(regular(data, 1000.0))
        for d in (None, 0.037)
    )
    np.testing.assert_array_equal(plain.data, late.data)
    np.testing.assert_allclose(plain.times - late.times, 0.037, atol=1e-9)


# --- files -----------------------------------------------------------------------------------------


def test_a_montage_survives_its_file_and_its_facts(tmp_path: Path) -> None:
    save_montage(MONTAGE, tmp_path / "m.csv")
    found = load_montage(tmp_path / "m.csv")
    assert (found.electrodes, found.system) == (MONTAGE.electrodes, MONTAGE.system)
    assert from_facts(MONTAGE.facts()) == MONTAGE
    assert from_facts({}) is None
    with pytest.raises(UserError, match="exists already"):
        save_montage(MONTAGE, tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("channel,electrode\nch1,G1\nch1,G2\n", "channel 'ch1' stands in 2 lines"),
        ("channel,grup\nch1,G\n", "unknown column 'grup', did you mean 'group'?"),
        ("electrode\nG1\n", "expected 'channel' among them"),
        ("channel,bad\nch1,perhaps\n", "line 2: found bad 'perhaps', expected 1 or 0"),
        ("channel,x,y,z\nch1,1,2\n", "line 2: not as many values"),
        ("channel,x,y,z\nch1,1,2,left\n", "expected three numbers"),
        ("channel,x,y,z\nch1,1,2,inf\n", "expected finite numbers"),
        ("channel,kind\nch1,plate\n", "expected grid, strip, depth"),
        ("channel,x,y,z,system\na,1,2,3,MNI\nb,1,2,3,ACPC\n", "mixes coordinate systems"),
        ("channel\n", "has no electrode"),
    ],
)
def test_a_wrong_file_gives_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_montage(tmp_path / "m.csv")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "m.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "systems", "expected"),
    [
        ("sub-1_space-MNI_electrodes.tsv", ["sub-1_space-MNI", "sub-1_space-Other"], "sub-1_space-MNI"),
        ("sub-1_space-Other_electrodes.tsv", ["sub-1_space-MNI", "sub-1_space-Other"], "sub-1_space-Other"),
        ("sub-1_electrodes.tsv", ["sub-1", "sub-1_space-MNI"], "sub-1"),
        ("sub-1_ses-a_space-MNI_electrodes.tsv", ["sub-1_space-MNI", "sub-1_space-Other"], "sub-1_space-MNI"),
        ("sub-1_space-MNI_electrodes.tsv", ["sub-1"], "sub-1"),
        ("electrodes.tsv", ["sub-1_space-MNI"], "sub-1_space-MNI"),
        ("sub-1_space-MNI_electrodes.tsv", ["sub-1_space-Other"], ""),
        ("electrodes.tsv", ["sub-1_space-MNI", "sub-1_space-Other"], ""),
    ],
)
def test_the_coordinate_system_is_that_of_the_table(
    tmp_path: Path, table: str, systems: list[str], expected: str
) -> None:
    (tmp_path / table).write_text("name\tx\ty\tz\nG1\t1\t2\t3\n", encoding="utf-8")
    (tmp_path / "sub-1_channels.tsv").write_text("name\ttype\nG1\tECOG\n", encoding="utf-8")
    for name in systems:
        facts = {"iEEGCoordinateSystem": name, "iEEGCoordinateUnits": "cm"}
        (tmp_path / f"{name}_coordsystem.json").write_text(json.dumps(facts), encoding="utf-8")
    found = load_montage(tmp_path / table)
    assert found.system == expected
    assert found.electrodes[0].position == ((10.0, 20.0, 30.0) if expected else (1.0, 2.0, 3.0))


def test_bids_tables_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub-1_electrodes.tsv").write_text(
        "name\tx\ty\tz\ttype\tregion\nG1\t0.01\t0\t0\tgrid\tSTG\nG2\tn/a\tn/a\tn/a\tgrid\tn/a\n", encoding="utf-8"
    )
    channels = tmp_path / "sub-1_task-x_channels.tsv"
    channels.write_text(
        "name\ttype\tunits\tstatus\tgroup\nG1\tECOG\tuV\tgood\tG\nG2\tECOG\tuV\tbad\tG\nT\tTRIG\tV\tgood\tn/a\n",
        encoding="utf-8",
    )
    (tmp_path / "sub-1_coordsystem.json").write_text(
        '{"iEEGCoordinateSystem": "MNI152Lin", "iEEGCoordinateUnits": "m"}', encoding="utf-8"
    )
    found = load_montage(tmp_path / "sub-1_electrodes.tsv")
    assert found.electrodes == (
        Electrode("G1", "G1", "G", "grid", False, (10.0, 0.0, 0.0), "STG"),
        Electrode("G2", "G2", "G", "grid", True, None, ""),
    )
    assert found.system == "MNI152Lin"
    channels.write_text("name\ttype\nG1\tECOG\nG3\tECOG\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"'G3' of channels\.tsv is an unknown electrode"):
        load_montage(tmp_path / "sub-1_electrodes.tsv")
    channels.unlink()
    with pytest.raises(UserError, match="found 0 files"):
        load_montage(tmp_path / "sub-1_electrodes.tsv")


def test_a_draft_sorts_labels_into_groups() -> None:
    montage, others = draft([*(f"G{i}" for i in range(1, 17)), "LTG_01", "LTG_02", "AUX1", "TRIG", "7"])
    groups = {one.name: (one.group, one.kind) for one in montage.electrodes}
    assert groups["G16"] == ("G", "grid")
    assert groups["LTG_02"] == ("LTG", "")
    assert groups["7"] == ("E", "")
    assert others == ["AUX1", "TRIG"]
