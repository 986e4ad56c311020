"""Recordings through the live chains: embeddings, spectrogram and high gamma, aligned row by row for a fit."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from encoders.aligned import Aligned
from encoders.baselines import spectrogram_at
from encoders.repeats import find_repeats
from realtime.align import put_on_grid
from realtime.block import Block, Floats, Spec, bad_samples
from realtime.commands import wiring
from realtime.commands.console import working
from realtime.commands.embedding_cache import embedded, stream_facts
from realtime.delay import Delay
from realtime.errors import UserError
from realtime.offline import run_chain
from realtime.scoring import only
from realtime.signals import baseline
from realtime.sources.recorded import SCAN_ROWS
from realtime.sources.recording import RecordedStream
from realtime.sources.samples import spans as slices
from realtime.stage import Chain
from realtime.states import LISTENING, Timeline
from realtime.subframes import FRAME_RATE_HZ, offsets_s
from realtime.zscore import ZScore


@dataclass(frozen=True)
class Calibration:
    """One recording's sound and ECoG streams, and the channel of the sound that the patient heard.

    delay_s: of the sound's stamps; None: not measured. timeline: what is observed while the patient does not listen
    is bad.
    """

    sound: RecordedStream
    ecog: RecordedStream
    channel: str | int = 0
    delay_s: float | None = None
    timeline: Timeline = field(default_factory=Timeline)

    def content_sha256(self) -> str:
        """Of samples and stamps of both streams: the same recording in another file has the same."""
        digest = hashlib.sha256()
        for stream in (self.sound, self.ecog):
            digest.update(str([*stream_facts(stream)[:1], stream.spec.channels]).encode())
            for array in (stream.data, stream.stamps):
                for rows in slices(len(array), SCAN_ROWS):
                    digest.update(np.ascontiguousarray(array[rows]).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Span:
    """Rows start to stop of an embedding block that one observed block covers."""

    rows: Block
    observed: Block
    start: int
    stop: int

    @property
    def times(self) -> Any:
        return self.rows.times[self.start : self.stop]

    def extra(self, name: str) -> Any:
        """What the embeddings' rows carry under that name; None where they do not."""
        return self.rows.extra[name][self.start : self.stop] if name in self.rows.extra else None


@dataclass(frozen=True)
class Material:
    """Each recording's embeddings, 50 a second, and z-scored high gamma, row_rate_hz a second, in blocks without a
    gap; the baseline of the z-score."""

    calibrations: tuple[Calibration, ...]
    embeddings: tuple[list[Block], ...]
    observed: tuple[list[Block], ...]
    median: Any
    mad: Any
    row_rate_hz: float = FRAME_RATE_HZ

    def spans(self, horizon_s: float) -> list[Span]:
        """The stretches at which the activity horizon_s later was observed, in order."""
        return [
            span
            for rows, blocks in zip(self.embeddings, self.observed, strict=True)
            for span in spans(rows, blocks, horizon_s)
        ]

    def segments(self, horizon_s: float) -> list[Aligned]:
        """Embeddings with the activity horizon_s later, one segment for each span; all rows of a frame side by side."""
        return [self.aligned(span, horizon_s) for span in self.spans(horizon_s)]

    def aligned(self, span: Span, horizon_s: float) -> Aligned:
        """One segment: observed (frames, rows of a frame x electrodes), as `subframes.unfolded` takes them."""
        return aligned(span, [horizon_s + offset_s for offset_s in offsets_s(self.row_rate_hz)], self.row_rate_hz)

    def sounds(self) -> list[Calibration]:
        """The recording of each embedding block, in order."""
        return [one for one, rows in zip(self.calibrations, self.embeddings, strict=True) for _ in rows]


def prepare(calibrations: Sequence[Calibration], embedding: wiring.Embedding, plan: wiring.EcogPlan) -> Material:
    """Embeddings, from the cache where they are there, and high gamma z-scored on all recordings together."""
    spec = _one_spec(calibrations)
    embeddings: list[list[Block]] = []
    power = []
    for number, one in enumerate(calibrations, start=1):
        of = f" {number} of {len(calibrations)}" if len(calibrations) > 1 else ""
        with working(f"Whisper embeddings{of}") as progress:
            rows = embedded(one.sound, one.channel, embedding, progress)
            embeddings.append([Delay(one.delay_s or 0.0).layer(block) for block in rows])
        with working(f"high gamma{of}") as progress:
            power.append(run_chain(one.ecog, _until_power(wiring.ecog_lane(spec, plan)), progress))
    with working("spectrogram and repeats") as progress:
        heard = with_sound(calibrations, embeddings, embedding, progress)
    median, mad = _common_baseline(power)
    z_score = ZScore(median, mad, row_rate_hz=plan.row_rate_hz)
    observed = tuple(
        [only(z_score.layer(block), one.timeline.during(block.times, LISTENING)) for block in blocks]
        for one, blocks in zip(calibrations, power, strict=True)
    )
    return Material(tuple(calibrations), tuple(heard), observed, median, mad, plan.row_rate_hz)


def with_sound(
    calibrations: Sequence[Calibration],
    embeddings: Sequence[list[Block]],
    embedding: wiring.Embedding,
    progress: Callable[[float], None],
) -> list[list[Block]]:
    """The embeddings with `mel`, the causal stage's log-mel (rows, mels), and `heard`, the first row of all that has
    the same sound."""
    mel: list[list[Floats]] = []
    for number, (one, blocks) in enumerate(zip(calibrations, embeddings, strict=True), start=1):
        mels = run_chain(one.sound, wiring.spectrogram_lane(one.sound.spec, one.channel, embedding, one.delay_s))
        fitting = [max(mels, key=lambda found, rows=rows: _overlap_s(found, rows)) for rows in blocks]  # type: ignore[misc]
        mel.append([spectrogram_at(found, rows.times) for found, rows in zip(fitting, blocks, strict=True)])
        progress(number / (len(calibrations) + 1))
    return numbered(
        [
            [replace(block, extra={**block.extra, "mel": rows}) for block, rows in zip(*both, strict=True)]
            for both in zip(embeddings, mel, strict=True)
        ]
    )


def numbered(embeddings: Sequence[list[Block]]) -> list[list[Block]]:
    """The same with `heard`, from `mel`: the first row of all that has the same sound."""
    source = find_repeats(np.concatenate([b.extra["mel"] for blocks in embeddings for b in blocks]), FRAME_RATE_HZ)
    ends = itertools.accumulate(len(block) for blocks in embeddings for block in blocks)
    heard = iter(np.split(source, list(ends)[:-1]))
    return [[replace(block, extra={**block.extra, "heard": next(heard)}) for block in blocks] for blocks in embeddings]


def numbered_together(materials: Mapping[str, Material]) -> dict[str, Material]:
    """The same with `heard` numbered through all: equal wherever the same sound was heard, by whomever."""
    found = iter(numbered([blocks for material in materials.values() for blocks in material.embeddings]))
    return {
        name: replace(material, embeddings=tuple(next(found) for _ in material.embeddings))
        for name, material in materials.items()
    }


def spans(embeddings: Sequence[Block], observed: Sequence[Block], horizon_s: float) -> list[Span]:
    """Where rows of embeddings, horizon_s later, lie within an observed block; one span for each run without a gap."""
    found = []
    for rows in embeddings:
        later = rows.times + horizon_s
        for block in observed:
            inside = np.flatnonzero((later >= block.times[0]) & (later <= block.times[-1]))
            if len(inside):
                found.append(Span(rows, block, int(inside[0]), int(inside[-1]) + 1))
    return found


def aligned(span: Span, horizons_s: Sequence[float], row_rate_hz: float) -> Aligned:
    """The span's embeddings with what was observed at each horizon after them, side by side: (T, horizons x E)."""
    grids = [put_on_grid(span.observed, span.times + horizon_s, row_rate_hz) for horizon_s in horizons_s]
    data = np.concatenate([np.nan_to_num(grid.data) for grid in grids], axis=1)
    bad = np.concatenate([bad_samples(grid) for grid in grids], axis=1)
    heard_bad = bad_samples(span.rows, 1)[span.start : span.stop]
    return Aligned(span.rows.data[span.start : span.stop], data, bad | heard_bad, span.extra("heard"))


def other_embeddings(
    material: Material, embedding: wiring.Embedding, spans: Sequence[Span], progress: Callable[[float], None]
) -> list[Floats]:
    """What another Whisper of the same settings makes of the same sound, on the rows of each span."""
    total, found = len(material.calibrations), {}
    for number, (one, blocks) in enumerate(zip(material.calibrations, material.embeddings, strict=True)):
        others = embedded(one.sound, one.channel, embedding, lambda share, n=number: progress((n + share) / total))  # type: ignore[misc]
        found.update({id(rows): other for rows, other in zip(blocks, others, strict=True)})
    return [found[id(span.rows)].data[span.start : span.stop] for span in spans]


def _overlap_s(a: Block, b: Block) -> float:
    return float(min(a.times[-1], b.times[-1]) - max(a.times[0], b.times[0]))


def _one_spec(calibrations: Sequence[Calibration]) -> Spec:
    first = calibrations[0].ecog.spec
    for other in calibrations[1:]:
        if (other.ecog.spec.channels, other.ecog.spec.rate_hz) != (first.channels, first.rate_hz):
            raise UserError(
                f"the recordings differ: {len(first.channels)} channels at {first.rate_hz:g} Hz in the first, "
                f"{len(other.ecog.spec.channels)} at {other.ecog.spec.rate_hz:g} Hz in another; fit them one by one"
            )
    return first


def _until_power(chain: Chain) -> Chain:
    """The ECoG chain without its z-score, whose baseline is about to be found."""
    kept = [(n, s) for n, s in zip(chain.names, chain.stages, strict=True) if n != "z_score"]
    return Chain(kept)


def _common_baseline(power: Sequence[Sequence[Block]]) -> tuple[Any, Any]:
    blocks = [block for blocks in power for block in blocks]
    data = np.concatenate([block.data for block in blocks])
    bad = np.concatenate([np.asarray(block.extra["bad"], bool) for block in blocks])
    return baseline(Block(data, np.arange(len(data), dtype=np.float64), 0, {"bad": bad}))
