"""Several patients in one model: one trunk, each its own electrodes, and nothing of one in another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import several
from encoders.aligned import Aligned
from encoders.lstm_attention import LstmAttentionStage
from encoders.model_file import ModelHeader, load_model, save_model
from encoders.ridge import LaggedRidge
from encoders.several import fit_together, own, trunk_sha256
from encoders.training import score
from realtime.block import regular
from realtime.errors import UserError
from tests.test_lstm_attention import embeddings as wide
from tests.test_lstm_attention import some_stage
from tests.test_training import SMALL, recording

QUICK = replace(SMALL, epochs=2, margin=-1.0)


def first_electrode(one: Aligned) -> Aligned:
    return Aligned(one.embeddings, one.observed[:, :1], one.bad[:, :1])


def test_patients_share_a_trunk_and_keep_their_own_electrodes(tmp_path: Path) -> None:
    told: list[float] = []
    patients = {
        "jane": [recording(1500, 0, gated=False)],
        "john": [first_electrode(recording(1500, 1, gated=False))],
    }
    together = fit_together(patients, QUICK, told.append)
    stages = [one.model for one in together.results.values()]
    assert list(together.results) == ["jane", "john"]
    assert all(isinstance(stage, LstmAttentionStage) for stage in stages)
    assert [len(one.validation["lstm_attention"]) for one in together.results.values()] == [2, 1]
    hashes = set()
    for number, stage in enumerate(stages):
        assert isinstance(stage, LstmAttentionStage)
        electrodes = tuple(f"P{number}E{e}" for e in range(2 - number))
        baseline = np.zeros(len(electrodes), np.float32)
        save_model(
            tmp_path / f"{number}.safetensors", stage, ModelHeader(electrodes, 1000.0, electrodes, baseline, baseline)
        )
        loaded, _ = load_model(tmp_path / f"{number}.safetensors")
        assert isinstance(loaded, LstmAttentionStage)
        hashes.add(trunk_sha256(loaded))
    assert hashes == {together.trunk_sha256}, "one trunk"
    assert trunk_sha256(some_stage()) not in hashes
    assert np.all(score(stages[0], [recording(800, 7, gated=False)]) > 0.85)
    assert np.all(score(stages[1], [first_electrode(recording(800, 8, gated=False))]) > 0.85)
    assert told[-1] == 1.0


def test_a_patient_that_the_ridge_serves_better_gets_it() -> None:
    patients = {str(seed): [first_electrode(recording(1200, seed, gated=False))] for seed in (0, 1)}
    results = fit_together(patients, replace(QUICK, epochs=1, margin=1.0), lambda _: None).results
    assert [one.kind for one in results.values()] == ["ridge", "ridge"]
    assert all(isinstance(one.model, LaggedRidge) for one in results.values())


def test_who_has_recorded_too_little_is_named() -> None:
    patients = {"jane": [recording(1200, 0, gated=False)], "john": [recording(60, 1, gated=False)]}
    with pytest.raises(UserError, match="john: too little to fit on"):
        fit_together(patients, QUICK, lambda _: None)


@pytest.mark.parametrize("gain", [4, 9])
def test_own_electrodes_are_predicted_as_among_all(gain: int) -> None:
    stage, x = some_stage(2, 1, gain), regular(wide(60, 4), 50.0)
    alone = own(stage, slice(1, 3))
    np.testing.assert_allclose(alone.layer(x).data, stage.layer(x).data[:, 1:3], atol=1e-6)
    assert trunk_sha256(alone) == trunk_sha256(stage)


def test_other_embeddings_are_refused() -> None:
    one = recording(1200, 0, gated=False)
    with pytest.raises(ValueError, match="one width"):
        fit_together({"a": [one], "b": [replace(one, embeddings=one.embeddings[:, :4])]}, QUICK, lambda _: None)


def test_it_takes_the_threads_it_is_given_and_gives_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = torch.get_num_threads()
    monkeypatch.setattr(several, "_fit_together", lambda *_: seen.append(torch.get_num_threads()))
    fit_together({}, replace(QUICK, threads=before + 1), lambda _: None)
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
