"""A recording in memory or on a disk, and its rows as the live clock stamps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from realtime.block import Block, Spec, concat
from realtime.clock import Clock
from realtime.errors import UserError
from realtime.sources.samples import Data, RegularStamps, Stamps, spans

Offset = tuple[int, float]
Marker = tuple[float, str]
Position = tuple[float, float, float]
SCAN_ROWS = 1 << 20  # stamps that are looked through at once
_NOTHING = Block(np.empty((0, 0), np.float32), np.empty(0))


@dataclass(frozen=True, slots=True)
class RecordedStream:
    """One stream as it was sent.

    data: (rows, channels) float32, of an engine's telemetry float64. stamps: (rows,) float64 seconds, raw, on the
    source's clock. Both may lie on a disk: slice the rows that are needed. offsets: (stream index, seconds to add to
    the stamps from it on). jumps: stream indices of rows before which the clock was set, and nothing lost, as the
    engine could tell. anchor_s: raw stamp of the first row that the engine used, whose index is 0; None: the
    first row there is. lanes: anchor_s, offsets and jumps of each lane that
    read it. bad: channels that the recording calls bad. positions: (x, y, z) of channels that have one, in
    `coordinates`, which names system and unit. regions: of channels whose region the recording names.
    """

    spec: Spec
    data: Data
    stamps: Stamps
    offsets: tuple[Offset, ...] = ()
    type: str = ""
    source_id: str = ""
    anchor_s: float | None = None
    lanes: Mapping[str, tuple[float, tuple[Offset, ...], tuple[int, ...]]] = field(default_factory=dict)
    jumps: tuple[int, ...] = ()
    bad: tuple[str, ...] = ()
    positions: Mapping[str, Position] = field(default_factory=dict)
    coordinates: str = ""
    regions: Mapping[str, str] = field(default_factory=dict)

    def for_lane(self, lane: str) -> RecordedStream:
        """The stream on the grid that this lane of the engine had live, where the recording tells of it."""
        if lane not in self.lanes:
            return self
        anchor_s, offsets, jumps = self.lanes[lane]
        return replace(self, anchor_s=anchor_s, offsets=offsets, jumps=jumps)


@dataclass(frozen=True, slots=True)
class Recording:
    """Numeric streams by name; texts by stream, their times on the recorder's clock; warnings: what was wrong with the
    file, for the user."""

    streams: dict[str, RecordedStream]
    markers: dict[str, list[Marker]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_blocks(stream: RecordedStream, rows: int, clock: Clock | None = None) -> Iterator[Block]:
    """The stream's rows with times, as the live clock gives them, read as they are asked for.

    Blocks of `rows` rows, and what is left over at a gap and at the end. Rows before the anchor are left
    out. clock: a fresh one; it takes the stream's offsets and jumps.
    """
    clock = _clock_of(stream, clock)
    state = clock.initial_state()
    start, pending = anchor_row(stream), _NOTHING
    while start < len(stream.stamps):
        here = slice(start, start + rows - len(pending))
        found, state = clock.stamp(stream.stamps[here], state)
        data = stream.data[here]
        for span in found:
            block = Block(data[span.start : span.start + len(span.times)], span.times, span.index)
            if len(pending) and pending.end == block.index:
                block = concat([pending, block])
            elif len(pending):
                yield pending
            pending = block
        if len(pending) == rows:
            yield pending
            pending = _NOTHING
        start += len(data)
    if len(pending):
        yield pending


def to_blocks(stream: RecordedStream, clock: Clock | None = None) -> list[Block]:
    """The whole stream, as `read_blocks`: one block per run without a gap."""
    return list(read_blocks(stream, max(1, len(stream.stamps)), clock))


def starting_at(stream: RecordedStream, raw_s: float) -> RecordedStream:
    """The stream as if the engine had begun with the first row stamped raw_s or later, if that is past its anchor.

    Raises UserError where no row is that late.
    """
    first = row_at(stream, raw_s)
    before = anchor_row(stream)
    if first <= before:
        return stream
    clock = _clock_of(stream, None)
    state = clock.initial_state()
    index = 0
    for part in spans(first + 1 - before, SCAN_ROWS):
        found, state = clock.stamp(stream.stamps[before + part.start : before + part.stop], state)
        index = found[-1].index + len(found[-1].times) - 1
    kept = [(max(0, at - index), offset_s) for at, offset_s in sorted(stream.offsets)]
    jumps = tuple(at - index for at in stream.jumps if at > index)
    anchor_s = float(stream.stamps[first])
    return replace(stream, anchor_s=anchor_s, offsets=tuple(dict(kept).items()), jumps=jumps, lanes={})


def row_at(stream: RecordedStream, raw_s: float) -> int:
    """The first row stamped raw_s or later. Raises UserError where there is none."""
    for part in spans(len(stream.stamps), SCAN_ROWS):
        late = np.flatnonzero(np.asarray(stream.stamps[part]) >= raw_s)
        if len(late):
            return int(part.start + late[0])
    raise UserError(f"stream {stream.spec.name!r} has ended by {raw_s:.3f} s of its clock: start earlier")


def anchor_row(stream: RecordedStream) -> int:
    """The row whose stamp is the anchor. Raises UserError where there is none."""
    if stream.anchor_s is None or not len(stream.stamps):
        return 0
    if isinstance(stream.stamps, RegularStamps):
        nearest = round((stream.anchor_s - stream.stamps.start_s) * stream.stamps.rate_hz)
        row = min(max(nearest, 0), len(stream.stamps) - 1)
    else:
        row = int(np.argmin(np.abs(stream.stamps - stream.anchor_s)))
    if abs(stream.stamps[row] - stream.anchor_s) > 0.5 / stream.spec.rate_hz:
        raise UserError(
            f"stream {stream.spec.name!r} has no row of the stamp {stream.anchor_s:.6f} s at which the engine began: "
            "the recording started too late to be replayed on the live grid; remove its status stream to replay it"
        )
    return row


def _clock_of(stream: RecordedStream, clock: Clock | None) -> Clock:
    if stream.spec.rate_hz <= 0:
        raise UserError(f"stream {stream.spec.name!r} has no regular rate: it cannot be put on a regular clock")
    clock = Clock(stream.spec.rate_hz) if clock is None else clock
    for index, offset_s in stream.offsets:
        clock.set_offset(index, offset_s)
    clock.jumps.update(stream.jumps)
    return clock
