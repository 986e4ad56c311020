"""Sound to log-mel rows to stem frames, streaming: equal to Whisper's own whole-clip arithmetic.

Whisper (Radford et al. 2022, openai-whisper `audio.py` and `model.py`): 25 ms Hann windows every 10 ms,
mel filters, log10, a floor 8 below the clip's maximum, then two convolutions, the second of stride 2.
Only the floor looks at the whole clip; here it follows a maximum that falls slowly (see `Mel`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.nn import functional as F
from whisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, mel_filters

from encoders.linear import laid_out, linear
from realtime.block import Block, Floats, Mask, Times, bad_samples

PAD = N_FFT // 2
FLOOR_BELOW_MAX = 8.0  # log10 units, as in Whisper


@dataclass
class MelState:
    sound: Floats  # (n,) samples from the first that the next row needs; before row 0, the start of the stream
    times: Times  # (n,) of those samples
    bad: Mask  # (n,) of those samples
    started: bool  # whether the reflected left edge has been put before the sound
    rows: int  # rows since the last restart
    origin: int  # index of the first row after the last restart
    next_index: int
    maximum: float

    @property
    def next_row(self) -> int:
        return self.origin + self.rows


class Mel:
    """(time, 1) sound at 16 kHz to (time, mels) log-mel, 100 rows a second.

    Row m speaks of sample 160 m, the centre of its window, and needs samples up to 160 m + 199. The left
    edge of a stream is reflected, as Whisper does with a clip. The floor is 8 below the largest log-mel
    value so far, which falls by `fall_per_s` (log10 units a second) from `start_maximum` while nothing louder
    comes. A row with a bad sample in its window is bad. After a gap it restarts with the first row whose centre came,
    and the maximum is what it would be had nothing louder come meanwhile, but no lower than a start's.
    """

    def __init__(self, mels: int = 80, start_maximum: float = 1.0, fall_per_s: float = 0.05):
        self.mels = mels
        self.start_maximum = start_maximum
        self.fall_per_row = fall_per_s * HOP_LENGTH / SAMPLE_RATE
        self.lag_s = (PAD - 1) / SAMPLE_RATE
        self._filters = mel_filters("cpu", mels)
        self._window = torch.hann_window(N_FFT)

    def initial_state(self) -> MelState:
        nothing = np.zeros(0, np.float32)
        return MelState(nothing, np.zeros(0), np.zeros(0, bool), False, 0, 0, 0, self.start_maximum)

    def step(self, x: Block, state: MelState) -> tuple[Block, MelState]:
        if len(x) and x.index != state.next_index:
            state = self._restarted(x.index, state)
        early = max(0, state.origin * HOP_LENGTH - state.next_index)  # samples before the first row's centre
        state = replace(state, next_index=state.next_index + len(x))
        x = x.rows(early, len(x))
        sound = np.concatenate([state.sound, x.data[:, 0].astype(np.float32, copy=False)])
        times = np.concatenate([state.times, x.times])
        bad = np.concatenate([state.bad, bad_rows(x)])
        state = replace(state, sound=sound, times=times, bad=bad)
        if not state.started and len(sound) <= PAD:
            return self._empty(state), state
        if not state.started:
            before = np.full(PAD, np.nan)  # reflected samples have no time of their own; no row is centred on one
            reflected = np.concatenate([sound[PAD:0:-1], sound])
            state = replace(
                state,
                sound=reflected,
                times=np.concatenate([before, times]),
                bad=np.concatenate([bad[PAD:0:-1], bad]),
                started=True,
            )
        return self._complete_rows(state)

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _restarted(self, index: int, state: MelState) -> MelState:
        fresh = self.initial_state()
        origin = -(-index // HOP_LENGTH)
        fallen = state.maximum - self.fall_per_row * max(0, origin - state.next_row if state.next_index else 0)
        maximum = max(fallen, min(state.maximum, self.start_maximum))
        return replace(fresh, origin=origin, next_index=index, maximum=maximum)

    def _empty(self, state: MelState) -> Block:
        bad = np.zeros((0, 1), bool)
        return Block(np.zeros((0, self.mels), np.float32), np.zeros(0), state.next_row, {"bad": bad})

    def _complete_rows(self, state: MelState) -> tuple[Block, MelState]:
        count = max(0, (len(state.sound) - N_FFT) // HOP_LENGTH + 1)
        if count == 0:
            return self._empty(state), state
        log_mel = self._log_mel(torch.from_numpy(state.sound), count)
        data, maximum = self._floored(log_mel, state.maximum)
        centres = state.times[PAD : PAD + count * HOP_LENGTH : HOP_LENGTH].copy()
        bad = _any_in_windows(state.bad, N_FFT, HOP_LENGTH, count)
        block = Block(data, centres, state.next_row, {"bad": bad})
        used = count * HOP_LENGTH
        rest = replace(
            state,
            sound=state.sound[used:].copy(),
            times=state.times[used:].copy(),
            bad=state.bad[used:].copy(),
            rows=state.rows + count,
            maximum=maximum,
        )
        return block, rest

    def _log_mel(self, sound: torch.Tensor, count: int) -> Floats:
        windows = sound.unfold(0, N_FFT, HOP_LENGTH)[:count] * self._window  # (count, 400)
        power = torch.fft.rfft(windows).abs().square()  # (count, 201)
        log_mel: Floats = (power @ self._filters.T).clamp(min=1e-10).log10().numpy()
        return log_mel

    def _floored(self, log_mel: Floats, maximum: float) -> tuple[Floats, float]:
        """The floor's maximum falls with each row, so it is a running maximum of a rising sequence."""
        rows = np.arange(1, len(log_mel) + 1)
        rising = log_mel.max(axis=1).astype(np.float64) + self.fall_per_row * rows
        maxima = np.maximum(np.maximum.accumulate(rising), maximum) - self.fall_per_row * rows
        floored = np.maximum(log_mel, (maxima - FLOOR_BELOW_MAX)[:, None])
        return ((floored + 4.0) / 4.0).astype(np.float32), float(maxima[-1])


def whole_clip_log_mel(sound: torch.Tensor, mels: int) -> torch.Tensor:
    """(samples,) to (rows, mels) with Whisper's own floor, 8 below the maximum of the whole clip."""
    spectrum = torch.stft(sound, N_FFT, HOP_LENGTH, window=torch.hann_window(N_FFT), return_complex=True)
    power = spectrum[:, :-1].abs().square()  # (201, rows)
    log_mel = (mel_filters("cpu", mels) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(log_mel, log_mel.max() - FLOOR_BELOW_MAX).T + 4.0) / 4.0


def bad_rows(x: Block) -> Mask:
    """(rows,) which rows of a sound or of what became of it are bad."""
    rows: Mask = np.any(bad_samples(x, 1), axis=1)
    return rows


def _any_in_windows(bad: Mask, length: int, step: int, count: int) -> Mask:
    """(count, 1): whether any of the `length` rows of each window, `step` apart, is bad."""
    windows = sliding_window_view(bad, length)[::step][:count]
    found: Mask = np.any(windows, axis=1, keepdims=True)
    return found


@dataclass
class StemState:
    mel: Floats  # (n, mels) rows from the first that the next frame needs
    times: Times
    bad: Mask
    frames: int  # frames since the last restart
    origin: int
    next_index: int


class Stem:
    """(time, mels) log-mel to (time, width) stem frames, 50 a second, before positions are added.

    Frame j speaks of row 2 j, the centre of its receptive field, and needs rows up to 2 j + 2. Rows before
    the stream's start, and the first convolution's output before it, are zero, as in Whisper. A frame is bad
    when one of its rows is. After a gap it restarts with the first frame whose centre came.
    """

    lag_s = 2 * HOP_LENGTH / SAMPLE_RATE

    def __init__(self, conv1: torch.nn.Conv1d, conv2: torch.nn.Conv1d):
        self._conv1, self._conv2 = _as_linear(conv1), _as_linear(conv2)
        self.mels, self.width = conv1.in_channels, conv2.out_channels

    def initial_state(self) -> StemState:
        return StemState(np.zeros((2, self.mels), np.float32), np.full(2, np.nan), np.zeros(2, bool), 0, 0, 0)

    def step(self, x: Block, state: StemState) -> tuple[Block, StemState]:
        if len(x) and x.index != state.next_index:
            state = replace(self.initial_state(), origin=-(-x.index // 2), next_index=x.index)
        next_index = state.next_index + len(x)
        x = x.rows(max(0, 2 * state.origin - state.next_index), len(x))  # without a row before the first frame's centre
        mel = np.concatenate([state.mel, x.data])
        times = np.concatenate([state.times, x.times])
        bad = np.concatenate([state.bad, bad_rows(x)])
        index = state.origin + state.frames
        count = max(0, (len(mel) - 3) // 2)  # a frame needs 5 rows, the next one two more
        if count == 0:
            kept = replace(state, mel=mel, times=times, bad=bad, next_index=next_index)
            return Block(
                np.zeros((0, self.width), np.float32), np.zeros(0), index, {"bad": np.zeros((0, 1), bool)}
            ), kept
        with torch.inference_mode():
            frames = self.frames(torch.from_numpy(mel[: 2 * count + 3]), at_start=state.frames == 0)
        heard_bad = _any_in_windows(bad, 5, 2, count)
        block = Block(frames.numpy(), times[2 : 2 + 2 * count : 2].copy(), index, {"bad": heard_bad})
        kept = replace(
            state,
            mel=mel[2 * count :].copy(),
            times=times[2 * count :].copy(),
            bad=bad[2 * count :].copy(),
            frames=state.frames + count,
            next_index=next_index,
        )
        return block, kept

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def frames(self, mel: torch.Tensor, at_start: bool) -> torch.Tensor:
        """(2 * frames + 3, mels) rows to (frames, width). at_start: the first row is a zero before a clip's start."""
        hidden = F.gelu(linear(mel.unfold(0, 3, 1).flatten(1), *self._conv1))  # (2 * frames + 1, width)
        if at_start:
            hidden[0] = 0.0
        return F.gelu(linear(hidden.unfold(0, 3, 2).flatten(1), *self._conv2))


def whole_clip_stem(mel: torch.Tensor, stem: Stem) -> torch.Tensor:
    """(rows, mels) to (rows / 2, width), zeros before the clip and after it, as Whisper has them."""
    return stem.frames(F.pad(mel, (0, 0, 2, 1)), at_start=True)


def _as_linear(conv: torch.nn.Conv1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias for three rows laid side by side: with few rows much faster than torch's convolution."""
    assert conv.bias is not None
    assert conv.kernel_size == (3,)
    return laid_out(conv.weight.detach().float().flatten(1).contiguous()), conv.bias.detach().float().contiguous()
