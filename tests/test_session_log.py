"""A session's folder: enough to give the closing report again; scrubbed copies hold no voice and no name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pylsl
import pytest

from realtime.block import Spec
from realtime.cli import main
from realtime.commands.choose import ecog_by_rate
from realtime.commands.closing import as_text
from realtime.commands.session_log import SETTINGS, make_folder, open_log
from realtime.commands.session_report import compared
from realtime.config import Config
from realtime.errors import UserError
from realtime.sinks.journal import Journal
from realtime.sources.lsl import LslInlet, StreamQuery, keep_forever
from realtime.sources.recording import RecordedStream, Recording, load_recording, save_folder, to_blocks
from tests.lsl_streams import pull, unique


def config(folder: Path, **tables: Any) -> Config:
    least = {"sound": {"name": "mic"}, "ecog": {"name": "amp"}, "session": {"folder": folder / "sessions"}}
    return Config.model_validate({**least, **tables})


def test_a_journal_has_every_event_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    journal = Journal(tmp_path / "events.jsonl", said.append)
    for i in range(500):
        journal.add({"event": "gap", "lost": np.int64(i)})
    journal.close()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["lost"] for line in lines] == list(range(500))
    assert journal.dropped == 0
    assert not said


def test_a_journal_that_cannot_be_written_says_so_once(tmp_path: Path) -> None:
    said: list[str] = []
    journal = Journal(tmp_path / "gone" / "events.jsonl", said.append)
    for _ in range(3):
        journal.add({"event": "gap"})
    journal.close()
    assert journal.dropped == 3
    assert len(said) == 1
    assert "cannot be written" in said[0]


def test_each_session_has_a_folder_of_its_own_and_a_restart_goes_on_with_it(tmp_path: Path) -> None:
    supervised = tmp_path / "supervisor"
    supervised.mkdir()
    first = open_log(config(tmp_path), None, supervised).folder
    again = open_log(config(tmp_path), None, supervised).folder
    assert first is not None
    make_folder(first)
    other = open_log(config(tmp_path), None, None).folder
    assert again is not None
    assert first.resolve() == again.resolve()
    assert other not in (None, first)
    assert first.parent == tmp_path / "sessions"
    assert open_log(config(tmp_path, session={"log": False}), None, None).folder is None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="is not empty"):
        open_log(config(tmp_path), tmp_path / "mine", None)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be made"):
        make_folder(open_log(config(tmp_path, session={"folder": tmp_path / "file"}), None, None).folder or tmp_path)


def test_figures_that_differ_are_told() -> None:
    closing: dict[str, Any] = {
        "samples": {"sound": {"received": 10, "lost": 0, "skipped": 0}},
        "latency_ms": {"compute": {"p50": 10.0, "p99": 20.0}},
        "scores": {"listening": {"electrodes": {"A": 0.5, "B": None}, "null_max_p95": 0.1}},
    }
    same = json.loads(json.dumps(closing))
    assert all(row[-1] for row in compared(closing, same))
    changes: list[Callable[[dict[str, Any]], None]] = [
        lambda r: r["samples"]["sound"].update(received=11),
        lambda r: r["latency_ms"]["compute"].update(p99=21.0),
        lambda r: r["scores"]["listening"]["electrodes"].update(A=0.51),
        lambda r: r["scores"]["listening"]["electrodes"].update(B=0.2),
        lambda r: r["scores"]["listening"].update(null_max_p95=None),
    ]
    for change in changes:
        other = json.loads(json.dumps(closing))
        change(other)
        assert [row[-1] for row in compared(closing, other)].count(False) == 1


def test_a_report_in_words_says_what_was_not_measured() -> None:
    report: dict[str, Any] = {
        "engine": "e",
        "seconds": 12.0,
        "simulated": True,
        "sham": True,
        "reference": "bipolar",
        "delays": {"sound": None, "ecog": 0.004},
        "samples": {"sound": {"received": 10, "lost": 0, "skipped": 0}},
        "latency_ms": None,
        "states_s": {"listening": 12.0},
        "scores": {"listening": {"electrodes": {"A": 0.5, "B": 0.05}, "null_max_p95": 0.1}},
    }
    text = as_text(report)
    assert "simulated patient, SHAM" in text
    assert "sound: delay not measured; ecog: 4 ms" in text
    assert "1 of 2 electrodes above chance (r > 0.100)" in text
    report["scores"]["listening"]["electrodes"] = {f"contact {i} of the grid": 0.5 for i in range(10)}
    (line,) = [line for line in as_text(report).splitlines() if "contact" in line]
    assert line.count("0.500") == 10, "a line is not broken"


# --- scrub -----------------------------------------------------------------------------------------

SECRETS = ("jane", "doe", "hospital-pc", "voice", "usb-mic-77", "amp-serial-9", "/data", "81234.", "aux1", "awake")


def secrets_in(content: bytes) -> list[str]:
    return [secret for secret in SECRETS if secret.encode() in content.lower()]


def private_recording(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    stamps = 81234.5 + np.arange(3000) / 1000.0
    labels = ("G1", "G2", "G3", "AUX1", "Spare")
    ecog = RecordedStream(
        Spec("Jane Doe amp", 1000.0, labels, "microvolts"),
        rng.normal(0, 50, (3000, 5)).astype(np.float32),
        stamps,
        ((0, 0.25), (1500, 0.2502)),
        "ECoG",
        "amp-serial-9",
        float(stamps[100]),
    )
    sound = RecordedStream(
        Spec("voice", 16000.0, ("mic",)), rng.normal(size=(48000, 1)).astype(np.float32),
        81234.6 + np.arange(48000) / 16000.0, (), "Audio", "usb-mic-77",
    )  # fmt: skip
    mel = RecordedStream(
        Spec("jane.sound", 50.0, ("level_db", "mel0")), rng.normal(size=(150, 2)).astype(np.float32),
        81234.5 + np.arange(150) / 50.0, (), "Sound", "jane.sound",
    )  # fmt: skip
    status = [
        {"event": "settings", "electrodes": ["G1", "G2", "G3"], "channels": ["G1", "G2", "G3", "AUX1"],
         "host": "hospital-pc", "recording": {"file": "/data/jane"}},
        {"event": "state", "state": "speaking", "time_s": 81235.75},
    ]  # fmt: skip
    markers = {
        "jane.status": [(81235.0, json.dumps(event)) for event in status],
        "notes": [(81236.0, "Jane Doe awake")],
    }
    save_folder(Recording({"ecog": ecog, "sound": sound, "jane.sound": mel}, markers), folder / "jane")
    return folder / "jane"


def test_a_scrubbed_copy_holds_no_sound_no_names_and_replays_its_ecog(tmp_path: Path) -> None:
    source = private_recording(tmp_path)
    assert main(["scrub", str(source), "--out", str(tmp_path / "copy")]) == 0
    copy = load_recording(tmp_path / "copy")
    assert list(copy.streams) == ["ecog"]
    assert copy.markers == {"states": [(1.0, "speaking")]}
    before, after = load_recording(source).streams["ecog"], copy.streams["ecog"]
    assert after.spec.channels == ("G1", "G2", "G3"), "AUX1 by its name, Spare because the engine did not use it"
    np.testing.assert_array_equal(after.data, before.data[:, :3])
    was, now = to_blocks(before), to_blocks(after)
    assert [b.index for b in was] == [b.index for b in now]
    for a, b in zip(was, now, strict=True):
        np.testing.assert_allclose(b.times, a.times - 81234.75, atol=1e-6)
    found = b"".join(path.read_bytes() + path.name.encode() for path in sorted((tmp_path / "copy").iterdir()))
    assert not secrets_in(found)
    assert ecog_by_rate(after)
    assert after.source_id.startswith("scrubbed-")
    assert main(["scrub", str(source), "--out", str(tmp_path / "copy")]) == 2, "a copy is never written over"


@pytest.mark.streams
def test_a_scrubbed_copy_replays_its_ecog_over_lsl_and_nothing_else(tmp_path: Path) -> None:
    """Through both commands: rows as in the original, no other outlet, no name of it in what the outlet says."""
    source = private_recording(tmp_path)
    assert main(["scrub", str(source), "--out", str(tmp_path / "copy")]) == 0
    prefix = unique("scrubbed")
    words = ["replay", str(tmp_path / "copy"), "--prefix", prefix, "--speed", "10", "--linger", "60"]
    sending = subprocess.Popen([sys.executable, "-m", "realtime.cli", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert sending.stdout is not None
        ready = json.loads(sending.stdout.readline())
        assert ready["streams"] == [f"{prefix}ECoG"], "the only outlet: no sound, no embeddings"
        inlet = LslInlet(StreamQuery(name=f"{prefix}ECoG"), 30).connect()
        inlet.open()
        original = load_recording(source).streams["ecog"]
        data, stamps = pull(inlet, len(original.stamps))
        found = pylsl.resolve_byprop("name", f"{prefix}ECoG", timeout=30)[0]
        asking = pylsl.StreamInlet(found)
        keep_forever(asking)
        description = asking.info(timeout=30).as_xml().replace(found.hostname(), "").encode()
    finally:
        sending.terminate()
        sending.wait(30)
    np.testing.assert_array_equal(data, original.data[:, :3])
    np.testing.assert_allclose(stamps - stamps[0], original.stamps - original.stamps[0], rtol=0, atol=1e-6)
    assert inlet.spec == Spec(f"{prefix}ECoG", 1000.0, ("G1", "G2", "G3"), "microvolts")
    assert b"scrubbed-" in description, "what it was replayed from"
    assert not secrets_in(description)


def test_labels_and_channels_are_the_users_to_choose(tmp_path: Path) -> None:
    source = private_recording(tmp_path)
    words = ["scrub", str(source), "--out", str(tmp_path / "b"), "--drop", "G2", "--new-labels"]
    assert main(words) == 0
    assert load_recording(tmp_path / "b").streams["ecog"].spec.channels == ("E1", "E2")
    assert main(["scrub", str(source), "--out", str(tmp_path / "c"), "--drop", "G9"]) == 2
    assert not (tmp_path / "c").exists()


def test_report_of_what_is_no_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "session.json cannot be read" in capsys.readouterr().err
    (tmp_path / SETTINGS).write_text('{"format": "other"}', encoding="utf-8")
    assert main(["report", str(tmp_path)]) == 2
    assert "is no session folder" in capsys.readouterr().err
    (tmp_path / SETTINGS).write_text('{"format": "corticast-session-1", "recording": null}', encoding="utf-8")
    assert main(["report", str(tmp_path)]) == 2
    assert "was not recorded" in capsys.readouterr().err
