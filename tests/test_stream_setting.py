"""The benchmark of a stream's settings: that its electrodes, folds and intervals are what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from benchmarks import stream_setting
from benchmarks.stream_setting import OFFLINE, Electrodes, compare, electrodes, held_out_r
from encoders.patient import PatientConfig, Stimulus
from encoders.phones import PhoneAlignment
from encoders.ridge import RidgeConfig
from encoders.speech import Trial
from encoders.weights import untrained_whisper
from realtime.block import Floats
from tests.test_mel import babble

TRIALS = 4


def smooth_noise(seed: int, rows: int, width: int) -> Floats:
    noise = np.random.default_rng(seed).standard_normal((rows + 4, width))
    kernel = np.ones(5) / 5
    smooth: Floats = np.stack([np.convolve(column, kernel, "valid") for column in noise.T], axis=1).astype(np.float32)
    return smooth


def test_a_prediction_is_of_the_time_a_horizon_ahead_and_from_the_other_half() -> None:
    """Lags reach 0.36 s back. What comes 0.44 s after the embedding is found 0.1 s ahead, and not now; what comes with
    it is found now, and not ahead."""
    embeddings = [smooth_noise(i, 1000, 6) for i in range(TRIALS)]
    late = [np.roll(e[:, :2], 22, axis=0) for e in embeddings]
    at_once = [e[:, 2:4] for e in embeddings]
    noise = [smooth_noise(50 + i, 1000, 1) for i in range(TRIALS)]
    observed = [np.concatenate(parts, axis=1) for parts in zip(late, at_once, noise, strict=True)]
    now, ahead = (held_out_r(embeddings, observed, horizon_ms) for horizon_ms in (0.0, 100.0))
    assert now.shape == (TRIALS, 5)
    assert min(ahead[:, :2].min(), now[:, 2:4].min()) > 0.9
    assert max(now[:, :2].max(), ahead[:, 2:4].max()) < 0.5
    assert np.abs(now[:, 4]).max() < 0.3
    changed = [observed[0], *(np.roll(o, 300, axis=0) for o in observed[1:2]), *observed[2:]]
    np.testing.assert_array_equal(held_out_r(embeddings, changed, 0.0)[0], now[0])  # its own half teaches it nothing


def test_the_difference_and_both_intervals() -> None:
    rng = np.random.default_rng(3)
    several = Electrodes([], np.array(["layer", "phone", "layer"] * 4), np.repeat(np.arange(4), 3))
    first, second = rng.normal(size=(2, TRIALS, 12))
    _, _, row, _ = compare({"100+0": first, "40+60": second}, several, 100.0)
    assert (row["setting"], row["kind"], row["horizon_ms"]) == ("40+60", "layer", 100.0)
    gains = np.array([[second[i, e] - first[i, e] for e in range(12) if e % 3 != 1] for i in range(TRIALS)])
    assert row["gain"] == pytest.approx(gains.mean())
    for name, values in (
        ("over_patients", [gains[:, 2 * p : 2 * p + 2].mean() for p in range(4)]),
        ("over_trials", [gains[i].mean() for i in range(TRIALS)]),
    ):
        half = student.ppf(0.975, 3) * np.std(values, ddof=1) / 2
        assert row[name] == pytest.approx((gains.mean() - half, gains.mean() + half))


def stimulus(seed: int) -> Stimulus:
    phones = [("AA", 0.0, 4.0), ("S", 4.0, 8.0)] if seed % 2 else [("T", 0.0, 3.0), ("AA", 3.0, 8.0)]
    return Stimulus(babble(8.0, seed), {3: smooth_noise(seed, 400, 8)}, PhoneAlignment(phones, [], []))


def test_electrodes_are_those_that_something_drives() -> None:
    several = electrodes([stimulus(i) for i in range(2)], [7, 8])
    assert [o.shape for o in several.observed] == [(400, 36), (400, 36)]
    assert (several.kinds == "layer").sum() == 24
    assert (several.seeds == 7).sum() == 18
    one, other = several.observed[0][:, :18], several.observed[0][:, 18:]
    assert not np.allclose(one, other)
    again = electrodes([stimulus(i) for i in range(2)], [8])
    np.testing.assert_array_equal(again.observed[1], several.observed[1][:, 18:])


def test_it_says_that_patients_are_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [Trial(str(i), babble(12.0, i), 16_000.0, "") for i in range(TRIALS)]
    monkeypatch.setattr(stream_setting, "load_trials", lambda: trials)
    monkeypatch.setattr(stream_setting, "load_whisper", lambda _: untrained_whisper("tiny.en", 0))
    monkeypatch.setattr(stream_setting, "align_phones", lambda *_: PhoneAlignment([("AA", 0.0, 6.0)], [], []))
    monkeypatch.setattr(stream_setting, "PATIENT", PatientConfig(3, layer_driven=1, phone_driven=1, onset_driven=0))
    monkeypatch.setattr(stream_setting, "RidgeConfig", lambda: RidgeConfig(components=8, lags=4, lag_functions=4))
    file, threads = tmp_path / "a.json", torch.get_num_threads()
    words = ["--model", "tiny.en", "--layer", "1", "--settings", "100+0@2", "--seeds", "2", "--horizon-ms", "0"]
    assert stream_setting.main([*words, "--json", str(file)]) == 0
    torch.set_num_threads(threads)
    content = json.loads(file.read_text())
    assert content["simulated"] is True
    assert "simulated patients" in capsys.readouterr().out
    assert [row["setting"] for row in content["rows"]] == ["100+0@2", "100+0@2", OFFLINE, OFFLINE]
    assert stream_setting.main(["--settings", "nonsense"]) == 2
