"""Which phone is spoken when: forced alignment of a transcript to its sound, and manner classes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.errors import UserError

Timed = tuple[str, float, float]  # label, start_s, end_s
Word = tuple[str, int, int]  # name, first frame, frame after the last
Entry = tuple[str, list[Word]]  # a word and its phones
Samples = npt.NDArray[np.int16]

RATE_HZ = 16_000
FRAME_S = 0.01
# The decoder's frame i looks at the 25.6 ms from 10 i ms on; so the border before it lies midway between two centres.
BORDER_S = 0.0256 / 2 - FRAME_S / 2
BEAM = 1e-64  # the default loses its way in long recordings; much wider overflows the decoder's scores
SILENCE = "SIL"

CLASSES = {
    "vowel": "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW",
    "plosive": "B D G K P T",
    "fricative": "CH DH F HH JH S SH TH V Z ZH",  # affricates are among them: most of their sound is friction
    "nasal": "M N NG",
    "approximant": "L R W Y",
    "silence": SILENCE,
}
PHONE_CLASS = {phone: name for name, phones in CLASSES.items() for phone in phones.split()}


@dataclass(frozen=True)
class PhoneAlignment:
    """What is spoken when, in seconds from the sound's start.

    phones: (ARPAbet label without stress, start_s, end_s), without gaps from 0 to the sound's end; pauses and noises
        are "SIL". words: (word, start_s, end_s), pauses left out. missing_words: words of the transcript that the
        dictionary does not know, in order; they were not aligned, and their sound went to their neighbours.
        outside_words: of words with times, those that begin where there is no sound.
    """

    phones: list[Timed]
    words: list[Timed]
    missing_words: list[str]
    outside_words: list[str] = field(default_factory=list)


def align_phones(sound: npt.NDArray[np.float32], transcript: str) -> PhoneAlignment:
    """Force-align a transcript to its sound with pocketsphinx (US English, CMU dictionary).

    sound: (samples,) float32 at 16 kHz. transcript: plain words; case and punctuation do not matter.
    Two passes: words over the whole sound, then the phones inside them; about 4 s for a minute of speech.
    Raises UserError where pocketsphinx is missing, where no word is known, or where the sound does not hold the words.
    """
    if sound.ndim != 1 or len(sound) < RATE_HZ // 10:
        raise UserError(
            f"alignment: found sound of shape {sound.shape}, expected (samples,) of at least 0.1 s at 16 kHz; "
            "give one channel of the recording"
        )
    peak = float(np.max(np.abs(sound)))
    pcm = np.round(sound * (32_000 / peak if peak > 0 else 1.0)).astype(np.int16)
    decoder = _decoder()
    spoken = re.findall(r"[a-z]+(?:'[a-z]+)*'?", transcript.lower().replace("\u2019", "'"))
    known = [word for word in spoken if decoder.lookup_word(word)]
    missing = [word for word in spoken if not decoder.lookup_word(word)]
    if not known:
        raise UserError(
            f"alignment: found no known word in the transcript {transcript[:40]!r}, expected English; give its words"
        )
    entries = _two_passes(decoder, known, pcm)
    if entries is None:
        raise UserError(
            f"alignment: found no way through {len(known)} words in {len(sound) / RATE_HZ:.1f} s of sound, expected "
            "the words that are spoken; check that the transcript belongs to the sound"
        )
    return PhoneAlignment(*_times(entries, len(sound) / RATE_HZ), missing)


def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise UserError(
            "alignment: found no pocketsphinx, expected version 5.1 or later; run: pip install 'corticast[simulation]'"
        ) from error
    # bestpath=True leaves words too short for their phones, on which the second pass fails
    return Decoder(lm=None, loglevel="FATAL", bestpath=False, beam=BEAM, wbeam=BEAM, pbeam=BEAM)


def _two_passes(decoder: Any, words: list[str], pcm: Samples) -> list[Entry] | None:
    """Words and pauses with their phones, in frames; None where the search lost its way."""
    decoder.set_align_text(" ".join(words))
    try:
        _run(decoder, pcm)
        decoder.set_alignment()
        _run(decoder, pcm)
    except RuntimeError:
        return None
    return [(w.name, [(p.name, p.start, p.start + p.duration) for p in w]) for w in decoder.get_alignment()]


def _run(decoder: Any, pcm: Samples) -> None:
    """One utterance, whole."""
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), full_utt=True)
    decoder.end_utt()


def _times(entries: list[Entry], end_s: float) -> tuple[list[Timed], list[Timed]]:
    """Phones and words in seconds, the last phone up to the sound's end."""
    phones = [
        (_label(name), _start_s(first), _start_s(after)) for _, inside in entries for name, first, after in inside
    ]
    phones[-1] = (*phones[-1][:2], end_s)
    words = [
        (_spelling(name), _start_s(inside[0][1]), min(_start_s(inside[-1][2]), end_s))
        for name, inside in entries
        if not _is_pause(name)
    ]
    return phones, words


def _is_pause(name: str) -> bool:
    return name[0] in "<[+("


def _spelling(name: str) -> str:
    return re.sub(r"\(\d+\)$", "", name)


def _label(name: str) -> str:
    return name if name in PHONE_CLASS else SILENCE


def _start_s(frame: int) -> float:
    return frame * FRAME_S + BORDER_S if frame else 0.0
