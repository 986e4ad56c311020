"""After every fault the rows are again those of an unbroken run, from a stated settling time on; real Whisper.

The reference is the same chain over the whole signal, begun where its grid of rows falls on that of the run with the
fault. Rows are compared by the samples that they speak of, whatever a clock said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from realtime.block import Block, Spec
from realtime.clock import Clock
from realtime.commands import wiring
from realtime.config import WhisperTable
from realtime.ring import Ring
from realtime.signals import ecog_chain
from realtime.sources.pump import pump
from realtime.stage import Chain
from tests.rig import speech
from tests.scripted import Rows, Script, sent, without

HISTORY_S, LAYER = 1.0, 2
FAULT_S, END_S = 8.0, 20.0
FILL_S = wiring.FILL_S


@dataclass(frozen=True)
class Rig:
    """A lane: its chain, the signal it is fed, samples to a block of rows, and rows a second."""

    chain: Chain
    rate_hz: float
    signal: Rows
    grid: int


@cache
def rig(lane: str) -> Rig:
    rng = np.random.default_rng(0)
    if lane == "ecog":
        rows = (20 * rng.normal(size=(round(END_S * 1000), 4))).astype(np.float32)
        chain = ecog_chain(1000.0, 4, baseline=(np.full(4, 3.0), np.full(4, 0.7)))
        return Rig(chain, 1000.0, rows, 20)
    table = WhisperTable(model="tiny.en", layer=LAYER, block_ms=100, delay_ms=40, history_s=HISTORY_S)
    spec = Spec("s", 16000.0, ("speech",))
    chain = wiring.sound_lane(spec, 0, wiring.embedding_of(table))
    words = np.interp(np.arange(round(END_S * 16000)) / 16000, np.arange(round(END_S * 22050)) / 22050, speech(END_S))
    return Rig(chain, 16000.0, words.astype(np.float32)[:, None], 1600)


def stepped(one: Rig, blocks: list[Block]) -> tuple[np.ndarray, np.ndarray]:
    """Samples that the rows speak of, and the rows. blocks: channel 0 is the counter."""
    state, positions, rows = one.chain.initial_state(), [], []
    for block in blocks:
        out, state = one.chain.step(replace(block, data=block.data[:, 1:].copy()), state)
        if len(out):
            slope = (block.data[-1, 0] - block.data[0, 0]) / (block.times[-1] - block.times[0])
            positions.append(block.data[0, 0] + slope * (out.times - block.times[0]))
            rows.append(out.data)
    return np.concatenate(positions), np.concatenate(rows)


def pumped(script: Script) -> list[Block]:
    ring = Ring(len(script.stamps), (len(script.spec.channels),))
    cursor, blocks = ring.cursor(), []
    pump(script, Clock(script.spec.rate_hz), ring, lambda _event: None, script.stop)
    while cursor.behind:
        blocks.append(cursor.read())
    return blocks


def grid_start(blocks: list[Block], one: Rig) -> int:
    """A sample at which a block of the last run's rows begins, modulo the block."""
    last = blocks[-1]
    counter = int(last.data[0, 0])
    if len(blocks) > 1 and last.index - blocks[-2].end > FILL_S * one.rate_hz:
        return counter % one.grid  # everything began anew here
    return (counter - last.index) % one.grid


def differences(one: Rig, script: Script) -> tuple[np.ndarray, np.ndarray]:
    """For every row since the fault: seconds since, and the largest difference of a channel in its SDs."""
    script.signal = one.signal
    blocks = pumped(script)
    positions, rows = stepped(one, blocks)
    start = grid_start(blocks, one)
    whole = sent(END_S - start / one.rate_hz, one.rate_hz)
    whole.signal, whole.chunk = one.signal[start:], script.chunk
    expected_at, expected = stepped(one, pumped(whole))
    expected_at += start
    since = positions / one.rate_hz - FAULT_S
    positions, rows, since = positions[since > 0], rows[since > 0], since[since > 0]
    nearest = np.abs(expected_at[None, :] - positions[:, None])
    found = nearest.min(axis=1) < 0.02 * one.rate_hz / 50  # both are where the clock's fit says
    places = nearest.argmin(axis=1)[found]
    assert np.count_nonzero(found & (since > 2.0)) > 0.8 * np.count_nonzero(since > 2.0) > 100
    apart = np.abs(rows[found] - expected[places]) / expected.std(axis=0)
    return since[found], apart.max(axis=1)


Fault = Callable[[Script], Script]


def at(script: Script, seconds: float = FAULT_S) -> int:
    return round(seconds * script.spec.rate_hz)


def lost(seconds: float) -> Fault:
    return lambda script: without(script, at(script), at(script, FAULT_S + seconds))


def paused(script: Script) -> Script:
    script.stamps[at(script) :] += 3.0
    script.arrivals[at(script) :] += 3.0
    return script


def jumped(seconds: float) -> Fault:
    def fault(script: Script) -> Script:
        script.stamps[at(script) :] += seconds
        return script

    return fault


def repeated(script: Script) -> Script:
    rows = np.arange(at(script), len(script.stamps) - 40, 37)
    script.stamps[rows] = script.stamps[rows - 1]
    script.stamps[rows + 10] -= 0.02
    return script


def faster(script: Script) -> Script:
    script.stamps[:] = 50.0 + script.counter / (1.005 * script.spec.rate_hz)
    script.arrivals[:] = script.stamps + 0.003
    return script


def chunks(rows: int) -> Fault:
    """Of so many rows, but of 1 ms at least: the pump rests so long after a smaller one."""

    def fault(script: Script) -> Script:
        script.chunk = max(rows, round(1e-3 * script.spec.rate_hz))
        return script

    return fault


FAULTS: dict[str, Fault] = {
    "3 s lost": lost(3.0),
    "0.33 s lost": lost(0.33),
    "paused for 3 s": paused,
    "clock + 1 s": jumped(1.0),
    "clock - 274 s": jumped(-274.0),
    "stamps repeated and backward": repeated,
    "0.5 % faster": faster,
    "chunks of 1": chunks(1),
    "chunks of 1000": chunks(1000),
}


if __name__ == "__main__":
    for lane in ("sound", "ecog"):
        one = rig(lane)
        for name, fault in FAULTS.items():
            script = sent(END_S, one.rate_hz)
            script.spec = Spec("s", one.rate_hz, tuple("abcdefg"[: one.signal.shape[1] + 1]))
            script.chunk = 160
            since, apart = differences(one, fault(script))
            parts = [
                apart[(since >= a) & (since < a + 0.5)] for a in (0, 0.5, 1, 2, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 11)
            ]
            print(lane, name, [f"{p.max():.1e}" if len(p) else "-" for p in parts])
