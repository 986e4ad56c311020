"""Streaming log-mel and stem against whole-clip arithmetic, Whisper's own and a slow one of ours."""

from __future__ import annotations

import numpy as np
import torch
import whisper.audio
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.mel import Mel, Stem, whole_clip_log_mel
from realtime.block import Block, regular
from realtime.stage import Chain
from tests.contract import verify_contract
from tests.oracles import whisper as oracle

RATE = 16000


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose level rises and falls by 60 dB, so that the floor matters."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * RATE)
    level = 10 ** (-1.5 + 1.5 * np.sin(2 * np.pi * 1.3 * np.arange(samples) / RATE))
    return (0.3 * level * rng.normal(size=samples)).astype(np.float32)


def small_stem(seed: int = 0) -> Stem:
    torch.manual_seed(seed)
    return Stem(torch.nn.Conv1d(80, 24, 3, padding=1), torch.nn.Conv1d(24, 24, 3, stride=2, padding=1))


def sound_block(seconds: float) -> Block:
    return regular(babble(seconds)[:, None], RATE, start_s=100.0)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, int(1.3 * RATE)), max_size=8))
def test_mel_keeps_the_contract(cuts: list[int]) -> None:
    verify_contract(Mel(), sound_block(1.3), cuts)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 121), max_size=10))
def test_stem_keeps_the_contract(cuts: list[int]) -> None:
    mel = Mel().layer(sound_block(1.23))
    verify_contract(small_stem(), mel, cuts)


def test_mel_equals_the_slow_version_with_its_moving_floor() -> None:
    sound = babble(2.0)
    filters = whisper.audio.mel_filters("cpu", 80).double().numpy()
    maxima = oracle.slow_maxima(oracle.raw_log_mel(sound, filters), 1.0, 0.05 * 160 / RATE)
    expected = oracle.log_mel(sound, filters, maxima)
    found = Mel().layer(regular(sound[:, None], RATE))
    np.testing.assert_allclose(found.data, expected[: len(found)], atol=2e-5)
    assert len(found) >= len(expected) - 2
    assert np.ptp(maxima) > 0.01, "the floor never moved: the example tests nothing"


def test_whole_clip_log_mel_is_whispers() -> None:
    sound = torch.from_numpy(babble(1.5))
    assert torch.equal(whole_clip_log_mel(sound, 80), whisper.audio.log_mel_spectrogram(sound).T)


def test_stem_equals_whispers_convolutions_away_from_the_right_edge() -> None:
    mel = Mel().layer(sound_block(1.5))
    torch.manual_seed(0)
    conv1, conv2 = torch.nn.Conv1d(80, 24, 3, padding=1), torch.nn.Conv1d(24, 24, 3, stride=2, padding=1)
    found = Stem(conv1, conv2).layer(mel)
    expected = oracle.gelu(oracle._conv(oracle.gelu(oracle._conv(mel.data.astype(float), conv1, 1)), conv2, 2))
    np.testing.assert_allclose(found.data, expected[: len(found)], atol=1e-5)


def test_rows_are_stamped_with_their_centres() -> None:
    sound = regular(np.zeros((RATE, 1), np.float32), RATE, start_s=5.0)
    mel = Mel().layer(sound)
    stem = small_stem().layer(mel)
    np.testing.assert_allclose(mel.times, 5.0 + 0.01 * np.arange(len(mel)), atol=1e-9)
    np.testing.assert_allclose(stem.times, 5.0 + 0.02 * np.arange(len(stem)), atol=1e-9)


def test_a_click_is_heard_only_by_the_rows_around_it() -> None:
    sound = np.zeros((RATE, 1), np.float32)
    sound[8000] = 1.0
    mel = Mel(fall_per_s=0.0).layer(regular(sound, RATE))
    loud = np.flatnonzero(mel.data.max(axis=1) > mel.data.min())
    assert set(loud) <= {49, 50, 51}
    assert 50 in loud


def test_after_a_gap_rows_start_anew_and_the_gap_shows() -> None:
    sound = babble(2.0)[:, None]
    x = regular(sound, RATE, start_s=3.0)
    mel = Mel()
    before, state = mel.step(x.rows(0, 16000), mel.initial_state())
    late = Block(x.data[16000:], x.times[16000:] + 0.7, 16000 + 11200)
    after, _ = mel.step(late, state)
    assert after.index == (16000 + 11200) // 160 > before.end
    alone = Mel(start_maximum=state.maximum).layer(regular(sound[16000:], RATE, start_s=4.7))
    np.testing.assert_allclose(after.data, alone.data, atol=1e-5)
    np.testing.assert_allclose(after.times, alone.times, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(begin=st.integers(0, 2 * RATE), lost=st.integers(1, RATE))
def test_after_a_gap_rows_are_those_of_a_stream_that_was_silent_meanwhile(begin: int, lost: int) -> None:
    """On the same grid, with the same floor, but for what the rows whose windows reach into the gap add to it."""
    sound, again = 1e3 * babble(4.0)[:, None], begin + lost
    sound[begin:again] = 0.0
    x, chain = regular(sound, RATE, start_s=3.0), Chain([("mel", Mel()), ("stem", small_stem())])
    _, state = chain.step(x.rows(0, begin), chain.initial_state())
    after, state = chain.step(x.rows(again, len(x)), state)
    whole = chain.layer(x)
    row = -(-again // 160)
    first = -(-row // 2)
    assert (after.index, after.end) == (first, whole.end)
    np.testing.assert_allclose(after.times, whole.times[first:], rtol=0, atol=1e-9)
    np.testing.assert_allclose(after.data[3:], whole.data[first + 3 :], atol=3e-3)
    assert np.abs(after.data[3:-1] - whole.data[first + 4 :]).max() > 0.05, "another grid would not be seen"


def test_a_long_loss_does_not_take_the_floor_lower_than_a_start_has_it() -> None:
    mel = Mel()
    _, state = mel.step(regular(1e3 * babble(2.0)[:, None], RATE), mel.initial_state())
    assert state.maximum > mel.start_maximum + 0.5
    quiet = regular(np.zeros((401, 1), np.float32), RATE, index=3600 * RATE)
    _, state = mel.step(quiet, state)
    assert state.maximum == mel.start_maximum - 2 * mel.fall_per_row


def test_silence_gives_finite_rows() -> None:
    mel = Mel().layer(regular(np.zeros((RATE, 1), np.float32), RATE))
    assert np.all(np.isfinite(mel.data))
    assert np.ptp(mel.data) < 0.02


def test_bad_samples_mark_the_rows_that_heard_them() -> None:
    sound = sound_block(1.5)
    bad = np.zeros((len(sound), 1), bool)
    bad[8000] = True
    mel = Mel().layer(Block(sound.data, sound.times, 0, {"bad": bad}))
    stem = small_stem().layer(mel)
    assert np.flatnonzero(mel.extra["bad"][:, 0]).tolist() == [49, 50, 51]
    assert np.flatnonzero(stem.extra["bad"][:, 0]).tolist() == [24, 25, 26]
