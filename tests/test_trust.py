"""What an electrode is given of the LSTM's part: all where it is right, nothing where it is noise."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.crops import Crops
from encoders.trust import give, trust
from realtime.block import regular
from tests.test_lstm_attention import embeddings, some_stage


def test_trust_tells_help_from_noise() -> None:
    rng = np.random.default_rng(0)
    linear, added, noise = rng.standard_normal((3, 4000, 3))
    added[:, 1] = rng.standard_normal(4000)
    observed = linear + 0.5 * noise
    observed[:, 0] += added[:, 0]  # wholly right
    observed[:, 2] += 0.5 * added[:, 2]  # twice too large
    good = rng.random(observed.shape) < 0.9
    observed[~good] = np.nan
    share = trust(linear, linear + added, observed, good)
    assert share[0] > 0.95
    assert share[1] < 0.03
    assert 0.4 < share[2] < 0.55
    slope = np.sum(added[good[:, 2], 2] * (observed - linear)[good[:, 2], 2]) / np.sum(added[good[:, 2], 2] ** 2)
    assert abs(trust(linear, linear + added, observed, good, 0.0)[2] - slope) < 1e-9


def test_what_is_taken_off_is_the_jackknifes_error() -> None:
    """Each of twenty blocks left out in turn, slowly."""
    rng = np.random.default_rng(1)
    added = rng.standard_normal(2000)
    observed = 0.5 * added + 3 * rng.standard_normal(2000)
    slopes = []
    for block in range(20):
        rest = np.r_[0 : 100 * block, 100 * (block + 1) : 2000]
        slopes.append(np.sum(added[rest] * observed[rest]) / np.sum(added[rest] ** 2))
    error = np.sqrt(19 / 20 * np.sum((np.array(slopes) - np.mean(slopes)) ** 2))
    rows = (np.zeros((2000, 1)), added[:, None], observed[:, None], np.ones((2000, 1), bool))
    shares = [trust(*rows, errors)[0] for errors in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(shares[0] - np.array(shares[1:]), [0.5 * error, error])


def test_a_model_gives_its_share_of_what_it_adds() -> None:
    stage, x = some_stage(1, 1, 9), regular(embeddings(60, 2), 50.0)
    model, intercept = stage.model, np.array([0.1, -0.2, 0.3], np.float32)
    full = stage.layer(x).data
    assert model.gain is not None
    kept = [t.clone() for t in (model.readout.weight, model.readout.bias, model.gain.weight, model.gain.bias)]
    give(model, intercept, np.zeros(3))
    linear = stage.layer(x).data
    projected = stage.projection.apply(x.data)
    padded = np.concatenate([np.zeros((8, 5)), projected])
    expected = intercept + sum(padded[8 - lag : 68 - lag] @ model.skip[lag].numpy() for lag in range(9))
    np.testing.assert_allclose(linear, expected, atol=1e-5)
    with torch.no_grad():
        for to, was in zip(
            (model.readout.weight, model.readout.bias, model.gain.weight, model.gain.bias), kept, strict=True
        ):
            to.copy_(was)
    give(model, intercept, np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(stage.layer(x).data, linear + np.array([0.0, 0.5, 1.0]) * (full - linear), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(40, 90), min_size=1, max_size=4))
def test_lanes_walk_on_through_their_segment(seed: int, lengths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    numbers = [np.arange(n, dtype=np.float32)[:, None] + 1000 * i for i, n in enumerate(lengths)]
    good = [np.ones((n, 1), bool) for n in lengths]
    crops = Crops(numbers, numbers, good, tail=3, rows=16, warm_up=5, batch=4)
    before = None
    for number in range(30):
        crop = crops.draw(rng)
        assert crop.frames.shape == (4, 19, 1)
        assert torch.equal(crop.frames[:, 3:], crop.targets)
        assert bool(crop.fresh.all()) or number
        for lane in range(4):
            rows = crop.targets[lane, :, 0]
            assert torch.equal(rows, rows[0] + torch.arange(16)), "one segment, in order"
            assert crop.good[lane, :, 0].tolist() == [not (bool(crop.fresh[lane]) and i < 5) for i in range(16)]
            if not crop.fresh[lane]:
                assert before is not None
                assert rows[0] == before[lane, -1, 0] + 1
            valid = [float(rows[0]) % 1000 - 3 + i >= 0 for i in range(19)]
            assert crop.valid[lane].tolist() == valid
        before = crop.targets


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(1, 60), min_size=2, max_size=5))
def test_a_short_segment_shortens_no_crop(seed: int, lengths: list[int]) -> None:
    numbers = [np.arange(n, dtype=np.float32)[:, None] + 1000 * i for i, n in enumerate(lengths, start=1)]
    good = [np.ones((n, 1), bool) for n in lengths]
    crops = Crops(numbers, numbers, good, tail=3, rows=16, warm_up=0, batch=4)
    assert crops.rows == min(16, max(lengths)), "of the longest"
    rng = np.random.default_rng(seed)
    for _ in range(60):
        crop = crops.draw(rng)
        for lane in range(4):
            rows, counts = crop.targets[lane, :, 0].numpy(), crop.good[lane, :, 0].numpy()
            segment = int(rows[0]) // 1000
            expected = rows[0] + np.arange(crops.rows)
            assert counts.tolist() == (expected < 1000 * segment + lengths[segment - 1]).tolist()
            np.testing.assert_array_equal(rows, np.where(counts, expected, 0))


def test_short_segments_are_drawn_beside_a_long_one() -> None:
    numbers = [np.full((n, 1), n, np.float32) for n in (400, *8 * [15])]
    crops = Crops(numbers, numbers, [np.ones(n.shape, bool) for n in numbers], tail=3, rows=16, warm_up=0, batch=4)
    rng = np.random.default_rng(0)
    short = sum(int((crops.draw(rng).targets[:, 0, 0] == 15).sum()) for _ in range(300))
    assert short > 10, "of 1,200; with as many starts as segments it would be some 2"
