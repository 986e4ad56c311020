"""Recordings as an analysis wants them: observed high gamma and sound on one grid of 50 rows a second, by patient."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from encoders.analysis.features import frame_times, spectrogram
from encoders.analysis.lagged import Heard
from encoders.analysis.phone_events import Speech
from encoders.analysis.phone_times import PhoneTimes
from encoders.repeats import find_repeats
from realtime.align import put_on_grid
from realtime.audio import Resample
from realtime.block import Block, Floats, Mask, Spec, Times, bad_samples, regular
from realtime.commands import wiring
from realtime.commands.analysis_transcript import phone_times
from realtime.commands.choose import ecog_by_rate, pick_stream, sound_by_rate
from realtime.commands.claims import claimed_of, contaminated_names, keeps
from realtime.commands.console import say, working
from realtime.commands.material import Calibration
from realtime.commands.recorded_states import recorded_timeline
from realtime.config import Config, EcogTable
from realtime.errors import UserError
from realtime.montage import Electrode, Montage
from realtime.offline import run_chain
from realtime.pick import Pick, channel_number
from realtime.repair import Repair
from realtime.scoring import only
from realtime.sources.recording import RecordedStream, Recording, load_recording, to_blocks
from realtime.stage import Chain
from realtime.states import LISTENING
from realtime.zscore import ZScore, baseline

SOUND_HZ, ROW_HZ = 16_000, 50.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A run without a gap. times: (rows,). observed: (rows, electrodes). sound: 16 kHz, or None; row `frame` of its
    frames is the first of these rows."""

    times: Times
    observed: Floats
    bad: Mask
    sound: Block | None
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Listened:
    """One recording. phones: on the recording's own clock; None where no phone times are known."""

    path: Path
    electrodes: tuple[str, ...]
    segments: list[Segment]
    phones: PhoneTimes | None
    simulated: bool = False
    positions: dict[str, tuple[float, ...]] = field(default_factory=dict)
    regions: dict[str, str] = field(default_factory=dict)
    system: str = ""
    contaminated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Patient:
    """All recordings with the same electrodes, z-scored together. left_out: electrodes that record the sound, of which
    nothing is claimed: all their rows are bad."""

    name: str
    recordings: list[Listened]
    left_out: tuple[str, ...] = ()

    @property
    def electrodes(self) -> tuple[str, ...]:
        return self.recordings[0].electrodes

    @property
    def positions(self) -> dict[str, tuple[float, ...]]:
        return {name: place for one in self.recordings for name, place in one.positions.items()}

    @property
    def regions(self) -> dict[str, str]:
        return {name: region for one in self.recordings for name, region in one.regions.items()}

    @property
    def system(self) -> str:
        return next((one.system for one in self.recordings if one.system), "")

    def segments(self, with_sound: bool = False) -> list[Segment]:
        return [s for r in self.recordings for s in r.segments if s.sound is not None or not with_sound]

    def speech(self) -> list[tuple[Speech, Segment]]:
        """Each segment of a recording whose phones are known."""
        return [
            (Speech(segment.times, one.phones.phones), segment)
            for one in self.recordings
            if one.phones is not None
            for segment in one.segments
        ]


def heard(segments: Sequence[Segment]) -> Heard:
    """Segments with sound, one after the other; what is heard more than once is found in the sound itself."""
    mel = {id(s.sound): spectrogram(s.sound.data[:, 0]) for s in segments if s.sound is not None}
    rows = np.concatenate([mel[id(s.sound)][s.frame : s.frame + len(s.times)] for s in segments])
    return Heard(
        tuple(len(s.times) for s in segments),
        np.concatenate([s.observed for s in segments]),
        np.concatenate([s.bad for s in segments]),
        find_repeats(rows, ROW_HZ),
    )


def content_key(*arrays: np.typing.NDArray[np.generic]) -> str:
    """Names what arrays hold."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def segments_key(segments: Sequence[Segment]) -> list[str]:
    """Names what segments hold: observed, bad, sound."""
    sounds = {id(s.sound): s.sound.data for s in segments if s.sound is not None}
    return [
        content_key(*(s.observed for s in segments)),
        content_key(*(s.bad for s in segments)),
        content_key(*(s.times for s in segments), *sounds.values()),
    ]


def load_patients(options: argparse.Namespace, config: Config | None) -> list[Patient]:
    """Every recording through the live chains, grouped by patient."""
    phones = _given("--phones", options.phones, options.recordings)
    transcripts = _given("--transcript", options.transcript, options.recordings)
    montages = options.montage or []
    montages = montages * len(options.recordings) if len(montages) == 1 else montages
    plans = [ecog_plan(montage, config) for montage in _given("--montage", montages, options.recordings)]
    found = [
        _listened(path, options, config, plan, given, transcript)
        for path, plan, given, transcript in zip(options.recordings, plans, phones, transcripts, strict=True)
    ]
    groups: dict[str, list[Listened]] = {}
    named: dict[tuple[str, ...], str] = {}
    for one in found:
        subject = re.search(r"sub-[A-Za-z0-9]+", str(one.path))
        name = subject[0] if subject else named.setdefault(one.electrodes, f"patient {len(named) + 1}")
        groups.setdefault(name, []).append(one)
    for name, recordings in groups.items():
        if any(one.electrodes != recordings[0].electrodes for one in recordings):
            raise UserError(
                f"recordings of {name} have different electrodes ({recordings[0].path.name} and another): "
                "give them folders with sub-NAME of their own, or exclude what differs"
            )
    keep = keeps(options, config)
    return [_patient(name, recordings, keep) for name, recordings in groups.items()]


def _patient(name: str, recordings: Sequence[Listened], keep: bool) -> Patient:
    electrodes = recordings[0].electrodes
    contaminated = {electrode for one in recordings for electrode in one.contaminated}
    claimed = claimed_of(electrodes, contaminated, keep)

    def masked(segment: Segment) -> Segment:
        return replace(segment, bad=segment.bad | ~claimed)

    kept = [replace(one, segments=[masked(s) for s in one.segments]) for one in _z_scored(recordings)]
    return Patient(name, kept, tuple(e for e, c in zip(electrodes, claimed, strict=True) if not c))


def ecog_plan(montage: Path | None, config: Config | None) -> wiring.EcogPlan:
    """The configuration's, with the montage that the command line names."""
    table = config.ecog if config else EcogTable(name="any")
    return wiring.EcogPlan.of(table.model_copy(update={"montage": montage}) if montage else table)


def _given(option: str, files: Sequence[Path] | None, recordings: Sequence[Path]) -> list[Path | None]:
    if not files:
        return [None] * len(recordings)
    if len(files) != len(recordings):
        raise UserError(
            f"{option}: found {len(files)} files for {len(recordings)} recordings, expected one for each, in order"
        )
    return [None if str(path) == "-" else path for path in files]


def _listened(
    path: Path,
    options: argparse.Namespace,
    config: Config | None,
    plan: wiring.EcogPlan,
    phones: Path | None,
    transcript: Path | None,
) -> Listened:
    recording = load_recording(path)
    for warning in recording.warnings:
        say(f"warning: {path.name}: {warning}")
    if options.high_gamma:
        stream = pick_stream(recording, "high gamma", options.high_gamma, lambda _stream: False)
        plan = _of_high_gamma(plan, stream.spec)
        observed = [_at_row_rate(block, stream.spec.rate_hz) for block in to_blocks(stream)]
    else:
        stream = pick_stream(recording, "ecog", options.ecog or (config.ecog.name if config else None), ecog_by_rate)
        with working(f"high gamma of {path.name}") as progress:
            chain = wiring.ecog_lane(stream.spec, plan)
            kept = [(n, s) for n, s in zip(chain.names, chain.stages, strict=True) if n != "z_score"]
            observed = run_chain(stream.for_lane("ecog"), Chain(kept), progress)
    timeline = recorded_timeline(recording, config.states if config else None)
    observed = [only(block, timeline.during(block.times, LISTENING)) for block in observed]
    sounds = _sounds(recording.streams, options, config)
    contaminated: list[str] = []
    if sounds and not options.high_gamma:  # in which nothing is left to look at
        heard_stream, chosen = _sound_stream(recording.streams, options, config)
        delay_s = config.sound.delay_s if config else None
        one = Calibration(heard_stream, stream.for_lane("ecog"), chosen, delay_s, timeline)
        contaminated = contaminated_names([one], plan)
    segments = _segments(observed, sounds, path)
    start_s = sounds[0].times[0] if sounds else segments[0].times[0]
    times = phone_times(path, phones, transcript, sounds, float(start_s))
    simulated = "simulated" in stream.spec.name.lower()
    electrodes, places = plan.electrodes(stream.spec), _places(stream, plan)
    return Listened(path, electrodes, segments, times, simulated, *places, tuple(contaminated))


def _of_high_gamma(plan: wiring.EcogPlan, spec: Spec) -> wiring.EcogPlan:
    """The plan's names and places alone, of whichever channels the montage knows: signals are used as they are."""
    known = plan.montage.by_channel if plan.montage else {}
    electrodes = tuple(known.get(label, Electrode(label, label)) for label in spec.channels)
    return wiring.EcogPlan(montage=Montage(electrodes, plan.montage.system if plan.montage else ""))


def _places(stream: RecordedStream, plan: wiring.EcogPlan) -> tuple[dict[str, tuple[float, ...]], dict[str, str], str]:
    """Positions, regions and the coordinates' name: the montage's, else those that the recording holds."""
    found = plan.places(stream.spec, stream.positions, stream.regions)
    own = plan.montage is not None and any(one.position for one in plan.montage.electrodes)
    system = plan.montage.system if plan.montage and own else stream.coordinates
    return {name: tuple(xyz) for name, xyz in found["positions"].items()}, found["regions"], system


def _at_row_rate(block: Block, rate_hz: float) -> Block:
    """High gamma that was recorded as such, averaged to about 50 rows a second; what is no number is bad."""
    step = max(1, round(rate_hz / ROW_HZ))
    rows = len(block) // step
    data = block.data[: rows * step].reshape(rows, step, -1)
    finite = np.isfinite(data)
    mean = np.where(finite, data, 0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)
    times = block.times[: rows * step].reshape(rows, step).mean(axis=1)
    return Block(mean.astype(np.float32), times, 0, {"bad": np.asarray(~finite.all(axis=1), np.bool_)})


def _sounds(streams: dict[str, RecordedStream], options: argparse.Namespace, config: Config | None) -> list[Block]:
    """The sound at 16 kHz, a block (samples, 1) for each run; none where the recording holds no sound."""
    name = options.sound or (config.sound.name if config else None)
    fitting = [stream for stream in streams.values() if sound_by_rate(stream)]
    if not fitting and name not in streams:
        return []
    stream, channel = _sound_stream(streams, options, config)
    delay_s = config.sound.delay_s if config else None
    chain = Chain(
        [
            ("pick", Pick([channel_number(stream.spec, channel)])),
            *wiring.delay_stages(delay_s),
            ("repair", Repair(stream.spec.rate_hz, wiring.FILL_S, hold=False)),
            ("resample", Resample(stream.spec.rate_hz)),
        ]
    )
    return run_chain(stream, chain)


def _sound_stream(
    streams: dict[str, RecordedStream], options: argparse.Namespace, config: Config | None
) -> tuple[RecordedStream, str | int]:
    """The stream that was heard, on the grid that it had live, and its channel."""
    name = options.sound or (config.sound.name if config else None)
    channel = options.channel if options.channel is not None else (config.sound.channel if config else 0)
    return pick_stream(Recording(streams), "sound", name, sound_by_rate).for_lane("sound"), channel


def _segments(observed: Sequence[Block], sounds: Sequence[Block], path: Path) -> list[Segment]:
    segments = []
    for block in (b for b in observed if len(b)):
        grids: list[tuple[Times, Block | None]] = [(frame_times(sound), sound) for sound in sounds]
        grids = grids or [(_own_grid(block), None)]
        for times, sound in grids:
            inside = np.flatnonzero((times >= block.times[0]) & (times <= block.times[-1]))
            if len(inside) < 2:
                continue
            first, stop = int(inside[0]), int(inside[-1]) + 1
            rows = put_on_grid(block, times[first:stop])
            segments.append(Segment(rows.times, rows.data, bad_samples(rows), sound, first))
    if not segments:
        raise UserError(
            f"{path.name}: sound and ECoG have no time in common; check the recording with corticast replay"
        )
    return segments


def _own_grid(block: Block) -> Times:
    rows = int((block.times[-1] - block.times[0]) * ROW_HZ) + 1
    return regular(np.zeros((rows, 1)), ROW_HZ, float(block.times[0])).times


def _z_scored(recordings: Sequence[Listened]) -> list[Listened]:
    """By the median and MAD of all of a patient's recordings."""
    segments = [segment for one in recordings for segment in one.segments]
    observed, bad = np.concatenate([s.observed for s in segments]), np.concatenate([s.bad for s in segments])
    whole = regular(observed, ROW_HZ)
    z_score = ZScore(*baseline(Block(whole.data, whole.times, 0, {"bad": bad})))

    def scored(segment: Segment) -> Segment:
        rows = z_score.layer(Block(segment.observed, segment.times, 0, {"bad": segment.bad}))
        return Segment(segment.times, rows.data, bad_samples(rows), segment.sound, segment.frame)

    return [replace(one, segments=[scored(segment) for segment in one.segments]) for one in recordings]
