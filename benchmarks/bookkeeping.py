"""What the engine's measuring of itself costs, as a share of the steps that it measures: processor time of one thread.

    python -m benchmarks.bookkeeping

Steps of the sound lane with a ridge of 256 electrodes, in live-sized blocks; after each, what the engine does for its
histograms and leads (noted), and for the outlet `telemetry` (sent).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.latency_case import random_ridge, speech
from benchmarks.latency_figures import distribution
from realtime.block import ROW_RATE_HZ, Block, Spec, regular
from realtime.commands.console import machine_facts, say
from realtime.commands.options import file_to_write
from realtime.commands.wiring import embedding_of, sound_lane
from realtime.config import WhisperTable
from realtime.errors import UserError
from realtime.lane import Step
from realtime.sinks.lsl import Outlet
from realtime.telemetry import TELEMETRY, Telemetry, telemetry_rows

RATE_HZ = 16000.0
ELECTRODES = 256
WARM_UP_S = 11.0  # the history of 10 s is full


def measure(model: str, layer: int, block_ms: float, seconds: float) -> dict[str, Any]:
    """Milliseconds of processor time for each step, for what is noted and for what is sent of it."""
    spec = Spec("sound", RATE_HZ, ("heard",))
    embedding = embedding_of(WhisperTable(model=model, layer=layer, block_ms=block_ms, delay_ms=0))
    ridge = random_ridge(embedding.width, ELECTRODES)
    chain = sound_lane(spec, "heard", embedding, ridge)
    sound = regular(np.resize(speech(), (round((WARM_UP_S + seconds) * RATE_HZ), 1)), RATE_HZ)
    rows = round(block_ms / 1000 * RATE_HZ)
    name = f"bookkeeping-{uuid.uuid4().hex[:8]}"
    outlet = Outlet(Spec(name, ROW_RATE_HZ, TELEMETRY, ""), "Telemetry", name, double=True)
    telemetry, state = Telemetry(), chain.initial_state()
    took_ms: dict[str, list[float]] = {"step": [], "noted": [], "sent": []}
    for begin in range(0, len(sound) - rows + 1, rows):
        x = sound.rows(begin, begin + rows)
        step = Step(x, x.end - 1, float(x.times[-1]), float(x.times[-1]), float(x.times[-1]))
        began = time.thread_time()
        y, state = chain.step(x, state, _stamps(step))
        stepped = time.thread_time()
        if not len(y) or begin < WARM_UP_S * RATE_HZ:
            continue
        published_s = step.taken_s + 0.01
        telemetry.sound.add(y.times, step, published_s)
        telemetry.leads.predicted(y, published_s)
        noted = time.thread_time()
        outlet.push(Block(telemetry_rows(y, step, published_s, (0, 0, 0, 0)), y.times, y.index))
        sent = time.thread_time()
        for name, took_s in (("step", stepped - began), ("noted", noted - stepped), ("sent", sent - noted)):
            took_ms[name].append(1e3 * took_s)
    outlet.close()
    return {f"{name}_ms": {**distribution(np.array(ms)), "mean": float(np.mean(ms))} for name, ms in took_ms.items()}


def _stamps(step: Step) -> Callable[[str, Block], None]:
    def done(name: str, result: Block) -> None:
        step.done_s[name] = step.taken_s
        step.blocks[name] = result

    return done


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bookkeeping", description=__doc__)
    parser.add_argument("--model", default="base", help="of Whisper (default: base)")
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--block-ms", type=float, nargs="+", default=[100.0, 40.0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of sound, after the history is full")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        found = {ms: measure(options.model, options.layer, ms, options.seconds) for ms in options.block_ms}
    except UserError as error:
        print(f"corticast: {error}", file=sys.stderr)
        return 2
    for block_ms, row in found.items():
        step, noted, sent = (row[f"{name}_ms"]["mean"] for name in ("step", "noted", "sent"))
        say(
            f"{options.model}/{options.layer}, {block_ms:g} ms: a step takes {step:.2f} ms of processor time, what is "
            f"noted of it {noted:.3f} ({100 * noted / step:.2f} %), what is sent {sent:.3f} ({100 * sent / step:.2f} %)"
        )
    if options.json:
        content = {"model": options.model, "layer": options.layer, "blocks": found, "machine": machine_facts()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
