"""Causal Whisper, `cached` mode: block-causal attention over a key-value cache of bounded history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from encoders.append import Caches, Place, compiled
from encoders.encoder import FRAME_S, POSITIONS, Encoder
from encoders.frames import BlockStage, FrameRing
from encoders.graph import StaticCall
from encoders.layer import attention
from encoders.silence import no_silence, silent_window
from realtime.errors import UserError

Part = tuple["Cache", int]  # a cache, and how many blocks are to be appended to it


@dataclass
class Cache:
    """Keys and values of the frames last committed, and where they stand in Whisper's positions."""

    keys: torch.Tensor  # (depth, heads, history + block + tail + silence, size): a ring, then room for the others
    values: torch.Tensor
    base: int  # index of the frame that has position 0
    begin: int  # index of the first frame committed: `base`, or later where a gap lies between
    frames: int = 0  # committed

    @property
    def end(self) -> int:
        """Index of the frame to come next."""
        return self.begin + self.frames

    @property
    def position(self) -> int:
        """Whisper's position of the frame to come next."""
        return self.end - self.base


@dataclass
class WhisperState:
    ring: FrameRing
    main: Cache
    standby: Cache


class CausalWhisper(BlockStage[WhisperState]):
    """Stem frames (time, width) to hidden states (time, width * len(layers)), 50 rows a second: `cached` mode.

    A block's frames attend to each other, to the `history` frames committed before it, and to the `tail` frames after
    it, which are encoded again with the next block: so the newest frames wait for block + tail frames and cost a step
    of as many, whatever the stream's length. Behind them it attends to `silence` frames of a silent window, as if the
    sound ended there (see `encoders.silence`).

    Before the 1500 positions run out, a second cache with fresh positions fills over the last `history`
    frames, two blocks a step, in the same pass, and takes over. Which frame has position 0 follows from the stream's
    own index: so depth * history frames after a gap, rows are those of a stream without it.

    graph: whether single blocks go through buffers of fixed shape, captured as a CUDA graph where there is CUDA; None:
    on CUDA alone.
    """

    def __init__(
        self,
        encoder: Encoder,
        block: int,
        history: int = 500,
        tail: int = 0,
        layers: Sequence[int] = (),
        graph: bool | None = None,
        silence: int = 0,
    ):
        if block < 1 or tail < 0 or history < block or silence < 0:
            raise UserError(
                f"Whisper's block {block}, tail {tail}, history {history} and silence {silence} frames "
                "do not fit together"
            )
        piece = max(block, 250 // block * block)
        super().__init__(encoder, block, tail, tuple(sorted(layers)) or (encoder.depth,), piece)
        self.history = history // block * block
        self.epoch = (POSITIONS - tail - silence) // block * block  # frames that one cache can take
        if self.epoch < 2 * self.history:
            raise UserError(
                f"a history of {self.history * FRAME_S:g} s is too long: at most {self.epoch * FRAME_S / 2:g} s fit"
            )
        self.silence = silence
        self._silent = silent_window(encoder) if silence else no_silence(encoder)
        self._append_blocks = compiled()
        self._period = self.epoch - self.history  # from one cache's position 0 to the next one's
        self._slots = self.history + block  # of the ring; the tail's lie behind, and those of silence
        self._fill_frames = -(-self.history // (2 * block)) * block  # how long before a swap the second cache begins
        self._kept = self._fill_frames + piece + 2 * block + tail
        on_cuda = encoder.device.type == "cuda"
        self._static = self._static_call(capture=on_cuda) if (on_cuda if graph is None else graph) else None

    @property
    def captured(self) -> bool:
        """Whether single blocks run as a captured CUDA graph."""
        return self._static is not None and self._static.captured

    def _fresh(self, index: int) -> WhisperState:
        ring = FrameRing.empty(self._kept, self.encoder.width, index, self.block)
        base = max(0, (ring.begin - self.history) // self._period) * self._period
        following = base + self._period
        main, standby = (self._empty_cache(at, max(at, ring.begin)) for at in (base, following))
        return WhisperState(ring, main, standby)

    def _empty_cache(self, base: int, begin: int) -> Cache:
        encoder = self.encoder
        slots = self._slots + self.tail + self.silence
        shape = (encoder.depth, encoder.heads, slots, encoder.width // encoder.heads)
        keys = torch.zeros(shape, dtype=encoder.dtype, device=encoder.device)
        return Cache(keys, torch.zeros_like(keys), base, begin)

    def _encode(self, state: WhisperState, blocks: int) -> list[torch.Tensor]:
        """The caches swap at fixed frames, wherever a step happens to end."""
        results, ring = [], state.ring
        while blocks:
            count = min(blocks, (self.epoch - state.main.position) // self.block)
            ring.done += count * self.block
            results.append(self._append(ring, (state.main, count), (state.standby, self._standby_blocks(state))))
            blocks -= count
            if state.main.position == self.epoch:
                following = state.standby.base + self._period
                fresh = replace(state.main, base=following, begin=following, frames=0)
                state.main, state.standby = state.standby, fresh
        return results

    def _standby_blocks(self, state: WhisperState) -> int:
        """How many blocks the second cache is behind: half a history before the swap it begins to take two for one."""
        since_begin = state.ring.done - (state.main.base + self.epoch - self._fill_frames)
        wanted = state.standby.base + min(2 * max(0, since_begin), self.history)
        return max(0, wanted - state.standby.end) // self.block

    def _append(self, ring: FrameRing, main: Part, standby: Part) -> torch.Tensor:
        """Append blocks to both caches; the hidden states of main's, (blocks * block, width * layers)."""
        if self._static is not None and main[1] == 1:
            first = self._append_static(ring, main[0])
            for _ in range(standby[1]):
                self._append_static(ring, standby[0])
            return first
        places = [*self._places(0, *main), *self._places(1, *standby)]
        caches = [cache for cache, _ in (main, standby)]
        x = torch.cat([self._input(ring, cache, blocks) for cache, blocks in (main, standby) if blocks])
        held = Caches([c.keys for c in caches], [c.values for c in caches], self._silent.keys, self._silent.values)
        layers, heads = self.encoder.layers, self.encoder.heads
        result: torch.Tensor = self._append_blocks(
            x, layers, heads, list(self.layers), held, places, self.block, main[1]
        )
        for cache, blocks in (main, standby):
            cache.frames += blocks * self.block
        return result

    def _input(self, ring: FrameRing, cache: Cache, blocks: int) -> torch.Tensor:
        """Each block and its tail, positions added: (blocks * (block + tail), width)."""
        own = (self.block * np.arange(blocks)[:, None] + np.arange(self.block + self.tail)).reshape(-1)
        frames = ring.frames(cache.end + own).to(self.encoder.device)
        if blocks == 1:
            return frames + self.encoder.positions[cache.position : cache.position + len(own)]
        return frames + self.encoder.positions[torch.from_numpy(cache.position + own)]

    def _places(self, number: int, cache: Cache, blocks: int) -> list[Place]:
        """Where the next blocks go: into the ring, each one's tail behind what the ring then holds, then silence."""
        places = []
        for frames in range(cache.frames, cache.frames + blocks * self.block, self.block):
            slot = frames % self._slots
            tail = self._slots if frames + self.block >= self._slots else slot + self.block
            behind = cache.begin + frames - cache.base + self.block + self.tail
            places.append(Place(number, slot, tail, tail + self.tail + self.silence, behind))
        return places

    def _static_call(self, capture: bool) -> StaticCall:
        """One block through buffers of fixed shape: x, the slots that it takes, which slots are visible, the cache."""
        cache, device = self._empty_cache(0, 0), self.encoder.device
        x = torch.zeros(self.block + self.tail, self.encoder.width, device=device)
        slots = torch.arange(self.block + self.tail, device=device)
        visible = torch.ones(1, cache.keys.shape[2], dtype=torch.bool, device=device)
        return StaticCall(self._one_block, (x, slots, visible, cache.keys, cache.values), capture)

    def _one_block(
        self, x: torch.Tensor, slots: torch.Tensor, visible: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys[layer].index_copy_(1, slots, k)
            values[layer].index_copy_(1, slots, v)
            return attention(q, keys[layer], values[layer], visible)

        return torch.cat(self.encoder.run(x, attend, self.layers, slice(0, self.block)), dim=1)

    def _append_static(self, ring: FrameRing, cache: Cache) -> torch.Tensor:
        """The state's cache is copied in and its new rows out, so that the states of one stage may interleave."""
        assert self._static is not None
        x, slots, visible, keys, values = self._static.buffers
        place, room = self._places(0, cache, 1)[0], self._slots + self.tail
        taken = slice(place.block, place.block + self.block)
        order = np.r_[taken, self._slots : room]
        seen = np.arange(keys.shape[2])
        x.copy_(self._input(ring, cache, 1))
        slots.copy_(torch.from_numpy(order))
        visible.copy_(torch.from_numpy((seen < cache.frames + self.block) | (seen >= self._slots))[None])
        keys.copy_(cache.keys)
        values.copy_(cache.values)
        behind = slice(place.silence, place.silence + self.silence)
        keys[:, :, room:], values[:, :, room:] = self._silent.keys[:, :, behind], self._silent.values[:, :, behind]
        result = self._static().clone()
        cache.keys[:, :, taken] = keys[:, :, taken]
        cache.values[:, :, taken] = values[:, :, taken]
        cache.frames += self.block
        return result
