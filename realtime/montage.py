"""`Montage`: which stream channel is which electrode, in which group, where; and what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from realtime.block import Spec
from realtime.errors import UserError, nearest

Kind = Literal["grid", "strip", "depth", ""]
KINDS: tuple[str, ...] = get_args(Kind)
MOVED_MM = 0.5  # positions that differ by less are one position, rounded
SHOWN = 4  # differences of one message
REGION_COLUMNS = ("region", "anat", "label")  # of electrodes.tsv: BIDS fixes none
NO_REGION = ("", "n/a", "nan", "none", "unknown", "?")

Position = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Electrode:
    """channel: label in the stream. group: of grid, strip or shaft. position: x, y, z of the montage's system, mm."""

    channel: str
    name: str
    group: str = ""
    kind: Kind = ""
    bad: bool = False
    position: Position | None = None
    region: str = ""


@dataclass(frozen=True, slots=True)
class Montage:
    """Electrodes in the order of the file. system: of all positions, such as MNI152. origin: the file, for messages."""

    electrodes: tuple[Electrode, ...]
    system: str = ""
    origin: str = "the montage"

    @property
    def by_channel(self) -> dict[str, Electrode]:
        return {one.channel: one for one in self.electrodes}

    def facts(self) -> dict[str, Any]:
        """As JSON; `from_facts` reads it."""
        return asdict(self)

    def require_stream(self, spec: Spec, exclude: Sequence[str] = ()) -> None:
        """Raise UserError, with every difference, unless each channel of the stream is one electrode or excluded."""
        found = list(stream_differences(self, spec, exclude))
        if found:
            raise UserError(f"{self.origin} does not fit stream {spec.name!r}: {joined(found)}")


def from_facts(facts: Mapping[str, Any]) -> Montage | None:
    """The montage that `facts` gave; None where there was none."""
    if not facts:
        return None
    known = {field.name for field in fields(Electrode)}
    electrodes = tuple(
        Electrode(**{**{k: v for k, v in one.items() if k in known}, "position": _position(one.get("position"))})
        for one in facts["electrodes"]
    )
    return Montage(electrodes, str(facts.get("system", "")), str(facts.get("origin", "the montage")))


def _position(value: Sequence[float] | None) -> Position | None:
    return None if value is None else (float(value[0]), float(value[1]), float(value[2]))


def region_in(row: Mapping[str, str | None]) -> str:
    """The region that a row of electrodes.tsv names; empty where it names none."""
    texts = ((row.get(column) or "").strip() for column in REGION_COLUMNS)
    return next((text for text in texts if text.lower() not in NO_REGION), "")


def joined(differences: Sequence[str]) -> str:
    """Several differences in one line."""
    more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    return "; ".join(differences[:SHOWN]) + more


def duplicates(montage: Montage) -> Iterator[str]:
    """A message for each channel and each electrode that is there more than once."""
    for what, names in (
        ("channel", [one.channel for one in montage.electrodes]),
        ("electrode", [one.name for one in montage.electrodes]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{what} {name!r} stands in {count} lines, expected one: remove or rename the others"


def stream_differences(montage: Montage, spec: Spec, exclude: Sequence[str] = ()) -> Iterator[str]:
    """A message for each way in which the montage does not fit the stream."""
    yield from duplicates(montage)
    named = montage.by_channel
    for channel in named:
        if channel not in spec.channels:
            guess = nearest(channel, spec.channels)
            yield f"channel {channel!r} is unknown to the stream{guess or ', correct the line'}"
        elif channel in exclude:
            yield f"channel {channel!r} is an electrode in the montage and excluded in [ecog] exclude: take out one"
    lacking = [label for label in spec.channels if label not in named and label not in exclude]
    if lacking:
        yield (
            f"{len(montage.electrodes)} electrodes, but {len(spec.channels) - len(set(exclude))} channels that are not "
            f"excluded: no line for {_some(lacking)}; add lines, or list them in [ecog] exclude"
        )
    for one in montage.electrodes:
        other = named.get(one.name)
        if other is not None and one.name != one.channel and other.name == one.channel and one.channel < one.name:
            yield (
                f"electrodes {one.channel!r} and {one.name!r} are swapped: the stream's labels are these names the "
                "other way round; correct the lines, or the labels in the amplifier's program"
            )


def model_differences(fitted: Montage, found: Montage) -> Iterator[str]:
    """A message for each way in which a montage is not the one that a model was fitted with."""
    before, now = ({one.name: one for one in montage.electrodes} for montage in (fitted, found))
    if len(before) != len(now):
        yield f"{len(before)} electrodes in the model, {len(now)} in {found.origin}"
    for names, here, there in ((before, "the model", found.origin), (now, found.origin, "the model")):
        only = [name for name in names if name not in (now if names is before else before)]
        if only:
            yield f"electrode {_some(only)} is in {here}, but unknown to {there}"
    both = [(before[name], now[name]) for name in before if name in now]
    for what in ("channel", "group", "bad"):
        differ = [(a, b) for a, b in both if getattr(a, what) != getattr(b, what)]
        if differ:
            a, b = differ[0]
            yield (
                f"electrode {a.name!r} has {what} {_said(getattr(a, what))} in the model and "
                f"{_said(getattr(b, what))} in {found.origin}{_swapped(differ) if what == 'channel' else ''}"
                f"{_more(differ)}"
            )
    if fitted.system != found.system:
        there, here = fitted.system or "unnamed", found.system or "unnamed"
        yield f"coordinates are {there} in the model, {here} in {found.origin}"
    moved = [(a, b) for a, b in both if _apart_mm(a.position, b.position) > MOVED_MM]
    if moved:
        a, b = moved[0]
        yield (
            f"electrode {a.name!r} has other coordinates: {_words(a.position)} in the model, "
            f"{_words(b.position)} in {found.origin}{_more(moved)}"
        )


def _apart_mm(a: Position | None, b: Position | None) -> float:
    if a is None or b is None:
        return 0.0 if a is b else np.inf
    return float(np.linalg.norm(np.subtract(a, b)))


def _words(position: Position | None) -> str:
    return "none" if position is None else f"({', '.join(f'{value:g}' for value in position)})"


def _swapped(pairs: Sequence[tuple[Electrode, Electrode]]) -> str:
    """Of two electrodes that have changed channels, if there are such."""
    for a, b in pairs:
        for c, d in pairs:
            if a is not c and a.channel == d.channel and b.channel == c.channel:
                return f": {a.name!r} and {c.name!r} are swapped"
    return ""


def _said(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else repr(value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )


def _more(found: Sequence[object]) -> str:
    return f", and {len(found) - 1} more" if len(found) > 1 else ""
