"""Best layers, their intervals and what counts as encoding; the driving layer found on rows drawn from real Whisper."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from encoders.analysis.features import layers_of, offline_layers
from encoders.analysis.lagged import Heard, folds_of, predict_fold
from encoders.analysis.layers import best_of_all, choose_layer, confusion, depth_of
from encoders.bootstrap import r_draws
from encoders.evaluation import correlation
from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.weights import load_whisper

Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def test_the_best_layer_and_its_interval() -> None:
    rng = np.random.default_rng(0)
    r = np.array([[0.1, 0.3, np.nan], [0.5, 0.3001, np.nan], [0.2, 0.1, np.nan]])
    draws = r[:, None] + 0.01 * rng.standard_normal((3, 400, 3))
    choice = choose_layer(r, draws, (2, 4, 6))
    assert choice.best.tolist() == [4, 4, 0]
    assert (choice.low[0], choice.high[0], choice.agreement[0]) == (4, 4, 1.0)
    assert (choice.low[1], choice.high[1]) == (2, 4)
    assert 0.3 < choice.agreement[1] < 0.7
    assert (choice.low[2], choice.high[2]) == (0, 0)
    assert np.isnan(choice.agreement[2])


def test_choosing_among_layers_is_paid_for() -> None:
    """Undriven electrodes pass at the level stated, though the best of eight layers is taken."""
    rng = np.random.default_rng(1)
    r, null = rng.standard_normal((8, 600)), rng.standard_normal((8, 500, 600))
    p, adjusted = best_of_all(r, null)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(adjusted <= 0.05) <= 0.01
    r[3, 0] = 9.0
    r[:, 1] = np.nan
    p, adjusted = best_of_all(r, null)
    assert p[0] == pytest.approx(1 / 501)
    assert np.isnan(p[1])


def test_thirds_of_the_layers() -> None:
    assert [depth_of(layer, 6) for layer in range(1, 7)] == ["early"] * 2 + ["middle"] * 2 + ["late"] * 2
    assert [depth_of(layer, 4) for layer in range(1, 5)] == ["early", "early", "middle", "late"]
    assert confusion(np.array([1, 1, 2]), np.array([1, 2, 2]), (1, 2, 3)).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


@functools.cache
def simulated(whisper: str, trials: int, electrodes: int, driven: int) -> Found:
    """Layer-driven electrodes drawn directly: the layer that drives, the one found, the ceiling; 0 for undriven."""
    pytest.importorskip("pocketsphinx")
    from benchmarks.analysis_session import spoken

    sound, phones = spoken(trials)
    model = load_whisper(whisper).model
    embeddings = offline_layers(model, sound, layers_of(model))
    stimulus = Stimulus(sound, embeddings, phones)
    config = PatientConfig(
        electrodes=electrodes, layer_driven=driven, phone_driven=0, onset_driven=0, ceiling=(0.4, 0.8), seed=1
    )
    patient = SimulatedPatient(config, [stimulus])
    ceilings = np.array([t.ceiling_drawn for t in patient.truth])
    rng = np.random.default_rng(2)
    drive = patient.drive(stimulus)
    rows = ceilings * drive + np.sqrt(1 - ceilings**2) * rng.standard_normal(drive.shape)
    heard = Heard((len(rows),), rows.astype(np.float32), np.zeros(rows.shape, bool))
    r, draws = [], []
    for layer in embeddings:
        predicted = np.zeros(rows.shape, np.float32)
        for fold in folds_of(heard):
            predicted[fold.test] = predict_fold(embeddings[layer], heard, fold)
        r.append(correlation(predicted, heard.observed, heard.bad))
        draws.append(r_draws(predicted, heard.observed, heard.bad))
    choice = choose_layer(np.stack(r), np.stack(draws), tuple(embeddings))
    inside = (choice.low <= [t.layer or 0 for t in patient.truth]) & (
        choice.high >= [t.layer or 0 for t in patient.truth]
    )
    print(
        "r at the best layer over the ceiling:", np.nanmean(np.nanmax(r, axis=0)[ceilings > 0] / ceilings[ceilings > 0])
    )
    return np.array([t.layer or 0 for t in patient.truth]), choice.best, inside


@pytest.mark.long
def test_the_driving_layer_is_found_in_three_minutes_of_tiny() -> None:
    true, found, _ = simulated("tiny.en", 3, 17, 16)
    driven = true > 0
    print(confusion(true[driven], found[driven], (1, 2, 3, 4)))
    assert np.mean(found[driven] == true[driven]) >= 0.9


@pytest.mark.long
def test_the_driving_layer_is_found_in_ten_minutes_of_base() -> None:
    true, found, inside = simulated("base", 10, 64, 60)
    driven = true > 0
    print(confusion(true[driven], found[driven], (1, 2, 3, 4, 5, 6)))
    print("interval holds the driving layer:", inside[driven].mean())
    assert np.mean(found[driven] == true[driven]) >= 0.9
    assert inside[driven].mean() >= 0.9
