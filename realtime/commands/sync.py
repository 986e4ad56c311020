"""`corticast sync`: how late sound and amplifier stamp the same sound, live or in a recording."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from realtime.commands.choose import ecog_by_rate, pick_stream, sound_by_rate
from realtime.commands.console import say, working
from realtime.commands.options import channel, file_to_write, seconds
from realtime.config import Config, load_config
from realtime.errors import UserError
from realtime.pick import channel_number
from realtime.sources.lsl import LslInlet, StreamQuery
from realtime.sources.recording import Offset, RecordedStream, load_recording, to_blocks
from realtime.sync import NotMeasurable, SyncReport, measure_sync

SECONDS = 60.0
OFFSET_EVERY_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="CONFIG_OR_RECORDING", help="a .toml file: its streams, live; else a recording"
    )
    parser.add_argument("--aux", type=channel, required=True, help="the amplifier's channel that carries the sound")
    parser.add_argument("--sound", help="name of the recording's sound stream, where it is not clear")
    parser.add_argument("--ecog", help="name of the amplifier's stream, where it is not clear")
    parser.add_argument("--channel", type=channel, help="label or number of the sound's channel (default: 0)")
    parser.add_argument(
        "--seconds", type=seconds, default=SECONDS, help=f"how long to listen, live (default: {SECONDS:g})"
    )
    parser.add_argument("--clicks", action="store_true", help="play clicks on this computer's loudspeaker meanwhile")
    parser.add_argument("--out", type=file_to_write, metavar="PNG", help="draw the offset over time")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")


def run(options: argparse.Namespace) -> int:
    chosen: str | int
    aux: str | int
    if options.source.suffix == ".toml":
        sound, amplifier = _live(load_config(options.source), options)
        chosen, aux = sound.spec.channels[0], amplifier.spec.channels[0]
    else:
        recording = load_recording(options.source)
        sound = pick_stream(recording, "sound", options.sound, sound_by_rate).for_lane("sound")
        amplifier = pick_stream(recording, "ecog", options.ecog, ecog_by_rate).for_lane("ecog")
        chosen, aux = options.channel if options.channel is not None else 0, options.aux
    with working("comparing the two"):
        report = sync_of(sound, chosen, amplifier, aux)
    names = (f"{sound.spec.name!r}, channel {chosen}", f"{amplifier.spec.name!r}, channel {aux}")
    print(in_words(report, *names))
    if options.out:
        draw(report, options.out)
        say(f"drew {options.out}")
    if options.json:
        options.json.write_text(json.dumps(facts(report), indent=1) + "\n", encoding="utf-8")
    return 0


def sync_of(sound: RecordedStream, chosen: str | int, amplifier: RecordedStream, aux: str | int) -> SyncReport:
    """Raises UserError where it cannot be measured."""
    pair = []
    for stream, which in ((sound, chosen), (amplifier, aux)):
        number, blocks = channel_number(stream.spec, which), to_blocks(stream)
        data = np.concatenate([block.data[:, number] for block in blocks] or [np.zeros(0)]).astype(np.float64)
        times = np.concatenate([block.times for block in blocks] or [np.zeros(0)])
        if not len(times):
            raise UserError(f"stream {stream.spec.name!r} gave no sample: check that its program sends")
        pair += [np.nan_to_num(data), times]
    report = measure_sync(*pair)
    if isinstance(report, NotMeasurable):
        raise UserError(f"the delay cannot be measured: {report.reason}")
    return report


def in_words(report: SyncReport, sound: str, amplifier: str) -> str:
    ms = report.offset_s * 1e3
    later = f"{sound} stamps the sound {abs(ms):.1f} ms {'later' if ms >= 0 else 'earlier'} than {amplifier}"
    count = f"{len(report.offsets_s)} of {report.segments} stretches, correlation {abs(report.correlation):.2f}"
    lines = [f"{later} (spread {report.spread_s * 1e3:.2f} ms; {count})"]
    if np.isfinite(report.drift_ppm):
        drift = f"{report.drift_ms_per_min:+.2f} ms per minute ({report.drift_ppm:+.1f} ppm)"
        hour_ms = abs(report.drift_ppm) * 3.6
        lines.append(f"drift {drift}" + (f": {hour_ms:.0f} ms in an hour; measure again" if hour_ms > 10 else ""))
    else:
        lines.append("drift not measured: that takes a minute and more")
    if report.correlation < 0:
        lines.append("the two have opposite signs, which does no harm")
    lines.append("for the configuration, in place of what it has there:")
    lines.append(f"[{'sound' if ms >= 0 else 'ecog'}]\ndelay_s = {abs(report.offset_s):.4f}")
    return "\n".join(lines)


def facts(report: SyncReport) -> dict[str, object]:
    """A report as JSON values."""
    drift = report.drift_ppm if np.isfinite(report.drift_ppm) else None
    return {
        "offset_s": report.offset_s,
        "spread_s": report.spread_s,
        "drift_ppm": drift,
        "correlation": report.correlation,
        "segments": report.segments,
        "times_s": report.times_s.tolist(),
        "offsets_s": report.offsets_s.tolist(),
    }


def draw(report: SyncReport, path: Path) -> None:
    """Each stretch's offset over time, and the line through them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    since = report.times_s - report.times_s[0]
    axes.plot(since, report.offsets_s * 1e3, "o", markersize=3)
    drift = np.nan_to_num(report.drift_ppm) * 1e-6
    axes.plot(since, (report.offset_s + drift * (since - since.mean())) * 1e3, color="0.4", linewidth=1)
    axes.set_xlabel("time (s)")
    axes.set_ylabel("sound later by (ms)")
    figure.savefig(path, dpi=120)


# ---- live -----------------------------------------------------------------------------------------------------------


def _live(config: Config, options: argparse.Namespace) -> tuple[RecordedStream, RecordedStream]:
    with working("finding the streams"):
        inlets = [_connect(table, config.engine.wait_s) for table in (config.sound, config.ecog)]
    chosen = options.channel if options.channel is not None else config.sound.channel
    kept = [_Kept(inlet, which) for inlet, which in zip(inlets, (chosen, options.aux), strict=True)]
    with working(f"listening for {options.seconds:g} s") as progress, _clicks(options.clicks):
        begun = time.monotonic()
        try:
            while (passed := time.monotonic() - begun) < options.seconds:
                for one in kept:
                    one.take()
                progress(passed / options.seconds)
        except KeyboardInterrupt:
            say("measuring with what there is")
    sound, amplifier = (one.stream() for one in kept)
    return sound, amplifier


def _connect(table: object, wait_s: float) -> LslInlet:
    query = StreamQuery(*(getattr(table, key) for key in ("name", "type", "source_id")))
    return LslInlet(query, wait_s).connect()


@dataclass
class _Kept:
    """One channel of a stream as it comes, with raw stamps and the clock's offsets."""

    inlet: LslInlet
    channel: str | int

    def __post_init__(self) -> None:
        self._number = channel_number(self.inlet.spec, self.channel)
        self._data: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
        self._stamps: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
        self._offsets: list[Offset] = []
        self._rows, self._measured = 0, -np.inf

    def take(self) -> None:
        if time.monotonic() - self._measured > OFFSET_EVERY_S:
            self._measured = time.monotonic()
            with contextlib.suppress(TimeoutError):
                self._offsets.append((self._rows, self.inlet.time_correction()))
        data, stamps = self.inlet.pull(0.05)
        if len(stamps):
            self._data.append(data[:, self._number].copy())  # the next pull overwrites it
            self._stamps.append(stamps)
            self._rows += len(stamps)

    def stream(self) -> RecordedStream:
        """This channel alone."""
        self.inlet.close()
        spec = replace(self.inlet.spec, channels=(self.inlet.spec.channels[self._number],))
        data = np.concatenate([np.zeros(0, np.float32), *self._data])[:, None]
        return RecordedStream(spec, data, np.concatenate([np.zeros(0), *self._stamps]), tuple(self._offsets))


@contextlib.contextmanager
def _clicks(wanted: bool) -> Iterator[None]:
    """Clicks on the loudspeaker, where they are wanted."""
    if not wanted:
        yield
        return
    from realtime.sources.sound import playing_clicks

    with playing_clicks():
        yield
