"""Phone and word times from a file: Praat TextGrid, CSV or CTM."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from encoders.analysis.phone_classes import NOT_SPEECH, TIMIT, arpabet
from encoders.phones import SILENCE, Timed
from realtime.errors import UserError

STARTS, ENDS, LENGTHS = (
    ("start_s", "start", "onset", "begin"),
    ("end_s", "stop_s", "end", "stop", "offset"),
    ("duration_s", "duration"),
)
LABELS = ("label", "phone", "phoneme", "text", "word", "trial_type")
FORMATS = (".textgrid", ".csv", ".tsv", ".ctm")


@dataclass(frozen=True, slots=True)
class PhoneTimes:
    """Seconds from the sound's start. phones: ARPAbet, `SIL` for pauses, in order. words: pauses left out.

    unknown: labels that are no phones, with their counts; they count as pauses. missing_words: of a transcript that
    was aligned, words that the dictionary does not hold. outside_words: those that begin where there is no sound.
    """

    phones: list[Timed]
    words: list[Timed]
    unknown: dict[str, int]
    missing_words: list[str]
    outside_words: list[str] = field(default_factory=list)


def read_phone_times(path: Path) -> PhoneTimes:
    """Read and check a file. Raises UserError where it cannot be read or holds no phone."""
    phones, words = _read(path)
    if not phones:
        raise UserError(
            f"phone times {str(path)!r}: found no phone, expected intervals labelled with phones, in a TextGrid "
            "those of a tier called phones"
        )
    return cleaned(phones, words, str(path))


def read_events(path: Path, kind: str | None = None) -> tuple[str, list[Timed]]:
    """`word` or `phone`, and their times in order, pauses left out; kind None: words where there are any.

    A table or CTM that does not say what its labels are holds words, unless most of them are phones. Raises UserError
    where the file cannot be read, or holds none.
    """
    phones, words = _read(path)
    if phones and not words and sum(arpabet(label) is None for label, _, _ in phones) * 2 > len(phones):
        phones, words = [], phones
    kind = kind or ("word" if words else "phone")
    if not (words if kind == "word" else phones):
        raise UserError(f"events {str(path)!r}: found no {kind}, expected intervals labelled with {kind}s")
    times = cleaned(phones, words, str(path))
    spoken = [one for one in times.phones if one[0] != SILENCE]
    named = [one for one in times.words if one[0].strip().lower() not in NOT_SPEECH]
    return kind, named if kind == "word" else spoken


def _read(path: Path) -> tuple[list[Timed], list[Timed]]:
    """Phones and words as the file has them."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise UserError(f"phone times {str(path)!r}: found {path.suffix!r}, expected .TextGrid, .csv, .tsv or .ctm")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"phone times {str(path)!r} cannot be read ({error.strerror}): give an existing file") from None
    try:
        return {".textgrid": _textgrid, ".ctm": _ctm}.get(kind, _table)(_decoded(content))
    except UnicodeDecodeError as error:
        raise UserError(f"phone times {str(path)!r}: found no UTF-8 text ({error.reason}); save it as UTF-8") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"phone times {str(path)!r}: {error}; correct the file") from None


def cleaned(phones: list[Timed], words: list[Timed], origin: str) -> PhoneTimes:
    """Labels as ARPAbet, in order of time, closures joined to their releases. UserError where most are unknown."""
    for label, start_s, end_s in (*phones, *words):
        if not 0 <= start_s <= end_s:
            raise UserError(f"{origin}: {label!r} lasts from {start_s:g} to {end_s:g} s, expected 0 <= start <= end")
    found: list[tuple[str, float, float, str]] = []
    unknown = Counter[str]()
    for raw, start_s, end_s in sorted(phones, key=lambda phone: phone[1:]):
        known = arpabet(raw)
        if known is None:
            unknown[raw] += 1
        label = known or SILENCE
        closed = found and raw.strip().lower() not in TIMIT and found[-1][3].endswith("cl")
        if closed and label == found[-1][0] and abs(found[-1][2] - start_s) < 1e-3:
            found[-1] = (found[-1][0], found[-1][1], end_s, "")
        else:
            found.append((label, start_s, end_s, raw.strip().lower()))
    if unknown.total() * 2 > len(phones):
        some = ", ".join(label for label, _ in unknown.most_common(5))
        raise UserError(f"{origin}: most labels are unknown ({some}), expected ARPAbet or TIMIT phones; convert them")
    spoken = [word for word in sorted(words, key=lambda word: word[1:]) if word[0].strip()]
    return PhoneTimes([phone[:3] for phone in found], spoken, dict(unknown), [])


def _decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # Praat writes UTF-16 where a label needs it
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _table(text: str) -> tuple[list[Timed], list[Timed]]:
    """Columns start, end or duration, label; with a column `kind` (phone, word) both may stand in one file."""
    first = text.splitlines()[0] if text.strip() else ""
    rows = csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in first else ",")
    names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
    start, label = _column(names, STARTS), _column(names, LABELS)
    end = next((names[name] for name in ENDS if name in names), None)
    length = None if end else _column(names, (*LENGTHS, *ENDS))
    kind = names.get("kind") or names.get("tier")
    phones: list[Timed] = []
    words: list[Timed] = []
    needed = [column for column in (start, end, length, label, kind) if column]
    for row in rows:
        values = [value for value in row.values() if value is not None]
        if any(row[column] is None for column in needed):
            raise ValueError(
                f"line {rows.line_num} has {len(values)} of the {len(names)} values of the header: {values}"
            )
        try:
            begin = float(row[start])
            stop = float(row[end]) if end else begin + float(row[length or ""])
        except ValueError:
            raise ValueError(f"line {rows.line_num} holds no two times: {values}") from None
        into = words if kind and row[kind].strip().lower().startswith("word") else phones
        into.append((row[label].strip(), begin, stop))
    return phones, words


def _column(names: dict[str, str], wanted: tuple[str, ...]) -> str:
    for name in wanted:
        if name in names:
            return names[name]
    raise ValueError(f"found columns {', '.join(names) or 'none'}, expected one of {', '.join(wanted)}")


def _ctm(text: str) -> tuple[list[Timed], list[Timed]]:
    """Lines of file, channel, start, duration, label; `;;` begins a comment."""
    phones = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        try:
            start, length, label = float(fields[2]), float(fields[3]), fields[4]
        except (ValueError, IndexError):
            raise ValueError(f"line {number} is no CTM line (file channel start duration label): {line!r}") from None
        phones.append((label, start, start + length))
    return phones, []


def _textgrid(text: str) -> tuple[list[Timed], list[Timed]]:
    """Praat's long and short text formats: both are the same values in the same order, strings in quotes."""
    body = re.sub(r"^\s*!.*$", "", text, flags=re.MULTILINE)
    pattern = r'"((?:[^"]|"")*)"|(?<![\w\[])([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w\]])|(<exists>)'
    values = [m[1].replace('""', '"') if m[1] is not None else (m[2] or m[3]) for m in re.finditer(pattern, body)]
    if values[:2] != ["ooTextFile", "TextGrid"]:
        raise ValueError("found no TextGrid, expected a file that begins with ooTextFile")
    try:
        tiers = _tiers(values)
    except (ValueError, IndexError):
        raise ValueError("the TextGrid is cut short, or no number stands where one should") from None
    phones = _tier(tiers, ("phones", "phone", "phonemes", "phoneme", "segments", "mau"))
    words = _tier(tiers, ("words", "word", "ort-mau"))
    if phones is None and words is None:
        raise ValueError(f"found tiers {', '.join(tiers) or 'none'}, expected one called phones")
    return phones or [], words or []


def _tiers(values: list[str]) -> dict[str, list[Timed]]:
    """Intervals by tier. Raises IndexError or ValueError where the values end too early or are no numbers."""
    tiers: dict[str, list[Timed]] = {}
    at = 6  # file type, object class, xmin, xmax, <exists>, number of tiers
    for _ in range(int(values[5])):
        kind, name, count = values[at], values[at + 1], int(values[at + 4])
        at += 5
        size = 3 if kind == "IntervalTier" else 2
        entries = [values[at + size * i : at + size * (i + 1)] for i in range(count)]
        at += size * count
        if kind == "IntervalTier":
            tiers[name] = [(label, float(start), float(end)) for start, end, label in entries]
    return tiers


def _tier(tiers: dict[str, list[Timed]], names: tuple[str, ...]) -> list[Timed] | None:
    """The tier of one of these names, a speaker's name before it (`anna - phones`) allowed."""
    return next((tier for name, tier in tiers.items() if name.lower().split(" - ")[-1].strip() in names), None)
