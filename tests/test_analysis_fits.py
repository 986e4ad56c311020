"""Parts of an analysis that need the same LSTM fit it once between them, whichever is asked for first."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.analysis import fits
from encoders.analysis.attention import PLANTED_LAGS_S
from encoders.analysis.lagged import Fold, Heard, folds_of
from encoders.analysis.sweep import make_cell, save_heard, solve_cell
from encoders.analysis.time_models import fit_lstm_fold, predict_test_rows
from encoders.lstm_attention import LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.projection import Projection
from encoders.weights import LoadedWhisper
from encoders.whisper import StreamingSettings
from realtime.block import Floats, regular
from realtime.commands import analysis_attention, analysis_time
from realtime.commands.analysis_data import Listened, Patient, Segment
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Result, Store
from tests.tiny_whisper import tiny_whisper

ROWS, ELECTRODES, FOLDS = 1000, 2, 5
Fit = Callable[[str, Floats, Heard, Fold, int], LstmAttentionStage]
Compute = Callable[[Patient, Setup, Store], Result]


def small_model(kind: str, features: Floats, heard: Heard, fold: Fold, _epochs: int) -> LstmAttentionStage:
    """Instead of `fit_lstm_fold`, which takes a second: random weights, others for each fold and electrodes."""
    torch.manual_seed(zlib.crc32(heard.observed[fold.test].tobytes()))
    shape = LstmAttentionConfig(
        features.shape[1], heard.observed.shape[1], hidden=8, heads=2, head_width=4,
        attention_s=0.12 if kind == "lstm_attention" else 0.02,
    )  # fmt: skip
    model = LstmAttention(shape)
    with torch.no_grad():
        model.readout.weight.normal_()
    ones = np.ones(features.shape[1], np.float32)
    return LstmAttentionStage(model, Projection(0 * ones, ones, np.diag(ones)))


def counting(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was fitted so far: the kind of each model, and its electrodes."""
    made: list[tuple[str, int]] = []

    def counted(kind: str, features: Floats, heard: Heard, fold: Fold, epochs: int) -> LstmAttentionStage:
        made.append((kind, heard.observed.shape[1]))
        return fit(kind, features, heard, fold, epochs)

    monkeypatch.setattr(fits, "fit_lstm_fold", counted)
    return made


def patient_of(folder: Path) -> Patient:
    """20 s of noise; two electrodes follow its loudness."""
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0.01, 0.3, ROWS // 5), 5)
    sound = (np.repeat(loudness, 320) * rng.standard_normal(320 * ROWS)).astype(np.float32)
    observed = 8 * loudness[:, None] + rng.standard_normal((ROWS, ELECTRODES))
    segment = Segment(
        np.arange(ROWS) / 50.0,
        observed.astype(np.float32),
        np.zeros(observed.shape, np.bool_),
        regular(sound[:, None], 16_000),
    )
    return Patient("a", [Listened(folder, ("A1", "A2"), [segment], None)])


def test_time_and_attention_share_what_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second part fits nothing that the first one did, and both say the same whichever came first."""
    fitted = counting(small_model, monkeypatch)
    monkeypatch.setattr(analysis_time, "LEAST_S", 5.0)
    patient = patient_of(tmp_path)
    setup = Setup((LoadedWhisper(tiny_whisper(), "tiny", "0" * 64, "untrained"),), StreamingSettings(2), 1, epochs=1)
    planted = [("lstm_attention", len(PLANTED_LAGS_S))]
    shared, alone = FOLDS * [("lstm_attention", ELECTRODES)], FOLDS * [("lstm", ELECTRODES)]
    found: dict[str, list[Result]] = {"time": [], "attention": []}

    def run(compute: Compute, folder: str, name: str) -> list[tuple[str, int]]:
        fitted.clear()
        found[name].append(compute(patient, setup, Store(tmp_path / folder)))
        assert not found[name][-1].facts["failed"]
        return fitted

    assert sorted(run(analysis_time.compute, "time first", "time")) == sorted(alone + shared)
    assert run(analysis_attention.compute, "time first", "attention") == planted
    assert sorted(run(analysis_attention.compute, "attention first", "attention")) == sorted(planted + shared)
    assert run(analysis_time.compute, "attention first", "time") == alone
    for one, other in found.values():
        assert json.dumps(one.facts) == json.dumps(other.facts)  # as text, where NaN is like NaN
        for name, values in one.arrays.items():
            np.testing.assert_array_equal(values, other.arrays[name], err_msg=name)


def test_a_cell_predicts_as_the_model_itself_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted now or taken from its file; a model of fewer epochs is another one."""
    fitted = counting(fit_lstm_fold, monkeypatch)
    rng = np.random.default_rng(1)
    features = rng.standard_normal((ROWS, 10)).astype(np.float32)
    observed = (features[:, :3] + rng.standard_normal((ROWS, 3))).astype(np.float32)
    heard = Heard((600, 400), observed, np.zeros(observed.shape, np.bool_), np.arange(ROWS))
    np.save(tmp_path / "x.npy", features)
    save_heard(tmp_path / "heard.npz", heard)
    some, fold = heard.electrodes(1, 3), folds_of(heard)[1]
    expected = predict_test_rows(fit_lstm_fold("lstm_attention", features, some, fold, 1), features, some, fold)
    for part in ("one", "another"):
        cell = make_cell(
            part, tmp_path / "x.npy", tmp_path / "heard.npz", (1, 3), 1, tmp_path / part, "lstm_attention",
            epochs=1, fits=tmp_path / "fits",
        )  # fmt: skip
        solve_cell(cell)
        np.testing.assert_array_equal(np.load(cell.out), expected)
    assert len(fitted) == 1
    longer = make_cell(
        "c", cell.features, cell.heard, (1, 3), 1, tmp_path, "lstm_attention", epochs=2, fits=tmp_path / "fits"
    )
    solve_cell(longer)
    assert len(fitted) == 2
