"""Causal Whisper, `window` mode: the trailing window encoded anew every block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from encoders.encoder import FRAME_S, POSITIONS, Encoder
from encoders.frames import BlockStage, FrameRing
from realtime.errors import UserError

FRAMES_AT_ONCE = 3000  # of all windows that are encoded together in a long step


@dataclass
class WindowState:
    ring: FrameRing


class WindowWhisper(BlockStage[WindowState]):
    """Stem frames to hidden states, each block out of the `window` newest frames: `window` mode.

    Every `block` frames the newest `window` frames, tail included, get positions 0, 1, ... and full attention among
    themselves; the `block` rows that end `tail` frames before the newest are given out. At the stream's start and
    after a gap the window is as long as what came since. A long step encodes many windows together, in bounded memory.
    """

    def __init__(self, encoder: Encoder, block: int, window: int = 500, tail: int = 0, layers: Sequence[int] = ()):
        if block < 1 or tail < 0 or window < block + tail:
            raise UserError(f"Whisper's block {block}, tail {tail} and window {window} frames do not fit together")
        if window > POSITIONS:
            raise UserError(f"a window of {window * FRAME_S:g} s is too long: Whisper takes {POSITIONS * FRAME_S:g} s")
        self.window = window
        self._windows_at_once = max(1, FRAMES_AT_ONCE // window)
        super().__init__(encoder, block, tail, tuple(sorted(layers)) or (encoder.depth,), self._windows_at_once * block)

    def _fresh(self, index: int) -> WindowState:
        kept = self.window + self._piece + self.block + self.tail
        return WindowState(FrameRing.empty(kept, self.encoder.width, index, self.block))

    def _encode(self, state: WindowState, blocks: int) -> list[torch.Tensor]:
        ring, results = state.ring, []
        while blocks:
            stop = ring.done + self.block + self.tail
            count = min(blocks, self._windows_at_once) if stop - ring.begin >= self.window else 1
            length = min(stop - ring.begin, self.window)
            stops = stop + self.block * np.arange(count)
            numbers = (stops - length)[:, None] + np.arange(length)
            results.append(self._windows(ring.frames(numbers)))
            ring.done += count * self.block
            blocks -= count
        return results

    def _windows(self, frames: torch.Tensor) -> torch.Tensor:
        """(windows, length, width) to the rows that are given out, (windows * block, width * layers)."""
        length = frames.shape[1]
        x = frames.to(self.encoder.device) + self.encoder.positions[:length]
        wanted = slice(length - self.tail - self.block, length - self.tail)
        kept = self.encoder.run(x, lambda _, q, k, v: F.scaled_dot_product_attention(q, k, v), self.layers, wanted)
        return torch.cat(kept, dim=-1).flatten(0, 1)
