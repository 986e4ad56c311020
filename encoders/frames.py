"""What the streaming modes share: the newest stem frames in a ring, taken in blocks on a grid of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch

from encoders.encoder import FRAME_S, Encoder
from encoders.mel import bad_rows
from realtime.block import Block, Floats, Mask, Times

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class FrameRing:
    """Frames have the stream's own index; frame n lies at n modulo the ring's length."""

    data: Floats  # (kept, width) float32
    times: Times  # (kept,)
    bad: Mask  # (kept,)
    begin: int  # the first frame that is used after the last restart
    received: int  # the frame to come next
    done: int  # the frame to be given out next

    @staticmethod
    def empty(kept: int, width: int, index: int, block: int) -> FrameRing:
        """Before frame `index`, with blocks that begin at multiples of `block`."""
        begin = -(-index // block) * block
        data = np.zeros((kept, width), np.float32)
        return FrameRing(data, np.zeros(kept), np.zeros(kept, bool), begin, index, begin)

    def receive(self, x: Block) -> None:
        """Take frames in. A frame that is not finite becomes zero and is marked bad: through the cache's keys and
        values it would spread to every later row."""
        slots = np.arange(self.received, self.received + len(x)) % len(self.times)
        finite: Mask = np.asarray(np.isfinite(x.data).all(axis=1))
        self.data[slots] = np.where(finite[:, None], x.data, 0.0)
        self.times[slots] = x.times
        self.bad[slots] = bad_rows(x) | ~finite
        self.received += len(x)

    def frames(self, numbers: Numbers) -> torch.Tensor:
        """A copy, (*numbers.shape, width)."""
        return torch.from_numpy(self.data[numbers % len(self.times)])


class _State(Protocol):
    ring: FrameRing


S = TypeVar("S", bound=_State)


class BlockStage(ABC, Generic[S]):
    """Stem frames (time, width) to hidden states (time, width * len(layers)), 50 rows a second, by blocks.

    Rows come out `block` at a time, once `tail` frames more are there; so lag_s = (block - 1 + tail) * 20 ms. Blocks
    begin at multiples of `block`. After a gap it restarts with the first whole block, which is where one began without
    the gap. Rows of bad frames are marked bad.
    """

    def __init__(self, encoder: Encoder, block: int, tail: int, layers: tuple[int, ...], piece: int):
        self.encoder = encoder
        self.block = block
        self.tail = tail
        self.layers = layers
        self.lag_s = (block - 1 + tail) * FRAME_S
        self._piece = piece  # frames taken in at once, so that a long step needs bounded memory

    @property
    def width(self) -> int:
        return self.encoder.width * len(self.layers)

    def initial_state(self) -> S:
        return self._fresh(0)

    @abstractmethod
    def _fresh(self, index: int) -> S:
        """A state whose first frame will have this index."""

    @abstractmethod
    def _encode(self, state: S, blocks: int) -> list[torch.Tensor]:
        """Hidden states of the next `blocks` blocks, and `ring.done` moved past them."""

    def step(self, x: Block, state: S) -> tuple[Block, S]:
        if len(x) and x.index != state.ring.received:
            state = self._fresh(x.index)
        ring = state.ring
        index = ring.done
        results: list[torch.Tensor] = []
        times, bad = [np.zeros(0)], [np.zeros(0, bool)]
        for start in range(0, len(x), self._piece):
            ring.receive(x.rows(start, start + self._piece))
            ready = (ring.received - self.tail - ring.done) // self.block
            if ready > 0:
                at = np.arange(ring.done, ring.done + ready * self.block) % len(ring.times)
                times.append(ring.times[at])
                bad.append(ring.bad[at])
                with torch.inference_mode():
                    results += self._encode(state, ready)
        data = torch.cat(results).float().cpu().numpy() if results else np.zeros((0, self.width), np.float32)
        return Block(data, np.concatenate(times), index, {"bad": np.concatenate(bad)[:, None]}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]
