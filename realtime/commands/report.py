"""A page of figures and tables in one HTML file that opens without a network; tables as CSV too."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from encoders.archive import atomic

DPI = 110
TEMPLATE = "report.html.j2"
Row = Mapping[str, Any]


def new_figure(width: float = 10.0, height: float = 4.0) -> Figure:
    """An empty figure of that size in inches, drawn without a screen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


class Report:
    """Sections of text, figures and tables under a title, in the order in which they are added.

    facts: shown at the top, name and value. simulated: says so, where nobody can overlook it.
    """

    def __init__(self, title: str, facts: Mapping[str, Any], simulated: bool = False) -> None:
        self.title, self.facts, self.simulated = title, dict(facts), simulated
        self._parts: list[dict[str, Any]] = []

    def add_heading(self, text: str) -> None:
        self._parts.append({"kind": "heading", "text": text})

    def add_text(self, text: str) -> None:
        """A paragraph of plain text."""
        self._parts.append({"kind": "text", "text": text})

    def add_figure(self, figure: Figure, caption: str) -> None:
        """The figure as a picture within the page."""
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
        encoded = base64.b64encode(content.getvalue()).decode("ascii")
        self._parts.append({"kind": "figure", "png": encoded, "text": caption})

    def add_table(self, rows: Sequence[Row], caption: str, folded: bool = False) -> None:
        """One row for each mapping, the first one's keys as the head. folded: shown when it is clicked."""
        head = list(rows[0]) if rows else []
        cells = [[shown(row.get(key)) for key in head] for row in rows]
        self._parts.append({"kind": "table", "head": head, "rows": cells, "text": caption, "folded": folded})

    def html(self) -> str:
        """The whole page."""
        loader = jinja2.PackageLoader("realtime.commands", ".")
        template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(TEMPLATE)
        facts = {name: shown(value) for name, value in self.facts.items()}
        made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return template.render(title=self.title, facts=facts, simulated=self.simulated, parts=self._parts, made=made)

    def write(self, path: Path) -> None:
        """Write the page aside and rename it, so that no half-written one carries the name."""
        content = self.html()
        with atomic(path) as part:
            part.write_text(content, encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """The rows as CSV, numbers in full; what is missing stays empty. Whole or not at all."""
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({key: "" if _missing(value) else value for key, value in row.items()} for row in rows)


def shown(value: Any) -> str:
    """A value for people: three decimals, a dash where it is missing."""
    if _missing(value):
        return "-"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.3f}" if -100 < float(value) < 100 else f"{value:.1f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return str(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and not np.isfinite(value))
