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


def align_in_words(
    sound: npt.NDArray[np.float32], words: Sequence[Timed], progress: Callable[[float], None] = lambda _: None
) -> PhoneAlignment:
    """As `align_phones`, of words with times in order; those times are kept as the words'.

    Words that the dictionary lacks, and those of a stretch through which no way was found, are missing_words; the
    sound of such a stretch counts as a pause. Raises UserError where pocketsphinx is missing or no stretch is aligned.
    """
    end_s = len(sound) / RATE_HZ
    inside = [word for word in words if word[1] < end_s]
    phones: list[Timed] = []
    missing: list[str] = []
    reason: UserError | None = None
    reached_s = 0.0
    for stretch in _stretches(inside):
        from_s = max(stretch[0][1] - MARGIN_S, reached_s)
        to_s = min(max(word[2] for word in stretch) + MARGIN_S, end_s)
        first = round(from_s * RATE_HZ)
        try:
            found = align_phones(sound[first : round(to_s * RATE_HZ)], " ".join(word[0] for word in stretch))
        except UserError as error:
            reason = error
            missing += [word[0] for word in stretch]
            continue
        missing += found.missing_words
        offset_s = first / RATE_HZ
        if offset_s > reached_s:
            phones.append((SILENCE, reached_s, offset_s))
        phones += [(label, a + offset_s, b + offset_s) for label, a, b in found.phones]
        reached_s = phones[-1][2]
        progress(reached_s / end_s)
    if not phones:
        raise reason or UserError("alignment: found no word within the sound, expected its transcript; check its times")
    if reached_s < end_s:
        phones.append((SILENCE, reached_s, end_s))
    return PhoneAlignment(phones, inside, missing)


def _stretches(words: Sequence[Timed]) -> list[list[Timed]]:
    """Words up to the first pause after STRETCH_S, and so on."""
    found: list[list[Timed]] = []
    for word in words:
        if found and not (word[1] - found[-1][-1][2] >= PAUSE_S and word[1] - found[-1][0][1] >= STRETCH_S):
            found[-1].append(word)
        else:
            found.append([word])
    return found
