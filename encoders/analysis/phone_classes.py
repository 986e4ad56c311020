"""Manner and place of articulation of the ARPAbet phones, and other label sets on the way to it."""

from __future__ import annotations

import re

from encoders.phones import PHONE_CLASS, SILENCE

PLACES = {
    "bilabial": "B M P W",
    "labiodental": "F V",
    "dental": "DH TH",
    "alveolar": "D L N S T Z",
    "postalveolar": "CH JH R SH ZH",
    "palatal": "Y",
    "velar": "G K NG",
    "glottal": "HH",
    "front vowel": "AE EH EY IH IY",
    "central vowel": "AH ER",
    "back vowel": "AA AO OW UH UW",
    "diphthong": "AW AY OY",
}
PHONE_PLACE = {phone: name for name, phones in PLACES.items() for phone in phones.split()}
MANNER = {phone: name for phone, name in PHONE_CLASS.items() if phone != SILENCE}
PHONES = tuple(sorted(MANNER))

TIMIT = {
    **{"ax": "AH", "ax-h": "AH", "axr": "ER", "ix": "IH", "ux": "UW", "dx": "D", "nx": "N", "en": "N", "em": "M"},
    **{"eng": "NG", "el": "L", "hv": "HH", "bcl": "B", "dcl": "D", "gcl": "G", "pcl": "P", "tcl": "T", "kcl": "K"},
}
NOT_SPEECH = {"", "sil", "sp", "spn", "h#", "pau", "epi", "q", "<eps>", "<sil>", "sil_s", "sil_e", "silence", "#", "-"}


def arpabet(label: str) -> str | None:
    """The ARPAbet phone without stress (`AH0`, `ax-h` -> `AH`), `SIL` for what is no speech, None if unknown."""
    plain = label.strip().lower()
    if plain in NOT_SPEECH:
        return SILENCE
    if plain in TIMIT:
        return TIMIT[plain]
    upper = re.sub(r"\d?(_[bies])?$", "", plain).upper()
    return upper if upper in PHONE_CLASS else None
