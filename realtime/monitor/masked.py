"""`Masked`: which share of its observed rows an electrode has lost to masks, over the session. No Qt."""

from __future__ import annotations

import numpy as np

from realtime.block import Floats


class Masked:
    """One thread adds; reading is of one array, replaced whole."""

    def __init__(self, channels: int) -> None:
        self._rows = 0
        self._masked = np.zeros(channels)
        self.share: Floats = np.full(channels, np.nan)  # 0 to 1

    def add(self, data: Floats) -> None:
        """data: (rows, channels), NaN where masked."""
        self._rows += len(data)
        self._masked += np.isnan(data).sum(axis=0)
        self.share = self._masked / max(1, self._rows)
