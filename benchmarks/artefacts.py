"""What the artefact stage costs, and a picture of each kind of artefact with its mask, on a simulated patient.

`python -m benchmarks.artefacts --out docs/artefacts.png`
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from encoders.patient_noise import mixing
from encoders.patient_rig import RigConfig, rig_artefacts
from realtime.artefacts import Artefacts
from realtime.block import bad_samples, regular
from realtime.signals import ecog_chain
from realtime.stage import Chain

RATE_HZ, ELECTRODES, AT_S = 1000.0, 16, 6.0
Values = npt.NDArray[np.float64]


def background(seconds: float, rate_hz: float, channels: int, seed: int = 0) -> Values:
    """A slow random walk that comes back, high gamma's noise and hum, in microvolts: simulated."""
    rng = np.random.default_rng(seed)
    rows = int(seconds * rate_hz)
    t = np.arange(rows) / rate_hz
    slow = np.stack([np.sin(2 * np.pi * f * t + p) / f for f, p in zip(rng.uniform(1, 12, 20), range(20), strict=True)])
    position = np.array([(10.0 * (c % 4), 10.0 * (c // 4)) for c in range(channels)])
    shared = 30 * rng.normal(size=(channels, 20)) @ slow
    noise = 6 * rng.normal(size=(rows, channels))
    hum = 15 * np.sin(2 * np.pi * 50 * t)[:, None]
    return np.asarray(shared.T @ mixing(position).T + noise + hum)


def kinds() -> dict[str, Values]:
    """Raw recordings with one artefact each, from AT_S on."""
    alive = np.ones(ELECTRODES, bool)
    position = np.array([(10.0 * (c % 4), 10.0 * (c // 4)) for c in range(ELECTRODES)])
    found = {}
    rigs = {
        "electro-cautery": RigConfig(cautery_per_min=1),
        "stimulation": RigConfig(stimulation_per_min=1),
        "interictal spike": RigConfig(spikes_per_min=1),
    }
    start, clean = int(AT_S * RATE_HZ), background(10, RATE_HZ, ELECTRODES)
    for name, rig in rigs.items():
        seed = 0
        while not (events := rig_artefacts(np.random.default_rng(seed), 60_000, RATE_HZ, rig, alive, position)):
            seed += 1
        raw, shape = clean.copy(), events[0].shape[: len(clean) - start]
        raw[start : start + len(shape)] += shape[:, None] * events[0].size_uv
        found[name] = raw
    movement, step, rail, flat = (clean.copy() for _ in range(4))
    movement[start:, :8] += 500 * np.exp(-np.arange(len(clean) - start) / 200)[:, None]
    step[start:] += 80.0
    rail[start : start + 800, :8] = 3000.0
    flat[start : start + 1000, :8] = flat[start, :8]
    return {**found, "movement": movement, "step of the reference": step, "saturation": rail, "flat": flat}


def draw(path: Path) -> None:
    """Raw samples, what the filters are given, and which rows of high gamma are masked, of one electrode."""
    recordings = kinds()
    figure = Figure(figsize=(11, 1.7 * len(recordings)), layout="constrained")
    axes = figure.subplots(len(recordings), 2, sharex=True, squeeze=False)
    chain = ecog_chain(RATE_HZ, ELECTRODES)
    until_power = Chain(list(zip(chain.names[:-1], chain.stages[:-1], strict=True)))
    for row, (name, raw) in zip(axes, recordings.items(), strict=True):
        x = regular(raw.astype(np.float32), RATE_HZ)
        bridged = Artefacts(RATE_HZ).layer(x)
        power = until_power.layer(x)
        electrode = int(np.argmax(np.abs(raw - background(10, RATE_HZ, ELECTRODES)).max(axis=0)))
        row[0].plot(x.times, raw[:, electrode], color="0.6", linewidth=0.7, label="recorded")
        row[0].plot(x.times, bridged.data[:, electrode], linewidth=0.7, label="bridged")
        row[0].set_ylabel(f"{name}\n(µV)", fontsize=8)
        row[1].plot(power.times, power.data[:, electrode], linewidth=0.8, color="k")
        row[1].set_ylabel("log power", fontsize=8)
        for one, block in ((row[0], bridged), (row[1], power)):
            bad = bad_samples(block)[:, electrode]
            limits = one.get_ylim()
            one.fill_between(block.times, *limits, where=bad, color="tab:red", alpha=0.25, linewidth=0, label="masked")
            one.set_ylim(limits)
    axes[0, 0].legend(loc="upper left", fontsize=7)
    axes[0, 0].set_xlim(5.5, 8.5)
    axes[0, 0].set_title("before the reference (simulated)", fontsize=9)
    axes[0, 1].set_title("high gamma, 50 rows a second (simulated)", fontsize=9)
    for one in axes[-1]:
        one.set_xlabel("time (s)")
    figure.savefig(path, dpi=80)


def cost_ms(channels: int = 256, rate_hz: float = 2000.0, troubled: bool = False) -> tuple[float, float]:
    """Median and 99th percentile of one step of 20 ms."""
    raw = background(8, rate_hz, 16)[:, np.arange(channels) % 16].astype(np.float32)
    raw += np.random.default_rng(1).normal(0, 2, raw.shape).astype(np.float32)
    if troubled:
        raw[::400] += 2000
    x, stage, rows = regular(raw, rate_hz), Artefacts(rate_hz), round(0.02 * rate_hz)
    state, took = stage.initial_state(), []
    for start in range(0, len(x), rows):
        clock = time.perf_counter()
        _, state = stage.step(x.rows(start, start + rows), state)
        took.append(1e3 * (time.perf_counter() - clock))
    return float(np.median(took)), float(np.percentile(took, 99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the picture")
    options = parser.parse_args()
    for troubled in (False, True):
        median, p99 = cost_ms(troubled=troubled)
        what = "a pulse every 0.2 s" if troubled else "nothing to mark"
        print(f"256 channels at 2 kHz, 20 ms, {what}: median {median:.2f} ms, p99 {p99:.2f} ms")
    if options.out:
        draw(options.out)


if __name__ == "__main__":
    main()
