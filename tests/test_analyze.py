"""`corticast analyze`: on a simulated session and on a real patient's recording; resumed, and told what is wrong."""

from __future__ import annotations

import argparse
import csv
import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from encoders.analysis.features import spectrogram
from encoders.analysis.sweep import Cell, run_cells, solve_cell
from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.phones import PhoneAlignment
from encoders.repeats import find_repeats
from realtime.block import Spec
from realtime.cli import main
from realtime.commands import analysis_layers, analyze
from realtime.commands.analysis_data import load_patients
from realtime.sources.recording import RecordedStream, Recording, save_folder
from tests.rig import small_recording, with_sound_in_the_cable

ROW_HZ = 50.0


def speech_like(seconds: float, seed: int) -> tuple[np.ndarray, PhoneAlignment]:
    """Noise with a spectrum of its own for each of twelve phones; pauses now and then."""
    rng = np.random.default_rng(seed)
    names = ["AA", "IY", "UW", "S", "Z", "M", "N", "T", "K", "L", "R", "F"]
    sound, phones, at = np.zeros(round(seconds * 16_000), np.float32), [], 0.0
    while at < seconds - 0.5:
        label, length = ("SIL", 0.5) if rng.random() < 0.03 else (str(rng.choice(names)), rng.uniform(0.06, 0.14))
        a, b = round(at * 16_000), round((at + length) * 16_000)
        if label != "SIL":
            t = np.arange(b - a) / 16_000
            pitch = 200 + 450 * names.index(label)
            sound[a:b] = 0.1 * np.sin(2 * np.pi * pitch * t) + 0.02 * rng.standard_normal(b - a)
        phones.append((label, at, at + length))
        at += length
    return sound, PhoneAlignment([*phones, ("SIL", at, seconds)], [], [])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound and high gamma drawn directly from a simulated patient's drive, 12 electrodes, 150 s."""
    folder = tmp_path_factory.mktemp("simulated")
    sound, phones = speech_like(150, 0)
    rng = np.random.default_rng(1)
    stimulus = Stimulus(sound, {1: rng.standard_normal((7500, 60))}, phones)
    config = PatientConfig(
        electrodes=16, layer_driven=0, phone_driven=5, onset_driven=4, ceiling=(0.6, 0.8), lag_s=(0.1, 0.12)
    )
    patient = SimulatedPatient(config, [stimulus])
    ceilings = np.array([t.ceiling_drawn for t in patient.truth])
    drive = patient.drive(stimulus)
    rows = (ceilings * drive + np.sqrt(1 - ceilings**2) * rng.standard_normal(drive.shape)).astype(np.float32)
    names = tuple(t.name for t in patient.truth)
    streams = {
        "sound": RecordedStream(Spec("sound", 16_000, ("sound",)), sound[:, None], np.arange(len(sound)) / 16_000),
        "gamma": RecordedStream(Spec("gamma", ROW_HZ, names), rows, np.arange(len(rows)) / ROW_HZ),
    }
    save_folder(Recording(streams), folder / "session")
    with (folder / "session" / "phones.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("start_s", "end_s", "label"), *((a, b, label) for label, a, b in phones.phones)])
    truth = [
        {"name": t.name, "kind": t.kind, "layer": t.layer, "phone_class": t.phone_class, "position_mm": t.position_mm}
        for t in patient.truth
    ]
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder


def numbers(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """(electrode, quantity) by part, of numbers.csv."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    with (out / "numbers.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault((row["part"], row["quantity"], row["of"]), {})[row["electrode"]] = row["value"]
    return found


def test_phonemes_of_a_simulated_patient(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Phone-driven electrodes get their own class, onset electrodes are not phonetic, undriven ones stay out."""
    command = ["analyze", str(session / "session"), "--high-gamma", "gamma", "--out", str(tmp_path / "out")]
    command += ["--parts", "phonemes", "--truth", str(session / "truth.json")]
    assert main(command) == 0
    found = numbers(tmp_path / "out")
    encodes, phonetic = found["phonemes", "encodes", ""], found["phonemes", "phonetic", ""]
    for one in json.loads((session / "truth.json").read_text()):
        name, kind = one["name"], one["kind"]
        called = encodes[name] == phonetic[name] == "True"
        assert called == (kind == "phone"), (name, kind, one["phone_class"])
        assert (encodes[name] == "True") == (kind in ("phone", "onset"))
        if kind == "phone":
            tops = (found["phonemes", "top_manner", ""][name], found["phonemes", "top_phone", ""][name])
            assert one["phone_class"] in tops
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "simulated" in page.lower()
    assert re.search(r"reference\W.{0,40}high gamma as recorded", page, re.DOTALL)
    assert "common average" not in page
    assert page.count("data:image/png") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "")
    first = (tmp_path / "out" / "numbers.csv").read_bytes()
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").iterdir()}
    assert main(command) == 0  # nothing is computed again, and the same comes out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").iterdir()} == parts
    assert (tmp_path / "out" / "numbers.csv").read_bytes() == first
    capsys.readouterr()


def montage_and_atlas(folder: Path, session: Path) -> list[str]:
    """Options for places in MNI space whose atlas of two halves calls them otherwise than the table does."""
    nibabel = pytest.importorskip("nibabel")
    image = np.ones((10, 10, 10), np.int16)
    image[5:] = 2
    nibabel.save(nibabel.Nifti1Image(image, np.diag([10.0, 10.0, 10.0, 1.0])), folder / "halves.nii.gz")
    (folder / "halves.csv").write_text("number,name\n1,atlas left\n2,atlas right\n")
    names = [one["name"] for one in json.loads((session / "truth.json").read_text())]
    rows = [(name, 20 * (i % 4), 20 * (i // 4), 5, "MNI152", "region of the file") for i, name in enumerate(names)]
    with (folder / "montage.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("channel", "x", "y", "z", "system", "region"), *rows])
    return ["--montage", str(folder / "montage.csv"), "--atlas", str(folder / "halves.nii.gz")]


def solved_in(monkeypatch: pytest.MonkeyPatch, stop_after: int | None) -> list[str]:
    """The fits of layers that are made from now on, by name; the command is interrupted before the next."""
    names: list[str] = []

    def solve(cell: Cell) -> None:
        if len(names) == stop_after:
            raise KeyboardInterrupt
        solve_cell(cell)
        names.append(cell.name)

    monkeypatch.setattr(analysis_layers, "run_cells", functools.partial(run_cells, solve=solve))
    return names


@pytest.mark.long
def test_layers_and_time_of_a_simulated_patient(session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers, time and regions by tiny.en; interrupted between two fits, the sweep goes on where it was."""
    out = tmp_path / "out"
    command = ["analyze", str(session / "session"), "--high-gamma", "gamma", "--out", str(out), "--whisper", "tiny.en"]
    command += ["--parts", "layers,time,anatomy", "--epochs", "1", "--workers", "1"]
    command += ["--truth", str(session / "truth.json"), *montage_and_atlas(tmp_path, session)]
    first = solved_in(monkeypatch, stop_after=7)
    assert main(command) == 130
    assert not (out / "report.html").exists()
    rest = solved_in(monkeypatch, stop_after=None)
    assert main(command) == 0
    assert len(first) == 7
    assert len({*first, *rest}) == len(first) + len(rest) == 5 * (1 + 3 * 4)  # folds, spectrogram and layers
    found = numbers(out)
    counts = [found["layers", "electrodes", f"tiny.en offline, atlas {side}"][""] for side in ("left", "right")]
    p = found["layers", "p_fdr", "any trained layer"]
    assert sum(map(int, counts)) == sum(value != "" and float(value) <= 0.05 for value in p.values()) > 0
    assert not any("of the file" in of for _, _, of in found)
    for layer in (1, 2, 3, 4):
        for hearing in ("offline", "causal", "untrained"):
            assert len(found["layers", "r", f"tiny.en {hearing} layer {layer}"]) == 16
    driven = {one["name"]: one["kind"] for one in json.loads((session / "truth.json").read_text())}
    for name, value in p.items():
        if driven[name] in ("undriven", "dead"):
            assert value == "" or float(value) > 0.05
    gains = found["time", "gain", "lagged over instantaneous"]
    assert np.mean([float(gains[name]) for name, kind in driven.items() if kind == "phone"]) > 0.1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_decoder_layers_of_electrodes_that_follow_words(tmp_path: Path) -> None:
    """Three electrodes hold a value of each word from its end on, two hold noise; 130 words in 75 s of sound."""
    rng = np.random.default_rng(3)
    sound, _ = speech_like(75, 0)
    vocabulary = ["house", "river", "seven", "green", "walk", "music", "stone", "bright"]
    values = {word: rng.standard_normal(3) for word in vocabulary}
    words = [(0.5 + 0.57 * i, 0.9 + 0.57 * i, str(rng.choice(vocabulary))) for i in range(130)]
    rows = rng.standard_normal((3750, 5)).astype(np.float32)
    for _, end_s, word in words:
        rows[round(50 * end_s) + 5 : round(50 * end_s) + 25, :3] += 2 * values[word]
    streams = {
        "sound": RecordedStream(Spec("sound", 16_000, ("sound",)), sound[:, None], np.arange(len(sound)) / 16_000),
        "gamma": RecordedStream(Spec("gamma", ROW_HZ, tuple("abcde")), rows, np.arange(len(rows)) / ROW_HZ),
    }
    save_folder(Recording(streams), tmp_path / "session")
    with (tmp_path / "session" / "phones.csv").open("w", newline="") as file:
        timed = [("word", *word) for word in words] + [("phone", *word[:2], "AA") for word in words]
        csv.writer(file).writerows([("kind", "start_s", "end_s", "label"), *timed])
    out = tmp_path / "out"
    command = ["analyze", str(tmp_path / "session"), "--high-gamma", "gamma", "--out", str(out), "--whisper", "tiny.en"]
    command += ["--parts", "layers", "--workers", "1"]
    assert main(command) == 0
    found = numbers(out)
    for layer in (1, 2, 3, 4):
        for hearing in ("decoder, offline", "untrained decoder, offline"):
            assert len(found["layers", "r", f"tiny.en {hearing} layer {layer}"]) == 5
    vector = found["layers", "r", "tiny.en word vector, offline"]
    p = found["layers", "p_fdr", "any decoder layer, offline"]
    print(vector, p)
    for name in "abc":
        assert float(vector[name]) > 0.4
        assert float(p[name]) <= 0.05
    assert all(float(p[name]) > 0.05 for name in "de")
    of = [of for part, _, of in found if "decoder" in of or "word vector" in of]
    assert of
    assert all("offline" in one for one in of)
    assert "130 words of the transcript" in (out / "report.html").read_text(encoding="utf-8")
    assert main([*command, "--no-decoder"]) == 0
    assert "left out with --no-decoder" in (out / "report.html").read_text(encoding="utf-8")
    assert not any("decoder" in of for _, _, of in numbers(out))


def holdgraf(folder: Path, source: Path) -> list[str]:
    """The real patient's sentences as recordings of high gamma, with sound where there is some."""
    from scipy.io import wavfile

    content = np.load(source / "hfa.npz")
    labels: dict[int, list[tuple[float, float, str]]] = {}
    with (source / "segments.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "phone":
                times = float(row["start_s"]) + 2.0, float(row["stop_s"]) + 2.0
                labels.setdefault(int(row["sentence"]), []).append((*times, row["label"]))
    names = tuple(f"ch_{i}" for i in range(content["hfa"].shape[2]))
    made = []
    for number, hfa in enumerate(content["hfa"]):
        stamps = 0.5 + np.arange(len(hfa)) / 200  # -1.5 s from a sentence's onset, which is put at 2 s
        streams = {"hfa": RecordedStream(Spec("hfa", 200, names), hfa, stamps)}
        wav = source / f"sentence_{number}.wav"
        offset = 0.0
        if wav.exists():
            rate, sound = wavfile.read(wav)
            scaled = (sound / 32768 if sound.dtype.kind == "i" else sound).astype(np.float32).reshape(-1, 1)
            streams["sound"] = RecordedStream(
                Spec("sound", rate, ("sound",)), scaled, 1.8 + np.arange(len(scaled)) / rate
            )
            offset = 1.8
        else:
            offset = 0.5 + 0.0075  # the first averaged row
        path = folder / f"sentence_{number}"
        save_folder(Recording(streams), path)
        with (path / "phones.csv").open("w", newline="") as file:
            rows = [(a - offset, b - offset, label) for a, b, label in labels[number]]
            csv.writer(file).writerows([("start_s", "end_s", "label"), *rows])
        made.append(str(path))
    return made


@pytest.mark.long
def test_a_real_patient_goes_through(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """29 sentences, 6 with sound: phones are analysed and mapped, and layers are said to be too little data."""
    source = recordings / "holdgraf"
    paths = holdgraf(tmp_path / "sentences", source)
    with (source / "electrodes.csv").open(newline="", encoding="utf-8") as file:
        places = [(one["name"], one["x_2d"], one["y_2d"], 0, "Pixels") for one in csv.DictReader(file)]
    with (tmp_path / "places.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("channel", "x", "y", "z", "system"), *places])
    out = tmp_path / "out"
    command = ["analyze", *paths, "--high-gamma", "hfa", "--out", str(out), "--whisper", "tiny.en"]
    command += ["--montage", str(tmp_path / "places.csv")]
    assert main([*command, "--parts", "layers,phonemes,anatomy"]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Electrodes: places in Pixels (pixels)" in page
    found = numbers(out)
    assert float(found["anatomy", "x_pixels", ""]["ch_0"]) == float(places[0][1])
    assert "Maps: phoneme selectivity" in page
    assert "no electrode of a known place has a value to draw" in page  # none of them is phonetic
    assert "Too little data" in page
    assert "at least 60 s are needed" in page
    assert "electrodes encode speech" in page
    print(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parts", "layer"], "layers"),
        (["--parts", ","], "--parts"),
        (["--phone-window-ms", "200", "100"], "later end"),
        (["--percentile", "100"], "--percentile"),
        (["--crop-ms", "-1"], "--crop-ms"),
        (["--workers", "0"], "1 or more"),
        (["--phones", "a.csv", "b.csv"], "2 files for 1 recordings"),
        (["--phones", "missing.csv"], "cannot be read"),
        (["--truth", "missing.json"], "truth"),
        (["--high-gamma", "gama"], "gamma"),
    ],
)
def test_mistakes_are_one_line(
    session: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["analyze", str(session / "session"), "--parts", "phonemes", "--out", str(tmp_path / "out")]
    assert main([*command, "--high-gamma", "gamma", *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("corticast: ")
    assert message in last


def test_what_is_heard_twice_has_one_source() -> None:
    """Sounds so alike that matches overlap each other."""
    sound, _ = speech_like(60, 0)
    source = find_repeats(spectrogram(sound)[:, :80], ROW_HZ)
    assert (source != np.arange(len(source))).any()
    np.testing.assert_array_equal(source[source], source)


def test_too_little_is_said_not_drawn() -> None:
    assert "12 s of sound" in analysis_layers.too_little(12.0)


def test_anatomy_of_two_patients(session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regions and places from montages, one each; maps and group tables of what the phonemes showed."""
    import shutil

    names = [one["name"] for one in json.loads((session / "truth.json").read_text())]
    words = []
    for number in (1, 2):
        folder = tmp_path / f"sub-{number}"
        shutil.copytree(session / "session", folder)
        rows = [(name, 10 * (i % 4), 10 * (i // 4), 5, "MNI152", f"region {i // 3}") for i, name in enumerate(names)]
        with (tmp_path / f"montage{number}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("channel", "x", "y", "z", "system", "region"), *rows])
        words.append(str(folder))
    montages = [str(tmp_path / f"montage{number}.csv") for number in (1, 2)]
    command = ["analyze", *words, "--high-gamma", "gamma", "--out", str(tmp_path / "out"), "--montage", *montages]
    assert main([*command, "--parts", "phonemes,anatomy", "--atlas", "none"]) == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Maps: phoneme selectivity" in page
    assert "glass brain" in page
    found = numbers(tmp_path / "out")
    agreement = found["anatomy", "left_out_agreement", "phoneme selectivity"]
    assert list(agreement) == [""]
    held = [value[""] for key, value in found.items() if key[:2] == ("anatomy", "held")]
    assert held
    assert set(held) == {"1.0"}  # the second patient is the first one again
    capsys.readouterr()


@pytest.mark.parametrize("keep", [False, True])
def test_an_electrode_that_records_the_sound_is_left_out(tmp_path: Path, keep: bool) -> None:
    save_folder(with_sound_in_the_cable(small_recording(50.0, "cable"), "A2"), tmp_path / "cable")
    parser = argparse.ArgumentParser()
    analyze.add_arguments(parser)
    words = [str(tmp_path / "cable"), "--out", str(tmp_path), "--sound", "cable sound", "--channel", "stimulus"]
    words += ["--ecog", "cable ecog", *(["--keep-contaminated"] if keep else [])]
    (patient,) = load_patients(parser.parse_args(words), None)
    assert patient.recordings[0].contaminated == ("A2",)
    assert patient.left_out == (() if keep else ("A2",))
    bad = np.concatenate([segment.bad for segment in patient.segments()])
    assert bad[:, 1].all() == (not keep)
    assert bad[:, 0].mean() < 0.1
