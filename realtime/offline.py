"""A recording through the very chains that run live, as one block for each run without a gap."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from realtime.block import Block, concat
from realtime.sources.recording import RecordedStream, read_blocks
from realtime.stage import Chain

PIECE_S = 20.0  # long enough to be fast, short enough to bound memory


def run_chain(stream: RecordedStream, chain: Chain, progress: Callable[[float], None] | None = None) -> list[Block]:
    """What the chain makes of a recorded stream, on the live grid, read in pieces of 20 s. progress(share done)."""
    return joined(through(chain, read_pieces(stream), len(stream.stamps), progress))


def read_pieces(stream: RecordedStream) -> Iterator[Block]:
    """A recorded stream as `pieces` of its runs without a gap, read one by one."""
    return read_blocks(stream, max(1, round(PIECE_S * stream.spec.rate_hz)))


def run_blocks(
    blocks: Sequence[Block], chain: Chain, rate_hz: float, progress: Callable[[float], None] | None = None
) -> list[Block]:
    """The chain over blocks of a stream, in pieces of 20 s; rows that follow each other are joined."""
    return joined(through(chain, pieces(blocks, rate_hz), sum(len(block) for block in blocks), progress))


def through(
    chain: Chain, blocks: Iterable[Block], rows: int, progress: Callable[[float], None] | None = None
) -> Iterator[Block]:
    """What the chain gives for each of a stream's blocks in turn. rows: that there are at most, for the progress."""
    state, done = chain.initial_state(), 0
    for piece in blocks:
        result, state = chain.step(piece, state)
        yield result
        done += len(piece)
        if progress is not None:
            progress(done / rows)


def joined(blocks: Iterable[Block]) -> list[Block]:
    """One block for each run of blocks that follow each other."""
    runs: list[list[Block]] = []
    for block in (b for b in blocks if len(b)):
        if runs and runs[-1][-1].end == block.index:
            runs[-1].append(block)
        else:
            runs.append([block])
    return [concat(run) for run in runs]


def pieces(blocks: Sequence[Block], rate_hz: float, piece_s: float = PIECE_S) -> Iterator[Block]:
    """The blocks' rows in order, piece_s at a time or less, none across a gap."""
    rows = max(1, round(piece_s * rate_hz))
    return itertools.chain.from_iterable(
        (block.rows(start, start + rows) for start in range(0, len(block), rows)) for block in blocks
    )
