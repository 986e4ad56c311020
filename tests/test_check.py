"""`corticast check` and `run` on a rig with known faults, through real LSL."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

from realtime.cli import main
from realtime.commands.check import arrival_rate
from tests.rig import ECOG_HZ, replaying, small_recording


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Of streams whose names have a prefix of their own, the other value."""
    monkeypatch.setenv("COLUMNS", "300")
    prefix = f"check-{uuid.uuid4().hex[:8]}"
    path = tmp_path / "rig.toml"
    path.write_text(
        f'[sound]\nname = "{prefix} sound"\nchannel = "stimulus"\n'
        f'[ecog]\nname = "{prefix} ecog"\nexclude = ["AUX"]\nbad = ["A6"]\n'
        f'[states]\nstream = "{prefix} markres"\n'
        f'[whisper]\nmodel = "tiny.en"\nlayer = 1\n[engine]\nname = "{prefix}"\nwait_s = 20\n',
        encoding="utf-8",
    )
    return path, prefix


def test_faults_are_found_and_the_rest_is_well(
    config: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, prefix = config
    recording = small_recording(12.0, prefix)
    sound, ecog = (np.asarray(recording.streams[lane].data) for lane in ("sound", "ecog"))
    ecog[:, [1, 5, 6]] = 0.0  # an electrode, one that is known to be bad, and the auxiliary channel
    ecog[:, 4] += 400 * np.sin(2 * np.pi * 50 * np.arange(len(ecog)) / ECOG_HZ)
    ecog[:] = np.nan_to_num(ecog)
    sound *= 0.3
    with replaying(recording, tmp_path):
        assert main(["check", str(path), "--seconds", "4"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    found = {(cells := [cell.strip() for cell in line.split("│")])[2]: cells for line in lines}
    assert found["flat electrodes"][1:4] == ["!", "flat electrodes", "1: A2"]
    assert "list them in [ecog] bad" in found["flat electrodes"][4]
    assert found["mains hum at 50 Hz"][3] == "1: A5"
    wrong = [name for name, cells in found.items() if cells[1] == "!" and name != "priority"]
    wrong = [name for name in wrong if not name.startswith("stream ")]
    assert wrong == [f"[states] stream {prefix} markres", "flat electrodes", "mains hum at 50 Hz"]
    assert f"{prefix} ecog" in found[wrong[0]][3], "what there is"
    assert "2 channels" in found[f"stream {prefix} sound"][3]
    assert found[f"{prefix} ecog: loss"][3] == "0 lost, 0 skipped"
    assert found["sound level"][3].split(" dBFS")[0] in map(str, range(-45, -10))
    assert "no model" in found["latency"][3]
    assert (found["priority"][1] == "ok") == found["priority"][3].startswith("real-time")


def test_the_rate_is_that_of_the_time_in_which_rows_came() -> None:
    """An engine connects for most of a second before the first row is there."""
    late = [(50 * (i + 1), 100.75 + 0.05 * i) for i in range(40)]
    rate_hz, span_s = arrival_rate(late)
    assert rate_hz == pytest.approx(1000.0)
    assert span_s == pytest.approx(39 * 0.05)
    assert arrival_rate([]) == arrival_rate(late[:1]) == (0.0, 0.0)
