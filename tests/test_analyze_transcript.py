"""`corticast analyze --transcript`: from a plain text and the sound to a report with whole tables and pictures."""

from __future__ import annotations

import base64
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.speech import load_trials
from realtime.audio import Resample
from realtime.block import Spec, regular
from realtime.cli import main
from realtime.sources.recording import RecordedStream, Recording, save_folder

UNKNOWN = "zyxgrumble"


class Page(HTMLParser):
    """The cells of each table, and what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[str]] = []
        self.fetched: list[str] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tables += [[]] if tag == "table" else []
        self._in_cell = tag == "td"
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1].append(data.strip())


def record(folder: Path) -> Path:
    """Three trials of speech, their text, high gamma of a simulated patient of 16 electrodes, and their places."""
    from encoders.phones import align_phones

    trials = load_trials()[:3]
    sounds = [
        np.clip(Resample(t.rate_hz, 16_000).layer(regular(t.sound[:, None], t.rate_hz)).data[:, 0], -1, 1)
        for t in trials
    ]
    sound = np.concatenate(sounds).astype(np.float32)
    text = " ".join(t.transcript for t in trials)
    phones = align_phones(sound, text)
    rng = np.random.default_rng(0)
    rows = -(-len(sound) // 320)
    stimulus = Stimulus(sound, {1: rng.standard_normal((rows, 20))}, phones)
    config = PatientConfig(16, layer_driven=2, phone_driven=6, onset_driven=3, ceiling=(0.6, 0.8), seed=2)
    patient = SimulatedPatient(config, [stimulus])
    ceilings, drive = np.array([t.ceiling_drawn for t in patient.truth]), patient.drive(stimulus)
    gamma = (ceilings * drive + np.sqrt(1 - ceilings**2) * rng.standard_normal(drive.shape)).astype(np.float32)
    names = tuple(t.name for t in patient.truth)
    streams = {
        "sound": RecordedStream(Spec("sound", 16_000, ("sound",)), sound[:, None], np.arange(len(sound)) / 16_000),
        "simulated_gamma": RecordedStream(Spec("simulated_gamma", 50.0, names), gamma, np.arange(len(gamma)) / 50.0),
    }
    save_folder(Recording(streams), folder / "session")
    words = text.split()
    (folder / "text.txt").write_text(" ".join([*words[:40], UNKNOWN, *words[40:]]), encoding="utf-8")
    with (folder / "places.csv").open("w", newline="") as file:
        places = [(t.name, *t.position_mm, 0, f"region {i % 4}") for i, t in enumerate(patient.truth)]
        csv.writer(file).writerows([("channel", "x", "y", "z", "region"), *places])
    return folder


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_transcript_gives_decoder_layers_and_phonemes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pocketsphinx")
    folder, out = record(tmp_path), tmp_path / "out"
    command = ["analyze", str(folder / "session"), "--high-gamma", "simulated_gamma", "--out", str(out)]
    command += ["--transcript", str(folder / "text.txt"), "--montage", str(folder / "places.csv"), "--atlas", "none"]
    command += ["--whisper", "tiny.en", "--epochs", "1"]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert re.search(rf"words could not be aligned, or are not in the dictionary; .*\b{UNKNOWN}\b", told)
    assert re.search(r"tiny.en decoder: \d+ words at 10 s of sound, about [\d.]+ min", told)

    html = (out / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert UNKNOWN in html
    assert all(one.startswith("data:image/png;base64,") for one in page.fetched)
    for one in page.fetched:
        picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(one.split(",", 1)[1])), format="png")
        assert np.ptp(picture[..., :3]) > 0.5  # something is drawn
    headings = ["Layers", "Phonemes", "Time", "Attention in time", "Anatomy"]
    assert all(f"{heading}: patient 1" in html for heading in headings)
    assert "Decoder of Whisper tiny.en, offline only" in html
    assert len(page.tables) >= 8
    for cells in page.tables:
        assert any(re.fullmatch(r"-?\d+(\.\d+)?", cell) for cell in cells), cells

    with (out / "numbers.csv").open(newline="", encoding="utf-8") as file:
        numbers = list(csv.DictReader(file))
    parts = {row["part"] for row in numbers}
    assert parts == {"layers", "phonemes", "time", "attention", "anatomy"}
    for of in ("decoder, offline layer 1", "decoder, offline layer 4", "word vector, offline"):
        r = [row["value"] for row in numbers if row["of"] == f"tiny.en {of}" and row["quantity"] == "r"]
        assert len(r) == 16
        assert sum(value != "" for value in r) >= 15  # one electrode is dead
    phonetic = [row for row in numbers if row["quantity"] == "phonetic" and row["value"] == "True"]
    assert len(phonetic) >= 4
