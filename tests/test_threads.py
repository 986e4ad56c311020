"""How many threads an engine's matrix products may take."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_info, threadpool_limits

from realtime.commands.wiring import bound_threads


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_torch_and_numpy_take_no_more_threads_than_the_engine_is_given() -> None:
    before = torch.get_num_threads()
    try:
        with threadpool_limits(2, user_api="blas"):  # which restores what was before
            assert blas_threads() == {2}
            bound_threads(1)
            assert blas_threads() == {1}
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
