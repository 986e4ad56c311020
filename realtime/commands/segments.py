"""`corticast segments`: observed and predicted activity cut to words or phones, as MNE Epochs."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.analysis.epochs import Rules, cut
from encoders.analysis.phone_times import read_events
from encoders.model_file import ModelHeader, load_model
from encoders.phones import Timed
from realtime.block import Block, Floats, Mask, Times
from realtime.commands import wiring
from realtime.commands.claims import add_keep_option, keeps
from realtime.commands.console import say, working
from realtime.commands.evaluate import joined_rows
from realtime.commands.options import add_whisper_option, file_to_write
from realtime.commands.predicting import predict_recording, recorded_for
from realtime.commands.recorded import add_stream_options
from realtime.commands.segments_file import Event, require_mne, write_epochs
from realtime.config import load_config
from realtime.errors import UserError
from realtime.scoring import only
from realtime.sources.recording import FORMATS, RecordedStream, read_blocks
from realtime.states import LISTENING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help=FORMATS)
    parser.add_argument("--model", type=Path, required=True, help="what predicts")
    parser.add_argument(
        "--events",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="words or phones of each recording: TextGrid, CSV or CTM, seconds from the sound's start",
    )
    parser.add_argument(
        "--out",
        type=file_to_write,
        required=True,
        metavar="FILE-epo.fif",
        help="observed; what is predicted goes into FILE_predicted-epo.fif beside it",
    )
    parser.add_argument(
        "--kind", choices=("word", "phone"), help="what to cut to (default: words, where there are any)"
    )
    for name, default_s in (("--window", (-0.2, 0.6)), ("--baseline", (-0.2, 0.0))):
        parser.add_argument(
            name,
            nargs=2,
            type=float,
            default=default_s,
            metavar=("FROM", "TO"),
            help=f"seconds after an event's onset (default: {default_s[0]:g} {default_s[1]:g})",
        )
    parser.add_argument(
        "--baseline-mode",
        default="mean",
        choices=("mean", "zscore", "none"),
        help="each epoch less its baseline's mean, that in the baseline's SDs, or as it is (default: mean)",
    )
    parser.add_argument(
        "--bad-share",
        type=float,
        default=0.1,
        help="of an epoch's rows and electrodes masked as artefact, above which it is dropped (default: 0.1)",
    )
    add_stream_options(parser)
    add_whisper_option(parser)
    add_keep_option(parser)


@dataclass(frozen=True)
class _Recorded:
    """One recording. times: (rows,). data: (rows, electrodes, 2), observed then predicted. start_s: of the sound."""

    path: Path
    times: Times
    data: Floats
    bad: Mask
    start_s: float


def run(options: argparse.Namespace) -> int:
    require_mne()
    _check(options)
    if not options.out.name.endswith(("-epo.fif", "_epo.fif")):
        raise UserError(f"--out: found {options.out.name!r}, expected a name that ends in -epo.fif, as MNE wants it")
    if len(options.events) != len(options.recordings):
        raise UserError(
            f"--events: found {len(options.events)} files for {len(options.recordings)} recordings, expected one for "
            "each, in order"
        )
    kind, spoken = _events(options.events, options.kind)
    model, header = load_model(options.model)
    config = load_config(options.config) if options.config else None
    if config is not None:
        wiring.plan_for(config, header)  # raises where the two differ
    rules = Rules(
        tuple(options.window), tuple(options.baseline), options.baseline_mode, options.bad_share, header.row_rate_hz
    )
    with working("loading Whisper"):
        embedding = wiring.embedding_for(header, config.whisper if config else None, options.whisper_file)
    found = []
    for path in options.recordings:
        recorded = recorded_for(header, path, options, config)
        sound, ecog, channel, delays = recorded.sound, recorded.ecog, recorded.channel, recorded.delays
        with working(f"predicting {path.name}") as progress:
            blocks = predict_recording(sound, ecog, channel, embedding, model, header, progress, delays)
        blocks = [only(block, recorded.timeline.during(block.times, LISTENING)) for block in blocks]
        found.append(_recorded(path, blocks, _start_s(sound, delays["sound"])))
    bads = _bad_electrodes(found, header, keeps(options, config))
    counted = np.array([name not in bads for name in header.electrodes])
    events: list[Event] = []
    reasons: list[str] = []
    data: list[Floats] = []
    for one, timed in zip(found, spoken, strict=True):
        onsets_s = np.array([start_s for _, start_s, _ in timed]) + one.start_s
        with working(f"cutting {one.path.name}"):
            result = cut(one.times, one.data, one.bad, onsets_s, rules, counted)
        events += [Event(one.path.name, kind, *event) for event in timed]
        reasons += result.reasons
        data.append(result.data)
    _tell(reasons, bads)
    about = f"predicted by {options.model.name}" + (", simulated" if header.training.get("simulated") else "")
    with working("writing the epochs"):
        files = write_epochs(options.out, np.concatenate(data), events, reasons, header.electrodes, bads, rules, about)
    say(f"wrote {files[0]} (observed) and {files[1]} (predicted)")
    return 0


def _check(options: argparse.Namespace) -> None:
    (start_s, end_s), (low_s, high_s) = options.window, options.baseline
    if not -60 <= start_s < end_s <= 60:
        raise UserError(f"--window: found {start_s:g} to {end_s:g}, expected a later end than start, within 60 s")
    if options.baseline_mode != "none" and not start_s <= low_s <= high_s <= end_s:
        raise UserError(
            f"--baseline: found {low_s:g} to {high_s:g}, expected a stretch of the window, {start_s:g} to {end_s:g}"
        )
    if not 0 <= options.bad_share < 1:
        raise UserError(f"--bad-share: found {options.bad_share:g}, expected a number from 0 to less than 1")


def _events(files: list[Path], wanted: str | None) -> tuple[str, list[list[Timed]]]:
    """Words or phones of every recording. Raises UserError where one file has words alone and another phones."""
    read = [read_events(file, wanted) for file in files]
    kinds = {kind for kind, _ in read}
    if len(kinds) > 1:
        raise UserError(f"--events: found {' and '.join(sorted(kinds))}s, expected one of both: give --kind")
    return kinds.pop(), [timed for _, timed in read]


def _start_s(sound: RecordedStream, delay_s: float | None) -> float:
    """When the sound began, on the clock of the predictions' times."""
    first = next(iter(read_blocks(sound.for_lane("sound"), 1)), None)
    return (float(first.times[0]) if first is not None else math.nan) - (delay_s or 0.0)


def _recorded(path: Path, blocks: list[Block], start_s: float) -> _Recorded:
    predicted, observed, bad = joined_rows(blocks)
    times = np.concatenate([block.times for block in blocks])
    return _Recorded(path, times, np.stack([observed, predicted], axis=2), bad, start_s)


def _bad_electrodes(found: list[_Recorded], header: ModelHeader, keep: bool) -> list[str]:
    """Masked for more than half of all rows, or recording the sound itself: they drop no epoch."""
    masked = np.concatenate([one.bad for one in found]).mean(axis=0) > 0.5
    contaminated = () if keep else header.training.get("contaminated", ())
    return [name for name, m in zip(header.electrodes, masked, strict=True) if m or name in contaminated]


def _tell(reasons: list[str], bads: list[str]) -> None:
    kept = sum(not reason for reason in reasons)
    dropped = ", ".join(f"{count} {reason}" for reason, count in Counter(filter(None, reasons)).most_common())
    say(f"{kept} of {len(reasons)} epochs kept" + (f"; dropped: {dropped}" if dropped else ""))
    if bads:
        say(f"bad electrodes, which drop no epoch: {', '.join(bads)}")
    if not kept:
        raise UserError(
            f"no epoch is left ({dropped or 'no event'}): check that the events' times are seconds from the sound's "
            "start, shorten --window, or raise --bad-share"
        )
