"""HuBERT, wav2vec 2.0 and WavLM behind the face of a causal Whisper: a stage from 16 kHz sound to 50 rows a second.

A stage for Python programs, which no command takes; tested on small models of random weights, never on real ones.
Needs the optional extra `speech-models` (`transformers`). Hsu et al. 2021; Baevski et al. 2020; Chen et al. 2022.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders.mel import bad_rows
from realtime.block import Block, Floats, Mask, Times
from realtime.errors import UserError

RATE_HZ = 16000
STRIDE = 320  # samples from one frame to the next
FIELD = 400  # samples that a frame is made of
CENTRE = 200


def load_speech_model(source: str | Path) -> Any:
    """A model by its name on the hub or from a folder that `save_pretrained` wrote; safetensors alone, never pickle."""
    try:
        from transformers import AutoModel
    except ImportError:
        raise UserError(
            "HuBERT, wav2vec 2.0 and WavLM need the package transformers, which is not installed: "
            "pip install 'corticast[speech-models]'"
        ) from None
    try:
        return AutoModel.from_pretrained(str(source), use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise UserError(f"speech model {str(source)!r} cannot be loaded: {str(error).splitlines()[0]}") from error


@dataclass
class SoundState:
    sound: Floats  # (n,) samples from the first that the next window needs
    times: Times  # (n,)
    bad: Mask  # (n,)
    first: int  # index of sound[0], or of the first sample that will be kept
    begin: int  # the first row that is used after the last restart
    done: int  # the row to be given out next
    next_index: int


class SpeechModelWindow:
    """(time, 1) sound at 16 kHz to hidden states (time, width) after block `layer`, 50 rows a second: `window` mode.

    Every `block` rows the newest `window` rows' sound, tail included, is encoded anew, and the `block` rows that end
    `tail` rows before the newest are given out. Row j speaks of sample 320 j + 200, its field's centre, and its own
    field ends with sample 320 j + 399. normalise: each window to mean 0 and variance 1, where a model was trained so.
    A row with a bad or non-finite sample in its field is bad; such samples become zero. Blocks begin at multiples of
    `block`; after a gap it restarts with the first whole block, which is where one began without the gap.
    """

    def __init__(
        self,
        model: Any,
        layer: int,
        block: int = 5,
        window: int = 500,
        tail: int = 0,
        normalise: bool = True,
        device: str = "cpu",
    ):
        depth = len(model.encoder.layers)
        if not 1 <= layer <= depth:
            raise UserError(f"layer {layer} of the speech model does not exist: it has layers 1 to {depth}")
        if block < 1 or tail < 0 or window < block + tail:
            raise UserError(f"a block of {block}, a tail of {tail} and a window of {window} rows do not fit together")
        self.block, self.window, self.tail, self.normalise = block, window, tail, normalise
        self.width: int = model.config.hidden_size
        self.lag_s = (block - 1 + tail) * STRIDE / RATE_HZ + (FIELD - 1 - CENTRE) / RATE_HZ
        self.device = torch.device(device)
        self._model = _up_to(model, layer).to(self.device)

    def initial_state(self) -> SoundState:
        return self._fresh(0)

    def step(self, x: Block, state: SoundState) -> tuple[Block, SoundState]:
        if len(x) and x.index != state.next_index:
            state = self._fresh(x.index)
        index = state.done
        self._receive(x, state)
        data, times, bad = [np.zeros((0, self.width), np.float32)], [np.zeros(0)], [np.zeros(0, bool)]
        rows = max(0, (state.first + len(state.sound) - FIELD) // STRIDE + 1)
        while state.done + self.block + self.tail <= rows:
            stop = state.done + self.block + self.tail
            first = max(state.begin, stop - self.window)
            hidden = self._hidden(state.sound[first * STRIDE - state.first :][: (stop - first - 1) * STRIDE + FIELD])
            data.append(hidden[len(hidden) - self.tail - self.block : len(hidden) - self.tail])
            begins = np.arange(state.done, state.done + self.block) * STRIDE - state.first
            times.append(state.times[begins + CENTRE])
            bad.append(np.array([state.bad[begin : begin + FIELD].any() for begin in begins]))
            state.done += self.block
        self._forget(state)
        return Block(np.concatenate(data), np.concatenate(times), index, {"bad": np.concatenate(bad)[:, None]}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _fresh(self, index: int) -> SoundState:
        begin = -(-index // (STRIDE * self.block)) * self.block
        sound, times, bad = np.zeros(0, np.float32), np.zeros(0), np.zeros(0, bool)
        return SoundState(sound, times, bad, begin * STRIDE, begin, begin, index)

    def _receive(self, x: Block, state: SoundState) -> None:
        before = min(len(x), max(0, state.first - state.next_index))  # of the first block
        state.next_index += len(x)
        x = x.rows(before, len(x))
        finite: Mask = np.isfinite(x.data[:, 0])
        sound = np.where(finite, x.data[:, 0], 0).astype(np.float32)
        state.sound = np.concatenate([state.sound, sound])
        state.times = np.concatenate([state.times, x.times])
        state.bad = np.concatenate([state.bad, bad_rows(x) | ~finite])

    def _forget(self, state: SoundState) -> None:
        needed = max(state.begin, state.done + self.block + self.tail - self.window) * STRIDE
        passed = min(max(0, needed - state.first), len(state.sound))
        state.sound, state.times = state.sound[passed:].copy(), state.times[passed:].copy()
        state.bad = state.bad[passed:].copy()
        state.first += passed

    @torch.inference_mode()
    def _hidden(self, sound: Floats) -> Floats:
        """(samples,) to (rows, width)."""
        if self.normalise:
            sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        hidden = self._model(torch.from_numpy(sound)[None].to(self.device)).last_hidden_state
        found: Floats = hidden[0].float().cpu().numpy()
        return found


def _up_to(model: Any, layer: int) -> Any:
    """A copy that ends with block `layer` and gives out what that block does."""
    cut = copy.deepcopy(model).eval().float()
    cut.encoder.layers = cut.encoder.layers[:layer]
    if getattr(model.config, "do_stable_layer_norm", False):
        cut.encoder.layer_norm = torch.nn.Identity()  # there it comes after the last block, elsewhere before the first
    return cut
