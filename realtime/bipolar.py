"""`Bipolar`: each electrode against its neighbour on the same grid row, strip or shaft."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from realtime.block import Block, bad_samples


class Bipolar:
    """(time, channels) to (time, pairs): the first channel of each pair minus the second, sample by sample.

    pairs: channel indices. bad_channels: marked bad. A difference is bad where either of its channels is.
    Output float64 in the same unit, extra["bad"] set. lag_s is 0. Without state: a gap means nothing to it.
    """

    lag_s = 0.0

    def __init__(self, pairs: Sequence[tuple[int, int]], bad_channels: Sequence[int] = ()) -> None:
        self.first, self.second = np.asarray(pairs, np.intp).reshape(-1, 2).T
        self.bad_channels = np.asarray(bad_channels, np.intp)

    def initial_state(self) -> None:
        return None

    def step(self, x: Block, state: None) -> tuple[Block, None]:
        bad = bad_samples(x)
        bad[:, self.bad_channels] = True
        data = x.data.astype(np.float64)
        difference = data[:, self.first] - data[:, self.second]
        return Block(difference, x.times.copy(), x.index, {"bad": bad[:, self.first] | bad[:, self.second]}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, None)[0]
