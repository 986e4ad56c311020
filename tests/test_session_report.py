"""A session through the command line and real LSL: its folder and recording give the closing report's figures again."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from realtime.block import Spec
from realtime.cli import main
from realtime.commands import wiring
from realtime.commands.session_log import CLOSING, CLOSING_TEXT, EVENTS, SETTINGS
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import local_clock
from realtime.sources.recording import Recording, load_recording
from tests.rig import TABLE, await_state, replaying, small_model, small_recording, speech, with_sound_in_the_cable

SECONDS = 75.0
IN_THE_CABLE = "A2"
PREFIX = "report"
ENGINE = "report-test"
CONFIG = """
[sound]
name = "{prefix} sound"
channel = "stimulus"
delay_s = 0.013
[ecog]
name = "{prefix} ecog"
exclude = ["AUX"]
[whisper]
model = "tiny.en"
layer = 2
block_ms = 100
delay_ms = 40
[model]
file = "model.safetensors"
[engine]
name = "{engine}"
wait_s = 60
[record]
file = "session.xdf"
[states]
stream = "{prefix} markers"
map = {{"2" = "speaking", "go" = "listening"}}
guard_s = 0.2
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished session's folder, its recording beside it."""
    folder = tmp_path_factory.mktemp("report")
    source = with_sound_in_the_cable(small_recording(SECONDS, PREFIX), IN_THE_CABLE)
    small_model(folder, source, wiring.embedding_of(TABLE))
    (folder / "rig.toml").write_text(CONFIG.format(prefix=PREFIX, engine=ENGINE), encoding="utf-8")
    markers = Outlet(Spec(f"{PREFIX} markers", 0.0, ("marker",)), "Markers", f"{PREFIX}-markers", text=True)
    words = ["run", str(folder / "rig.toml"), "--no-monitor", "--no-supervisor", "--session", str(folder / "log")]
    with replaying(source, folder) as replay:
        mark = threading.Thread(target=_mark, args=(replay, markers), daemon=True)
        mark.start()
        assert main([*words, "--seconds", str(SECONDS - 5)]) == 0
    return folder / "log"


def _mark(replay: object, markers: Outlet) -> None:
    """Ten seconds of speaking, half a minute after the sound began."""
    begin_s = float(str(await_state(replay, "started")["start_s"]))  # type: ignore[arg-type]
    for after_s, text in ((30.0, "2"), (35.0, "trial 1"), (40.0, "go")):
        time.sleep(max(0.0, begin_s + after_s - local_clock()))  # a marker is of a moment: there is nothing to await
        markers.push_text(text, local_clock())


@pytest.mark.long
def test_the_folder_says_what_was_run(session: Path) -> None:
    content = json.loads((session / SETTINGS).read_text(encoding="utf-8"))
    assert content["facts"]["whisper"]["sha256"]
    assert content["facts"]["model_sha256"]
    assert content["facts"]["delays"] == {"sound": 0.013, "ecog": None}
    assert content["config"]["sound"]["channel"] == "stimulus"
    assert set(content["anchors"]) == {"sound", "ecog"}
    assert content["versions"]["torch"]
    assert content["machine"]["cores"]
    assert content["recording"] == "../session.xdf"
    events = [json.loads(line) for line in (session / EVENTS).read_text(encoding="utf-8").splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("settings") == 1
    assert [event["state"] for event in events if event["event"] == "state"] == ["listening", "speaking", "listening"]
    assert [event["text"] for event in events if event["event"] == "marker"] == ["trial 1"]
    assert kinds[-1] == "stopped"
    text = (session / CLOSING_TEXT).read_text(encoding="utf-8")
    assert "simulated patient" in text
    assert "sound: 13 ms; ecog: delay not measured" in text


@pytest.mark.long
def test_one_command_gives_the_figures_again(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closing = json.loads((session / CLOSING).read_text(encoding="utf-8"))
    scores = closing["scores"]["listening"]
    assert all(r is not None for r in scores["electrodes"].values())
    assert scores["null_max_p95"] is not None
    assert closing["states_s"]["speaking"] == pytest.approx(10.0, abs=0.1)
    assert main(["report", str(session)]) == 0, capsys.readouterr().out
    assert "differs" not in capsys.readouterr().out
    again = session.parent / "again.json"
    assert main(["report", str(session), "--from-sources", "--json", str(again)]) == 0, capsys.readouterr().out
    assert "differs" not in capsys.readouterr().out
    report = json.loads(again.read_text(encoding="utf-8"))
    for name, r in scores["electrodes"].items():
        assert report["scores"]["listening"]["electrodes"][name] == pytest.approx(r, abs=2e-4), name
    assert report["scores"]["listening"]["seconds"] == scores["seconds"]


@pytest.mark.long
def test_the_electrode_that_records_the_sound_is_left_out_live_and_masks_are_the_recordings(session: Path) -> None:
    closing = json.loads((session / CLOSING).read_text(encoding="utf-8"))
    assert closing["left_out"] == closing["rig"]["contaminated"] == [IN_THE_CABLE]
    text = (session / CLOSING_TEXT).read_text(encoding="utf-8")
    assert f"recording the sound itself, left out of all claims: {IN_THE_CABLE}" in text
    assert "of 5 electrodes above chance" in text
    assert "artefacts: " in text
    assert 0 < closing["rig"]["masked"]["share"]["A3"] < 0.05
    assert [one["minute"] for one in closing["rig"]["masked"]["minutes"]] == [0, 1]
    again = session.parent / "rig.json"
    assert main(["report", str(session), "--from-sources", "--json", str(again)]) == 0
    rig = json.loads(again.read_text(encoding="utf-8"))["rig"]
    assert rig["masked"] == closing["rig"]["masked"]
    for key in ("r", "seconds"):
        np.testing.assert_allclose(rig["contamination"][key], closing["rig"]["contamination"][key], atol=1e-3)
    assert rig["contamination"]["contaminated"] == [IN_THE_CABLE]


@pytest.mark.long
def test_another_recording_does_not_give_them(session: Path, tmp_path: Path) -> None:
    closing = json.loads((session / CLOSING).read_text(encoding="utf-8"))
    first = next(iter(closing["scores"]["listening"]["electrodes"]))
    closing["scores"]["listening"]["electrodes"][first] += 0.01
    for name in (SETTINGS, EVENTS):
        (tmp_path / name).write_bytes((session / name).read_bytes())
    (tmp_path / CLOSING).write_text(json.dumps(closing), encoding="utf-8")
    recording = session.parent / "session.xdf"
    assert main(["report", str(tmp_path), "--recording", str(recording)]) == 1


@pytest.mark.long
def test_the_recording_scrubbed_still_has_its_ecog(session: Path, tmp_path: Path) -> None:
    recording = session.parent / "session.xdf"
    words = ["scrub", str(recording), "--ecog", f"{PREFIX} ecog", "--out", str(tmp_path / "copy")]
    assert main(words) == 0
    copy = load_recording(tmp_path / "copy")
    before = load_recording(recording).streams[f"{PREFIX} ecog"]
    assert list(copy.streams) == ["ecog"]
    assert copy.streams["ecog"].data.shape == (len(before.data), 6)
    assert [state for _, state in copy.markers["states"]] == ["speaking", "listening"]
    for path in (tmp_path / "copy").iterdir():
        for secret in (PREFIX.encode(), ENGINE.encode(), b"stimulus"):
            assert secret not in path.read_bytes()


@pytest.mark.long
def test_a_sham_through_lsl_is_followed_by_nothing(session: Path, tmp_path: Path) -> None:
    rig = session.parent / "rig.toml"
    ecog = small_recording(90.0, PREFIX).streams["ecog"]
    wavfile.write(tmp_path / "other.wav", 22050, speech(20.0)[::-1].copy())
    with replaying(Recording({"ecog": ecog}), tmp_path):
        words = ["sham", str(rig), str(tmp_path / "other.wav"), "--seconds", "65", "--json", str(tmp_path / "s.json")]
        assert main(words) == 0
    found = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    settings = json.loads((session / SETTINGS).read_text(encoding="utf-8"))
    assert found["model"]["sha256"] == settings["facts"]["model_sha256"]
    assert found["passed"]
    assert len(found["electrodes"]) == 6
