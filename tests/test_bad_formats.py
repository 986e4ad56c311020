"""Files of every format that cannot be read: one clear line each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from realtime.cli import main
from realtime.errors import UserError
from realtime.sources.recording import load_recording
from tests.test_formats import CHANNELS, RATE_HZ, SOUND_HZ, chirp, noise
from tests.written import write_bids, write_brainvision, write_edf, write_nwb, write_wav


def spoilt(folder: Path, how: str) -> Path:
    """A recording that cannot be read."""
    ecog, units = noise(1000), ["uV"] * 3
    if how.startswith("edf"):
        path = write_edf(folder / "a.edf", ecog, RATE_HZ, CHANNELS, units)
        content = bytearray(path.read_bytes())
        if how == "edf, no header":
            content[:256] = bytes(range(256))
        elif how == "edf, discontinuous":
            content[192:197] = b"EDF+D"
        elif how == "edf, head alone":
            del content[700:]
        path.write_bytes(content)
        return path
    if how.startswith("vhdr"):
        path = write_brainvision(folder, ecog, RATE_HZ, CHANNELS)
        if how == "vhdr, no data":
            (folder / "bv.eeg").unlink()
        else:
            path.write_text("no header")
        return path
    if how.startswith("nwb"):
        path = write_nwb(folder / "a.nwb", ecog, RATE_HZ, CHANNELS)
        whole = path.read_bytes()
        path.write_bytes(b"no HDF5" if how == "nwb, no HDF5" else whole[: len(whole) // 2])
        return path
    if how.startswith("npy"):
        path = folder / ("a.npy" if how == "npy, no rate" else "a_500Hz.npy")
        np.save(path, np.zeros((3, 2, 2)) if how == "npy, pictures" else ecog)
        if how == "npy, cut":
            path.write_bytes(path.read_bytes()[:3000])
        return path
    if how.startswith("wav"):
        path = write_wav(folder / "a.wav", SOUND_HZ, chirp(0.5))
        path.write_bytes(b"RIFF" if how == "wav, no header" else path.read_bytes()[:30])
        return path
    return spoilt_bids(folder, how, ecog)


def spoilt_bids(folder: Path, how: str, ecog: np.ndarray) -> Path:
    write_wav(folder / "stimuli" / "a.wav", SOUND_HZ, chirp(0.5))
    name = {"bids, no stimulus": "b.wav", "bids, outside": "../a.wav", "bids, mp3": "a.mp3"}.get(how, "a.wav")
    (folder / "stimuli" / "a.mp3").write_bytes(b"ID3")
    stimuli = [(0.2, "a.wav"), (1.0, name)]
    if how == "bids, rates":
        write_wav(folder / "stimuli" / "c.wav", 22050, chirp(0.1))
        stimuli[1] = (1.0, "c.wav")
    path = write_bids(folder, ecog, RATE_HZ, CHANNELS, stimuli)
    if how == "bids, other names":
        (table,) = folder.rglob("*_channels.tsv")
        table.write_text(table.read_text(encoding="utf-8-sig").replace("LA1", "LB1"), encoding="utf-8")
    elif how == "bids, two":
        path.with_name("sub-01_ses-a_task-talk_ieeg.edf").write_bytes(b"")
        return folder
    elif how == "bids, none":
        for file in path.parent.glob("*_ieeg.[!j]*"):
            file.unlink()
        return folder
    return path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("edf, no header", "cannot be read as EDF"),
        ("edf, head alone", "cannot be read as EDF"),
        ("edf, discontinuous", "is a discontinuous file (EDF+D)"),
        ("vhdr, no data", "cannot be read as VHDR"),
        ("vhdr, no header", "cannot be read as VHDR"),
        ("nwb, no HDF5", "cannot be read as NWB"),
        ("nwb, cut", "cannot be read as NWB"),
        ("npy, no rate", "does not say its rate: name it like ecog_1000Hz.npy"),
        ("npy, pictures", "expected (rows, channels) of numbers"),
        ("npy, cut", "cannot be read as NPY"),
        ("wav, no header", "cannot be read as WAV"),
        ("wav, cut", "cannot be read as WAV"),
        ("bids, no stimulus", "stim_file 'b.wav' of events.tsv is not in"),
        ("bids, outside", "leads out of"),
        ("bids, mp3", "is no WAV file: convert it to WAV"),
        ("bids, rates", "have different rates: a.wav (16000 Hz), c.wav (22050 Hz)"),
        ("bids, other names", "does not fit the BIDS files beside it"),
        ("bids, two", "holds 2 recordings; name one of them: sub-01"),
        ("bids, none", "holds 0 recordings; expected one that ends in _ieeg.edf"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, how: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(spoilt(tmp_path, how)), "--wait", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert len(line) < 700


def test_an_edf_that_was_cut_is_read_and_told(tmp_path: Path) -> None:
    path = write_edf(tmp_path / "a.edf", noise(2000), RATE_HZ, CHANNELS, ["uV"] * 3)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    recording = load_recording(path)
    assert 0 < len(recording.streams["ecog"].data) < 2000
    assert "does not match the file size" in " ".join(recording.warnings)


@pytest.mark.parametrize(("package", "name", "extra"), [("mne", "a.edf", "bids"), ("pynwb", "a.nwb", "nwb")])
def test_a_missing_library_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str, extra: str
) -> None:
    (tmp_path / name).write_bytes(b"")
    for module in [m for m in sys.modules if m.startswith("realtime.sources.formats.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install 'corticast\[{extra}\]'"):
        load_recording(tmp_path / name)


def test_recordings_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "recording.json").write_text(json.dumps({"streams": {}}))
    with pytest.raises(UserError, match="holds no numeric stream"):
        load_recording(tmp_path)
    (tmp_path / "a.mat").write_bytes(b"MATLAB")
    with pytest.raises(UserError, match=r"ends in \.mat, which is no format that is read: give a \.xdf"):
        load_recording(tmp_path / "a.mat")
    with pytest.raises(UserError, match=r"is no \.wav file that is there"):
        load_recording(tmp_path, tmp_path / "none.wav")
