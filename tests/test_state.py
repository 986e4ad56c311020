"""States to bytes and back: everything that a stage may keep, nested at will."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from realtime.state import flatten, load_state, save_state


@dataclass
class Inner:
    index: int
    share: float
    started: bool
    rows: np.ndarray[Any, Any]
    absent: np.ndarray[Any, Any] | None


@dataclass
class Outer:
    first: Inner
    parts: tuple[Any, ...]
    hidden: torch.Tensor
    nothing: None = None


ARRAYS = st.sampled_from([np.float32, np.float64, np.int64, np.bool_, np.uint8]).flatmap(
    lambda dtype: stn.arrays(dtype, stn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
INNERS = st.builds(
    Inner,
    index=st.integers(-(2**62), 2**62),
    share=st.floats(allow_nan=False),
    started=st.booleans(),
    rows=ARRAYS,
    absent=st.none() | ARRAYS,
)
TENSORS = ARRAYS.map(lambda array: torch.from_numpy(np.array(array)))
OUTERS = st.builds(
    Outer,
    first=INNERS,
    parts=st.lists(INNERS | ARRAYS | st.none() | st.tuples(INNERS, st.integers(0, 9)), max_size=3).map(tuple),
    hidden=TENSORS,
)


def same(one: Any, two: Any) -> bool:
    """Of one type all the way down, and of equal value; NaN equals NaN."""
    if type(one) is not type(two):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(two, f.name)) for f in fields(one))
    if isinstance(one, tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, torch.Tensor):
        return same(one.numpy(), two.numpy())
    if isinstance(one, np.ndarray):
        return bool(one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes())
    return bool(one == two)


@settings(max_examples=25, deadline=None)
@given(state=OUTERS)
def test_round_trip(state: Outer) -> None:
    assert same(load_state(save_state(state), like=state), state)


@settings(max_examples=10, deadline=None)
@given(state=INNERS)
def test_a_fresh_state_says_what_becomes_of_the_bytes(state: Inner) -> None:
    """As when an engine starts again: values from the bytes, types from the stage's initial state."""
    fresh = Inner(0, 0.0, False, np.zeros(0), None)
    assert same(load_state(save_state(state), like=fresh), state)


def test_rows_taken_out_of_a_larger_array_keep_their_order() -> None:
    whole = np.arange(24.0).reshape(4, 6)
    state = (whole.T, whole[::2, ::-1], torch.from_numpy(whole).T)
    assert same(load_state(save_state(state), like=state)[1], np.ascontiguousarray(state[1]))
    for found, expected in zip(load_state(save_state(state), like=state), state, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_tensors_return_to_their_type_and_device() -> None:
    state = (torch.ones(3, dtype=torch.float64), torch.zeros(2, dtype=torch.int64))
    loaded = load_state(save_state(state), like=state)
    assert [(t.dtype, t.device) for t in loaded] == [(t.dtype, t.device) for t in state]


def test_leaves_have_dotted_names() -> None:
    state = (Inner(1, 2.0, True, np.zeros(2), None), (np.ones(1), None))
    assert sorted(flatten(state)) == ["0.index", "0.rows", "0.share", "0.started", "1.0"]
    assert flatten(None) == {}


def test_what_was_saved_is_detached_from_the_state() -> None:
    state = (np.zeros(3),)
    content = save_state(state)
    state[0][:] = 1.0
    np.testing.assert_array_equal(load_state(content, like=state)[0], np.zeros(3))
