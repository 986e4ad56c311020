"""Alignment row by row and electrode by electrode, on plain lists."""

from __future__ import annotations

import numpy as np

from realtime.block import Block


def aligned_value(observed: Block, time: float, electrode: int, gap_s: float) -> tuple[float, bool]:
    """The observed value at `time` and whether it is bad, by looking through all rows."""
    bad = observed.extra["bad"]
    for row, at in enumerate(observed.times):
        if at == time:
            value = float(observed.data[row, electrode])
            return value, bool(bad[row, electrode]) or value != value
    before = [row for row, at in enumerate(observed.times) if at < time]
    after = [row for row, at in enumerate(observed.times) if at > time]
    if not before or not after:
        return float("nan"), True
    a, b = before[-1], after[0]
    span = float(observed.times[b] - observed.times[a])
    if span > gap_s:
        return float("nan"), True
    value = float(np.interp(time, observed.times[[a, b]], observed.data[[a, b], electrode].astype(float)))
    return value, bool(bad[a, electrode] or bad[b, electrode]) or value != value
