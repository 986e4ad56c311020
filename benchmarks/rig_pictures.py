"""Pictures of docs/rig.md: the commands of a first session on a small simulated patient, as a terminal shows them.

`python -m benchmarks.rig_pictures FOLDER --pictures docs` runs check, run, report and sham over real LSL: six minutes.
Without --pictures it only writes the patient into FOLDER, for `corticast replay`.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.io import wavfile
from scipy.signal import butter, resample_poly, sosfilt

from encoders.speech import load_trials
from realtime.audio import Resample
from realtime.block import Spec, regular
from realtime.sources.recording import RecordedStream, Recording, save_folder

SOUND_HZ, ECOG_HZ = 16_000.0, 1000.0
LEVEL = 0.5  # so that the loudest sample, 1.002 in the recordings, is well below full scale
DELAY_S = 0.012  # of the sound's stamps; the amplifier's AUX1 has the sound without it
DRIVEN = 6  # of the grid's electrodes; the rest is noise
MEASURED = f"delay_s = {DELAY_S}"  # from step 3 on
CALIBRATION_S, SESSION_S, SHAM_S = 240.0, 150.0, 90.0
CONFIG = """
[sound]
name = "Stimulus simulated"
channel = "loop-back"
{delay}
[ecog]
name = "Amplifier simulated"
montage = "montage.csv"
exclude = ["AUX1", "TRIG"]
[whisper]
model = "tiny.en"
layer = 2
block_ms = 100
delay_ms = 0
[model]
{model}
[engine]
wait_s = 60
"""


def patient(begin_s: float, seconds: float, seed: int, driven: int = DRIVEN) -> Recording:
    """Speech, and ECoG of 1/f noise in which the envelope drives the band power of some electrodes 120 ms later.

    AUX1 carries the speech too; the sound stream has it DELAY_S later.
    """
    rng = np.random.default_rng(seed)
    sound = LEVEL * speech()[round(begin_s * SOUND_HZ) : round((begin_s + seconds) * SOUND_HZ)]
    rows = round(len(sound) / SOUND_HZ * ECOG_HZ)
    envelope = np.sqrt(np.add.reduceat(sound**2, np.arange(0, len(sound), 16))[:rows])
    envelope = sosfilt(butter(2, 8.0, fs=ECOG_HZ, output="sos"), envelope)
    drive = np.roll(envelope / envelope.std(), 120)[:, None]
    labels = [*(f"G{i}" for i in range(1, 17)), *(f"D{i}" for i in range(1, 5)), "AUX1", "TRIG"]
    gamma = sosfilt(
        butter(4, [70, 150], "band", fs=ECOG_HZ, output="sos"), rng.normal(size=(rows, len(labels))), axis=0
    )
    gain = np.where(np.arange(len(labels)) < driven, 1.0, 0.0)
    slow = np.cumsum(rng.normal(size=(rows, len(labels))), axis=0)
    slow = sosfilt(butter(1, 0.5, "high", fs=ECOG_HZ, output="sos"), slow, axis=0)
    ecog = (20 * slow / slow.std() + 12 * gamma * (1 + gain * np.clip(drive, 0, 4))).astype(np.float32)
    aux = resample_poly(sound, 1, round(SOUND_HZ / ECOG_HZ))[:rows]
    ecog[:, labels.index("AUX1")] = 2000 * aux + 20 * rng.normal(size=rows)
    sound = np.roll(sound, round(DELAY_S * SOUND_HZ))
    room = 0.2 * sound + 0.002 * rng.normal(size=len(sound))
    streams = {
        "sound": (Spec("Stimulus simulated", SOUND_HZ, ("loop-back", "room")), np.stack([sound, room], 1), "Audio"),
        "ecog": (Spec("Amplifier simulated", ECOG_HZ, tuple(labels), "microvolts"), ecog, "ECoG"),
    }
    return Recording(
        {
            name: RecordedStream(
                spec, data.astype(np.float32), np.arange(len(data)) / spec.rate_hz, type=type_, source_id=spec.name
            )
            for name, (spec, data, type_) in streams.items()
        }
    )


@functools.cache
def speech() -> np.ndarray:  # type: ignore[type-arg]
    """All trials of real speech, one after the other, at SOUND_HZ."""
    return np.concatenate([_at_rate(trial.sound, trial.rate_hz) for trial in load_trials()])


def _at_rate(sound: np.ndarray, rate_hz: float) -> np.ndarray:  # type: ignore[type-arg]
    found: np.ndarray = Resample(rate_hz, SOUND_HZ).layer(regular(sound[:, None], rate_hz)).data[:, 0]  # type: ignore[type-arg]
    return found


@contextmanager
def replayed(folder: Path, name: str) -> Iterator[None]:
    command = [sys.executable, "-m", "realtime.sources.replay", str(folder / name), "--wait", "120"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def corticast(folder: Path, *words: str) -> str:
    """What the command prints, with the command itself above."""
    command = [sys.executable, "-m", "realtime.cli", *words]
    wide = {**os.environ, "COLUMNS": "118"}
    found = subprocess.run(
        command, cwd=folder, env=wide, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return f"$ corticast {' '.join(words)}\n{found.stdout}"


def picture(text: str, path: Path) -> None:
    """The text as a terminal shows it."""
    lines = text.rstrip().splitlines()
    width = max(len(line) for line in lines)
    figure = Figure(figsize=(0.085 * width + 0.3, 0.185 * len(lines) + 0.45), facecolor="#1e2127")
    x, y = 0.15 / figure.get_figwidth(), 1 - 0.3 / figure.get_figheight()
    figure.text(x, y, "\n".join(lines), va="top", family="DejaVu Sans Mono", fontsize=10, color="#d7dae0")
    figure.text(0.5, 0.998, "simulated patient", va="top", ha="center", fontsize=7, color="#8a919e")
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)


def write_streams(folder: Path) -> None:
    """The patient as recordings: `calibration`, `live`, `ecog_alone`, and speech that nobody hears."""
    save_folder(patient(0.0, CALIBRATION_S, 1), folder / "calibration")
    save_folder(patient(CALIBRATION_S, SESSION_S, 2), folder / "live")
    # Noise of its own: that of seed 2 happens to follow the sham's speech in G16, with nothing driven as well.
    later = patient(CALIBRATION_S, SESSION_S, 4)
    save_folder(replace(later, streams={"ecog": later.streams["ecog"]}), folder / "ecog_alone")
    other = patient(CALIBRATION_S + SESSION_S, SHAM_S, 3).streams["sound"].data[:, 0]
    wavfile.write(folder / "other-speech.wav", round(SOUND_HZ), other)


def draw(folder: Path, pictures: Path) -> None:
    """Run the commands in `folder`, where the streams are, and write a picture of each."""
    picture(corticast(folder, "montage", "calibration", "--out", "montage.csv"), pictures / "rig-montage.png")
    config = folder / "live.toml"
    config.write_text(CONFIG.format(model="", delay=""), encoding="utf-8")
    with replayed(folder, "live"):
        picture(corticast(folder, "check", "live.toml"), pictures / "rig-check.png")
    config.write_text(CONFIG.format(model="", delay=MEASURED), encoding="utf-8")
    fit = corticast(folder, "fit", "calibration", "--config", "live.toml", "--out", "patient.safetensors", "--quick")
    print(fit)
    config.write_text(CONFIG.format(model='file = "patient.safetensors"', delay=MEASURED), encoding="utf-8")
    words = ("run", "live.toml", "--record", "session.xdf", "--no-monitor", "--session", "sessions/first")
    with replayed(folder, "live"):
        print(corticast(folder, *words, "--seconds", f"{SESSION_S - 15:.0f}"))
    picture(corticast(folder, "report", "sessions/first"), pictures / "rig-report.png")
    with replayed(folder, "ecog_alone"):
        sham = corticast(folder, "sham", "live.toml", "other-speech.wav", "--seconds", f"{SHAM_S:.0f}")
    picture(sham, pictures / "rig-sham.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder for recordings, model and sessions")
    parser.add_argument("--pictures", type=Path, help="folder to write the pictures into")
    options = parser.parse_args()
    write_streams(options.folder)
    if options.pictures:
        draw(options.folder, options.pictures)


if __name__ == "__main__":
    main()
