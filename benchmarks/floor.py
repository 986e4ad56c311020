"""What each choice of log-mel floor keeps: phone accuracy of the causal Whisper when the loudness changes.

    python -m benchmarks.floor [--model base] [--layer 3] [--json FILE]

The probe is trained on the training trials as they are, under the same floor, and tested on the others, louder or
quieter. The whole-file floor is Whisper's own and sees the future: a reference, not a choice.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.phone_probe import FRAME_SAMPLES, RATE_HZ, TEST, TRAIN, PhoneProbe, Speech, load_speech
from encoders.mel import FLOOR_BELOW_MAX, Mel, whole_clip_log_mel
from encoders.weights import load_whisper
from encoders.whisper import CausalWhisper, Encoder
from realtime.block import Block, Floats, regular
from realtime.commands.console import machine_facts, working

BLOCK, HISTORY = 5, 500  # frames
Sound = np.ndarray[tuple[int], np.dtype[np.float32]]


class ConstantFloor(Mel):
    """Floor 8 below a maximum that never moves: what a calibration would give."""

    def _floored(self, log_mel: Floats, maximum: float) -> tuple[Floats, float]:
        floored = np.maximum(log_mel, maximum - FLOOR_BELOW_MAX)
        return ((floored + 4.0) / 4.0).astype(np.float32), maximum


class WholeFileFloor(Mel):
    """Whisper's own floor: sees the whole recording."""

    def layer(self, x: Block) -> Block:
        rows = whole_clip_log_mel(torch.from_numpy(x.data[:, 0]), self.mels).numpy()
        return Block(rows, x.times[::160][: len(rows)])


def floors(mels: int) -> dict[str, Mel]:
    choices: dict[str, Mel] = {"whole file (sees the future)": WholeFileFloor(mels)}
    slow = [(1.0, 0.01), (1.0, 0.0), (1.0, 0.05), (1.0, 0.1), (1.0, 0.2), (0.5, 0.01), (1.5, 0.01), (2.0, 0.01)]
    for start, fall in [*slow, (0.5, 0.05), (1.5, 0.05)]:
        choices[f"maximum from {start:g}, falls {fall:g} /s"] = Mel(mels, start, fall)
    choices["constant maximum 1.5"] = ConstantFloor(mels, 1.5)
    return choices


def quieter(by_db: float) -> Callable[[Sound], Sound]:
    return lambda sound: (sound * np.float32(10 ** (-by_db / 20))).astype(np.float32)


def step_up(sound: Sound) -> Sound:
    return np.concatenate([quieter(12)(sound[: len(sound) // 2]), sound[len(sound) // 2 :]])


def step_down(sound: Sound) -> Sound:
    return np.concatenate([sound[: len(sound) // 2], quieter(12)(sound[len(sound) // 2 :])])


def door(sound: Sound) -> Sound:
    """50 ms of noise at full scale, 1 s in and once a minute."""
    rng = np.random.default_rng(0)
    slammed = sound.copy()
    for start in range(RATE_HZ, len(sound) - RATE_HZ, 60 * RATE_HZ):
        slammed[start : start + RATE_HZ // 20] = rng.uniform(-1, 1, RATE_HZ // 20)
    return slammed


CONDITIONS: dict[str, Callable[[Sound], Sound]] = {
    "as it is": lambda sound: sound,
    "-12 dB": quieter(12),
    "-30 dB": quieter(30),
    "12 dB up half-way": step_up,
    "12 dB down half-way": step_down,
    "door": door,
    "door, -30 dB speech": lambda sound: door(quieter(30)(sound)),
}


def measure(mel: Mel, encoder: Encoder, training: Sequence[Speech], testing: Sequence[Speech]) -> dict[str, float]:
    """Phone accuracy in each condition."""
    causal = CausalWhisper(encoder, BLOCK, HISTORY)

    def embed(sound: Sound) -> Floats:
        padded = np.concatenate([sound, np.zeros(2 * FRAME_SAMPLES, np.float32)])[:, None]
        frames = causal.layer(encoder.stem.layer(mel.layer(regular(padded, RATE_HZ)))).data
        return frames[: -(-len(sound) // FRAME_SAMPLES)]

    probe = PhoneProbe([embed(s.sound) for s in training], [s.labels for s in training])
    labels = [s.labels for s in testing]
    return {
        name: probe.accuracy([embed(change(s.sound)) for s in testing], labels) for name, change in CONDITIONS.items()
    }


def show(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="Phone accuracy by log-mel floor")
    table.add_column("floor")
    for name in [*CONDITIONS, "mean"]:
        table.add_column(name, justify="right")
    for row in rows:
        figures = [row["phone_accuracy"][name] for name in CONDITIONS]
        table.add_row(row["floor"], *(f"{figure:.3f}" for figure in [*figures, float(np.mean(figures))]))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="Whisper model (default: base)")
    parser.add_argument("--layer", type=int, default=3, help="encoder block (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with working("aligning the speech"):
        training, testing = load_speech(TRAIN), load_speech(TEST)
    encoder = Encoder(load_whisper(options.model).model, options.layer)
    choices, rows = floors(encoder.mels), []
    with working("trying the floors") as progress:
        for done, (name, mel) in enumerate(choices.items(), start=1):
            rows.append({"floor": name, "phone_accuracy": measure(mel, encoder, training, testing)})
            progress(done / len(choices))
    Console(width=160).print(show(rows))
    if options.json:
        content = {"rows": rows, "model": options.model, "layer": options.layer, "machine": machine_facts()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
