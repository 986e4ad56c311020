"""NWB files: electrical series and other time series, read piece by piece from HDF5."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from realtime.block import Spec
from realtime.errors import UserError
from realtime.montage import NO_REGION
from realtime.sources.recorded import Position, RecordedStream, Recording
from realtime.sources.samples import Data, OnDisk, RegularStamps, Stamps, converted

try:
    import pynwb
    from pynwb.ecephys import ElectricalSeries
except ImportError:
    raise UserError("NWB needs pynwb, which is not installed: pip install 'corticast[nwb]'") from None

MICROVOLTS_PER_VOLT = 1e6
SOUND_HZ = 8000.0  # a series without electrodes at this rate or a higher one is taken for sound
OWN_COORDINATES = "coordinates of the NWB file"  # which it does not name
MICROMETRES = re.compile(r"\b(µm|μm|um|microns?|micromet(er|re)s?)\b", re.IGNORECASE)
MILLIMETRES = re.compile(r"\b(mm|millimet(er|re)s?)\b", re.IGNORECASE)
MNI = re.compile(r"\bMNI\w*", re.IGNORECASE)
LABELS = ("label", "channel_name", "electrode_name", "name")
RATE_ROWS = 100_000  # timestamps that a rate is found from
LARGEST_SPREAD = 0.5  # of the middle nine tenths of the steps, as a share of the median: beyond it there is no rate
ROUND_HZ = 2e-5  # a rate this close to a whole number is that number, as a share


def load_nwb(path: Path) -> Recording:
    """Every time series with numbers in rows: electrical series in microvolts, all else in its own unit.

    Raises UserError where the file is damaged.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            file = pynwb.NWBHDF5IO(path, "r", load_namespaces=True)
            streams = {name: _stream(name, series) for name, series in _series(file.read()).items()}
        except UserError:
            raise
        except Exception as error:  # h5py and hdmf raise whatever they meet in a damaged file
            text = " ".join(str(error).split())[:200]
            raise UserError(
                f"{str(path)!r} cannot be read as NWB ({type(error).__name__}: {text}): check that it is an .nwb file "
                "and was copied whole"
            ) from None
    for rows in (rows for stream in streams.values() for rows in (stream.data, stream.stamps)):
        if isinstance(rows, OnDisk):
            rows.holds = file
    ours = (w for w in caught if issubclass(w.category, UserWarning))
    messages = dict.fromkeys(" ".join(str(one.message).split()) for one in ours)
    return Recording(streams, {}, tuple(messages))


def _series(content: Any) -> dict[str, Any]:
    """Time series by name, stimulus templates left out; a name used twice is told apart by its parent's."""
    templates = {id(one) for one in (content.stimulus_template or {}).values()}
    found: dict[str, Any] = {}
    for one in content.objects.values():
        if not isinstance(one, pynwb.TimeSeries) or id(one) in templates or not _is_table(one.data):
            continue
        name = one.name if one.name not in found else f"{one.parent.name}.{one.name}"
        found[name] = one
    return found


def _is_table(data: Any) -> bool:
    """Whether data is rows of numbers, rather than pictures or nothing."""
    return getattr(data, "ndim", 0) in (1, 2) and data.dtype.kind in "iuf" and len(data) > 0


def _stream(name: str, series: Any) -> RecordedStream:
    stamps, rate_hz = _stamps(name, series)
    if isinstance(series, ElectricalSeries):
        return _electrical(name, series, stamps, rate_hz)
    is_sound = rate_hz >= SOUND_HZ
    data = _sound(series) if is_sound else converted(series.data, series.conversion, series.offset)
    channels = tuple(f"{name}_{i}" for i in range(data.shape[1]))
    return RecordedStream(
        Spec(name, rate_hz, channels, "" if is_sound else str(series.unit)),
        data,
        stamps,
        type="Audio" if is_sound else "Misc",
    )


def _sound(series: Any) -> Data:
    """Whole numbers that nobody scaled become -1 to 1, as in a WAV file."""
    kind, gain = series.data.dtype.kind, float(series.conversion)
    if kind == "i" and gain == 1.0:
        gain = -1.0 / float(np.iinfo(series.data.dtype).min)
    return converted(series.data, gain, float(series.offset))


def _electrical(name: str, series: Any, stamps: Stamps, rate_hz: float) -> RecordedStream:
    gain: Any = float(series.conversion) * MICROVOLTS_PER_VOLT
    if series.channel_conversion is not None:
        gain = gain * np.asarray(series.channel_conversion[:], np.float64)
    data = converted(series.data, gain, float(series.offset) * MICROVOLTS_PER_VOLT)
    table, rows = series.electrodes.table, [int(i) for i in series.electrodes.data[:]]
    if len(rows) != data.shape[1]:
        raise UserError(
            f"electrical series {name!r} has {data.shape[1]} columns and {len(rows)} electrodes: its data must be "
            "(time, electrodes); write the file anew"
        )
    channels = _labels(table, rows)
    bad = _column(table, "bad", rows)
    positions, coordinates = _positions(table, rows, channels)
    places = [_text(value).strip() for value in _column(table, "location", rows)]
    return RecordedStream(
        Spec(name, rate_hz, channels, "microvolts"),
        data,
        stamps,
        type="ECoG",
        bad=tuple(c for c, is_bad in zip(channels, bad, strict=True) if _true(is_bad)) if bad else (),
        positions=positions,
        coordinates=coordinates if positions else "",
        regions={c: place for c, place in zip(channels, places, strict=False) if place.lower() not in NO_REGION},
    )


def _labels(table: Any, rows: list[int]) -> tuple[str, ...]:
    """From the first column that names each electrode by itself, else group and number."""
    for column in LABELS:
        found = [_text(value) for value in _column(table, column, rows)]
        if found and all(found) and len(set(found)) == len(found):
            return tuple(found)
    groups = [_text(value) for value in _column(table, "group_name", rows)] or ["electrode"] * len(rows)
    numbers = [int(table.id[i]) for i in rows]
    return tuple(f"{group}_{number}" for group, number in zip(groups, numbers, strict=True))


def _positions(table: Any, rows: list[int], channels: tuple[str, ...]) -> tuple[dict[str, Position], str]:
    """Places in mm where the file tells a unit, else as they are; and the names of system and unit.

    NWB has no field for either: what the table and its columns x, y, z say of themselves is all that there is.
    """
    axes = [_column(table, axis, rows) for axis in "xyz"]
    if not all(axes):
        return {}, ""
    said = " ".join(str(one.description) for one in (table, *(table[axis] for axis in "xyz")))
    mni, micro, milli = (pattern.search(said) for pattern in (MNI, MICROMETRES, MILLIMETRES))
    gain, unit = (1e-3 if micro else 1.0), "mm" if mni or micro or milli else "n/a"  # MNI space is in mm
    points = zip(channels, (gain * np.array(axes, np.float64)).T.tolist(), strict=True)
    positions: dict[str, Position] = {channel: (x, y, z) for channel, (x, y, z) in points if np.isfinite(x + y + z)}
    return positions, f"{mni[0] if mni else OWN_COORDINATES}, {unit}"


def _column(table: Any, name: str, rows: Iterable[int]) -> list[Any]:
    return [table[name].data[i] for i in rows] if name in table.colnames else []


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _true(value: Any) -> bool:
    return _text(value).lower() in ("true", "1", "bad")


def _stamps(name: str, series: Any) -> tuple[Stamps, float]:
    """Stamps in seconds of the file's own clock, and the rate; 0 where the stamps have none."""
    rows = len(series.data)
    if series.rate is not None:
        rate_hz = float(series.rate)
        return RegularStamps(float(series.starting_time or 0.0), rows, rate_hz), rate_hz
    if series.timestamps is None or len(series.timestamps) != rows:
        raise UserError(f"time series {name!r} has {rows} rows and no time stamp for each: write the file anew")
    stamps = series.timestamps
    lazy = OnDisk(lambda first, stop: np.asarray(stamps[first:stop], np.float64), (rows,), np.float64)
    return lazy, _rate(np.asarray(stamps[:RATE_ROWS], np.float64))


def _rate(stamps: np.ndarray) -> float:
    steps = np.diff(stamps)
    if not len(steps) or not np.median(steps) > 0:
        return 0.0
    middle = float(np.median(steps))
    low, high = np.percentile(steps, [5, 95])
    if high - low > LARGEST_SPREAD * middle:
        return 0.0
    rate_hz = 1.0 / middle
    return float(round(rate_hz)) if abs(rate_hz - round(rate_hz)) < ROUND_HZ * rate_hz else rate_hz
