"""Labels of a picture's points, each beside its own, over no other label or point and within the axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

MARKER_PT = 5.0  # half of the room that a point takes
BESIDE_PT, LINE_PT = 7.0, 5.0  # from a point to its label, from one height that is tried to the next
COLUMN_PT, COLUMNS, HEIGHTS = 45.0, 2, 12
LEADER_PT = 8.0  # a label that lies farther away is joined to its point


class Point(NamedTuple):
    x: float
    y: float
    label: str
    colour: str


def write_labels(axes: Axes, points: Sequence[Point]) -> list[Annotation]:
    """Each label where there is room, the nearest place first; right of its point where there is none. The figure has
    been laid out before."""
    figure: Any = axes.figure
    renderer = figure.canvas.get_renderer()
    pixels = figure.dpi / 72.0
    taken = [marker_box(axes, point, MARKER_PT * pixels) for point in points]
    room = axes.get_window_extent(renderer).padded(-2 * pixels)
    written = []
    for point in sorted(points, key=lambda point: -point.y):
        text = axes.annotate(
            point.label,
            (point.x, point.y),
            (0, 0),
            textcoords="offset points",
            fontsize=8,
            va="center",
            color=point.colour,
        )
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        places = list(_places())
        for place in places:
            _put(text, place)
            box = text.get_window_extent(renderer)
            if _within(box, room) and not any(box.overlaps(other) for other in taken):
                break
        else:
            place = places[0]
            _put(text, place)
        if abs(place[1]) > LEADER_PT or abs(place[0]) > 2 * BESIDE_PT:
            _join(axes, point, place)
        taken.append(text.get_window_extent(renderer))
        written.append(text)
    return written


def marker_box(axes: Axes, point: Point, half: float) -> Bbox:
    """The room of a point's marker, in pixels."""
    x, y = axes.transData.transform((point.x, point.y))
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _places() -> Iterator[tuple[float, float]]:
    """Offsets in points, the nearest first: right and left of the point, in columns, at rising distance up and down."""
    tried = [
        (side * (BESIDE_PT + column * COLUMN_PT), sign * height * LINE_PT)
        for column in range(COLUMNS)
        for height in range(HEIGHTS)
        for sign in (-1, 1)
        for side in (1, -1)
    ]
    yield from sorted(tried, key=lambda place: abs(place[0]) + 1.5 * abs(place[1] + LINE_PT))  # lines run level


def _put(text: Annotation, place: tuple[float, float]) -> None:
    text.set_position(place)
    text.set_horizontalalignment("left" if place[0] > 0 else "right")


def _join(axes: Axes, point: Point, place: tuple[float, float]) -> None:
    how = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (point.x, point.y), xytext=place, textcoords="offset points", arrowprops=how, zorder=2)


def _within(box: Bbox, room: Bbox) -> bool:
    return bool(box.x0 >= room.x0 and box.x1 <= room.x1 and box.y0 >= room.y0 and box.y1 <= room.y1)
