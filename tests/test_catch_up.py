"""Blocks that have waited go in one step; that this is quicker is the benchmark's to say, that it is so much less work
is counted here."""

from __future__ import annotations

import pytest
import torch

from benchmarks import catch_up, stream_length
from encoders.weights import untrained_whisper
from encoders.whisper import CausalWhisper, Encoder
from realtime.block import Floats
from realtime.commands import wiring
from tests.test_mel import babble
from tests.tiny_whisper import TOLERANCE_SD, stem_block, tiny_whisper

PRODUCTS = ("mkldnn::_linear_pointwise", "aten::linear")  # with a weight: oneDNN's layout, or torch's own


def test_both_ways_meet_the_same_sound_and_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "load_whisper", lambda *_: untrained_whisper("tiny.en", 0))
    sound: Floats = babble(20.0, 1)
    monkeypatch.setattr(stream_length, "speech", lambda: sound)
    monkeypatch.setattr(catch_up, "WARM_S", 1.0)
    monkeypatch.setattr(catch_up, "lane", lambda *case: (stream_length.lane(*case)[0], 1.5))
    torch.set_num_threads(1)
    row = catch_up.measure("tiny.en", 1, 100.0, 40.0)
    assert row["blocks"] == 10
    assert row["largest_sd"] < TOLERANCE_SD
    assert row["ratio"] == pytest.approx(row["one_by_one_ms"]["p50"] / row["at_once_ms"]["p50"])


def test_ten_blocks_at_once_read_each_weight_once() -> None:
    """Reading the weights is what makes blocks one by one slow. Counted by torch's profiler."""
    stage = CausalWhisper(Encoder(tiny_whisper(), 2), 5, 35, 3, silence=9)
    x = stem_block(200)
    products = {}
    for name, size in (("at once", 50), ("one by one", 5)):
        _, state = stage.step(x.rows(0, 103), stage.initial_state())
        with torch.profiler.profile() as profile:
            for start in range(103, 153, size):
                _, state = stage.step(x.rows(start, start + size), state)
        products[name] = sum(e.count for e in profile.key_averages() if e.key in PRODUCTS)
    assert products == {"at once": 8, "one by one": 80}, "four to a layer"
