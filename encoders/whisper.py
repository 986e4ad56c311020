"""Whisper's encoder, causal: cached block-causal attention of bounded history, and the offline reference.

The block loop stops at the layer asked for. Attention is written out here because openai-whisper's own, under
SDPA, ignores a mask's values. Source of the arithmetic: openai-whisper `model.py` (MIT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import whisper.model
from torch.nn import functional as F

from encoders.mel import Mel, Stem, bad_rows, whole_clip_log_mel, whole_clip_stem
from realtime.block import Block, Floats, Mask, Times
from realtime.errors import UserError
from realtime.stage import Chain

FRAME_S = 0.02
POSITIONS = 1500  # frames in Whisper's 30 s window
WINDOW_SAMPLES = 480_000

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Layer:
    """The weights of one encoder block; query, key and value stacked."""

    attn_norm: tuple[torch.Tensor, torch.Tensor]
    qkv: tuple[torch.Tensor, torch.Tensor]
    out: tuple[torch.Tensor, torch.Tensor]
    mlp_norm: tuple[torch.Tensor, torch.Tensor]
    up: tuple[torch.Tensor, torch.Tensor]
    down: tuple[torch.Tensor, torch.Tensor]


class Encoder:
    """The encoder of an openai-whisper model up to its block `depth`, each weight cast once."""

    def __init__(
        self,
        model: whisper.model.Whisper,
        depth: int,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        encoder = model.encoder
        if not 1 <= depth <= len(encoder.blocks):
            raise UserError(f"Whisper layer {depth} does not exist: this model has layers 1 to {len(encoder.blocks)}")
        self.depth, self.device, self.dtype = depth, torch.device(device), dtype
        self.heads: int = encoder.blocks[0].attn.n_head
        self.width: int = encoder.positional_embedding.shape[1]
        self.mels: int = encoder.conv1.in_channels
        self.stem = Stem(encoder.conv1, encoder.conv2)
        self.positions = self._cast(encoder.positional_embedding)
        self.layers = [self._layer(block) for block in encoder.blocks[:depth]]

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(self.device, self.dtype).contiguous()

    def _pair(self, module: torch.nn.Linear | torch.nn.LayerNorm) -> tuple[torch.Tensor, torch.Tensor]:
        return self._cast(module.weight), self._cast(module.bias)

    def _layer(self, block: whisper.model.ResidualAttentionBlock) -> Layer:
        attn = block.attn
        assert attn.query.bias is not None
        assert attn.value.bias is not None
        weight = torch.cat([attn.query.weight, attn.key.weight, attn.value.weight])
        bias = torch.cat([attn.query.bias, torch.zeros_like(attn.query.bias), attn.value.bias])
        return Layer(
            attn_norm=self._pair(block.attn_ln),
            qkv=(self._cast(weight), self._cast(bias)),
            out=self._pair(attn.out),
            mlp_norm=self._pair(block.mlp_ln),
            up=self._pair(block.mlp[0]),
            down=self._pair(block.mlp[2]),
        )

    def run(self, x: torch.Tensor, attend: Attend, keep: Sequence[int]) -> list[torch.Tensor]:
        """x (frames, width) with positions added, through the blocks; hidden states after the blocks in `keep`.

        attend(layer, q, k, v), each (heads, frames, width / heads), gives the contexts in the same shape.
        """
        kept = []
        for number, layer in enumerate(self.layers):
            qkv = F.linear(F.layer_norm(x, (self.width,), *layer.attn_norm), *layer.qkv)
            q, k, v = qkv.view(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)  # each (heads, frames, size)
            context = attend(number, q, k, v).transpose(0, 1).reshape(len(x), self.width)
            x = x + F.linear(context, *layer.out)
            hidden = F.gelu(F.linear(F.layer_norm(x, (self.width,), *layer.mlp_norm), *layer.up))
            x = x + F.linear(hidden, *layer.down)
            if number + 1 in keep:
                kept.append(x)
        return kept


@dataclass
class Cache:
    """Keys and values of the frames last committed, and where they stand in Whisper's positions."""

    keys: torch.Tensor  # (depth, heads, history + block + tail, size): a ring, then room for the tail
    values: torch.Tensor
    base: int  # frame, counted from the stream's last restart, that has position 0
    frames: int  # frames committed since `base`


@dataclass
class WhisperState:
    frames: torch.Tensor  # (kept, width) ring of the newest stem frames, at their number modulo `kept`
    times: Times  # (kept,) in the same ring
    bad: Mask  # (kept,) in the same ring
    received: int  # stem frames since the last restart
    done: int  # frames given out since the last restart
    origin: int  # index of the first frame after the last restart
    next_index: int
    main: Cache
    standby: Cache


class CausalWhisper:
    """Stem frames (time, width) to hidden states (time, width * len(layers)), 50 rows a second: `cached` mode.

    Frames are taken in blocks of `block` frames, on a grid anchored at the first. A block's frames attend to
    each other, to the `history` frames committed before it, and to the `tail` frames after it, which are
    encoded again with the next block: so the newest frames wait for block + tail frames and cost a step of
    as many, whatever the stream's length. lag_s = (block - 1 + tail) * 20 ms.

    Before the 1500 positions run out, a second cache with fresh positions fills over the last `history`
    frames, two blocks a step, and takes over. After a gap it restarts.
    """

    def __init__(self, encoder: Encoder, block: int, history: int = 500, tail: int = 0, layers: Sequence[int] = ()):
        if block < 1 or tail < 0 or history < block:
            raise UserError(f"Whisper's block {block}, tail {tail} and history {history} frames do not fit together")
        self.encoder = encoder
        self.block = block
        self.tail = tail
        self.history = history // block * block
        self.layers = tuple(sorted(layers)) or (encoder.depth,)
        self.lag_s = (block - 1 + tail) * FRAME_S
        self.epoch = (POSITIONS - tail) // block * block  # frames that one cache can take
        if self.epoch < 2 * self.history:
            raise UserError(
                f"a history of {self.history * FRAME_S:g} s is too long: at most {self.epoch * FRAME_S / 2:g} s fit"
            )
        self._fill_frames = -(-self.history // (2 * block)) * block  # how long before a swap the second cache begins
        self._piece = max(block, 250 // block * block)  # frames worked on at once in a long step
        self._kept = self._fill_frames + self._piece + 2 * block + tail

    @property
    def width(self) -> int:
        return self.encoder.width * len(self.layers)

    def initial_state(self) -> WhisperState:
        frames = torch.zeros(self._kept, self.encoder.width, dtype=self.encoder.dtype, device=self.encoder.device)
        return WhisperState(
            frames,
            np.zeros(self._kept),
            np.zeros(self._kept, bool),
            0,
            0,
            0,
            0,
            self._empty_cache(0),
            self._empty_cache(self._standby_base(0)),
        )

    def _empty_cache(self, base: int) -> Cache:
        encoder = self.encoder
        slots = self.history + self.block + self.tail
        shape = (encoder.depth, encoder.heads, slots, encoder.width // encoder.heads)
        keys = torch.zeros(shape, dtype=encoder.dtype, device=encoder.device)
        return Cache(keys, torch.zeros_like(keys), base, 0)

    def _standby_base(self, base: int) -> int:
        return base + self.epoch - self.history

    def step(self, x: Block, state: WhisperState) -> tuple[Block, WhisperState]:
        if len(x) and x.index != state.next_index:
            state = replace(self.initial_state(), origin=x.index, next_index=x.index)
        index = state.origin + state.done
        results: list[torch.Tensor] = []
        times: list[Times] = []
        bad: list[Mask] = []
        for start in range(0, len(x), self._piece):
            self._receive(x.rows(start, start + self._piece), state)
            ready = (state.received - self.tail - state.done) // self.block
            if ready > 0:
                at = np.arange(state.done, state.done + ready * self.block) % self._kept
                times.append(state.times[at])
                bad.append(state.bad[at, None])
                results.extend(self._advance(state, ready))
        if not results:
            nothing = {"bad": np.zeros((0, 1), bool)}
            return Block(np.zeros((0, self.width), np.float32), np.zeros(0), index, nothing), state
        data = torch.cat(results).float().cpu().numpy()
        return Block(data, np.concatenate(times), index, {"bad": np.concatenate(bad)}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _receive(self, x: Block, state: WhisperState) -> None:
        slots = np.arange(state.received, state.received + len(x)) % self._kept
        state.frames[torch.from_numpy(slots)] = torch.from_numpy(x.data).to(state.frames)
        state.times[slots] = x.times
        state.bad[slots] = bad_rows(x)
        state.received += len(x)
        state.next_index += len(x)

    @torch.inference_mode()
    def _advance(self, state: WhisperState, blocks: int) -> list[torch.Tensor]:
        """Encode the next `blocks` blocks; the caches swap at fixed frames, wherever a step happens to end."""
        results = []
        while blocks:
            before_swap = (self.epoch - state.main.frames) // self.block
            count = min(blocks, before_swap)
            results.append(self._append(state.main, state, count))
            state.done += count * self.block
            blocks -= count
            self._fill_standby(state)
            if state.main.frames == self.epoch:
                fresh = replace(state.main, base=self._standby_base(state.standby.base), frames=0)
                state.main, state.standby = state.standby, fresh
        return results

    def _fill_standby(self, state: WhisperState) -> None:
        since_begin = state.done - (state.main.base + self.epoch - self._fill_frames)
        wanted = min(2 * max(0, since_begin), self.history) // self.block
        missing = wanted - state.standby.frames // self.block
        if missing > 0:
            self._append(state.standby, state, missing)

    def _append(self, cache: Cache, state: WhisperState, blocks: int) -> torch.Tensor:
        """The next `blocks` blocks after those in `cache`: (blocks * block, width * layers)."""
        first = cache.base + cache.frames
        own = self._numbers(first, blocks)  # (blocks, block + tail)
        flat = own.reshape(-1)
        x = (
            state.frames[torch.from_numpy(flat % self._kept)]
            + self.encoder.positions[torch.from_numpy(flat - cache.base)]
        )
        attend = self._attend_one(cache) if blocks == 1 else self._attend_many(cache, blocks)
        kept = torch.cat(self.encoder.run(x, attend, self.layers), dim=1)
        cache.frames += blocks * self.block
        return kept.view(blocks, self.block + self.tail, -1)[:, : self.block].reshape(blocks * self.block, -1)

    def _numbers(self, first: int, blocks: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        starts = first + self.block * np.arange(blocks)
        numbers: np.ndarray[tuple[int, int], np.dtype[np.int64]] = starts[:, None] + np.arange(self.block + self.tail)
        return numbers

    def _attend_one(self, cache: Cache) -> Attend:
        """One block: its keys go into the ring, its tail's behind it, and all that the ring holds is attended to."""
        ring = self.history + self.block
        slot = cache.frames % ring
        full = cache.frames + self.block >= ring

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = cache.keys[layer], cache.values[layer]
            for held, new in ((keys, k), (values, v)):
                held[:, slot : slot + self.block] = new[:, : self.block]
            end = slot + self.block
            if full:
                keys[:, ring:], values[:, ring:] = k[:, self.block :], v[:, self.block :]
                end = ring + self.tail
                return _attention(q, keys[:, :end], values[:, :end])
            if self.tail:
                keys[:, end : end + self.tail], values[:, end : end + self.tail] = (
                    k[:, self.block :],
                    v[:, self.block :],
                )
                end += self.tail
            return _attention(q, keys[:, :end], values[:, :end])

        return attend

    def _attend_many(self, cache: Cache, blocks: int) -> Attend:
        """Several blocks at once: the history in order, then all blocks' frames, under a mask."""
        ring, size = self.history + self.block, self.block + self.tail
        past = min(cache.frames, self.history)
        history = torch.arange(cache.frames - past, cache.frames) % ring
        mask = self._mask(past, blocks).to(self.encoder.device)
        committed = torch.arange(blocks * size).view(blocks, size)[:, : self.block].reshape(-1)[-ring:]
        newest = torch.arange(cache.frames, cache.frames + blocks * self.block)[-ring:] % ring

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys = torch.cat([cache.keys[layer][:, history], k], dim=1)
            values = torch.cat([cache.values[layer][:, history], v], dim=1)
            cache.keys[layer][:, newest] = k[:, committed]
            cache.values[layer][:, newest] = v[:, committed]
            return _attention(q, keys, values, mask)

        return attend

    def _mask(self, past: int, blocks: int) -> torch.Tensor:
        """(queries, keys), True where a query may look: own block and tail, and the history committed before it."""
        size = self.block + self.tail
        block_of = torch.arange(blocks * size) // size
        committed = torch.arange(blocks * size) % size < self.block
        start = block_of * self.block  # counted from the first new frame
        frame = start + torch.arange(blocks * size) % size
        old = torch.arange(-past, 0)
        own = block_of[:, None] == block_of[None]
        earlier = committed[None] & (frame[None] < start[:, None]) & (frame[None] >= start[:, None] - self.history)
        before = old[None] >= start[:, None] - self.history
        return torch.cat([before, own | (earlier & ~own)], dim=1)


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]


@dataclass(frozen=True)
class StreamingSettings:
    """How a Whisper is made causal. A model file holds them: a model fits only the embedding it was fitted to."""

    layer: int
    block_ms: float = 100.0
    history_s: float = 10.0
    delay_ms: float = 0.0
    mode: str = "cached"


def whisper_stages(encoder: Encoder, settings: StreamingSettings) -> Chain:
    """16 kHz sound (time, 1) to embeddings (time, width): the chain mel, stem, whisper."""
    block, tail, history = (
        round(s / FRAME_S) for s in (settings.block_ms / 1e3, settings.delay_ms / 1e3, settings.history_s)
    )
    if settings.mode != "cached":
        raise UserError(f"Whisper mode {settings.mode!r} is unknown: expected 'cached'")
    if abs(block * FRAME_S * 1e3 - settings.block_ms) > 1e-6 or abs(tail * FRAME_S * 1e3 - settings.delay_ms) > 1e-6:
        raise UserError(
            f"Whisper's block of {settings.block_ms:g} ms and delay of {settings.delay_ms:g} ms "
            "must be multiples of 20 ms"
        )
    causal = CausalWhisper(encoder, block, history, tail)
    return Chain([("mel", Mel(encoder.mels)), ("stem", encoder.stem), ("whisper", causal)])


@torch.inference_mode()
def offline_embedding(
    model: whisper.model.Whisper, sound: Floats, layers: Sequence[int], margin_s: float = 5.0
) -> dict[int, Floats]:
    """Standard Whisper hidden states, which see the future: a reference and a teacher, not a stage.

    sound: (samples,) at 16 kHz. Returns (frames, width) for each layer, frame j centred on sample 320 j.
    Longer sounds than 30 s go through windows of 30 s, each keeping the frames that are `margin_s` from
    its edges; the log-mel floor is taken over the whole sound, as `whisper.transcribe` does.
    """
    encoder = Encoder(model, max(layers))
    padded = torch.from_numpy(np.pad(np.asarray(sound, np.float32), (0, WINDOW_SAMPLES)))
    stem_rows = whole_clip_log_mel(padded, encoder.mels)
    frames = -(-len(sound) // 320)
    margin = round(margin_s / FRAME_S)
    parts: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    done = 0
    while done < frames:
        start = max(0, done - margin)
        last = start + POSITIONS >= frames
        stop = frames if last else start + POSITIONS - margin
        window = whole_clip_stem(stem_rows[2 * start : 2 * (start + POSITIONS)], encoder.stem)
        hidden = encoder.run(window + encoder.positions, lambda _, q, k, v: _attention(q, k, v), layers)
        for layer, state in zip(sorted(layers), hidden, strict=True):
            parts[layer].append(state[done - start : stop - start])
        done = stop
    return {layer: torch.cat(pieces).numpy() for layer, pieces in parts.items()}
