"""`Lost`: ids of streams that were lost. A dead one is still seen for some seconds; one seen after that is alive."""

from __future__ import annotations

import time
from collections.abc import Callable

AGAIN_S = 5.0  # a dead stream is seen for 3 s (`forget_after` of `realtime.sources.lsl.Network`)


class Lost:
    """`uid in lost`: it was lost less than AGAIN_S ago, and is to be left alone. One thread adds, any may ask."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._at_s: dict[str, float] = {}

    def add(self, uid: str) -> None:
        self._at_s = {uid: self._now(), **{one: at_s for one, at_s in self._at_s.items() if one != uid and one in self}}

    def __contains__(self, uid: str) -> bool:
        return self._now() - self._at_s.get(uid, float("-inf")) < AGAIN_S
