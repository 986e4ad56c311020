"""Whether a step costs more after ten minutes of stream than after half a minute: the sound lane up to Whisper.

    python -m benchmarks.stream_length

Two streams of the same sound take turns, one young, one old, at the same phase of Whisper's swaps of caches, so that
whatever else the machine does meets both. Wall time of one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.latency_case import speech
from benchmarks.latency_figures import distribution
from encoders.cached import CausalWhisper
from encoders.encoder import FRAME_S
from realtime.block import Block, Spec, regular
from realtime.commands.console import machine_facts, say
from realtime.commands.options import file_to_write
from realtime.commands.wiring import embedding_of, sound_lane
from realtime.config import WhisperTable
from realtime.stage import Chain

RATE_HZ = 16000.0
YOUNG_S, OLD_S = 30.0, 600.0
AT_ONCE = 50  # blocks, until a stream is as old as wanted
CASES = (("base", 3, 100.0, 0.0), ("base", 3, 40.0, 60.0), ("tiny.en", 2, 100.0, 0.0))


def measure(model: str, layer: int, block_ms: float, delay_ms: float) -> dict[str, Any]:
    """Milliseconds of a step of either age, over two swaps, and the old one's median as a share of the young one's."""
    chain, period_s = lane(model, layer, block_ms, delay_ms)
    block = round(block_ms / 1e3 * RATE_HZ)
    age_s = period_s * np.ceil((OLD_S - YOUNG_S) / period_s)
    begins = {"young": _blocks(YOUNG_S, block_ms) * block, "old": _blocks(YOUNG_S + age_s, block_ms) * block}
    states = {}
    for name, begin in begins.items():
        state = chain.initial_state()
        for first in range(0, begin, AT_ONCE * block):
            _, state = chain.step(heard(first, min(AT_ONCE * block, begin - first)), state)
        states[name] = state
    took_ms: dict[str, list[float]] = {name: [] for name in states}
    for turn in range(_blocks(2 * period_s, block_ms)):
        for name in sorted(states, reverse=bool(turn % 2)):
            x = heard(begins[name] + turn * block, block)
            began = time.perf_counter()
            _, states[name] = chain.step(x, states[name])
            took_ms[name].append(1e3 * (time.perf_counter() - began))
    figures = {f"{name}_ms": distribution(np.array(ms)) for name, ms in took_ms.items()}
    ratio = float(np.median(took_ms["old"]) / np.median(took_ms["young"]))
    return {"model": model, "layer": layer, "block_ms": block_ms, "delay_ms": delay_ms, **figures, "ratio": ratio}


def lane(model: str, layer: int, block_ms: float, delay_ms: float) -> tuple[Chain, float]:
    """The sound lane up to Whisper, and seconds from one swap of its caches to the next."""
    table = WhisperTable(model=model, layer=layer, block_ms=block_ms, delay_ms=delay_ms)
    chain = sound_lane(Spec("sound", RATE_HZ, ("heard",)), "heard", embedding_of(table))
    whisper = next(stage for stage in chain.stages if isinstance(stage, CausalWhisper))
    return chain, (whisper.epoch - whisper.history) * FRAME_S


def heard(first: int, rows: int) -> Block:
    """Samples of a stream of speech without end, (rows, 1)."""
    sound = speech().reshape(-1, 1)
    return regular(sound[np.arange(first, first + rows) % len(sound)], RATE_HZ, first / RATE_HZ, first)


def _blocks(seconds: float, block_ms: float) -> int:
    return round(seconds * 1e3 / block_ms)


def main(arguments: Sequence[str] | None = None) -> int:
    return each_case("stream_length", __doc__, measure, _line, arguments)


def _line(row: dict[str, Any]) -> str:
    young_ms, old_ms = (row[f"{age}_ms"]["p50"] for age in ("young", "old"))
    return f"p50 {young_ms:.2f} ms after {YOUNG_S:g} s, {old_ms:.2f} after {OLD_S:g}, {row['ratio']:.3f} of it"


def each_case(
    name: str,
    description: str | None,
    measure_one: Callable[[str, int, float, float], dict[str, Any]],
    line: Callable[[dict[str, Any]], str],
    arguments: Sequence[str] | None,
) -> int:
    """The command of a benchmark of CASES: a line for each row that measure_one gives, and all of them as JSON."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        row = measure_one(*case)
        say(f"{row['model']}/{row['layer']}, {row['block_ms']:g} + {row['delay_ms']:g} ms: {line(row)}")
        rows.append(row)
    if options.json:
        content = {"rows": rows, "machine": machine_facts()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
