"""Where electrodes lie, from a real LSL stream's description to the monitor's map, and to a first montage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pylsl
import pytest

from realtime.block import Spec
from realtime.cli import main
from realtime.commands.ecog_plan import EcogPlan
from realtime.commands.session import open_session
from realtime.monitor.client import Client
from realtime.monitor.layout import by_name, places
from realtime.montage import Electrode, Montage
from realtime.montage_file import load_montage
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import LslInlet, Network, StreamQuery, local_clock
from tests.lsl_streams import unique
from tests.rig import ELECTRODES, small_config

PATIENCE_S = 30.0
LABELS = (*ELECTRODES, "AUX")
LEFT_MM = {name: (-62.0, 10.0 * (k % 3), 10.0 * (k // 3)) for k, name in enumerate(ELECTRODES)}  # two rows of three


def located(name: str, places_: Sequence[tuple[str, ...] | None]) -> pylsl.StreamOutlet:
    """An amplifier's stream whose channels tell X, Y, Z, as text, and perhaps their unit."""
    info = pylsl.StreamInfo(name, "ECoG", len(LABELS), 1000.0, pylsl.cf_float32, name)
    channels = info.desc().append_child("channels")
    for label, place in zip(LABELS, places_, strict=True):
        channel = channels.append_child("channel")
        channel.append_child_value("label", label)
        if place is not None:
            location = channel.append_child("location")
            for axis, text in zip(("X", "Y", "Z", "unit"), place, strict=False):
                location.append_child_value(axis, text)
    return pylsl.StreamOutlet(info)


def in_mm() -> list[tuple[str, ...] | None]:
    return [*(tuple(str(v) for v in LEFT_MM[name]) for name in ELECTRODES), None]


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.streams
def test_units_are_converted_and_what_cannot_be_a_place_is_told() -> None:
    name = unique("ecog")
    given = [("-62", " 0 ", "1e1"), ("-0.062", "0.01", "0", "m"), ("-6.2", "2", "0", "cm"), None,
             ("1", "", "3"), ("1", "2", "3", "furlong"), ("nan", "2", "3")]  # fmt: skip
    outlet = located(name, given)
    inlet = LslInlet(StreamQuery(name=name), PATIENCE_S).connect()
    expected = {"A1": (-62, 0, 10), "A2": (-62, 10, 0), "A3": (-62, 20, 0)}
    assert {k: pytest.approx(v) for k, v in expected.items()} == inlet.found.positions
    (warning,) = inlet.warnings
    assert "'A5' at 1, , 3 mm; 'A6' at 1, 2, 3 furlong; 'AUX' at nan, 2, 3 mm" in warning
    assert "give a montage" in warning
    del outlet


@pytest.mark.streams
def test_all_at_one_place_is_no_place() -> None:
    name = unique("ecog")
    outlet = located(name, [("0", "0", "0")] * len(LABELS))
    inlet = LslInlet(StreamQuery(name=name), PATIENCE_S).connect()
    assert not inlet.found.positions
    assert "all 7 channels at one place" in inlet.warnings[0]
    del outlet


@pytest.mark.streams
def test_the_streams_places_reach_the_monitors_map() -> None:
    """Real outlets, the engine, the window's client: seen from the left, front to the left, top above."""
    prefix, engine_name = unique("placed"), unique("engine")
    sound = Outlet(Spec(f"{prefix} sound", 22050.0, ("room", "stimulus")), "Audio", f"{prefix} sound")
    ecog = located(f"{prefix} ecog", in_mm())
    client = Client(engine_name, Network, local_clock)
    engine = open_session(small_config(prefix, None, engine_name)).engine
    try:
        client.start()
        until(lambda: client.outlets["status"].inlet and client.main_rows() is not None)
        engine.start()
        until(lambda: client.settings.positions)
        rows = client.main_rows()
        assert rows is not None
        assert rows.channels == ELECTRODES
        where = places(rows.channels, client.settings.positions, client.settings.groups)
    finally:
        client.close()
        engine.stop()
        sound.close()
    np.testing.assert_allclose(where - where[0], [[-(k % 3), k // 3] for k in range(6)], atol=1e-9)
    assert not np.allclose(where - where[0], by_name(ELECTRODES) - by_name(ELECTRODES)[0])
    del ecog


def test_a_montages_places_count_before_the_streams() -> None:
    spec = Spec("ecog", 1000.0, ELECTRODES)
    unplaced = Montage(tuple(Electrode(label, f"E{label}", "G") for label in ELECTRODES))
    told = EcogPlan(montage=unplaced).places(spec, LEFT_MM)["positions"]
    assert {name: tuple(place) for name, place in told.items()} == {f"E{k}": v for k, v in LEFT_MM.items()}
    one = Electrode("A1", "EA1", "G", position=(1.0, 2.0, 3.0))
    placed = Montage((one, *unplaced.electrodes[1:]))
    assert EcogPlan(montage=placed).places(spec, LEFT_MM)["positions"] == {"EA1": [1.0, 2.0, 3.0]}, "never of both"
    pairs = EcogPlan(reference="bipolar", montage=unplaced).places(spec, LEFT_MM)["positions"]
    assert pairs["EA1-EA2"] == [-62.0, 5.0, 0.0]


@pytest.mark.streams
def test_a_first_montage_has_the_streams_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = unique("ecog")
    outlet = located(name, in_mm())
    assert main(["montage", name, "--out", str(tmp_path / "montage.csv")]) == 0
    assert "and the positions that the stream tells" in capsys.readouterr().err
    found = load_montage(tmp_path / "montage.csv")
    assert {one.name: one.position for one in found.electrodes} == LEFT_MM
    del outlet
