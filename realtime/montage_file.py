"""Montages in files: `montage.csv`, or the tables of BIDS, electrodes.tsv with channels.tsv beside it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from realtime.errors import UserError, nearest
from realtime.montage import KINDS, Electrode, Kind, Montage, Position, duplicates, joined, region_in

COLUMNS = ("channel", "electrode", "group", "kind", "bad", "x", "y", "z", "system", "region")
YES, NO = ("1", "yes", "true", "bad"), ("0", "no", "false", "good", "")
NOTHING = ("", "n/a", "nan")
ELECTRODE_TYPES = ("ECOG", "SEEG", "DBS", "EEG")  # of BIDS channels.tsv
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
Row = Mapping[str, str]


def load_montage(path: Path | str) -> Montage:
    """Read a montage. Raises UserError where the file is missing, or a line cannot be what it should."""
    path = Path(path)
    montage = _from_bids(path) if path.suffix == ".tsv" else _from_csv(path)
    twice = list(duplicates(montage))
    if twice:
        raise UserError(f"montage {path}: {joined(twice)}")
    if not montage.electrodes:
        raise UserError(f"montage {path} has no electrode: add a line for each, as corticast montage does")
    return montage


def save_montage(montage: Montage, path: Path) -> None:
    """Write montage.csv, whole or not at all. Raises UserError where it exists."""
    if path.exists():
        raise UserError(f"{str(path)!r} exists already and is not written over: choose another name")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in montage.electrodes:
        where = one.position or ("", "", "")
        system = montage.system if one.position else ""
        writer.writerow([one.channel, one.name, one.group, one.kind, int(one.bad), *where, system, one.region])
    aside = path.with_name(f".{path.name}")
    aside.write_text(text.getvalue(), encoding="utf-8")
    aside.replace(path)


def _from_csv(path: Path) -> Montage:
    rows = _table(path, ",", ("channel",), COLUMNS)
    origin = f"montage {path}"
    electrodes = tuple(_electrode(row, f"{origin}, line {line}") for line, row in enumerate(rows, start=2))
    systems = {row["system"] for row in rows if row.get("system", "") not in NOTHING}
    if len(systems) > 1:
        raise UserError(f"{origin} mixes coordinate systems ({', '.join(sorted(systems))}): give all in one")
    return Montage(electrodes, systems.pop() if systems else "", origin)


def _electrode(row: Row, where: str) -> Electrode:
    name = row.get("electrode", "") or row["channel"]
    if row["channel"] in NOTHING:
        raise UserError(f"{where}: no channel; give the label that the stream has")
    return Electrode(
        row["channel"],
        name,
        row.get("group", ""),
        _kind(row.get("kind", ""), where),
        _flag(row.get("bad", ""), where),
        _place(row, where),
        "" if row.get("region", "") in NOTHING else row.get("region", ""),
    )


def _kind(text: str, where: str) -> Kind:
    found = "" if text.lower() in NOTHING else text.lower()
    if found not in KINDS:
        raise UserError(f"{where}: found kind {text!r}, expected grid, strip, depth or nothing")
    return found  # type: ignore[return-value]


def _flag(text: str, where: str) -> bool:
    if text.lower() in YES:
        return True
    if text.lower() in NO:
        return False
    raise UserError(f"{where}: found bad {text!r}, expected 1 or 0")


def _place(row: Row, where: str, scale: float = 1.0) -> Position | None:
    texts = [row.get(axis, "") for axis in "xyz"]
    if all(text.lower() in NOTHING for text in texts):
        return None
    try:
        x, y, z = (scale * float(text) for text in texts)
    except ValueError:
        raise UserError(f"{where}: found coordinates {', '.join(texts)!r}, expected three numbers or none") from None
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise UserError(f"{where}: found coordinates {', '.join(texts)!r}, expected finite numbers")
    return x, y, z


def _from_bids(path: Path) -> Montage:
    """electrodes.tsv: name, x, y, z and perhaps type, group, region. channels.tsv: name, type, status, group.

    A channel's name is its electrode's (BIDS iEEG); only channels of electrodes are taken.
    """
    origin = f"montage {path}"
    where = {row["name"]: row for row in _table(path, "\t", ("name",))}
    channels = _table(_beside(path, "channels.tsv"), "\t", ("name",))
    channels = [row for row in channels if row.get("type", "ECOG").upper() in ELECTRODE_TYPES]
    unknown = [row["name"] for row in channels if row["name"] not in where]
    if unknown:
        raise UserError(
            f"{origin}: channel {unknown[0]!r} of channels.tsv is an unknown electrode"
            f"{nearest(unknown[0], where)}: add it, or give its channel another type"
        )
    system, scale = _system(path)
    electrodes = []
    for row in channels:
        place = where[row["name"]]
        group = next((t.get("group", "") for t in (row, place) if t.get("group", "") not in NOTHING), "")
        kind = place.get("type", "").lower()
        electrodes.append(
            Electrode(
                row["name"],
                row["name"],
                group,
                kind if kind in KINDS else "",  # type: ignore[arg-type]
                row.get("status", "good").lower() == "bad",
                _place(place, f"{origin}, electrode {row['name']!r}", scale),
                region_in(place),
            )
        )
    return Montage(tuple(electrodes), system, origin)


def _system(path: Path) -> tuple[str, float]:
    """Name of the coordinates and millimetres in their unit, from coordsystem.json where one belongs to the table."""
    found = _coordsystem(path)
    if found is None:
        return "", 1.0
    try:
        content = json.loads(found.read_text(encoding="utf-8"))
        unit = str(content.get("iEEGCoordinateUnits", "mm"))
        return str(content.get("iEEGCoordinateSystem", "")), UNITS_MM.get(unit, 1.0)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{found} cannot be read ({error}): correct or remove it") from None


def _coordsystem(path: Path) -> Path | None:
    """The coordsystem.json of an electrodes.tsv: of its very name, else of its space, else the only one there is."""
    every = sorted(path.parent.glob("*coordsystem.json"))
    name = path.name.replace("electrodes.tsv", "coordsystem.json")
    space = _space(path)
    for belongs in (
        [file for file in every if file.name == name],
        [file for file in every if _space(file) == space],
        [file for file in every if not (space and _space(file))],
    ):
        if len(belongs) == 1:
            return belongs[0]
    return None


def _space(path: Path) -> str:
    """That a BIDS name tells: sub-01_space-MNI152Lin_electrodes.tsv."""
    found = re.search(r"(?:^|_)space-([A-Za-z0-9]+)_", path.name)
    return found[1] if found else ""


def _beside(path: Path, ending: str) -> Path:
    found = sorted(path.parent.glob(f"*{ending}"))
    if len(found) != 1:
        raise UserError(
            f"montage {path}: found {len(found)} files *{ending} beside it, expected one: it tells which channel "
            "is which electrode"
        )
    return found[0]


def _table(path: Path, delimiter: str, needed: Sequence[str], known: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a table with a header. known: the columns that there can be; empty: any."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"montage {path} cannot be read ({reason}): give a montage.csv or electrodes.tsv") from None
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    header = [str(name).strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    for name in header if known else ():
        if name not in known:
            raise UserError(f"montage {path}: unknown column {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    for name in needed:
        if name not in header:
            raise UserError(f"montage {path}: found columns {', '.join(header)}, expected {name!r} among them")
    rows = []
    for line, row in enumerate(reader, start=2):
        if None in row or None in row.values():
            raise UserError(f"montage {path}, line {line}: not as many values as the header has columns")
        rows.append({key: value.strip() for key, value in row.items()})
    return rows
