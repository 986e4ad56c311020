"""Some channels of a stream, by number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from realtime.block import Block, Spec
from realtime.errors import UserError, nearest


class Pick:
    """(rows, channels) to (rows, len(channels)): these channels, in this order. Without state, lag_s is 0."""

    lag_s = 0.0

    def __init__(self, channels: Sequence[int]):
        self.channels = np.asarray(channels, np.intp)

    def initial_state(self) -> None:
        return None

    def step(self, x: Block, state: None) -> tuple[Block, None]:
        extra = {name: array[:, self.channels] for name, array in x.extra.items()}
        return Block(x.data[:, self.channels], x.times.copy(), x.index, extra), state

    def layer(self, x: Block) -> Block:
        return self.step(x, None)[0]


def channel_number(spec: Spec, channel: str | int) -> int:
    """Number of a stream's channel given by label or number. Raises UserError where there is none."""
    if isinstance(channel, int):
        if 0 <= channel < len(spec.channels):
            return channel
        last = len(spec.channels) - 1
        raise UserError(f"stream {spec.name!r} has no channel {channel}: it has channels 0 to {last}")
    if channel in spec.channels:
        return spec.channels.index(channel)
    raise UserError(
        f"stream {spec.name!r} has no channel {channel!r}{nearest(channel, spec.channels)}; "
        f"it has {len(spec.channels)}: {', '.join(spec.channels[:8])}{', ...' if len(spec.channels) > 8 else ''}"
    )
