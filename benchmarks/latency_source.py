"""A source process of the latency benchmark: sound or ECoG over LSL in real time, with a sample counter in a channel.

Stamps are those of a plain LSL program: the newest row's is the time at which it is pushed. With --beat they are those
of an amplifier: the time of sampling, with 0.5 ms of jitter, however busy this machine is. What was pushed when is
kept, and written to a file at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.processes import stop_with_parent, tell
from realtime.block import Block, Floats, Spec, Times
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import local_clock

CHUNK_S = 0.01
LONGEST_S = 4 * 3600
NOISE_S, NOISE_NUMBERS = 2.0, 4e6  # repeated; the longest, and the most
NOISE_UV = 20.0
COUNTER = "counter"
BEAT_HZ, BEAT_DEPTH = 4.0, 0.8
JITTER_S = 5e-4  # of a chunk's stamps, SD, with --beat
# channel, Hz (a mel band's middle; between two notches), amplitude
TONES = {"sound": (0, 5884.0, 0.1), "ecog": (1, 125.0, 500.0)}


def sound_rows(samples: Floats, first: int, count: int) -> Floats:
    """(count, 2) float64: rows `first` on of the repeated sound, and their numbers."""
    numbers = np.arange(first, first + count)
    return np.stack([samples[numbers % len(samples)].astype(np.float64), numbers.astype(np.float64)], axis=1)


def ecog_rows(noise: Floats, first: int, count: int) -> Floats:
    """(count, channels) float32: rows `first` on of the repeated noise; channel 0 their numbers."""
    numbers = np.arange(first, first + count)
    rows: Floats = noise[numbers % len(noise)]
    rows[:, 0] = numbers
    return rows


def beat_rows(kind: str, rate_hz: float, first: int, times: Times) -> Floats:
    """(rows,) of a tone that swells 4 times a second of LSL's clock: in step in every source that was told to beat."""
    _, tone_hz, amplitude = TONES[kind]
    numbers = np.arange(first, first + len(times))
    swell = 1.0 + BEAT_DEPTH * np.cos(2 * np.pi * BEAT_HZ * times)
    rows: Floats = amplitude * swell * np.sin(2 * np.pi * tone_hz / rate_hz * numbers)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency_source", description=__doc__)
    parser.add_argument("kind", choices=("sound", "ecog"))
    parser.add_argument("--name", required=True)
    parser.add_argument("--rate-hz", type=float, required=True)
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--sound", type=Path, help=".npy of the samples, for kind sound")
    parser.add_argument("--drift-ppm", type=float, default=0.0, help="by which it samples faster than its stated rate")
    parser.add_argument(
        "--beat", action="store_true", help="add a tone that swells with LSL's clock, and stamp as sampled"
    )
    parser.add_argument("--log", type=Path, required=True, help=".npz of what was pushed when")
    options = parser.parse_args(arguments)
    stop = stop_with_parent()
    outlet, make = _sound(options) if options.kind == "sound" else _ecog(options)
    chunk = max(1, round(CHUNK_S * options.rate_hz))
    pace_hz = options.rate_hz * (1.0 + 1e-6 * options.drift_ppm)
    jitter = np.random.default_rng(0)
    ends = np.zeros(round(LONGEST_S / CHUNK_S), np.int64)
    pushed = np.zeros(len(ends))
    chunks, sent, late = 0, 0, 0
    start = local_clock()
    tell("sending", start_s=start)
    while not stop.is_set() and chunks < len(ends):
        ahead = start + (sent + chunk) / pace_hz - local_clock()
        if ahead > 0:
            time.sleep(ahead)
        now = local_clock()
        rows = max(1, int((now - start) * pace_hz - sent) // chunk) * chunk
        late += rows - chunk
        data, stamps = make(sent, rows), now - np.arange(rows - 1, -1, -1) / pace_hz
        if options.beat:
            sampled_s = start + np.arange(sent + 1, sent + rows + 1) / pace_hz
            data[:, TONES[options.kind][0]] += beat_rows(options.kind, options.rate_hz, sent, sampled_s)
            stamps = sampled_s + jitter.normal(0.0, JITTER_S)
        block = Block(data, stamps, sent)
        pushed[chunks] = local_clock()
        outlet.push(block)
        sent += rows
        ends[chunks] = sent
        chunks += 1
    np.savez(options.log, ends=ends[:chunks], pushed_s=pushed[:chunks], start_s=start, pace_hz=pace_hz)
    tell("ended", sent=sent, late_rows=late)
    return 0


def _sound(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    samples = np.load(options.sound)
    spec = Spec(options.name, options.rate_hz, ("stimulus", COUNTER))
    outlet = Outlet(spec, "Audio", options.name, double=True)  # float32 would count to 2^24 only: 17 minutes
    return outlet, lambda first, count: sound_rows(samples, first, count)


def _ecog(options: argparse.Namespace):  # type: ignore[no-untyped-def]
    length_s = min(NOISE_S, NOISE_NUMBERS / options.rate_hz / options.channels)
    shape = (max(1, round(length_s * options.rate_hz)), options.channels)
    noise = NOISE_UV * np.random.default_rng(0).standard_normal(shape, np.float32)
    spec = Spec(options.name, options.rate_hz, ecog_channels(options.channels), "microvolts")
    return Outlet(spec, "ECoG", options.name), lambda first, count: ecog_rows(noise, first, count)


def ecog_channels(count: int) -> tuple[str, ...]:
    """Labels of the ECoG stream: the counter, then electrodes."""
    return (COUNTER, *(f"E{i}" for i in range(1, count)))


if __name__ == "__main__":
    sys.exit(main())
