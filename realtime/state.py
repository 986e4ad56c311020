"""A stage's state to bytes and back, as safetensors: no pickle."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import load, save

S = TypeVar("S")


def flatten(state: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested dataclasses and tuples under dotted names. None leaves are left out."""
    if is_dataclass(state):
        parts = [(f.name, getattr(state, f.name)) for f in fields(state)]
    elif isinstance(state, tuple):
        parts = [(str(i), part) for i, part in enumerate(state)]
    else:
        return {} if state is None else {name: state}
    leaves: dict[str, Any] = {}
    for key, part in parts:
        leaves.update(flatten(part, f"{name}.{key}" if name else key))
    return leaves


def save_state(state: Any) -> bytes:
    """Bytes of a state made of dataclasses, tuples, arrays (NumPy or torch), numbers and None."""
    return save({name: np.asarray(_to_numpy(leaf), order="C") for name, leaf in flatten(state).items()})


def load_state(content: bytes, like: S) -> S:
    """The state in `content`; `like` is any state of the same stage and gives types and devices."""
    state: S = _rebuild(like, load(content), "")
    return state


def _to_numpy(leaf: Any) -> np.ndarray[Any, Any]:
    if not hasattr(leaf, "detach"):
        return np.asarray(leaf)
    tensor = leaf.detach().cpu()
    array: np.ndarray[Any, Any] = (tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy()
    return array  # NumPy has no bfloat16; loading casts back to it exactly


def _rebuild(like: Any, arrays: dict[str, np.ndarray[Any, Any]], name: str) -> Any:
    if is_dataclass(like) and not isinstance(like, type):
        parts = {
            f.name: _rebuild(getattr(like, f.name), arrays, f"{name}.{f.name}" if name else f.name)
            for f in fields(like)
        }
        return replace(like, **parts)
    if isinstance(like, tuple):
        return tuple(_rebuild(part, arrays, f"{name}.{i}" if name else str(i)) for i, part in enumerate(like))
    array = arrays.get(name)
    if array is None:
        return None
    if isinstance(like, bool | int | float):
        return type(like)(array.item() if array.ndim == 0 else array.reshape(-1)[0].item())
    if hasattr(like, "detach"):
        return like.new_tensor(array, dtype=like.dtype)
    return array
