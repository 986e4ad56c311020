"""Phones of a long recording whose words have times already: aligned stretch by stretch between pauses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from encoders.phones import RATE_HZ, SILENCE, PhoneAlignment, Timed, align_phones
from realtime.errors import UserError

STRETCH_S = 10.0  # a stretch ends with the first pause after so long: an alignment over minutes may lose its way
PAUSE_S = 0.3
MARGIN_S = 0.1  # around a stretch, as far as it is silent
Run = tuple[float, npt.NDArray[np.float32]]  # start_s, samples at 16 kHz


def align_in_words(
    runs: Sequence[Run], words: Sequence[Timed], progress: Callable[[float], None] = lambda _: None
) -> PhoneAlignment:
    """As `align_phones`, of words with times in order; those times are kept as the words'.

    runs: the sound, in order, one where it has no gap; their times are the words'. A word belongs to the run that it
    begins in; those that begin in none are outside_words. Words that the dictionary lacks, and those of a stretch
    through which no way was found, are missing_words; the sound of such a stretch, and a gap, count as a pause.
    Raises UserError where pocketsphinx is missing or no stretch is aligned.
    """
    phones: list[Timed] = []
    missing: list[str] = []
    inside: list[Timed] = []
    reason: UserError | None = None
    total_s = runs[-1][0] + len(runs[-1][1]) / RATE_HZ
    for start_s, sound in runs:
        end_s = start_s + len(sound) / RATE_HZ
        mine = [word for word in words if start_s <= word[1] < end_s]
        inside += mine
        for stretch in _stretches(mine):
            reached_s = phones[-1][2] if phones else runs[0][0]
            from_s = max(stretch[0][1] - MARGIN_S, reached_s, start_s)
            to_s = min(max(word[2] for word in stretch) + MARGIN_S, end_s)
            first, stop = (round((t - start_s) * RATE_HZ) for t in (from_s, to_s))
            try:
                found = align_phones(sound[first:stop], " ".join(word[0] for word in stretch))
            except UserError as error:
                reason = error
                missing += [word[0] for word in stretch]
                continue
            missing += found.missing_words
            offset_s = start_s + first / RATE_HZ
            if offset_s > reached_s:
                phones.append((SILENCE, reached_s, offset_s))
            phones += [(label, a + offset_s, b + offset_s) for label, a, b in found.phones]
            progress(phones[-1][2] / total_s)
    if not phones:
        raise reason or UserError("alignment: found no word within the sound, expected its transcript; check its times")
    if phones[-1][2] < total_s:
        phones.append((SILENCE, phones[-1][2], total_s))
    placed = set(inside)
    outside = [word[0] for word in words if word not in placed]
    return PhoneAlignment(phones, inside, missing, outside)


def _stretches(words: Sequence[Timed]) -> list[list[Timed]]:
    """Words up to the first pause after STRETCH_S, and so on."""
    found: list[list[Timed]] = []
    for word in words:
        if found and not (word[1] - found[-1][-1][2] >= PAUSE_S and word[1] - found[-1][0][1] >= STRETCH_S):
            found[-1].append(word)
        else:
            found.append([word])
    return found
