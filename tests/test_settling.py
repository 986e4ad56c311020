"""After every fault the rows are again those of an unbroken run, from a stated settling time on; real Whisper.

Rows are compared by the samples that they speak of, whatever a clock said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch

from encoders.lstm_attention import LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.projection import fit_projection
from encoders.ridge import FRAME_S, LaggedRidge
from realtime.block import Block, Spec, regular
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
SOUND_GRID = 1600  # samples to a block of Whisper's
CLOCK_S = 3.0  # that the fit of a clock takes to be within 1 ms
FAULT_S, END_S = 8.0, 22.0
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
    return Rig(chain, 16000.0, words.astype(np.float32)[:, None], SOUND_GRID)


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


def unbroken(one: Rig, blocks: list[Block]) -> tuple[Rows, int]:
    """The signal that lies at the places which the lane gave its rows, and how many rows it has more than the source.

    A source that rested, or a clock that was set, leaves places at which nothing was sampled.
    """
    if len(blocks) == 1:
        return one.signal, 0
    before, last = blocks[0], blocks[-1]
    first = int(last.data[0, 0])
    never = last.index - before.end - (first - int(before.data[-1, 0]) - 1)
    held = np.repeat(one.signal[first - 1 : first] * (one.grid != SOUND_GRID), never, axis=0)
    return np.concatenate([one.signal[:first], held, one.signal[first:]]), never


def differences(one: Rig, script: Script) -> tuple[np.ndarray, np.ndarray]:
    """For every row since the fault: seconds since, and the largest difference of a channel in its SDs."""
    script.signal = one.signal
    blocks = pumped(script)
    positions, rows = stepped(one, blocks)
    signal, never = unbroken(one, blocks)
    whole = sent(len(signal) / one.rate_hz, one.rate_hz)
    whole.signal, whole.chunk, whole.spec = signal, script.chunk, script.spec
    expected_at, expected = stepped(one, pumped(whole))
    again = float(blocks[-1].data[0, 0])
    sampled = (expected_at < again) | (expected_at >= again + never)
    expected_at, expected = (expected_at - never * (expected_at >= again))[sampled], expected[sampled]
    since = positions / one.rate_hz - (FAULT_S if len(blocks) < 2 else again / one.rate_hz)
    after = (since > 0) & (positions < END_S * one.rate_hz)  # rows on both sides of a clock that was set are on neither
    positions, rows, since = positions[after], rows[after], since[after]
    places = np.abs(expected_at[None, :] - positions[:, None]).argmin(axis=1)
    late = np.abs(expected_at[places] - positions) / one.rate_hz
    assert len(since) > 200
    assert late[since > CLOCK_S].max() < 1e-3
    apart = np.abs(rows - expected[places]) / expected.std(axis=0)
    return since, apart.max(axis=1)


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


BLOCK_S = SOUND_GRID / 16000
MEMORY_S = BLOCK_S + LAYER * HISTORY_S + BLOCK_S  # of Whisper: to the first whole block, and to the end of the last
SETTLES_S = {"ecog": dict.fromkeys(FAULTS, 1.0), "sound": dict.fromkeys(FAULTS, 0.1)}
FLOOR_S = 3.0  # until this speech is as loud again as what was lost of it, so that the log-mel's floor is the same
SETTLES_S["sound"] |= {"3 s lost": FLOOR_S + MEMORY_S, "paused for 3 s": MEMORY_S, "0.33 s lost": MEMORY_S}
TOLERANCE_SD = 1e-3


@pytest.mark.parametrize("fault", [pytest.param(f, marks=[pytest.mark.long] * (f == "chunks of 1")) for f in FAULTS])
@pytest.mark.parametrize("lane", ["sound", "ecog"])
def test_rows_are_again_those_of_an_unbroken_run(lane: str, fault: str) -> None:
    one = rig(lane)
    script = sent(END_S, one.rate_hz)
    script.spec = Spec("s", one.rate_hz, ("count", *(f"c{i}" for i in range(one.signal.shape[1]))))
    script.chunk = 160
    since, apart = differences(one, FAULTS[fault](script))
    assert apart[since > SETTLES_S[lane][fault]].max() < TOLERANCE_SD


LAGS, FORGETS_S = 20, 1.0  # of the ridge; and in which this LSTM, without units of long memory, forgets


@pytest.mark.parametrize("kind", ["ridge", "lstm"])
def test_predictions_are_again_those_of_an_unbroken_run(kind: str) -> None:
    one = rig("sound")
    chain = Chain([*zip(one.chain.names, one.chain.stages, strict=True), ("model", brain_model(kind))])
    script = sent(END_S, one.rate_hz)
    script.spec = Spec("s", one.rate_hz, ("count", "speech"))
    script.chunk = 160
    since, apart = differences(replace(one, chain=chain), lost(3.0)(script))
    context_s = LAGS * FRAME_S if kind == "ridge" else FORGETS_S
    settled = since > FLOOR_S + MEMORY_S + context_s
    assert settled.sum() > 100
    assert apart[settled].max() < TOLERANCE_SD
    assert apart[~settled].max() > 0.1, "the loss changed nothing"


def brain_model(kind: str) -> LaggedRidge | LstmAttentionStage:
    """Of random weights, to 6 electrodes."""
    rng = np.random.default_rng(1)
    embeddings = rig("sound").chain.layer(regular(rig("sound").signal, 16000.0)).data
    projection = fit_projection([embeddings], 16)
    if kind == "ridge":
        weights = rng.normal(size=(LAGS, 16, 6)).astype(np.float32)
        return LaggedRidge(projection, weights, np.zeros(6, np.float32), horizon_s=0.04)
    torch.manual_seed(0)
    network = LstmAttention(LstmAttentionConfig(components=16, electrodes=6, hidden=24, remembers=False))
    torch.nn.init.normal_(network.readout.weight)
    return LstmAttentionStage(network, projection)
