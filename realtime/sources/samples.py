"""Rows that may lie on a disk: read where they are asked for, so that a recording need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from realtime.block import Floats, Times

Read = Callable[[int, int], npt.NDArray[Any]]  # rows first to stop


class OnDisk(NDArrayOperatorsMixin):
    """Stands where an array would. A slice of rows reads those rows; all else, arithmetic included, reads everything.

    read: gives rows first to stop as a new array of the dtype; never asked for rows that are not there.
    holds: what must stay open as long as rows may be read.
    """

    def __init__(self, read: Read, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32):
        self._read = read
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.holds: Any = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer):
            row = range(len(self))[key]
            return self._read(row, row + 1)[0]
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            return np.asarray(self)[key]
        start, stop, _ = rows.indices(len(self))
        return self._read(start, max(start, stop))[(slice(None), *rest)]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self._read(0, len(self)), dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        whole = (np.asarray(x) if isinstance(x, OnDisk) else x for x in inputs)
        return getattr(ufunc, method)(*whole, **options)


class RegularStamps(OnDisk):
    """Stamps of rows 1 / rate_hz apart, the first at start_s, that take no memory."""

    def __init__(self, start_s: float, rows: int, rate_hz: float):
        super().__init__(
            lambda first, stop: start_s + np.arange(first, stop, dtype=np.float64) / rate_hz, (rows,), np.float64
        )
        self.start_s, self.rate_hz = start_s, rate_hz


Data = Floats | OnDisk  # (rows, channels), float32 but for an engine's telemetry
Stamps = Times | OnDisk  # (rows,) float64 seconds


def spans(rows: int, length: int) -> Iterator[slice]:
    """Slices of `length` rows that make up `rows` rows, the last one shorter."""
    return (slice(start, min(start + length, rows)) for start in range(0, rows, length))


def converted(source: Any, gain: Any = 1.0, offset: float = 0.0) -> Data:
    """Rows of an array or HDF5 dataset as (rows, channels) float32, gain times them plus offset.

    An array that is float32 already, and needs no gain, is taken as it is. gain: one number, or one per channel.
    """
    rows = len(source)
    channels = source.shape[1] if source.ndim > 1 else 1
    plain = np.ndim(gain) == 0 and gain == 1.0 and offset == 0.0
    if plain and isinstance(source, np.ndarray) and source.dtype == np.float32:
        return source.reshape(rows, channels)

    def read(first: int, stop: int) -> npt.NDArray[np.float32]:
        part = np.asarray(source[first:stop]).reshape(stop - first, channels)
        return np.asarray(part if plain else part * np.asarray(gain, np.float64) + offset, np.float32)

    return OnDisk(read, (rows, channels))


def placed(sounds: Sequence[tuple[int, Data]], rows: int) -> OnDisk:
    """Silence of `rows` rows with sounds in it, each from the row given; where two overlap they add up."""
    channels = max(data.shape[1] for _, data in sounds)

    def read(first: int, stop: int) -> npt.NDArray[np.float32]:
        result = np.zeros((stop - first, channels), np.float32)
        for start, data in sounds:
            a, b = max(first, start), min(stop, start + len(data))
            if a < b:
                result[a - first : b - first, : data.shape[1]] += data[a - start : b - start]
        return result

    return OnDisk(read, (rows, channels))
