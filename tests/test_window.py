"""Window mode against windows encoded one by one, written another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import whisper.model
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.whisper import Encoder, StreamingSettings, WindowWhisper, whisper_stages
from realtime.block import Block, regular
from realtime.errors import UserError
from tests.contract import verify_contract
from tests.oracles import whisper as oracle
from tests.test_mel import RATE, babble
from tests.tiny_whisper import TOLERANCE_SD, in_sd, stem_block, tiny_whisper


@pytest.fixture(scope="module", name="small")
def _small() -> whisper.model.Whisper:
    return tiny_whisper()


@settings(max_examples=10, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 120), max_size=6),
    block=st.sampled_from([1, 3, 5]),
    tail=st.sampled_from([0, 2, 7]),
    window=st.sampled_from([12, 50, 500]),
)
def test_window_keeps_the_contract(
    small: whisper.model.Whisper, cuts: list[int], block: int, tail: int, window: int
) -> None:
    stage = WindowWhisper(Encoder(small, 2), block, window, tail)
    verify_contract(stage, stem_block(120), cuts, tolerance=TOLERANCE_SD, tolerance_in_sd=True)


@pytest.mark.parametrize(("block", "tail", "window"), [(5, 0, 20), (1, 0, 9), (4, 3, 7), (2, 5, 30), (7, 0, 500)])
def test_window_equals_windows_one_by_one(small: whisper.model.Whisper, block: int, tail: int, window: int) -> None:
    x = stem_block(90)
    found = WindowWhisper(Encoder(small, 3), block, window, tail).layer(x)
    expected = oracle.encode_windows(small, x.data.astype(np.float64), 3, block, window, tail)
    assert found.data.shape == expected.shape
    assert in_sd(found.data, expected) < TOLERANCE_SD
    np.testing.assert_array_equal(found.times, x.times[: len(found)])


def test_several_layers_come_from_one_pass(small: whisper.model.Whisper) -> None:
    x = stem_block(60)
    both = WindowWhisper(Encoder(small, 3), 5, 20, 2, layers=(1, 3)).layer(x)
    parts = [WindowWhisper(Encoder(small, depth), 5, 20, 2).layer(x).data for depth in (1, 3)]
    np.testing.assert_allclose(both.data, np.hstack(parts), atol=1e-5)


def test_a_long_step_encodes_windows_together_in_bounded_memory(small: whisper.model.Whisper) -> None:
    stage = WindowWhisper(Encoder(small, 1), 5, 500, 5)
    worked: list[tuple[int, int]] = []
    run = stage.encoder.run

    def watching(x: torch.Tensor, *rest: object) -> list[torch.Tensor]:
        worked.append((len(x), x.shape[1]))
        return run(x, *rest)  # type: ignore[arg-type]

    stage.encoder.run = watching  # type: ignore[method-assign,assignment]
    found = stage.layer(stem_block(900))
    assert len(found) == 895
    assert max(windows * length for windows, length in worked) <= 3000
    full = [windows for windows, length in worked if length == 500]
    assert np.mean(full) > 4, "windows are encoded one by one"


def test_bad_frames_stay_marked_in_their_place(small: whisper.model.Whisper) -> None:
    x = stem_block(60)
    bad = (np.arange(60) % 7 == 3)[:, None]
    found = WindowWhisper(Encoder(small, 1), 5, 20, 2).layer(Block(x.data, x.times, 0, {"bad": bad}))
    np.testing.assert_array_equal(found.extra["bad"], bad[: len(found)])


def test_after_a_gap_it_restarts(small: whisper.model.Whisper) -> None:
    stage = WindowWhisper(Encoder(small, 2), 5, 20)
    x = stem_block(80)
    before, state = stage.step(x.rows(0, 43), stage.initial_state())
    after, _ = stage.step(Block(x.data[43:], x.times[43:] + 9, 493), state)
    assert (before.end, after.index) == (40, 495)
    np.testing.assert_allclose(after.data, stage.layer(regular(x.data[45:], 50.0)).data, atol=1e-5)


def test_a_whole_window_after_a_gap_it_is_as_without_one(small: whisper.model.Whisper) -> None:
    stage, x = WindowWhisper(Encoder(small, 2), 5, 20, 3), stem_block(150)
    _, state = stage.step(x.rows(0, 43), stage.initial_state())
    after, _ = stage.step(x.rows(77, 150), state)
    settled = stage.layer(x).rows(95, 150)
    np.testing.assert_allclose(after.rows(15, len(after)).data, settled.data, atol=1e-5)


def test_bad_settings_are_refused(small: whisper.model.Whisper) -> None:
    encoder = Encoder(small, 1)
    with pytest.raises(UserError, match="too long"):
        whisper_stages(encoder, StreamingSettings(1, history_s=31, mode="window"))
    with pytest.raises(UserError, match="do not fit"):
        whisper_stages(encoder, StreamingSettings(1, 100, 0.1, 100, "window"))
    with pytest.raises(UserError, match="'cached' or 'window'"):
        whisper_stages(encoder, StreamingSettings(1, mode="windows"))


@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(0, 2 * RATE), max_size=6))
def test_the_whole_chain_from_sound_keeps_the_contract(small: whisper.model.Whisper, cuts: list[int]) -> None:
    chain = whisper_stages(Encoder(small, 2), StreamingSettings(2, 60, 1.0, 40, "window"))
    x = regular(babble(2.0)[:, None], RATE, start_s=2.0)
    verify_contract(chain, x, cuts, tolerance=TOLERANCE_SD, tolerance_in_sd=True)
