"""Phone times from files: what is written is read, what is wrong is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.analysis.phone_times import cleaned, read_phone_times
from realtime.errors import UserError

PHONES = [("SIL", 0.0, 0.5), ("K", 0.5, 0.6), ("AE", 0.6, 0.8), ("T", 0.8, 0.9), ("SIL", 0.9, 1.2)]
WORDS = [("cat", 0.5, 0.9)]


def long_textgrid(phones_name: str = "phones") -> str:
    tiers = []
    for number, (name, entries) in enumerate((("words", WORDS), (phones_name, PHONES)), start=1):
        lines = [f'    item [{number}]:\n        class = "IntervalTier" \n        name = "{name}" ']
        lines.append(f"        xmin = 0 \n        xmax = 1.2 \n        intervals: size = {len(entries)} ")
        for i, (label, a, b) in enumerate(entries, start=1):
            label = "" if label == "SIL" else label
            lines.append(f'        intervals [{i}]:\n xmin = {a} \n xmax = {b} \n            text = "{label}" ')
        tiers.append("\n".join(lines))
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 1.2 \ntiers? <exists> \n'
    return head + "size = 2 \nitem []: \n" + "\n".join(tiers) + "\n"


def short_textgrid() -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "1.2", "<exists>", "3"]
    lines += ['"TextTier"', '"clicks"', "0", "1.2", "1", "0.25", '"a ""quoted"" click"']
    for name, entries in (("anna - words", WORDS), ("anna - phones", PHONES)):
        lines += ['"IntervalTier"', f'"{name}"', "0", "1.2", str(len(entries))]
        for label, a, b in entries:
            lines += [str(a), str(b), f'"{label}"']
    return "\n".join(lines)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("text", [long_textgrid(), long_textgrid("MAU"), short_textgrid()])
def test_textgrids(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(text.encode(encoding))
    times = read_phone_times(path)
    assert times.phones == PHONES
    assert times.words == WORDS


def test_csv_with_kinds_and_durations(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"phone,{a},{b},{label.lower()}" for label, a, b in PHONES] + [f"word,{a},{b},{w}" for w, a, b in WORDS]
    path.write_text("kind,start_s,stop_s,label\n" + "\n".join(rows))
    times = read_phone_times(path)
    assert (times.phones, times.words) == (PHONES, WORDS)
    tsv = tmp_path / "a.tsv"
    tsv.write_text("onset\tduration\ttrial_type\n0.5\t0.25\tK\n0.75\t0.25\tAE1\n")
    assert read_phone_times(tsv).phones == [("K", 0.5, 0.75), ("AE", 0.75, 1.0)]


def test_ctm(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text(";; made by hand\nutt 1 0.50 0.25 K_B\nutt 1 0.75 0.25 AE1_I 0.9\n")
    assert read_phone_times(path).phones == [("K", 0.5, 0.75), ("AE", 0.75, 1.0)]


def test_closures_join_their_releases() -> None:
    raw = [("h#", 0.0, 0.1), ("tcl", 0.1, 0.15), ("t", 0.15, 0.2), ("kcl", 0.2, 0.25), ("ih", 0.25, 0.4)]
    times = cleaned(raw, [], "x")
    assert times.phones == [("SIL", 0.0, 0.1), ("T", 0.1, 0.2), ("K", 0.2, 0.25), ("IH", 0.25, 0.4)]


@given(st.lists(st.tuples(st.sampled_from(["AA", "S", "SIL"]), st.floats(0, 100), st.floats(0, 5)), min_size=1))
def test_cleaning_keeps_every_interval(raw: list[tuple[str, float, float]]) -> None:
    phones = [(label, a, a + length) for label, a, length in raw]
    assert sorted(cleaned(phones, [], "x").phones) == sorted(phones)


def test_unknown_labels_are_told_not_dropped() -> None:
    times = cleaned([("AA", 0, 1), ("S", 1, 2), ("??", 2, 3)], [], "x")
    assert times.unknown == {"??": 1}
    assert times.phones[-1] == ("SIL", 2, 3)
    with pytest.raises(UserError, match="most labels are unknown"):
        cleaned([("a", 0, 1), ("e", 1, 2), ("AA", 2, 3)], [], "x")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "expected .TextGrid"),
        ("a.csv", "", "found columns none"),
        ("a.csv", "start,end,label\n0,x,AA\n", "line 2"),
        ("a.csv", "start,label\n0,AA\n", "duration"),
        ("a.csv", "start,end,label\n1,0.5,AA\n", "start <= end"),
        ("a.csv", "start,end,label\n", "no phone"),
        (
            "a.csv",
            "start,end,label\n0,1,AA\n\n1,2\n",
            "line 4 has 2 of the 3 values of the header: .'1', '2'.; correct",
        ),
        ("a.csv", "start,end,label,kind\n0,1,AA\n", "line 2 has 3 of the 4 values"),
        ("a.csv", "start,end,label\n0\n", "line 2 has 1 of the 3 values"),
        ("a.csv", "label,start,duration\nAA,0\n", "line 2 has 2 of the 3 values"),
        ("a.csv", f"start,end,label\n0,1,{'A' * 200_000}\n", "field larger"),
        ("a.csv", b"start,end,label\n0,1,\xe9\n", "no UTF-8 text"),
        ("a.ctm", "utt 1 0 1 AA\nutt 1 1.0 0.5\n", "line 2 is no CTM line"),
        ("a.ctm", "utt 1 zero\n", "line 1"),
        ("a.TextGrid", "hello", "ooTextFile"),
        ("a.TextGrid", long_textgrid("other"), "a tier called phones"),
        ("a.TextGrid", long_textgrid()[:300], "cut short"),
        ("a.TextGrid", long_textgrid()[:-60], "cut short"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path: Path, name: str, text: str | bytes | None, message: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as told:
        read_phone_times(path)
    assert "\n" not in str(told.value)
