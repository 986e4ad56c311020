"""Causal Whisper against full attention written another way, and the offline reference against Whisper itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import whisper.model
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.silence import SILENT_LOG_MEL
from encoders.whisper import CausalWhisper, Encoder, StreamingSettings, offline_embedding, whisper_stages
from realtime.block import Block, concat, regular
from realtime.errors import UserError
from tests.contract import verify_contract
from tests.oracles import whisper as oracle
from tests.test_mel import RATE, babble
from tests.tiny_whisper import TOLERANCE_SD, WIDTH, in_sd, stem_block, tiny_whisper


@pytest.fixture(scope="module", name="small")
def _small() -> whisper.model.Whisper:
    return tiny_whisper()


@settings(max_examples=12, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 160), max_size=6),
    block=st.sampled_from([1, 2, 5, 7]),
    tail=st.sampled_from([0, 1, 4]),
    history=st.sampled_from([7, 35]),
)
def test_cached_keeps_the_contract(
    small: whisper.model.Whisper, cuts: list[int], block: int, tail: int, history: int
) -> None:
    stage = CausalWhisper(Encoder(small, 2), block, history, tail)
    verify_contract(stage, stem_block(160), cuts, tolerance=TOLERANCE_SD, tolerance_in_sd=True)


@pytest.mark.parametrize(("block", "tail", "history"), [(5, 0, 20), (1, 0, 9), (4, 0, 500), (2, 3, 16), (5, 5, 40)])
def test_cached_equals_attention_over_explicit_sets(
    small: whisper.model.Whisper, block: int, tail: int, history: int
) -> None:
    x = stem_block(90)
    found = CausalWhisper(Encoder(small, 3), block, history, tail).layer(x)
    expected = oracle.encode(small, x.data.astype(np.float64), 3, block, history // block * block, tail)
    assert found.data.shape == expected.shape
    assert in_sd(found.data, expected) < TOLERANCE_SD
    np.testing.assert_array_equal(found.times, x.times[: len(found)])


@pytest.fixture(scope="module", name="silent")
def _silent(small: whisper.model.Whisper) -> list[oracle.F64]:
    return oracle.silent_inputs(small, 3, SILENT_LOG_MEL)


@settings(max_examples=8, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 160), max_size=6),
    block=st.sampled_from([1, 5]),
    tail=st.sampled_from([0, 4]),
    graph=st.booleans(),
)
def test_with_silence_behind_it_keeps_the_contract(
    small: whisper.model.Whisper, cuts: list[int], block: int, tail: int, graph: bool
) -> None:
    stage = CausalWhisper(Encoder(small, 2), block, 35, tail, silence=9, graph=graph)
    verify_contract(stage, stem_block(160), cuts, tolerance=TOLERANCE_SD, tolerance_in_sd=True)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("block", "tail", "history", "silence"), [(5, 0, 20, 7), (1, 2, 9, 100), (4, 3, 500, 1)])
def test_silence_is_that_of_a_silent_window(
    small: whisper.model.Whisper,
    silent: list[oracle.F64],
    block: int,
    tail: int,
    history: int,
    silence: int,
    graph: bool,
) -> None:
    """In one step and block by block, before the ring is full and after."""
    x = stem_block(90)
    stage = CausalWhisper(Encoder(small, 3), block, history, tail, silence=silence, graph=graph)
    state, results = stage.initial_state(), []
    for start in range(0, len(x), block):
        result, state = stage.step(x.rows(start, start + block), state)
        results.append(result)
    given = (x.data.astype(np.float64), 3, block, history // block * block, tail)
    expected = oracle.encode(small, *given, silent, silence)
    assert in_sd(concat(results).data, expected) < TOLERANCE_SD
    assert in_sd(stage.layer(x).data, expected) < TOLERANCE_SD
    assert in_sd(oracle.encode(small, *given), expected) > 100 * TOLERANCE_SD, "silence changes nothing"


def test_positions_never_run_out_with_silence(small: whisper.model.Whisper, silent: list[oracle.F64]) -> None:
    x = stem_block(2600)
    stage = CausalWhisper(Encoder(small, 2), 25, 300, 10, silence=200)
    found = stage.layer(x)
    begin, base, swaps = 0, 0, 0
    while begin < len(found):
        end = min(base + stage.epoch, len(found))
        frames = x.data[base : end + 10].astype(np.float64)
        expected = oracle.encode(small, frames, 2, 25, stage.history, 10, silent, 200)[begin - base :]
        assert in_sd(found.data[begin:end], expected) < TOLERANCE_SD, f"after swap {swaps}"
        begin, base, swaps = end, end - stage.history, swaps + 1
    assert swaps >= 2


@pytest.mark.parametrize(("block", "tail", "history"), [(5, 0, 500), (25, 10, 300), (2, 3, 100)])
def test_positions_never_run_out(small: whisper.model.Whisper, block: int, tail: int, history: int) -> None:
    """Past 1500 frames several times, live-sized: each stretch equals its own cache, warmed over the history."""
    x = stem_block(3700)
    stage = CausalWhisper(Encoder(small, 2), block, history, tail)
    state, results = stage.initial_state(), []
    for start in range(0, len(x), block):
        result, state = stage.step(x.rows(start, start + block), state)
        results.append(result)
    found = concat(results)
    assert in_sd(found.data, stage.layer(x).data) < TOLERANCE_SD
    begin, base, swaps = 0, 0, 0
    while begin < len(found):
        end = min(base + stage.epoch, len(found))
        frames = x.data[base : end + tail].astype(np.float64)
        expected = oracle.encode(small, frames, 2, block, stage.history, tail)[begin - base :]
        assert in_sd(found.data[begin:end], expected) < TOLERANCE_SD, f"after swap {swaps}"
        begin, base, swaps = end, end - stage.history, swaps + 1
    assert swaps >= 3


def test_a_step_works_on_at_most_three_blocks(small: whisper.model.Whisper) -> None:
    """The second cache takes two blocks beside the main one's: three times the usual work, never more."""
    stage = CausalWhisper(Encoder(small, 1), 5, 500)
    worked: list[int] = []
    append = stage._append_blocks

    def counting(x: torch.Tensor, *rest: object) -> torch.Tensor:
        worked[-1] += len(x)
        return append(x, *rest)

    stage._append_blocks = counting
    x, state = stem_block(3500), stage.initial_state()
    for start in range(0, len(x), 5):
        worked.append(0)
        _, state = stage.step(x.rows(start, start + 5), state)
    assert set(worked) == {5, 15}
    assert worked.count(15) / len(worked) < 0.3


def test_bad_frames_stay_marked_in_their_place(small: whisper.model.Whisper) -> None:
    x = stem_block(60)
    bad = (np.arange(60) % 7 == 3)[:, None]
    found = CausalWhisper(Encoder(small, 1), 5, 20, 2).layer(Block(x.data, x.times, 0, {"bad": bad}))
    np.testing.assert_array_equal(found.extra["bad"], bad[: len(found)])


def test_several_layers_come_from_one_pass(small: whisper.model.Whisper) -> None:
    x = stem_block(60)
    both = CausalWhisper(Encoder(small, 3), 5, 20, layers=(1, 3)).layer(x)
    first = CausalWhisper(Encoder(small, 1), 5, 20).layer(x)
    last = CausalWhisper(Encoder(small, 3), 5, 20).layer(x)
    np.testing.assert_allclose(both.data, np.hstack([first.data, last.data]), atol=1e-5)


def test_after_a_gap_it_restarts(small: whisper.model.Whisper) -> None:
    stage = CausalWhisper(Encoder(small, 2), 5, 20)
    x = stem_block(80)
    before, state = stage.step(x.rows(0, 43), stage.initial_state())
    late = Block(x.data[43:], x.times[43:] + 9, 43 + 450)
    after, _ = stage.step(late, state)
    assert (before.end, after.index) == (40, 495)
    expected = oracle.encode(small, x.data[45:].astype(np.float64), 2, 5, 20, 0, first=495)
    assert in_sd(after.data, expected) < TOLERANCE_SD


@settings(max_examples=8, deadline=None)
@given(
    lost=st.tuples(st.integers(0, 700), st.integers(1, 400)),
    block=st.sampled_from([1, 4, 5]),
    tail=st.sampled_from([0, 2]),
    pieces=st.sampled_from([1, 37]),
    graph=st.booleans(),
)
def test_depth_times_history_after_a_gap_it_is_as_without_one(
    small: whisper.model.Whisper, lost: tuple[int, int], block: int, tail: int, pieces: int, graph: bool
) -> None:
    """Wherever the gap lies, also where the second cache fills or the caches swap."""
    stage = CausalWhisper(Encoder(small, 2), block, 40, tail, silence=1300, graph=graph)  # 190 positions
    x, (first, count) = stem_block(1300), lost
    whole, state = stage.layer(x), stage.initial_state()
    before, state = stage.step(x.rows(0, first), state)
    results, again = [], first + count
    for start in range(again, len(x), pieces):
        result, state = stage.step(x.rows(start, start + pieces), state)
        results.append(result)
    after = concat(results)
    assert before.end <= after.index == -(-again // block) * block
    assert after.end == whole.end
    unsettled = 2 * stage.history + block
    assert in_sd(after.data[unsettled:], whole.data[after.index + unsettled :]) < TOLERANCE_SD


def test_bad_settings_are_refused(small: whisper.model.Whisper) -> None:
    with pytest.raises(UserError, match="layers 1 to 3"):
        Encoder(small, 4)
    with pytest.raises(UserError, match="multiples of 20 ms"):
        whisper_stages(Encoder(small, 1), StreamingSettings(layer=1, block_ms=30))
    with pytest.raises(UserError, match="too long"):
        whisper_stages(Encoder(small, 1), StreamingSettings(layer=1, history_s=20))


def hidden_states(model: whisper.model.Whisper, mel: torch.Tensor) -> list[np.ndarray]:
    """What openai-whisper's own encoder has after each block, for 3000 mel rows."""
    outputs: list[np.ndarray] = []
    hooks = [b.register_forward_hook(lambda _m, _i, o: outputs.append(o[0].numpy())) for b in model.encoder.blocks]
    with torch.inference_mode():
        model.encoder(mel[None])
    for hook in hooks:
        hook.remove()
    return outputs


def test_offline_equals_whispers_own_encoder(small: whisper.model.Whisper) -> None:
    sound = babble(30.0)
    mel = whisper.audio.log_mel_spectrogram(torch.from_numpy(np.pad(sound, (0, 480_000))))
    found = offline_embedding(small, sound, [1, 2, 3])
    for layer, expected in enumerate(hidden_states(small, mel[:, :3000]), start=1):
        assert in_sd(found[layer], expected) < 1e-4


def test_offline_takes_long_sounds_window_by_window(small: whisper.model.Whisper) -> None:
    sound = babble(47.3)
    mel = whisper.audio.log_mel_spectrogram(torch.from_numpy(np.pad(sound, (0, 480_000))))
    found = offline_embedding(small, sound, [2], margin_s=5.0)[2]
    assert found.shape == (2365, WIDTH)
    first, second = (hidden_states(small, mel[:, 2 * f : 2 * f + 3000])[1] for f in (0, 1000))
    assert in_sd(found[:1250], first[:1250]) < 1e-4
    assert in_sd(found[1250:], second[250 : 250 + 1115]) < 1e-4


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * RATE), max_size=6))
def test_the_whole_chain_from_sound_keeps_the_contract(small: whisper.model.Whisper, cuts: list[int]) -> None:
    chain = whisper_stages(Encoder(small, 2), StreamingSettings(layer=2, block_ms=100, delay_ms=60))
    x = regular(babble(3.0)[:, None], RATE, start_s=2.0)
    verify_contract(chain, x, cuts, tolerance=TOLERANCE_SD, tolerance_in_sd=True)
