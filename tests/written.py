"""Recordings of known numbers, written by other people's libraries: MNE-BIDS, pybv, edfio, pynwb."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Sequence
from pathlib import Path

import edfio
import mne
import mne_bids
import numpy as np
import pybv
import pynwb
from scipy.io import wavfile

BEGAN = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)


def write_bids(
    root: Path,
    ecog_uv: np.ndarray,
    rate_hz: float,
    channels: Sequence[str],
    stimuli: Sequence[tuple[float, str]] = (),
    bad: Sequence[str] = (),
    aux: np.ndarray | None = None,
) -> Path:
    """A BIDS-iEEG set with one BrainVision recording, positions, and events that name stimuli; gives the data file.

    ecog_uv: (rows, channels) microvolts. aux: (rows,) a channel of type MISC named AUX1, in volts.
    """
    names, kinds, volts = list(channels), ["ecog"] * len(channels), ecog_uv.T * 1e-6
    if aux is not None:
        names, kinds, volts = [*names, "AUX1"], [*kinds, "misc"], np.vstack([volts, aux])
    info = mne.create_info(names, rate_hz, kinds)
    info["line_freq"], info["bads"] = 50, list(bad)
    raw = mne.io.RawArray(volts, info, verbose="ERROR")
    raw.set_meas_date(BEGAN)
    points = {name: np.array([i, 2 * i, -i]) * 1e-3 for i, name in enumerate(channels)}
    raw.set_montage(mne.channels.make_dig_montage(points, coord_frame="mni_tal"), on_missing="ignore", verbose="ERROR")
    onsets = [onset_s for onset_s, _ in stimuli]
    raw.set_annotations(mne.Annotations(onsets, [0.1] * len(onsets), ["word"] * len(onsets), orig_time=BEGAN))
    where = mne_bids.BIDSPath("01", "a", "listen", root=root, datatype="ieeg")
    mne_bids.write_raw_bids(
        raw, where, format="BrainVision", allow_preload=True, acpc_aligned=True, overwrite=True, verbose="ERROR"
    )
    (folder,) = root.glob("sub-01/ses-a/ieeg")
    if stimuli:
        _name_stimuli(next(folder.glob("*_events.tsv")), [name for _, name in stimuli])
    (file,) = folder.glob("*_ieeg.vhdr")
    return file


def _name_stimuli(events: Path, names: Sequence[str]) -> None:
    with events.open(encoding="utf-8-sig", newline="") as text:
        rows = list(csv.DictReader(text, delimiter="\t"))
    for row, name in zip(rows, names, strict=True):
        row["stim_file"] = name
    with events.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def write_edf(path: Path, data: np.ndarray, rate_hz: float, channels: Sequence[str], units: Sequence[str]) -> Path:
    """data: (rows, channels) in its units, between -1000 and 1000; 16 bits of that are kept."""
    signals = [
        edfio.EdfSignal(column, rate_hz, label=name, physical_dimension=unit, physical_range=(-1000, 1000))
        for column, name, unit in zip(data.T, channels, units, strict=True)
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(0.5, None, "clap")]).write(path)
    return path


def write_mixed_edf(path: Path, ecog: np.ndarray, sound: np.ndarray, rates: tuple[float, float]) -> Path:
    """ECoG (rows, 2) and one channel of sound, each at its own rate."""
    signals = [
        edfio.EdfSignal(column, rates[0], label=f"LA{i}", physical_dimension="uV", physical_range=(-1000, 1000))
        for i, column in enumerate(ecog.T)
    ]
    signals.append(edfio.EdfSignal(sound, rates[1], label="Mic", physical_dimension="mV", physical_range=(-1, 1)))
    edfio.Edf(signals).write(path)
    return path


def write_brainvision(folder: Path, ecog_uv: np.ndarray, rate_hz: float, channels: Sequence[str]) -> Path:
    pybv.write_brainvision(
        data=ecog_uv.T * 1e-6, sfreq=rate_hz, ch_names=list(channels), fname_base="bv", folder_out=str(folder)
    )
    return folder / "bv.vhdr"


def write_nwb(
    path: Path,
    ecog_uv: np.ndarray,
    rate_hz: float,
    channels: Sequence[str],
    sound: tuple[float, np.ndarray] | None = None,
    bad: Sequence[str] = (),
    stamps: np.ndarray | None = None,
    axes: str = "",
) -> Path:
    """Electrical series `ecog` in volts, from 0.25 s of the file's clock, and the sound as stimulus `speech`.

    The last electrode's location is `unknown`, the others' STG. axes: what the columns x, y, z say of themselves.
    """
    file = pynwb.NWBFile("made by a test", "corticast-test", BEGAN)
    device = file.create_device("amplifier")
    group = file.create_electrode_group("grid", "8 x 8", "left temporal", device)
    file.add_electrode_column("label", "label")
    file.add_electrode_column("bad", "not to be used")
    for axis in "xyz" if axes else "":
        file.add_electrode_column(axis, axes)
    for i, name in enumerate(channels):
        place = {"x": float(i), "y": 2.0 * i, "z": -1.0 * i, "location": "STG" if name != channels[-1] else "unknown"}
        file.add_electrode(**place, group=group, label=name, bad=name in bad)
    region = file.create_electrode_table_region(list(range(len(channels))), "all")
    times = {"rate": rate_hz, "starting_time": 0.25} if stamps is None else {"timestamps": stamps}
    file.add_acquisition(
        pynwb.ecephys.ElectricalSeries(name="ecog", data=ecog_uv, electrodes=region, conversion=1e-6, **times)
    )
    if sound is not None:
        file.add_stimulus(
            pynwb.TimeSeries(name="speech", data=sound[1], unit="a.u.", rate=sound[0], starting_time=0.25)
        )
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def write_wav(path: Path, rate_hz: float, sound: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, round(rate_hz), sound)
    return path
