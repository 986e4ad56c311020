"""Streams that are unusual and right: integers, and sound as a channel of the amplifier, through real LSL."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pylsl

from realtime.audio import Resample
from realtime.block import Block, concat, regular
from realtime.commands.session import open_session
from realtime.config import load_config
from realtime.lane import Lane, Step
from tests.mistakes import Rig, rig, whole_rig, write
from tests.rig import ELECTRODES, rows_of, speech
from tests.test_live import wait_until

__all__ = ["rig", "whole_rig", "write"]  # fixtures


def running(path: Path) -> tuple[Any, dict[str, list[Block]], list[Block]]:
    """A started session, what either lane was given and the sound lane's embeddings."""
    session = open_session(load_config(path))
    given: dict[str, list[Block]] = {"sound": [], "ecog": []}
    embeddings: list[Block] = []
    for lane in (session.engine.sound, session.engine.ecog):

        def tapped(y: Block, step: Step, lane: Lane = lane, publish: Any = lane.publish) -> None:
            publish(y, step)
            embeddings.extend([y] if len(y) and lane.name == "sound" else [])
            given[lane.name].append(step.x)

        lane.publish = tapped
    session.engine.start()
    return session, given, embeddings


def count(blocks: list[Block]) -> int:
    return sum(map(len, list(blocks)))


def test_integer_streams_are_taken(rig: Rig, write: Callable[..., Path]) -> None:
    session, given, _ = running(write(ecog="integers"))
    source = rig.open["integers"]
    assert source.wait_for_consumers(20)
    values = np.arange(600, dtype=np.int16).reshape(200, 3) - 300
    source.push_chunk(values.tolist(), pylsl.local_clock())
    wait_until(lambda: count(given["ecog"]) == 200)
    session.engine.stop()
    np.testing.assert_array_equal(rows_of(given["ecog"])[0], values)
    assert session.engine.samples()["ecog"] == {"received": 200, "lost": 0, "skipped": 0}


def test_the_sound_may_be_a_channel_of_the_amplifier(rig: Rig, write: Callable[..., Path]) -> None:
    keys = {"sound.channel": "MIC", "ecog.exclude": ["MIC", "AUX"]}
    session, given, embeddings = running(write("amplifier", "amplifier", keys))
    assert session.engine.settings.electrodes == ELECTRODES
    source = rig.open["amplifier"]
    words = Resample(22050.0).layer(regular(speech(4.0)[:, None], 22050.0)).data
    brain = np.random.default_rng(0).normal(size=(len(words), 7)).astype(np.float32)
    block = regular(np.concatenate([brain, words], axis=1), 16000.0, pylsl.local_clock())
    at = 0
    while not (given["sound"] and given["ecog"]):  # both listen
        source.push(block.rows(at, at + 160))
        at += 160
        time.sleep(0.01)
    for start in range(at, len(block), 1600):
        source.push(block.rows(start, start + 1600))
    for blocks in given.values():
        wait_until(lambda blocks=blocks: blocks[-1].data[-1].tolist() == block.data[-1].tolist())
    session.engine.stop()
    for name, blocks in given.items():
        found = rows_of(blocks)[0]
        assert session.engine.samples()[name] == {"received": len(found), "lost": 0, "skipped": 0}
        np.testing.assert_array_equal(found, block.data[-len(found) :])
    assert session.engine.ecog.state[0] is None
    picked = session.engine.ecog.chain.stages[0].layer(block).data
    np.testing.assert_array_equal(picked, brain[:, :6])
    expected = session.engine.sound.chain.layer(concat(given["sound"]))
    assert len(expected) > 50
    difference = np.abs(rows_of(embeddings)[0] - expected.data) / expected.data.std(axis=0)
    assert difference.max() < 3e-4
