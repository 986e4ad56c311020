"""The page of a report: one file, nothing fetched, nothing a name could break."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from realtime.commands.report import Report, new_figure, shown, write_csv


class Reader(HTMLParser):
    """Collects tags in order, their attributes and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(simulated: bool = False) -> str:
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1], [1, 0])
    report = Report("Fit of <P1>", {"minutes": 9.87654, "seed": 0, "file": None}, simulated)
    report.add_heading("Electrodes")
    report.add_text("5 < 6 & so on")
    report.add_figure(figure, "a line")
    report.add_table([{"name": "<b>G1</b>", "r": 0.12345}, {"name": "G2", "r": np.nan}], "all of them")
    report.add_table([], "none", folded=True)
    return report.html()


def test_the_page_fetches_nothing_and_holds_what_was_added_in_order() -> None:
    reader = Reader()
    reader.feed(page())
    assert reader.links
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert "url(" not in page()
    assert not {"script", "link", "iframe"} & set(reader.tags)
    order = [reader.text.index(part) for part in ("9.877", "Electrodes", "5 < 6 & so on", "a line", "all of them")]
    assert order == sorted(order)
    assert reader.tags.count("tr") == 4, "a head for each table and a row for each mapping"


def test_names_are_text_and_not_tags() -> None:
    reader = Reader()
    reader.feed(page())
    assert "b" not in reader.tags
    assert "<b>G1</b>" in reader.text
    assert "Fit of <P1>" in reader.text


def test_what_is_simulated_is_called_so() -> None:
    assert "SIMULATED" in page(simulated=True)
    assert "SIMULATED" not in page()


def test_writing_leaves_one_whole_file(tmp_path: Path) -> None:
    Report("A", {}).write(tmp_path / "deep" / "report.html")
    Report("B", {}).write(tmp_path / "deep" / "report.html")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.html"]
    assert re.search("<h1>B</h1>", (tmp_path / "deep" / "report.html").read_text())


def test_csv_comes_back(tmp_path: Path) -> None:
    rows = [{"name": "a,b", "r": 1 / 3, "lag_ms": None}, {"name": 'c"', "r": float("nan"), "lag_ms": 20.0}]
    write_csv(tmp_path / "rows.csv", rows)
    with (tmp_path / "rows.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["name"] for row in found] == ["a,b", 'c"']
    assert float(found[0]["r"]) == 1 / 3
    assert (found[0]["lag_ms"], found[1]["r"]) == ("", "")


def test_values_are_shown_for_people() -> None:
    values = (0.12345, 1234.56, None, np.nan, True, [0.5, "x"])
    assert [shown(v) for v in values] == ["0.123", "1234.6", "-", "-", "yes", "0.500, x"]
