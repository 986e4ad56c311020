"""BIDS-iEEG: the data file through MNE, what stands beside it through MNE-BIDS and its tables."""

from __future__ import annotations

import csv
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from realtime.block import Spec
from realtime.errors import UserError
from realtime.montage import region_in
from realtime.sources.formats.edf import markers_of, one_line, opened, streams_of, told
from realtime.sources.formats.plain import load_file
from realtime.sources.recorded import Marker, Position, RecordedStream, Recording
from realtime.sources.samples import RegularStamps, placed

try:
    import mne_bids
except ImportError:
    raise UserError("BIDS needs MNE-BIDS, which is not installed: pip install 'corticast[bids]'") from None

ENDINGS = (".edf", ".vhdr", ".nwb")
NEURAL = ("ecog", "seeg", "dbs", "eeg")  # as MNE calls channel types
VOLTS = ("V", "mV", "uV", "µV", "μV", "nV", "n/a", "")  # as BIDS spells them, or not at all
TO_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0}
Row = Mapping[str, str]


def only_recording(folder: Path) -> Path:
    """The one iEEG data file below a folder. Raises UserError, with those there are, where it is not one."""
    found = sorted(
        file
        for file in folder.rglob("*_ieeg.*")
        if file.suffix.lower() in ENDINGS and not {"derivatives", "sourcedata"} & set(file.relative_to(folder).parts)
    )
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(file.relative_to(folder)) for file in found[:8]) + (", ..." if len(found) > 8 else "")
    what = f"name one of them: {names}" if found else f"expected one that ends in _ieeg{' or '.join(ENDINGS)}"
    raise UserError(f"BIDS folder {str(folder)!r} holds {len(found)} recordings; {what}")


@dataclass(frozen=True)
class _Beside:
    """What the tables beside a data file say. where: its BIDSPath. electrodes: the names in electrodes.tsv, with
    positions in mm where the unit allows it, what they are in, and regions."""

    where: Any
    channels: list[Row]
    events: list[Row]
    electrodes: set[str]
    positions: dict[str, Position]
    coordinates: str
    regions: dict[str, str]
    markers: list[Marker]

    @property
    def stimuli(self) -> Path:
        return Path(self.where.root) / "stimuli"


def load_bids(path: Path) -> Recording:
    """Streams `ecog`, `audio` and `other` by channels.tsv; `sound` from the stim_file of events.tsv. Of an NWB file
    its own streams, the electrical ones as the tables describe them.

    Raises UserError where files are damaged, missing or do not fit each other.
    """
    if path.suffix.lower() == ".nwb":
        return _with_nwb(path)
    with told() as messages:
        raws = opened(path)
    with _fitting(path):
        beside = _beside(path)
        known = mne_bids.read_raw_bids(beside.where, verbose="ERROR")
    kinds = _kinds(known, beside.channels, beside.electrodes)
    streams = streams_of(raws, kinds, known.info["bads"], beside.positions, beside.coordinates, beside.regions)
    sound = _stimuli(beside, max(raw.n_times / raw.info["sfreq"] for raw in raws))
    if sound is not None:
        streams["sound"] = sound
    return Recording(streams, {"events": beside.markers} if beside.markers else markers_of(raws[0]), tuple(messages))


def _with_nwb(path: Path) -> Recording:
    """MNE reads no NWB: the tables are laid over what the file says. Onsets count from its first ECoG row."""
    from realtime.sources.formats.nwb import load_nwb

    recording = load_nwb(path)
    with _fitting(path):
        beside = _beside(path)
        bad = {row["name"] for row in beside.channels if row.get("status", "").strip().lower() == "bad"}
    streams = {
        name: _described(stream, beside, bad) if stream.type == "ECoG" else stream
        for name, stream in recording.streams.items()
    }
    ecog = [stream for stream in streams.values() if stream.type == "ECoG"]
    if not ecog:
        return recording
    start_s = min(float(stream.stamps[:1][0]) for stream in ecog)
    sound = _stimuli(beside, max(float(stream.stamps[-1:][0]) for stream in ecog) - start_s, start_s)
    if sound is not None:
        streams.setdefault("sound", sound)
    markers = [(start_s + onset_s, text) for onset_s, text in beside.markers]
    return Recording(streams, {"events": markers} if markers else {}, (*recording.warnings, *_strangers(ecog, beside)))


def _strangers(ecog: list[RecordedStream], beside: _Beside) -> list[str]:
    """A warning where the tables speak of other electrodes than the file."""
    own = {name for stream in ecog for name in stream.spec.channels}
    named = {row["name"] for row in beside.channels} | beside.electrodes
    if not named or named & own:
        return []
    found = ", ".join(sorted(named)[:3])
    return [f"no electrode of the file is in channels.tsv or electrodes.tsv ({found}, ...): these are not used"]


def _described(stream: RecordedStream, beside: _Beside, bad: set[str]) -> RecordedStream:
    """Bad by either; places by the tables where they have any for this stream, regions by the tables first."""
    own = set(stream.spec.channels)
    positions = {name: position for name, position in beside.positions.items() if name in own}
    regions = {name: region for name, region in beside.regions.items() if name in own}
    return replace(
        stream,
        bad=tuple(name for name in stream.spec.channels if name in bad or name in stream.bad),
        positions=positions or stream.positions,
        coordinates=beside.coordinates if positions else stream.coordinates,
        regions={**stream.regions, **regions},
    )


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Whatever MNE-BIDS and the tables raise, as one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sidecars that are not used here
            yield
    except UserError:
        raise
    except Exception as error:  # MNE-BIDS raises whatever it meets
        raise UserError(
            f"{str(path)!r} does not fit the BIDS files beside it ({one_line(error)}): correct them"
        ) from None


def _beside(path: Path) -> _Beside:
    where = mne_bids.get_bids_path_from_fname(path.absolute(), check=False)
    events = _table(where, "events")
    markers = [(float(row["onset"]), _event(row)) for row in events if _is_number(row["onset"])]
    return _Beside(where, _table(where, "channels"), events, *_electrodes(where), markers)


def _kinds(known: Any, channels: list[Row], electrodes: set[str]) -> dict[str, str]:
    """By type; but what is in no volts, or is bad and no electrode of electrodes.tsv, records no brain."""
    audio = {row["name"] for row in channels if row.get("type", "").upper() == "AUDIO"}
    units = {row["name"]: row.get("units", "") for row in channels}
    bad = set(known.info["bads"])

    def kind(name: str, type: str) -> str:
        if name in audio:
            return "audio"
        neural = type in NEURAL and units.get(name, "") in VOLTS
        return "other" if not neural or (electrodes and name in bad - electrodes) else "ecog"

    return {name: kind(name, type) for name, type in zip(known.ch_names, known.get_channel_types(), strict=True)}


def _stimuli(beside: _Beside, seconds: float, start_s: float = 0.0) -> RecordedStream | None:
    """One stream as long as the recording, from start_s: each stimulus at its onset, silence between.

    An event that names the file which is sounding already, as one row a word does, does not start it again.
    """
    files: dict[str, RecordedStream] = {}
    plays: list[tuple[str, float]] = []
    ends_s: dict[str, float] = {}
    folder = beside.stimuli
    for row in beside.events:
        name = row.get("stim_file", "").strip()
        if name in ("", "n/a") or not _is_number(row["onset"]):
            continue
        if name not in files:
            files[name] = load_file(_stimulus(folder, name), "sound")
        onset_s = float(row["onset"])
        if onset_s >= ends_s.get(name, -math.inf):
            plays.append((name, onset_s))
            ends_s[name] = onset_s + len(files[name].data) / files[name].spec.rate_hz
    if not plays:
        return None
    rates = {stream.spec.rate_hz for stream in files.values()}
    if len(rates) > 1:
        found = ", ".join(f"{name} ({stream.spec.rate_hz:g} Hz)" for name, stream in files.items())
        raise UserError(f"stimuli in {str(folder)!r} have different rates: {found}; convert them to one")
    rate_hz = rates.pop()
    sounds = [(round(onset_s * rate_hz), files[name].data) for name, onset_s in plays]
    data = placed(sounds, math.ceil(seconds * rate_hz))
    channels = tuple(f"sound_{i}" for i in range(data.shape[1]))
    return RecordedStream(
        Spec("sound", rate_hz, channels), data, RegularStamps(start_s, len(data), rate_hz), type="Audio"
    )


def _stimulus(folder: Path, name: str) -> Path:
    file = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise UserError(f"stim_file {name!r} of events.tsv leads out of {str(folder)!r}: name a file in it")
    if not file.exists():
        raise UserError(f"stim_file {name!r} of events.tsv is not in {str(folder)!r}: copy it there")
    if file.suffix.lower() != ".wav":
        raise UserError(f"stimulus {str(file)!r} is no WAV file: convert it to WAV, and name that in events.tsv")
    return file


def _electrodes(where: Any) -> tuple[set[str], dict[str, Position], str, dict[str, str]]:
    """Names in electrodes.tsv; positions in mm, where the unit allows it; what they are in; and regions."""
    electrodes, sidecar = _electrode_files(where)
    facts = json.loads(sidecar.read_text(encoding="utf-8")) if sidecar is not None else {}
    unit = str(facts.get("iEEGCoordinateUnits", "n/a"))
    rows = _rows(electrodes)
    positions = {
        row["name"]: _scaled(row, TO_MM.get(unit, 1.0)) for row in rows if all(_is_number(row[axis]) for axis in "xyz")
    }
    names = {row["name"] for row in rows}
    regions = {row["name"]: region for row in rows if (region := region_in(row))}
    system = f"{facts.get('iEEGCoordinateSystem', 'n/a')}, {'mm' if unit in TO_MM else unit}"
    return names, positions, system, regions


def _electrode_files(where: Any) -> tuple[Path | None, Path | None]:
    """electrodes.tsv and its coordsystem.json; of several spaces one of MNI, else the first."""
    found = sorted(Path(where.directory).glob("*_electrodes.tsv"), key=lambda file: ("MNI" not in file.name, file.name))
    if len(found) > 1:
        system = found[0].with_name(found[0].name.replace("_electrodes.tsv", "_coordsystem.json"))
        return found[0], system if system.is_file() else None
    files = [
        where.find_matching_sidecar(suffix, ending, on_error="ignore")
        for suffix, ending in (("electrodes", ".tsv"), ("coordsystem", ".json"))
    ]
    return files[0] and Path(files[0]), files[1] and Path(files[1])


def _scaled(row: Row, gain: float) -> Position:
    return gain * float(row["x"]), gain * float(row["y"]), gain * float(row["z"])


def _table(where: Any, suffix: str) -> list[Row]:
    """The rows of a .tsv file beside the recording; none where there is no such file."""
    return _rows(where.find_matching_sidecar(suffix, ".tsv", on_error="ignore"))


def _rows(file: Path | None) -> list[Row]:
    if file is None:
        return []
    with Path(file).open(encoding="utf-8-sig", newline="") as text:
        return list(csv.DictReader(text, delimiter="\t"))


def _event(row: Row) -> str:
    told = (row.get(key, "") for key in ("trial_type", "value", "stim_file"))
    return next((text for text in told if text not in ("", "n/a", None)), "event")


def _is_number(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False
