"""What the monitor shows of the past and of which electrodes, without Qt."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.monitor.choice import Choice
from realtime.monitor.curves import lane_heights, thin, value_at
from realtime.monitor.heat import (
    binned,
    colour_numbers,
    column_span,
    first_column,
    limit_for,
    order_by_grid,
    order_by_score,
)
from realtime.monitor.layout import grid_rows, places
from realtime.monitor.session import Session
from realtime.monitor.view import LONGEST_S, SHORTEST_S, View

# -- time --------------------------------------------------------------------------------------------------------------


def test_pause_holds_the_time_and_live_follows_it() -> None:
    view = View(10.0)
    assert (view.live, view.reference(50.0)) == (True, 50.0)
    view.toggle(50.0)
    assert (view.live, view.reference(70.0), view.behind_s(70.0)) == (False, 50.0, 20.0)
    view.pause(60.0)  # is already
    assert view.reference(70.0) == 50.0
    view.toggle(70.0)
    assert (view.live, view.behind_s(71.0)) == (True, 0.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-400, 400), min_size=1, max_size=8), st.floats(1, 500))
def test_scrolling_stays_within_what_is_held(steps: list[float], held_s: float) -> None:
    view, now_s = View(10.0), 1000.0
    want = now_s
    for by_s in steps:
        view.scroll(by_s, now_s, now_s - held_s)
        want = min(now_s, max(min(now_s, now_s - held_s + 10.0), want + by_s))
        assert view.reference(now_s) == pytest.approx(want)
        assert not view.live
    view.scroll(-math.inf, now_s, now_s - held_s)
    assert view.reference(now_s) == pytest.approx(min(now_s, now_s - held_s + 10.0))


def test_scrolling_before_any_row_only_pauses() -> None:
    view = View()
    view.scroll(-5.0, 100.0, math.nan)
    assert view.reference(120.0) == 100.0


def test_zoom_goes_by_steps_to_ten_minutes_and_no_further() -> None:
    view = View(10.0)
    view.zoom(1)
    assert view.window_s == 20.0
    view.zoom(-3)
    assert view.window_s == 2.0
    view.zoom(99)
    assert view.window_s == LONGEST_S == 600.0
    view.zoom(-99)
    assert view.window_s == SHORTEST_S


# -- electrodes --------------------------------------------------------------------------------------------------------


def test_a_grid_is_near_square_and_each_place_is_taken_once() -> None:
    for count, width in ((1, 1), (10, 4), (64, 8), (256, 16)):
        names = [f"G{k + 1}" for k in range(count)]
        where = places(names)
        assert len({tuple(place) for place in where.tolist()}) == count
        assert where[:, 0].max() == width - 1
        assert where[0].tolist() == [0, 0]
        rows = grid_rows(names, where)
        assert [name for row in rows for name in row] == names
        assert {len(row) for row in rows[:-1]} <= {width}


def test_groups_by_name_lie_below_each_other_and_strips_are_rows() -> None:
    names = [f"G{k}" for k in range(1, 17)] + [f"TP{k}" for k in range(1, 7)] + ["reference"]
    rows = grid_rows(names, places(names))
    assert [len(row) for row in rows] == [4, 4, 4, 4, 6, 1]
    assert rows[4] == ["TP1", "TP2", "TP3", "TP4", "TP5", "TP6"]


def test_positions_are_used_where_every_electrode_has_one() -> None:
    picture = {"a": (100, 50), "b": (140, 50), "c": (100, 90)}
    where = places(["a", "b", "c"], picture)
    np.testing.assert_allclose(where - where[0], [[0, 0], [1, 0], [0, -1]], atol=1e-12)
    left = {"back": (-60, -40, 0), "front": (-60, -30, 0), "up": (-60, -40, 10)}  # of the left side, seen from there
    where = places(list(left), left)
    np.testing.assert_allclose(where - where[0], [[0, 0], [-1, 0], [0, 1]], atol=1e-12)
    right = {name: (-x, y, z) for name, (x, y, z) in left.items()}
    where = places(list(right), right)
    np.testing.assert_allclose(where - where[0], [[0, 0], [1, 0], [0, 1]], atol=1e-12)
    assert places(["a", "b", "c", "d"], picture).tolist() == places(["a", "b", "c", "d"]).tolist()
    assert np.isfinite(places(["a", "b"], {"a": (1, 1), "b": (1, 1)})).all()
    assert np.isfinite(places(["a"], {"a": (1, 1)})).all()
    assert places([]).shape == (0, 2)


def test_best_by_hand_and_by_row() -> None:
    names, scores = list("abcd"), np.array([0.1, 0.4, 0.2, 0.3])
    rows = [["a", "b"], ["c", "d"]]
    choice = Choice(count=2)
    assert choice.select(names, scores, rows, []) == ["b", "d"]
    choice.pin("a")
    choice.pin("c")
    choice.mode = "hand"
    assert choice.select(names, scores, rows, []) == ["a", "c"]
    choice.pin("a")
    assert choice.select(names, scores, rows, []) == ["c"]
    choice.mode, choice.row = "row", 3
    assert choice.select(names, scores, rows, []) == ["c", "d"]
    choice.forget_unknown(["a"])
    choice.mode = "hand"
    assert choice.pinned == []
    assert choice.select(names, scores, rows, []) == ["b", "d"]  # nothing chosen: the best


# -- long stretches ----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 400), st.integers(10, 100), st.integers(0, 1000))
def test_thinning_keeps_extremes_and_gaps(rows: int, most: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    at = np.arange(rows) * 0.02
    kept = (at < 2.0) | (at > 4.5)
    times = np.asarray(1000.007 + at[kept], np.float64)  # no row at the edge of a bin
    data = random.standard_normal((len(times), 2))
    data[random.random(data.shape) < 0.3] = np.nan
    thin_times, thinned, step_s = thin(times, data, 0.02, most)
    assert len(thin_times) <= most + 4
    assert (np.diff(thin_times) > 0).all()
    for column in range(2):
        want, got = data[:, column], thinned[:, column]
        if np.isfinite(want).any():
            assert (np.nanmin(got), np.nanmax(got)) == (np.nanmin(want), np.nanmax(want))
        else:
            assert np.isnan(got).all()
    if len(times) > most and step_s < 0.5 and at[-1] > 4.5:
        assert (np.diff(thin_times) > 1.5 * step_s).any()
    for time_s, low, high in zip(thin_times[::2], thinned[::2], thinned[1::2], strict=len(times) > most):
        if len(times) > most:
            inside = data[(times >= time_s - 1e-9) & (times < time_s + 2 * step_s - 1e-9)]
            for column in range(2):
                finite = inside[np.isfinite(inside[:, column]), column]
                assert (low[column] in finite) == (high[column] in finite) == bool(len(finite))


def test_measured_values_are_those_of_the_nearest_row() -> None:
    times, values = np.array([1.0, 1.02, 1.04, 1.5]), np.array([5.0, 6.0, np.nan, 8.0])
    assert value_at(times, values, 1.012) == 6.0
    assert value_at(times, values, 0.99) == 5.0
    assert math.isnan(value_at(times, values, 1.04))
    assert math.isnan(value_at(times, values, 1.3))
    assert math.isnan(value_at(times[:0], values[:0], 1.0))


def test_each_trace_may_have_its_own_height() -> None:
    values = np.random.default_rng(0).standard_normal((1000, 2)) * [1.0, 5.0]
    assert lane_heights([values], 2).tolist() == [6.0, 30.0]


# -- heat maps ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 200), st.integers(0, 1000))
def test_columns_hold_the_mean_of_their_rows(rows_a_column: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    kept = np.flatnonzero(random.random(rows) < 0.9)
    times = np.asarray(5000.003 + 0.02 * kept, np.float64)
    data = random.standard_normal((len(times), 3)).astype(np.float32)
    data[random.random(data.shape) < 0.2] = np.nan
    column_s = 0.02 * rows_a_column
    begin_s = first_column(5000.5, column_s, 0.02, float(times[-1]) if len(times) else math.nan)
    assert 5000.5 - column_s - 1e-6 <= begin_s <= 5000.5 + 1e-6
    picture = binned(times, data, begin_s, 20, column_s)
    for k in range(20):
        low = begin_s + k * column_s
        inside = data[(times >= low) & (times < low + column_s)]
        for column in range(3):
            known = inside[np.isfinite(inside[:, column]), column]
            want = known.mean() if len(known) else np.nan
            np.testing.assert_allclose(picture[k, column], want, rtol=1e-4, atol=1e-6)


def test_every_row_gets_its_own_column_wherever_the_view_begins() -> None:
    times = 123456.789 + 0.02 * np.arange(500) + np.random.default_rng(1).uniform(-2e-4, 2e-4, 500)
    data = np.arange(500.0)[:, None]
    for start_s in 123457.0 + np.linspace(0, 0.1, 23):
        begin_s = first_column(start_s, 0.02, 0.02, float(times[-1]))
        picture = binned(times, data, begin_s, 400, 0.02)[:, 0]
        assert (np.diff(picture) == 1.0).all()


def test_a_column_is_whole_rows_and_the_window_fits() -> None:
    assert column_span(10.0, 0.02, 600) == pytest.approx(0.02)
    assert column_span(12.0, 0.02, 600) == pytest.approx(0.02)
    assert column_span(600.0, 0.02, 600) == pytest.approx(1.0)


def test_colours_are_symmetric_and_no_value_has_its_own() -> None:
    picture = np.array([np.nan, -9.0, -4.0, 0.0, 4.0, 9.0, 2.0], np.float32)
    assert colour_numbers(picture, 4.0).tolist() == [0, 1, 1, 128, 255, 255, 192]
    assert limit_for(np.array([np.nan])) == 1.0
    assert limit_for(np.r_[np.full(995, 2.5), np.full(5, 500.0)]) == 3.0


def test_orders_of_the_maps() -> None:
    assert order_by_score(np.array([0.1, np.nan, 0.5, 0.5])).tolist() == [2, 3, 0, 1]
    assert order_by_grid(["a", "b", "c"], [["c", "a"], ["b"]]).tolist() == [2, 0, 1]


# -- the whole session -------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(0, 1000))
def test_session_means_are_those_of_all_rows_however_long(chunks: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    session = Session(2, span_s=1.0, most=8)
    at, all_times, all_data = 0.0, [np.zeros(0)], [np.zeros((0, 2))]
    for count in chunks:
        times = np.asarray(at + 100.0 + np.cumsum(random.choice([0.125, 0.5], count)), np.float64)
        data = random.standard_normal((count, 2))
        session.add(times, data)
        at = float(times[-1]) - 100.0 if count else at
        all_times.append(times)
        all_data.append(data)
    times, data = np.concatenate(all_times), np.concatenate(all_data)
    begin_s, span_s, means = session.means()
    if not len(times):
        assert means.shape == (0, 2)
        assert np.isnan(session.mean()).all()
        return
    assert len(means) <= 8
    assert begin_s == times[0]
    assert span_s == 1.0 or (times[-1] - times[0]) / span_s > 3.9  # no coarser than need be
    np.testing.assert_allclose(session.mean(), data.mean(axis=0))
    for k, mean in enumerate(means):
        inside = (times - begin_s >= k * span_s) & (times - begin_s < (k + 1) * span_s)
        np.testing.assert_allclose(mean, data[inside].mean(axis=0) if inside.any() else np.full(2, np.nan), atol=1e-12)


def test_session_leaves_out_what_is_no_number_and_begins_anew_with_a_new_clock() -> None:
    session = Session(1)
    session.add(np.array([10.0, 10.1]), np.array([[1.0], [np.nan]]))
    assert session.mean().tolist() == [1.0]
    session.add(np.array([3.0]), np.array([[7.0]]))
    assert session.means()[0] == 3.0
    assert session.mean().tolist() == [7.0]
