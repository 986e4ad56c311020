"""Where electrodes lie, as an LSL stream's description says.

As the EEG meta-data of XDF have it (github.com/sccn/xdf/wiki/EEG-Meta-Data): channels / channel / location with X to
the right, Y to the front and Z to the top, in millimetres; a `unit` beside them may say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

MM = {"": 1.0, "mm": 1.0, "millimeters": 1.0, "millimetres": 1.0, "cm": 10.0, "m": 1000.0, "meters": 1000.0}

Position = tuple[float, float, float]


def locations(description: Any, labels: Sequence[str]) -> tuple[dict[str, Position], list[str]]:
    """Millimetres by label, of the channels that have a location, and what is wrong with them, a line each.

    description: pylsl's `desc()`; labels: of the channels, in their order.
    """
    found: dict[str, Position] = {}
    wrong: list[str] = []
    channel = description.child("channels").child("channel")
    for label in labels:
        place = channel.child("location")
        texts = [place.child_value(axis).strip() for axis in "XYZ"]
        unit = place.child_value("unit").strip()
        channel = channel.next_sibling("channel")
        if not any(texts):
            continue
        position = _millimetres(texts, MM.get(unit.lower(), math.nan))
        if position is None:
            wrong.append(f"{label!r} at {', '.join(texts)} {unit or 'mm'}")
        else:
            found[label] = position
    if len(found) > 1 and len(set(found.values())) == 1:
        return {}, [f"all {len(found)} channels at one place"]
    return found, wrong


def _millimetres(texts: Sequence[str], scale: float) -> Position | None:
    try:
        x, y, z = (scale * float(text) for text in texts)
    except ValueError:
        return None
    return (x, y, z) if all(map(math.isfinite, (x, y, z))) else None
