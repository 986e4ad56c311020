"""Simulated electrodes that depend on history: as their truth says, and out of a lagged ridge's reach."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.patient_drive import OPEN, fit_gate, loudness, slow_mean
from encoders.phones import PhoneAlignment
from encoders.ridge import LaggedRidge, RidgeConfig, fit_ridge
from encoders.training import masked_r
from realtime.block import Floats, regular

SECONDS = 400
CONFIG = PatientConfig(
    electrodes=9, seed=2, layer_driven=2, phone_driven=0, onset_driven=0, history_driven=6, artefacts=False
)


@functools.cache
def stimulus(seed: int) -> Stimulus:
    """Bursts of noise for speech, and embeddings of 16 channels that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(np.exp(rng.normal(-3, 1, SECONDS * 4)) * (rng.random(SECONDS * 4) < 0.7), 4000)
    sound = (loud * rng.standard_normal(len(loud))).astype(np.float32)
    x = gaussian_filter1d(rng.standard_normal((SECONDS * 50, 16)), 2, axis=0)
    return Stimulus(sound, {2: x}, PhoneAlignment([("AA", 0.0, float(SECONDS))], [], []))


@functools.cache
def subject() -> SimulatedPatient:
    return SimulatedPatient(CONFIG, [stimulus(0), stimulus(1)])


def of(kind: str) -> list[int]:
    return [e for e, t in enumerate(subject().truth) if t.kind == kind]


def test_slow_mean_and_loudness_are_what_they_say() -> None:
    sound = stimulus(0).sound[:16000]
    rows = loudness(sound)
    assert rows[3] == pytest.approx(np.cbrt(np.mean(np.square(sound[960:1280], dtype=np.float64))))
    share = 1 - np.exp(-1 / 100)
    mean = 0.0
    for value, found in zip(rows, slow_mean(rows, 2.0), strict=True):
        mean += share * (value - mean)
        assert found == pytest.approx(mean)


@pytest.mark.parametrize("after_speech", [True, False])
def test_a_gate_is_open_for_its_share_and_knows_only_the_past(after_speech: bool) -> None:
    sound = stimulus(0).sound
    gate = fit_gate([sound], 2.0, after_speech)
    times_s = np.arange(0, SECONDS, 0.02)
    opened = gate.at(sound, times_s)
    assert np.mean(opened > 0.5) == pytest.approx(OPEN, abs=0.02)
    later = sound.copy()
    later[16000 * 100 :] = 1.0
    np.testing.assert_array_equal(gate.at(later, times_s)[: 99 * 50], opened[: 99 * 50])
    loud = slow_mean(loudness(sound), 2.0)
    assert (np.corrcoef(loud, opened[: len(loud)])[0, 1] > 0.5) == after_speech


def test_history_has_a_memory_and_others_have_none() -> None:
    assert len(of("history")) == 6
    for truth in subject().truth:
        assert (truth.memory_s is not None) == (truth.kind == "history")
        if truth.memory_s is not None:
            assert 1.5 <= truth.memory_s <= 4.0
            assert truth.driven
            assert truth.layer == 2
    assert len({t.after_speech for t in subject().truth if t.kind == "history"}) == 2
    drive = subject().drive(stimulus(0))
    both = np.concatenate([drive, subject().drive(stimulus(1))])
    np.testing.assert_allclose(both[:, of("history")].std(axis=0), 1, atol=1e-6)


def embeddings(one: Stimulus, gated: bool) -> list[Floats]:
    """What a model reads, one electrode after the other: the embedding, or the embedding through the true gate."""
    x = np.asarray(one.embeddings[2], np.float32)
    rows = np.arange(len(x)) / 50
    if not gated:
        return [x for _ in of("history")]
    gates = subject()._gates
    return [
        np.c_[x * gates[e].at(one.sound, rows)[:, None], gates[e].at(one.sound, rows)].astype(np.float32)
        for e in of("history")
    ]


def noise_free_r(gated: bool) -> Floats:
    """Of a lagged ridge fitted to the drive itself on 6.7 minutes, on as much that it has not seen."""
    learn, test = (subject().drive(s).astype(np.float32) for s in (stimulus(0), stimulus(1)))
    found = []
    for number, e in enumerate(of("history")):
        x, unseen = (embeddings(s, gated)[number] for s in (stimulus(0), stimulus(1)))
        config = RidgeConfig(components=17, alphas=(1e-2, 1.0, 100.0), folds=3)
        model: LaggedRidge = fit_ridge([x], [learn[:, [e]]], [np.zeros((len(x), 1), bool)], config)
        predicted = model.layer(regular(unseen, 50.0)).data
        found.append(masked_r(predicted, test[:, [e]], np.ones(predicted.shape, bool))[0])
    return np.array(found)


def test_a_lagged_ridge_cannot_follow_them_though_nothing_is_noise() -> None:
    assert np.all(noise_free_r(gated=False) < 0.75)
    assert np.all(noise_free_r(gated=True) > 0.95), "what it lacks is the gate alone"
