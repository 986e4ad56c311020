"""More rows a second than frames: unfolded, fitted and predicted as models of the single offsets would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.ridge import LaggedRidge, RidgeConfig
from encoders.training import FitConfig, fit, masked_r
from realtime.block import Block, Floats, regular
from realtime.commands.fitting import at_row_rate, of_electrodes
from realtime.commands.material import Material, aligned
from realtime.errors import UserError
from realtime.signals import ecog_chain
from realtime.stage import Chain
from realtime.subframes import ROW_RATES_HZ, Unfold, per_frame, rows_of_frames
from tests.contract import verify_contract
from tests.test_signals import ecog

SMALL = FitConfig(
    ridge=RidgeConfig(components=6, lags=8, lag_functions=8, window_frames=3.0, folds=4, gap_frames=30),
    kinds=("ridge",),
    horizon_s=0.04,
)


def unfolded_by_hand(x: Block, row_rate_hz: float, electrodes: int) -> list[tuple[float, list[float], list[float]]]:
    """(time, values, weights) of each row, one by one."""
    rows = []
    for frame in range(len(x)):
        for offset in range(round(row_rate_hz / 50)):
            values = [float(x.data[frame, offset * electrodes + e]) for e in range(electrodes)]
            weights = [float(v) for v in x.extra["attention"][frame].ravel()]
            rows.append((float(x.times[frame]) + offset / row_rate_hz, values, weights))
    return rows


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(ROW_RATES_HZ),
    st.integers(1, 3),
    st.lists(st.integers(0, 30), max_size=6),
    st.integers(0, 99),
    st.booleans(),
)
def test_unfolded_rows_are_those_by_hand(
    row_rate_hz: float, electrodes: int, cuts: list[int], index: int, each_is_bad: bool
) -> None:
    rng = np.random.default_rng(index)
    count = per_frame(row_rate_hz)
    x = regular(rng.standard_normal((30, count * electrodes)).astype(np.float32), 50.0, 100.0, index)
    bad = rng.random((30, x.data.shape[1] if each_is_bad else 1)) < 0.2
    x = replace(x, extra={"attention": rng.random((30, 2, 3)).astype(np.float32), "bad": bad})
    y = verify_contract(Unfold(row_rate_hz), x, cuts, tolerance=0.0)
    by_hand = unfolded_by_hand(x, row_rate_hz, electrodes)
    assert y.index == count * index
    assert y.end == count * x.end
    assert y.times.tolist() == pytest.approx([time_s for time_s, _, _ in by_hand], abs=1e-9)
    np.testing.assert_array_equal(y.data, [values for _, values, _ in by_hand])
    np.testing.assert_array_equal(y.extra["attention"].reshape(len(y), -1), [w for *_, w in by_hand])
    for frame in range(30):
        of_frame = rows_of_frames(np.array([frame]), count)
        expected = bad[frame].reshape(count, electrodes) if each_is_bad else bad[frame]
        assert np.all(y.extra["bad"][of_frame] == expected)


def test_other_rates_are_refused() -> None:
    with pytest.raises(UserError, match="75 rows a second found, 50, 100, 200 expected"):
        Unfold(75.0)


def planted(rows_hz: float, seconds: float = 60.0) -> tuple[Block, Block]:
    """Embeddings, 50 a second, and rows of two electrodes, which follow one channel at the frames and others between.

    So no row says what the next one will be: that must come from predicting each.
    """
    rng = np.random.default_rng(3)
    x = rng.standard_normal((round(50 * seconds) + 1, 6))
    x = (x[1:] + 0.5 * x[:-1]).astype(np.float32)
    count = per_frame(rows_hz)
    late = np.roll(x, 4, axis=0)  # 80 ms
    drive = np.stack([late[:, [j, j + 1]] for j in range(count)], axis=1).reshape(-1, 2)
    observed = (drive / drive.std(axis=0) + 0.5 * rng.standard_normal(drive.shape)).astype(np.float32)
    bad = rng.random(observed.shape) < 0.02
    return regular(x, 50.0, 7.0), replace(regular(observed, rows_hz, 7.0), extra={"bad": bad})


def material(row_rate_hz: float) -> Material:
    embeddings, observed = planted(row_rate_hz)
    return Material((), ([embeddings],), ([observed],), np.zeros(2), np.ones(2), row_rate_hz)


@pytest.mark.parametrize("row_rate_hz", [100.0, 200.0])
def test_rows_are_those_of_models_of_single_offsets(row_rate_hz: float) -> None:
    count, found = per_frame(row_rate_hz), material(row_rate_hz)
    result = fit(found.segments(SMALL.horizon_s), SMALL)
    (embeddings,) = found.embeddings[0]
    y = Chain([("model", result.model), ("unfold", Unfold(row_rate_hz))]).layer(embeddings)
    for offset in range(count):
        ahead_s = SMALL.horizon_s + offset / row_rate_hz
        config = replace(SMALL, horizon_s=ahead_s)
        segments = [aligned(span, [ahead_s], row_rate_hz) for span in found.spans(SMALL.horizon_s)]
        alone = fit(segments, config).model.layer(embeddings)
        np.testing.assert_allclose(y.times[offset::count], alone.times, atol=1e-9)
        np.testing.assert_allclose(y.data[offset::count], alone.data, atol=2e-3)
    best = 1 / np.sqrt(1 + 0.5**2)
    r = of_electrodes(result, row_rate_hz).validation["ridge"]
    assert r.shape == (2,)
    assert np.all(r > 0.95 * best)


def test_moments_of_a_frame_share_what_is_chosen_for_an_electrode() -> None:
    """Noise alone: what is chosen is chance, and another at each moment where each chooses for itself."""
    found = material(200.0)
    (observed,) = found.observed[0]
    noise = np.random.default_rng(5).standard_normal(observed.data.shape).astype(np.float32)
    noisy = replace(found, observed=([replace(observed, data=noise)],)).segments(0.0)
    apart, shared = (fit(noisy, at_row_rate(SMALL, hz)).model for hz in (50.0, 200.0))
    assert isinstance(apart, LaggedRidge)
    assert isinstance(shared, LaggedRidge)
    assert apart.choice is not None
    assert shared.choice is not None
    for one in (shared.choice.window, shared.choice.alpha):
        assert np.array_equal(one.reshape(4, 2), np.tile(one[:2], (4, 1)))
    assert np.array_equal(shared.choice.window[:2], apart.choice.window[:2])
    assert not np.array_equal(shared.choice.window, apart.choice.window), "the example proves nothing"


def test_what_happens_within_a_frame_needs_more_rows() -> None:
    """The rows of a model of 50, in a straight line, miss what one of 100 follows."""
    found = material(100.0)
    (embeddings,), (observed,) = found.embeddings[0], found.observed[0]
    fine = fit(found.segments(0.0), replace(SMALL, horizon_s=0.0)).model
    coarse = fit(replace(found, row_rate_hz=50.0).segments(0.0), replace(SMALL, horizon_s=0.0)).model.layer(embeddings)
    y = Chain([("model", fine), ("unfold", Unfold(100.0))]).layer(embeddings)
    assert np.array_equal(np.round(y.times, 6), np.round(observed.times, 6))
    between = np.stack([np.interp(y.times, coarse.times, coarse.data[:, e]) for e in range(2)], axis=1)
    r_fine, r_coarse = (r_of(predicted, observed) for predicted in (y.data, between))
    assert np.all(r_fine > 0.85)
    assert np.all(r_coarse < 0.75)


def r_of(predicted: Floats, observed: Block) -> Floats:
    return masked_r(predicted, np.asarray(observed.data), ~np.asarray(observed.extra["bad"], bool))


@pytest.mark.parametrize("row_rate_hz", [100.0, 200.0])
def test_more_rows_are_those_of_fifty_and_others_between(row_rate_hz: float) -> None:
    x = ecog(3.0, 1000.0, 4)
    scale = (np.zeros(4), np.ones(4))
    few, many = (ecog_chain(1000.0, 4, row_rate_hz=hz, baseline=scale) for hz in (50.0, row_rate_hz))
    assert many.lag_s == few.lag_s
    count = round(row_rate_hz / 50)
    a, b = few.layer(x), many.layer(x)
    shared = slice(count - 1, None, count)  # a row ends with its newest sample
    np.testing.assert_array_equal(b.times[shared], a.times)
    np.testing.assert_allclose(b.data[shared], a.data, atol=1e-5)
    np.testing.assert_array_equal(b.extra["bad"][shared], a.extra["bad"])
