"""Names of streams that no other test has, and rows out of an inlet."""

from __future__ import annotations

import uuid

import numpy as np
import numpy.typing as npt

from realtime.block import Times
from realtime.sources.lsl import LslInlet


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def pull(inlet: LslInlet, rows: int) -> tuple[npt.NDArray[np.float32], Times]:
    """As many rows, or more, and their raw stamps. Fails where 20 s bring nothing."""
    parts: list[tuple[npt.NDArray[np.float32], Times]] = []
    while sum(len(raw) for _, raw in parts) < rows:
        data, raw = inlet.pull(20)
        assert len(raw), "nothing came"
        parts.append((data.copy(), raw))
    return np.concatenate([data for data, _ in parts]), np.concatenate([raw for _, raw in parts])
