"""EDF, BDF and BrainVision files, read piece by piece through MNE."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.block import Spec
from realtime.errors import UserError
from realtime.sources.recorded import Marker, Position, RecordedStream, Recording
from realtime.sources.samples import OnDisk, RegularStamps

try:
    import mne
except ImportError:
    raise UserError("EDF and BrainVision need MNE, which is not installed: pip install 'corticast[bids]'") from None

AUDIO = re.compile(r"audio|microphone|(^|[^a-z])mic([^a-z]|$)|speech|sound", re.IGNORECASE)
VOLTS = {"V", "mV", "µV", "nV"}  # as MNE spells them; it knows nV in BrainVision alone
TYPES = {"ecog": "ECoG", "audio": "Audio", "other": "Misc"}
MICROVOLTS_PER_VOLT = 1e6
Kinds = Mapping[str, str]  # channel: ecog, audio or other


def load_edf(path: Path) -> Recording:
    """Streams `ecog` (what is in volts), `audio` (channels named so) and `other`; annotations as markers.

    Channels of another rate are a stream of their own. Raises UserError where the file is damaged or has holes.
    """
    with told() as messages:
        raws = opened(path)
    return Recording(streams_of(raws, kinds_by_name(raws)), markers_of(raws[0]), tuple(messages))


@contextmanager
def told() -> Iterator[list[str]]:
    """What MNE warns of, each once, in one line."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    lines = (
        " ".join(str(one.message).split()) for one in caught if issubclass(one.category, UserWarning | RuntimeWarning)
    )
    messages.extend(dict.fromkeys(lines))


def opened(path: Path) -> list[Any]:
    """One MNE Raw for each sampling rate in the file, that with the most channels first."""
    kind = path.suffix.lower()
    if kind == ".vhdr":
        return [_raw(path, mne.io.read_raw_brainvision)]
    read = mne.io.read_raw_bdf if kind == ".bdf" else mne.io.read_raw_edf
    by_rate = _labels_by_rate(path)
    if len(by_rate) < 2:
        return [_raw(path, read)]
    raws = [_raw(path, read, include=labels) for labels in by_rate.values()]
    return sorted(raws, key=lambda raw: -len(raw.ch_names))


def kinds_by_name(raws: Sequence[Any]) -> dict[str, str]:
    """By unit and label, where no channels.tsv tells more."""
    kinds: dict[str, str] = {}
    for raw in raws:
        for name, type in zip(raw.ch_names, raw.get_channel_types(), strict=True):
            in_volts = raw._orig_units.get(name, "V") in VOLTS and type != "stim"
            kinds[name] = "audio" if AUDIO.search(name) else "ecog" if in_volts else "other"
    return kinds


def streams_of(
    raws: Sequence[Any],
    kinds: Kinds,
    bad: Sequence[str] = (),
    positions: Mapping[str, Position] | None = None,
    coordinates: str = "",
    regions: Mapping[str, str] | None = None,
) -> dict[str, RecordedStream]:
    """A stream for each kind of channel and rate; the name of all but the first of a kind ends in its rate."""
    streams: dict[str, RecordedStream] = {}
    for raw in raws:
        for kind, type in TYPES.items():
            names = [name for name in raw.ch_names if kinds[name] == kind]
            if not names or not raw.n_times:
                continue
            rate_hz = float(raw.info["sfreq"])
            name = kind if kind not in streams else f"{kind}_{rate_hz:g}Hz"
            here = {channel: xyz for channel, xyz in (positions or {}).items() if channel in names}
            streams[name] = RecordedStream(
                Spec(name, rate_hz, tuple(names), "microvolts" if kind == "ecog" else _unit(raw, names)),
                _data(raw, names, MICROVOLTS_PER_VOLT if kind == "ecog" else 1.0),
                RegularStamps(0.0, raw.n_times, rate_hz),
                type=type,
                bad=tuple(channel for channel in names if channel in bad),
                positions=here,
                coordinates=coordinates if here else "",
                regions={channel: region for channel, region in (regions or {}).items() if channel in names},
            )
    return streams


def markers_of(raw: Any) -> dict[str, list[Marker]]:
    found = [(float(t), str(what)) for t, what in zip(raw.annotations.onset, raw.annotations.description, strict=True)]
    return {"annotations": found} if found else {}


def one_line(error: BaseException) -> str:
    """An error of another library, short."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


def _raw(path: Path, read: Any, **options: Any) -> Any:
    try:
        return read(path, preload=False, verbose="WARNING", **options)
    except Exception as error:  # MNE raises whatever its parser meets in a damaged file
        raise UserError(
            f"{str(path)!r} cannot be read as {path.suffix[1:].upper()} ({one_line(error)}): check that it was copied "
            "whole, with the files that belong to it"
        ) from None


def _data(raw: Any, names: Sequence[str], gain: float) -> OnDisk:
    picks = [raw.ch_names.index(name) for name in names]

    def read(first: int, stop: int) -> npt.NDArray[np.float32]:
        if first == stop:
            return np.empty((0, len(picks)), np.float32)
        return np.ascontiguousarray((raw.get_data(picks, first, stop, verbose="ERROR") * gain).T, np.float32)

    return OnDisk(read, (raw.n_times, len(picks)))


def _unit(raw: Any, names: Sequence[str]) -> str:
    units = {raw._orig_units.get(name, "n/a") for name in names}
    unit = units.pop() if len(units) == 1 else "n/a"
    return "V" if unit in VOLTS else "" if unit == "n/a" else unit


def _labels_by_rate(path: Path) -> dict[str, list[str]]:
    """Labels of an EDF header by samples per record: MNE would resample the slower channels, piece by piece.

    Raises UserError for EDF+D, whose holes MNE does not see.
    """
    with path.open("rb") as file:
        head = file.read(256)
        count = int(head[252:256]) if head[252:256].strip().isdigit() else 0
        signals = file.read(256 * count).decode("latin-1")
    if head[192:197] in (b"EDF+D", b"BDF+D"):
        raise UserError(
            f"{str(path)!r} is a discontinuous file ({head[192:197].decode()}), whose holes cannot be told: export it "
            "without holes, as EDF+C, one file for each run"
        )
    found: dict[str, list[str]] = {}
    for i in range(count):
        label = signals[16 * i : 16 * (i + 1)].strip()
        if label not in ("EDF Annotations", "BDF Annotations"):
            found.setdefault(signals[216 * count + 8 * i : 216 * count + 8 * (i + 1)].strip(), []).append(label)
    return found
