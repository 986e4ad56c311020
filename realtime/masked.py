"""How much of each electrode is masked, minute by minute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import ROW_RATE_HZ, Block, bad_samples

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

MINUTE_S = 60.0


@dataclass(frozen=True)
class MaskedMinute:
    """minute: counted from the stream's start. rows: that there were. share: (electrodes,) of them masked, 0 to 1."""

    minute: int
    rows: int
    share: Values


class Masked:
    """Counts the rows that extra["bad"] marks, (rows, electrodes), in minutes of the stream's own row count.

    For one thread. rows, masked: so far, in all.
    """

    def __init__(self, electrodes: int, row_rate_hz: float = ROW_RATE_HZ) -> None:
        self.rows = 0
        self.masked: Counts = np.zeros(electrodes, np.int64)
        self._per_minute = round(MINUTE_S * row_rate_hz)
        self._minute, self._rows = -1, 0
        self._of_minute: Counts = np.zeros(electrodes, np.int64)

    @property
    def share(self) -> Values:
        """(electrodes,) of all rows so far."""
        share: Values = self.masked / max(1, self.rows)
        return share

    def add(self, x: Block) -> list[MaskedMinute]:
        """The minutes that are complete with these rows."""
        complete = []
        at = 0
        while at < len(x):
            minute = (x.index + at) // self._per_minute
            if minute != self._minute:
                complete += self.finish()
                self._minute = minute
            upto = min(len(x), at + self._per_minute - (x.index + at) % self._per_minute)
            self._of_minute += bad_samples(x.rows(at, upto)).sum(axis=0)
            self._rows += upto - at
            at = upto
            if (x.index + at) % self._per_minute == 0:
                complete += self.finish()
        return complete

    def finish(self) -> list[MaskedMinute]:
        """The minute under way as it is, where it has rows."""
        if not self._rows:
            return []
        found = MaskedMinute(self._minute, self._rows, self._of_minute / self._rows)
        self.rows, self.masked = self.rows + self._rows, self.masked + self._of_minute
        self._rows, self._of_minute = 0, np.zeros_like(self._of_minute)
        return [found]
