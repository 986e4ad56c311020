"""A function on buffers of fixed shape, replayed as a CUDA graph where there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch

log = logging.getLogger(__name__)
WARM_UPS = 3  # libraries choose and allocate in their first runs, which a capture must not see


class StaticCall:
    """`function(*buffers)`, captured once and replayed, or simply called where it cannot be captured.

    The caller writes into `buffers`, calls, and copies what it wants out of the result and of the buffers before the
    next call. Kernels of short inputs are launch-bound; a graph launches them all at once.
    """

    def __init__(self, function: Callable[..., torch.Tensor], buffers: Sequence[torch.Tensor], capture: bool = True):
        self.buffers = tuple(buffers)
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: torch.Tensor | None = None
        if capture:
            try:
                self._capture()
            except RuntimeError as error:
                self._graph = None
                log.warning("CUDA graph not captured, each kernel is launched by itself: %s", _first_line(error))

    @property
    def captured(self) -> bool:
        return self._graph is not None

    @torch.inference_mode()
    def __call__(self) -> torch.Tensor:
        if self._graph is None:
            return self._function(*self.buffers)
        self._graph.replay()
        assert self._result is not None
        return self._result

    @torch.inference_mode()
    def _capture(self) -> None:
        if not torch.cuda.is_available():
            raise RuntimeError("no CUDA device")
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._function(*self.buffers)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self._function(*self.buffers)
        self._graph = graph


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
