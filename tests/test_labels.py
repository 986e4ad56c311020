"""Labels of a picture lie over nothing and within the axes; the frontier's picture has every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from benchmarks.frontier import STUDENT, frontier_figure
from benchmarks.labels import Point, marker_box, write_labels


def require_readable(axes: Axes, points: Sequence[Point], texts: Sequence[Annotation]) -> None:
    """No label over another, over a point's middle or outside the axes."""
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in texts]
    room = axes.get_window_extent(renderer)
    for i, box in enumerate(boxes):
        assert room.x0 <= box.x0
        assert box.x1 <= room.x1
        assert room.y0 <= box.y0
        assert box.y1 <= room.y1
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.overlaps(marker_box(axes, point, 3.0)) for point in points)


@settings(max_examples=15, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.sampled_from([32.5, 52.5, 112.5, 512.5]), st.integers(0, 20)), min_size=8, max_size=14, unique=True
    )
)
def test_labels_lie_over_nothing(places: list[tuple[float, int]]) -> None:
    points = [Point(x, 0.6 + y / 400, f"{i}+100@2", "k") for i, (x, y) in enumerate(places)]
    figure = Figure(figsize=(6, 6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.scatter([p.x for p in points], [p.y for p in points])
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_ylim(0.58, 0.72)  # neighbours a label's height apart
    figure.draw_without_rendering()
    texts = write_labels(axes, points)
    assert sorted(text.get_text() for text in texts) == sorted(p.label for p in points)
    require_readable(axes, points, texts)


def row(block_ms: float, delay_ms: float, accuracy: float | None, ms_per_s: float, **others: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"model": "base", "layer": 3, "mode": "cached", "student": None, "history_s": 10.0}
    usual |= {"threads": 1, "dtype": "float32", "device": "cpu", "offline_phone_accuracy": 0.716}
    figures = {"phone_accuracy": accuracy, "ms_per_s": ms_per_s, "lag_ms": block_ms + delay_ms + 12.5}
    return {**usual, "block_ms": block_ms, "delay_ms": delay_ms, **figures, **others}


def test_a_student_has_a_marker_of_its_own_and_nothing_is_hidden() -> None:
    rows = [
        row(100, 0, 0.640, 60),
        row(40, 60, 0.686, 155),
        row(100, 0, 0.662, 841, mode="window"),
        row(40, 60, 0.650, 100, history_s=2.0),
        row(40, 60, 0.706, 155, student="1f"),
        row(100, 0, 0.675, 60, student="1f"),
        row(20, 0, None, 7, random_weights=True),
    ]
    figure = frontier_figure(rows)
    for axes, name in zip(figure.axes, ("lag_ms", "ms_per_s"), strict=True):
        drawn = {c.get_label(): c for c in axes.collections if isinstance(c, PathCollection)}
        found = sorted(tuple(xy) for c in drawn.values() for xy in c.get_offsets().tolist())  # type: ignore[union-attr]
        assert found == sorted((r[name], r["phone_accuracy"]) for r in rows[:-1])
        assert len(drawn[STUDENT].get_offsets()) == 2  # type: ignore[arg-type]
        texts = [t for t in axes.texts if isinstance(t, Annotation) and t.get_text()]
        assert len(texts) == 6
        require_readable(axes, [Point(r[name], r["phone_accuracy"], "", "") for r in rows[:-1]], texts)
