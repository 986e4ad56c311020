"""One measurement of the latency benchmark: its settings, its processes, and the row that comes of it."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file

from benchmarks.latency_figures import Parts, distribution, parts
from benchmarks.latency_source import ecog_channels
from benchmarks.processes import Child, Children
from encoders.model_file import ModelHeader, save_model
from encoders.projection import Projection
from encoders.ridge import LaggedRidge
from encoders.speech import load_trials
from encoders.weights import LoadedWhisper, file_sha256, load_whisper, untrained_whisper
from encoders.whisper import StreamingSettings, pick_device, streaming_encoder, whisper_stages
from realtime.audio import Resample
from realtime.block import Floats, regular
from realtime.ranges import between, whole

SOUND_HZ = 16000.0
SOUND_S = 60.0  # of speech, repeated
HORIZON_S = 0.1
COMPONENTS, LAGS = 64, 16
START_S = 180.0
ENGINE, SOUND, ECOG = "bench", "bench-sound", "bench-ecog"
CHANNELS = whole(2, 1024, "a number of channels")  # types of options
RATE_HZ = between(500, 2000, "a rate in Hz")
LOADS = ("core", "disk", "monitor")
Share = Callable[[float], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What is measured. load: None, or a competing program: `core` burns one core, `disk` writes and flushes, `monitor`
    is the engine's own window, 24 traces and every panel at 1600 x 1000, drawn into memory. eager: no CUDA graph.
    weights: a file, such as a student's; None: those published."""

    model: str = "base"
    layer: int = 3
    mode: str = "cached"
    block_ms: float = 100.0
    channels: int = 256
    rate_hz: float = 2000.0
    device: str = "cpu"
    threads: int = 1
    load: str | None = None
    history_s: float = 10.0
    delay_ms: float = 0.0
    eager: bool = False
    dtype: str = "float32"
    silence_ms: float = 2000.0
    weights: Path | None = None

    def __str__(self) -> str:
        load = f", {self.load} busy" if self.load else ""
        how = " eager" if self.eager else ""
        how += f" {self.dtype}" if self.dtype != "float32" else ""
        delay = f" + {self.delay_ms:g}" if self.delay_ms else ""
        return (
            f"{self.model}/{self.layer} {self.mode} {self.block_ms:g}{delay} ms, "
            f"{self.channels} x {self.rate_hz:g} Hz, {self.device}{how} {self.threads}{load}"
        )

    @property
    def settings(self) -> StreamingSettings:
        return StreamingSettings(
            self.layer,
            self.block_ms,
            self.history_s,
            self.delay_ms,
            self.mode,
            self.dtype,
            silence_ms=self.silence_ms,
        )


SWEPT = {  # option: field of Case
    "model": "model",
    "layer": "layer",
    "mode": "mode",
    "block_ms": "block_ms",
    "delay_ms": "delay_ms",
    "history": "history_s",
    "channels": "channels",
    "rate": "rate_hz",
    "threads": "threads",
    "device": "device",
    "load": "load",
}


@dataclass(frozen=True)
class Measured:
    """parts: a value per row. cpu_percent: of the engine, 100 for one core; None where psutil is missing."""

    case: Case
    parts: Parts
    cpu_percent: float | None
    random_weights: bool = False

    def row(self) -> Row:
        """The entry in the JSON's `rows`."""
        case, p = self.case, self.parts
        keys = ("model", "layer", "mode", "block_ms", "channels", "rate_hz", "device", "threads", "load")
        return {
            **{key: getattr(case, key) for key in keys},
            "graph": case.device == "cuda" and case.mode == "cached" and not case.eager,
            "compute_ms": distribution(p.compute),
            "end_to_end_ms": distribution(p.end_to_end),
            "telemetry_ms": distribution(p.telemetry),
            "lost": p.lost,
            "skipped": p.skipped,
            "cpu_percent": self.cpu_percent,
        }

    def details(self) -> Row:
        """What the row has no key for, in the JSON's `details`, in the same order."""
        p = self.parts
        names = ("wait", "transport_in", "whisper", "transport_out", "clock_error", "lead_physical", "lead_display")
        return {
            "history_s": self.case.history_s,
            "delay_ms": self.case.delay_ms,
            "random_weights": self.random_weights,
            "rows": len(p.end_to_end),
            **{f"{name}_ms": distribution(getattr(p, name)) for name in names},
            "whisper_p50_ms": {"first_30_s": p.whisper_p50(0, 30), "last_30_s": p.whisper_p50(-30, None)},
        }


def require_possible(case: Case, random_weights: bool) -> None:
    """Raise UserError, before anything is started, where no engine could run these settings."""
    device = pick_device(case.device)
    loaded = whisper_weights(case.model, random_weights, case.weights)
    whisper_stages(streaming_encoder(loaded.model, case.settings, device), case.settings)


def run_case(
    case: Case,
    seconds: float,
    warm_up_s: float,
    random_weights: bool,
    share: Share,
    meanwhile: Callable[[Child], None] = lambda _engine: None,
    engine: tuple[object, ...] = ("benchmarks.latency_engine",),
) -> Measured:
    """Sources, engine and client in processes of their own over LSL; ends them all, whatever happens.

    Raises UserError where a part of it fails. share: told how much is done, 0 to 1. meanwhile: done while it is
    measured, in less than `seconds`. engine: its module, and words for it beside those of `corticast run`.
    """
    with tempfile.TemporaryDirectory(prefix="corticast-bench-") as name:
        folder = Path(name)
        write_files(folder, case, random_weights)
        with Children(folder) as children:
            _start_sources(children, folder, case)
            client = _start_client(children, folder, seconds, warm_up_s)
            share(0.1)
            running = children.start("engine", str(engine[0]), folder / "rig.toml", *engine[1:])
            if case.load:
                words = (case.load, "--file", folder / "load.bin", "--engine", ENGINE)
                children.start("load", "benchmarks.latency_load", *words)
            children.await_state(client, "measuring", START_S + warm_up_s)
            share(0.3)
            before = _cpu_s(running)
            meanwhile(running)
            children.await_state(client, "measured", seconds + 30)
            cpu_s = None if before is None else (_cpu_s(running) or 0.0) - before
            children.await_state(client, "saved", 30)
        share(1.0)
        with np.load(folder / "client.npz") as client_file, np.load(folder / "sound.npz") as source_file:
            found = parts(dict(client_file), dict(source_file), HORIZON_S)
    return Measured(case, found, None if cpu_s is None else 100 * cpu_s / seconds, random_weights)


def _start_sources(children: Children, folder: Path, case: Case) -> None:
    sound = ("sound", "--name", SOUND, "--rate-hz", SOUND_HZ, "--sound", folder / "sound.npy")
    ecog = ("ecog", "--name", ECOG, "--rate-hz", case.rate_hz, "--channels", case.channels)
    for words in (sound, ecog):
        children.start(words[0], "benchmarks.latency_source", *words, "--log", folder / f"{words[0]}.npz")


def _start_client(children: Children, folder: Path, seconds: float, warm_up_s: float) -> Child:
    words = ("--engine", ENGINE, "--sound", SOUND, "--warm-up", warm_up_s, "--seconds", seconds)
    client = children.start("client", "benchmarks.latency_client", *words, "--out", folder / "client.npz")
    children.await_state(client, "listening", 60)
    return client


def _cpu_s(engine: Child) -> float | None:
    """Processor seconds that it has used, where psutil (an extra) can tell."""
    try:
        psutil: Any = importlib.import_module("psutil")
    except ImportError:
        return None
    times = psutil.Process(engine.process.pid).cpu_times()
    return float(times.user + times.system)


# ---------------------------------------------------------------- files


def write_files(folder: Path, case: Case, random_weights: bool) -> None:
    """Sound, model and configuration of a case."""
    np.save(folder / "sound.npy", speech())
    whisper = whisper_weights(case.model, random_weights, case.weights)
    file = f"file = {json.dumps(str(case.weights.resolve()))}\n" if case.weights else ""
    sha256 = whisper.sha256
    if random_weights:
        path = folder / "whisper.safetensors"
        state = {name: tensor.half() for name, tensor in whisper.model.state_dict().items()}
        save_file(state, path, {"dims": json.dumps(asdict(whisper.model.dims))})
        sha256 = file_sha256(path)
        file = f'file = "{path.name}"\n'
    _write_model(folder / "model.safetensors", case, whisper, sha256)
    (folder / "rig.toml").write_text(
        f'[sound]\nname = "{SOUND}"\nchannel = "stimulus"\n'
        f'[ecog]\nname = "{ECOG}"\n'
        f'[whisper]\n{file}device = "{case.device}"\ngraph = {str(not case.eager).lower()}\n'
        f'[model]\nfile = "model.safetensors"\n'
        f'[engine]\nname = "{ENGINE}"\nwait_s = 30\nthreads = {case.threads}\n',
        encoding="utf-8",
    )


def _write_model(path: Path, case: Case, whisper: LoadedWhisper, sha256: str) -> None:
    channels = ecog_channels(case.channels)
    electrodes = channels[1:]
    header = ModelHeader(
        electrodes=electrodes,
        rate_hz=case.rate_hz,
        channels=channels,
        baseline_median=np.full(len(electrodes), 3.0),
        baseline_mad=np.full(len(electrodes), 0.7),
        horizon_s=HORIZON_S,
        whisper={"name": case.model, "sha256": sha256, **asdict(case.settings)},
        ecog={
            "mains_hz": 50.0,
            "band_hz": [70.0, 150.0],
            "bad": [],
            "exclude": [channels[0]],
            "unit": "microvolts",
        },
        training={"kind": "ridge", "simulated": True},
    )
    save_model(path, random_ridge(whisper.model.dims.n_audio_state, len(electrodes)), header)


def random_ridge(width: int, electrodes: int) -> LaggedRidge:
    """Of random weights: what is measured is the way, not the fit."""
    rng = np.random.default_rng(1)
    projection = Projection(
        np.zeros(width, np.float32),
        np.ones(width, np.float32),
        rng.normal(0, width**-0.5, (width, COMPONENTS)).astype(np.float32),
    )
    weights = (0.1 * rng.normal(size=(LAGS, COMPONENTS, electrodes))).astype(np.float32)
    return LaggedRidge(projection, weights, np.zeros(electrodes, np.float32), HORIZON_S)


@cache
def whisper_weights(name: str, random: bool, file: Path | None = None) -> LoadedWhisper:
    return untrained_whisper(name, 0) if random else load_whisper(name, file)


@cache
def speech() -> Floats:
    """(samples,) float32 of read speech at 16 kHz."""
    pieces, rate_hz = [], 0.0
    for trial in load_trials():
        pieces.append(trial.sound)
        rate_hz = trial.rate_hz
        if sum(len(p) for p in pieces) > SOUND_S * rate_hz:
            break
    sound = np.concatenate(pieces)[: int(SOUND_S * rate_hz)]
    return Resample(rate_hz, SOUND_HZ).layer(regular(sound[:, None], rate_hz)).data[:, 0].astype(np.float32)
