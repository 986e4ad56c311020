"""The offline reference: it reads what comes after a row, where that helps, and its segments join without a seam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.aligned import Aligned
from encoders.bidirectional import AHEAD, SEGMENT, Bidirectional, Reference, _inputs, _whole, fit_reference
from encoders.lstm_attention import LstmAttentionConfig
from encoders.ridge import fit_ridge
from encoders.training import fit, masked_r
from realtime.block import regular
from realtime.errors import UserError
from tests.test_training import SMALL, embeddings, recording

QUICK = replace(SMALL, epochs=1)


def early(rows: int, seed: int) -> Aligned:
    """Electrodes that are 5 frames ahead of their embeddings: a causal model cannot know them."""
    x = embeddings(rows, seed)
    y = np.roll(x, -5, axis=0)[:, :2]
    noise = np.random.default_rng(seed).standard_normal(y.shape)
    return Aligned(x, (y / y.std(axis=0) + 0.5 * noise).astype(np.float32), np.zeros(y.shape, bool))


def test_it_knows_what_comes_after() -> None:
    told: list[float] = []
    reference, r = fit_reference([early(1500, 0)], QUICK, told.append)
    unheard = early(600, 3)
    good = np.ones(unheard.observed.shape, bool)
    assert np.all(r > 0.8)
    assert np.all(masked_r(reference.predict(unheard.embeddings), unheard.observed, good) > 0.8)
    causal = fit([early(1500, 0)], replace(QUICK, kinds=("ridge",))).model.layer(regular(unheard.embeddings, 50.0))
    assert np.all(masked_r(causal.data, unheard.observed, good) < 0.2)
    assert told[-1] == 1.0


def test_a_row_is_predicted_from_its_surroundings() -> None:
    one = recording(1200, 4, gated=False)
    ridge = fit_ridge([one.embeddings], [one.observed], [one.bad], SMALL.ridge)
    torch.manual_seed(0)
    shape = LstmAttentionConfig(components=6, electrodes=2, hidden=8, heads=2, head_width=3)
    network = Bidirectional(shape).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, 0.3)
    x = one.embeddings[:SEGMENT]
    frames, linear = _inputs(x, ridge)
    with torch.inference_mode():
        direct = network(torch.from_numpy(frames)[None], torch.from_numpy(linear)[None])[0].numpy()
    np.testing.assert_allclose(_whole(network, frames, linear), direct, atol=1e-5)
    np.testing.assert_allclose(linear[:-AHEAD], ridge.layer(regular(x, 50.0)).data[AHEAD:], atol=1e-5)
    reference = Reference(ridge, network, np.array([1.0, 0.0]))
    whole, changed = reference.predict(one.embeddings), one.embeddings.copy()
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(whole[:, 1], _inputs(one.embeddings, ridge)[1][:, 1], atol=1e-5)
    changed[640:660] += 3.0
    differs = np.abs(reference.predict(changed) - whole)[:, 0]
    assert differs[620] > 1e-4, "the future counts"
    assert differs[200] == 0, "and ends with the segment"


def test_too_short_is_told() -> None:
    with pytest.raises(UserError, match="too little"):
        fit_reference([early(80, 0)], QUICK, lambda _: None)
