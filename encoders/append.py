"""Blocks of frames appended to caches of keys and values: one call, which TorchScript runs without Python's lock.

As many small operations from Python each give the lock away and wait to have it back, while other threads of an engine
want it too.
"""

import functools
import logging
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch

from encoders.layer import Layer, attention, finish, project

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where one block goes, in slots of its cache: the block, its tail behind, silence behind that; all is visible
    up to `end`. silence: the position of the silent window from which on it is taken."""

    cache: int
    block: int
    tail: int
    end: int
    silence: int


class Caches(NamedTuple):
    """keys, values: of each cache, (depth, heads, slots, size). silent: keys and values of a silent window, or empty,
    (depth, heads, 1500 or 0, size)."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    silent_keys: torch.Tensor
    silent_values: torch.Tensor


def append_blocks(
    x: torch.Tensor,
    layers: list[Layer],
    heads: int,
    keep: list[int],
    caches: Caches,
    places: list[Place],
    block: int,
    wanted: int,
) -> torch.Tensor:
    """Blocks with their tails, laid one after the other in x (frames, width), through all layers.

    A block attends to what its cache holds when its own keys are in: so each layer takes the blocks one by one, but
    multiplies by its weights once. Returns the hidden states after the layers in `keep` of the first `wanted` blocks,
    without their tails, (wanted * block, width * len(keep)); for the others the last layer computes only keys and
    values.
    """
    rows = x.shape[0] // len(places)
    kept: list[torch.Tensor] = []
    for number, layer in enumerate(layers):
        last = number + 1 == len(layers)
        q, k, v = project(x, layer, heads)
        contexts: list[torch.Tensor] = []
        for nth, place in enumerate(places):
            first = nth * rows
            keys, values = caches.keys[place.cache][number], caches.values[place.cache][number]
            store(keys, k[:, first : first + rows], caches.silent_keys[number], place, block)
            store(values, v[:, first : first + rows], caches.silent_values[number], place, block)
            if not last or nth < wanted:
                asked = q[:, first : first + (block if last else rows)]
                contexts.append(attention(asked, keys[:, : place.end], values[:, : place.end]))
        if last:
            x = committed(x, len(places), wanted, block)
        x = finish(x, torch.cat(contexts, 1), layer)
        if number + 1 in keep:
            kept.append(x if last else committed(x, len(places), wanted, block))
    return torch.cat(kept, 1)


def store(held: torch.Tensor, new: torch.Tensor, silent: torch.Tensor, place: Place, block: int) -> None:
    """A block's keys or values, its tail's and those of silence, into their slots of one layer's cache."""
    tail_end = place.tail + new.shape[1] - block
    held[:, place.block : place.block + block] = new[:, :block]
    held[:, place.tail : tail_end] = new[:, block:]
    if place.end > tail_end:
        held[:, tail_end : place.end] = silent[:, place.silence : place.silence + place.end - tail_end]


def committed(x: torch.Tensor, blocks: int, wanted: int, block: int) -> torch.Tensor:
    """The rows of the first `wanted` of so many blocks, without their tails."""
    return torch.unflatten(x, 0, [blocks, -1])[:wanted, :block].flatten(0, 1)


@functools.cache
def compiled() -> Callable[..., torch.Tensor]:
    """`append_blocks` as TorchScript; as it is where a torch no longer has that, or lacks an operator named here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # nothing else runs without the lock and a compiler
            script: Callable[..., torch.Tensor] = torch.jit.script(append_blocks)
    except (RuntimeError, AttributeError) as error:
        log.warning("Whisper's steps run in Python, and wait for other threads: %s", str(error).strip().split("\n")[0])
        return append_blocks
    return script
