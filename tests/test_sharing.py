"""What sharing gains, as the benchmark measures it, on made-up sound. Its figures are in docs/models.md."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from benchmarks import sharing
from benchmarks.simulated_rows import LAYERS, Speech
from encoders.lstm_attention import LstmAttentionConfig
from encoders.patient import Stimulus
from encoders.phones import PhoneAlignment
from encoders.ridge import RidgeConfig
from encoders.training import FitConfig, fit, score

QUICK = partial(
    FitConfig, ridge=RidgeConfig(components=8, lags=14, lag_functions=7, folds=3, gap_frames=30),
    lstm=LstmAttentionConfig(hidden=12, heads=2, head_width=4, reads=4, gain=True), epochs=1, margin=-1.0,
)  # fmt: skip


def speech(seconds: int, seed: int) -> Speech:
    """Bursts of noise, with layers that have nothing to do with them; the models read all layers, mixed."""
    rng = np.random.default_rng(seed)
    sound = np.repeat(rng.random(seconds * 4) < 0.7, 4000) * rng.standard_normal(seconds * 16000)
    layers = {layer: gaussian_filter1d(rng.standard_normal((seconds * 50, 3)), 2, axis=0) for layer in LAYERS}
    phones = [("AA", float(s), s + 0.6) for s in range(seconds)]
    stimulus = Stimulus(sound.astype(np.float32), layers, PhoneAlignment(phones, [], []))
    return Speech(stimulus, np.hstack(list(layers.values())).astype(np.float32))


HEARD = speech(100, 1), speech(20, 2)


def test_patients_are_alike_or_follow_layers_and_lags_of_their_own() -> None:
    for likeness, apart in (("alike", False), ("other", True)):
        truths = [sharing.patient(HEARD, likeness, 40, i).truth for i in range(3)]
        layers = [{t.layer for t in truth if t.layer is not None} for truth in truths]
        lags = [[t.lag_s for t in truth if t.driven] for truth in truths]
        assert (layers == [{1}, {2}, {3}]) == apart
        assert (max(lags[0]) <= min(lags[1]) and max(lags[1]) <= min(lags[2])) == apart
        assert lags[0] != lags[1]


def test_each_hears_another_stretch_and_none_what_is_held_out() -> None:
    group = sharing.subjects(HEARD, "alike", 3, 40)
    learn, test = HEARD
    for one, begin in zip(group, (0, 1000, 2000), strict=True):
        np.testing.assert_array_equal(one.recording(1.0)[0].embeddings, learn.embeddings[begin : begin + 3000])
        np.testing.assert_array_equal(one.test.embeddings, test.embeddings)
    assert not np.array_equal(group[0].test.observed, group[1].test.observed)


def test_the_ridge_within_an_lstm_is_the_ridge() -> None:
    recording = sharing.subjects(HEARD, "alike", 1, 40)[0].recording(1.0)
    lstm, ridge = (fit(recording, QUICK(kinds=(kind,))).model for kind in ("lstm_attention", "ridge"))
    np.testing.assert_allclose(score(sharing.ridge_of(lstm), recording), score(ridge, recording), atol=1e-5)
    assert sharing.ridge_of(ridge) is ridge


def test_it_runs_and_pairs_groups_of_the_same_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "speech", lambda: HEARD)
    monkeypatch.setattr(sharing, "FitConfig", QUICK)
    words = ["--seeds", "2", "--minutes", "0.8", "--groups", "1", "2", "--patients", "alike", "--json"]
    assert sharing.main([*words, str(tmp_path / "sharing.json")]) == 0
    assert "SIMULATED" in capsys.readouterr().out
    content = json.loads((tmp_path / "sharing.json").read_text())
    assert content["simulated"] is True
    assert [(row["group"], row["electrodes"]) for row in content["rows"]] == [
        (1, "driven"), (1, "history"), (2, "driven"), (2, "history"),
    ]  # fmt: skip
    assert len(content["seeds"]) == 4
    for row in content["rows"]:
        seeds = [seed for seed in content["seeds"] if seed["group"] == row["group"]]
        gains = [seed["together"][row["electrodes"]] - seed["alone"][row["electrodes"]] for seed in seeds]
        mean, low, high = row["more than alone"]
        assert mean == pytest.approx(np.mean(gains))
        assert low <= mean <= high
        assert row["together, LSTM kept"] == row["fits"] == 2 * row["group"]
    driven = [row["ridge"] for row in content["rows"] if row["electrodes"] == "driven"]
    assert min(driven) > 0.2, "the embedding holds the layers"
