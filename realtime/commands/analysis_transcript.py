"""Phone and word times of a recording: from a file, or from a transcript that is aligned to its sound here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from encoders.analysis.phone_times import FORMATS, PhoneTimes, cleaned, read_events, read_phone_times
from encoders.phones import PhoneAlignment, align_phones
from encoders.phones_in_words import align_in_words
from realtime.block import Block
from realtime.commands.console import say, working
from realtime.errors import UserError

SOUND_HZ = 16_000
MOST_NAMED = 12  # words of one message


def phone_times(
    path: Path, given: Path | None, transcript: Path | None, sounds: Sequence[Block], start_s: float
) -> PhoneTimes | None:
    """On the recording's clock; None where nothing is known. given: a file of times; transcript: a text, or words with
    times. Both count from start_s, where the sound begins. sounds: at 16 kHz, a block for each run without a gap."""
    found = given or (None if transcript else _beside(path))
    if found is not None:
        times = read_phone_times(found)
        if times.unknown:
            say(
                f"{found.name}: {sum(times.unknown.values())} labels are no phones and count as pauses: "
                f"{', '.join(sorted(times.unknown))}"
            )
    elif transcript is not None:
        if not sounds:
            raise UserError(f"{path.name} holds no sound to align {transcript.name} to: give --phones")
        with working(f"aligning {transcript.name}") as progress:
            times = _aligned(transcript, transcript_phones(sounds, transcript, progress))
    else:
        return None
    moved = [[(label, a + start_s, b + start_s) for label, a, b in some] for some in (times.phones, times.words)]
    return replace(times, phones=moved[0], words=moved[1])


def _aligned(transcript: Path, found: PhoneAlignment) -> PhoneTimes:
    """As from a file; what could not be aligned is told."""
    if found.missing_words:
        say(
            f"{transcript.name}: {len(found.missing_words)} words could not be aligned, or are not in the "
            f"dictionary; their sound went to their neighbours: {', '.join(sorted(set(found.missing_words)))}"
        )
    if found.outside_words:
        say(
            f"{transcript.name}: {len(found.outside_words)} words begin where there is no sound, and are left out: "
            f"{shortened(found.outside_words)}"
        )
    times = cleaned(found.phones, found.words, transcript.name)
    return replace(times, missing_words=found.missing_words, outside_words=found.outside_words)


def shortened(words: Sequence[str]) -> str:
    """The first of some words, and how many more there are."""
    more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
    return ", ".join(words[:MOST_NAMED]) + more


def transcript_phones(
    sounds: Sequence[Block], transcript: Path, progress: Callable[[float], None] = lambda _: None
) -> PhoneAlignment:
    """A plain text over the whole sound; words with times (CSV, CTM, TextGrid) stretch by stretch.

    Times count from the first sound's start. Raises UserError for a plain text of sound with a gap: which words the gap
    swallowed is not known.
    """
    runs = [(float(sound.times[0] - sounds[0].times[0]), sound.data[:, 0]) for sound in sounds]
    if transcript.suffix.lower() in FORMATS:
        return align_in_words(runs, read_events(transcript, "word")[1], progress)
    if len(sounds) > 1:
        raise UserError(
            f"transcript {str(transcript)!r} has no times, and the sound has a gap {runs[0][1].size / SOUND_HZ:.1f} s "
            f"after its start ({len(sounds) - 1} in all), in which words may be lost: give words with times (CSV, CTM, "
            "TextGrid), or --phones"
        )
    try:
        return align_phones(runs[0][1], transcript.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"transcript {str(transcript)!r} cannot be read ({error}): give a UTF-8 text file") from None


def _beside(path: Path) -> Path | None:
    """phones.TextGrid, phones.csv ... in a recording's folder; RECORDING.TextGrid ... beside a file."""
    suffixes = (*FORMATS, ".TextGrid")
    some = [path / f"phones{s}" for s in suffixes] if path.is_dir() else [path.with_suffix(s) for s in suffixes]
    return next((file for file in some if file.is_file()), None)
