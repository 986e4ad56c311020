"""What the causal Whisper keeps of the offline one, how long it waits and what it costs.

    python -m benchmarks.fidelity --rows 100+0 40+60 100+0@2 --json fidelity.json --picture fidelity.png

A row is [MODE:]BLOCK+DELAY[/SILENCE][@HISTORY], in ms, ms, ms and s. Fidelity is measured on trials that
trained nothing, in one large step (which equals small ones); time on 20 s of stream, one block at a time. With random
weights there are times alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.phone_probe import (
    FRAME_SAMPLES,
    RATE_HZ,
    SILENT,
    TEST,
    TRAIN,
    Labels,
    PhoneProbe,
    Recovery,
    Speech,
    centred_cosine,
    load_speech,
)
from encoders.weights import load_whisper, untrained_whisper
from encoders.whisper import (
    DTYPES,
    CausalWhisper,
    StreamingSettings,
    offline_embedding,
    streaming_encoder,
    whisper_stages,
)
from realtime.block import Block, Floats, regular
from realtime.commands.console import machine_facts, say, working
from realtime.errors import UserError
from realtime.stage import Chain

STRETCH = 100  # spoken frames, 2 s: neighbours are right or wrong together
LOOK_AHEAD_MS = 12.5  # of the stem: what a frame needs past its end
TIMED_S = 20.0  # with 10 s of history, one whole period of the caches' swaps
TRIALS = 10
NO_TAIL = ("20+0", "40+0", "100+0", "200+0", "500+0")
SHORT_HISTORY = ("100+0@2", "40+60@2")
TAIL = ("20+20", "20+40", "20+80", "40+60", "60+40", "80+20", "40+160", "100+100", "100+200")
WINDOW = ("window:100+0@2", "window:100+0@4", "window:100+100@4", "window:40+60@2")
ROWS = (*NO_TAIL, *SHORT_HISTORY, *TAIL, *WINDOW)
FAST_ROWS = ("100+0", "40+60", "100+100")

Row = dict[str, Any]
NO_FIDELITY: Row = dict.fromkeys(("phone_accuracy", "of_offline", "of_offline_se", "linear_r", "cosine"))


@dataclass(frozen=True)
class Reference:
    """Offline embeddings of one layer, and of each test trial's frames whether they give the phone that is spoken."""

    train: list[Floats]
    test: list[Floats]
    right: list[Labels]

    @property
    def phone_accuracy(self) -> float:
        return float(np.concatenate(self.right).mean())


def parse_row(text: str, layer: int, dtype: str = "float32") -> StreamingSettings:
    """`[MODE:]BLOCK+DELAY[/SILENCE][@HISTORY]` to settings. Raises UserError for anything else."""
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"(?:([a-z]+):)?{number}\+{number}(?:/{number})?(?:@{number})?", text)
    if not found:
        raise UserError(
            f"benchmark row {text!r} found, [MODE:]BLOCK+DELAY[/SILENCE][@HISTORY] expected: such as 40+60 or 100+0/0@5"
        )
    mode, block, delay, silence, history = found.groups()
    settings = StreamingSettings(layer, float(block), float(history or 10), float(delay), mode or "cached", dtype)
    return settings if silence is None else replace(settings, silence_ms=float(silence))


def embed(chain: Chain, sound: Floats) -> Floats:
    """(frames, width) for all of a sound's frames; silence after it lets the last ones out."""
    padded = np.concatenate([sound, np.zeros(round(chain.lag_s * RATE_HZ) + 60 * FRAME_SAMPLES, np.float32)])
    return chain.layer(regular(padded[:, None], RATE_HZ)).data[: -(-len(sound) // FRAME_SAMPLES)]


def reference(model: Any, layer: int, training: Sequence[Speech], testing: Sequence[Speech]) -> Reference:
    train = [offline_embedding(model, s.sound, [layer])[layer] for s in training]
    test = [offline_embedding(model, s.sound, [layer])[layer] for s in testing]
    return Reference(train, test, _right(train, test, training, testing))


def _right(
    train: Sequence[Floats], test: Sequence[Floats], training: Sequence[Speech], testing: Sequence[Speech]
) -> list[Labels]:
    """Of each test trial's spoken frames, (spoken frames,): 1 where a probe of the training trials finds the phone."""
    probe = PhoneProbe(train, [s.labels for s in training])
    return [
        probe.right(e, s.labels)[s.labels[: len(e)] != SILENT].astype(np.int64)
        for e, s in zip(test, testing, strict=True)
    ]


def fidelity(chain: Chain, offline: Reference, training: Sequence[Speech], testing: Sequence[Speech]) -> Row:
    """phone_accuracy, of_offline, its standard error, linear_r and cosine of a chain against the offline reference."""
    train, test = [embed(chain, s.sound) for s in training], [embed(chain, s.sound) for s in testing]
    right = _right(train, test, training, testing)
    share, error = share_of(right, offline.right)
    return {
        "phone_accuracy": float(np.concatenate(right).mean()),
        "of_offline": share,
        "of_offline_se": error,
        "linear_r": Recovery(offline.train, train).r(offline.test, test),
        "cosine": centred_cosine(offline.test, test),
    }


def share_of(right: Sequence[Labels], of: Sequence[Labels]) -> tuple[float, float]:
    """How many of the frames right in `of` are right, and its standard error: that of a ratio of sums over stretches of
    STRETCH spoken frames, both sums of the same frames (Cochran 1977, Sampling Techniques, section 6.3)."""
    pairs = [
        (x[start : start + STRETCH].sum(), y[start : start + STRETCH].sum())
        for x, y in zip(right, of, strict=True)
        for start in range(0, min(len(x), len(y)), STRETCH)
    ]
    ours, theirs = np.array(pairs, np.float64).T
    share = ours.sum() / theirs.sum()
    missed = ours - share * theirs
    error = np.sqrt(len(pairs) / (len(pairs) - 1) * np.sum(missed**2)) / theirs.sum()
    return float(share), float(error)


def timing(chain: Chain, settings: StreamingSettings, sound: Floats) -> Row:
    """ms_per_s and step_ms over TIMED_S of stream, one block at a time, once the history is full.

    sound: (samples,), repeated as often as it takes. Of two passes the quicker counts: other programs only slow one.
    """
    warm = round((settings.history_s + 2) * RATE_HZ)
    step = round(settings.block_ms * RATE_HZ / 1e3)
    stream = regular(np.resize(sound, warm + round(TIMED_S * RATE_HZ))[:, None], RATE_HZ)
    steps_ms = min((_timed_steps(chain, stream, warm, step) for _ in range(2)), key=sum)
    p50, p99 = np.percentile(steps_ms, [50, 99])
    return {"ms_per_s": sum(steps_ms) / TIMED_S, "step_ms": {"p50": float(p50), "p99": float(p99)}}


def _timed_steps(chain: Chain, stream: Block, warm: int, step: int) -> list[float]:
    """Milliseconds of each step of `step` samples after the first `warm`."""
    _, state = chain.step(stream.rows(0, warm), chain.initial_state())
    steps_ms = []
    for start in range(warm, len(stream), step):
        began = time.perf_counter()
        _, state = chain.step(stream.rows(start, start + step), state)
        steps_ms.append(1e3 * (time.perf_counter() - began))
    return steps_ms


def measure(
    options: argparse.Namespace, name: str, layer: int, training: Sequence[Speech], testing: Sequence[Speech]
) -> Iterator[Row]:
    """The rows of one model and layer as they are done, the offline reference first."""
    loaded = untrained_whisper(name, 0) if options.random_weights else load_whisper(name)
    causal = load_whisper(name, options.student) if options.student else loaded
    asked = [parse_row(text, layer, options.dtype) for text in options.rows]
    offline = None
    if not options.random_weights:
        with working(f"{name}, layer {layer}: offline"):
            offline = reference(loaded.model, layer, training, testing)
    whole = NO_FIDELITY.copy()
    if offline:
        whole = {"phone_accuracy": offline.phone_accuracy, "of_offline": 1.0, "of_offline_se": 0.0}
        whole |= {"linear_r": 1.0, "cosine": 1.0}
    common = {
        "device": options.device,
        "threads": torch.get_num_threads(),
        "random_weights": options.random_weights,
        "student": causal.sha256 if options.student else None,
        "graph": False,
        "offline_phone_accuracy": whole["phone_accuracy"],
    }
    yield _row(name, layer, None, {**common, "dtype": "float32", **whole})
    with working(f"{name}, layer {layer}: causal") as progress:
        for done, settings in enumerate(asked, start=1):
            chain = _chain(causal.model, settings, options.device, options.eager)
            figures = fidelity(chain, offline, training, testing) if offline else NO_FIDELITY.copy()
            figures |= timing(chain, settings, testing[0].sound)
            figures["graph"] = captured(chain)
            yield _row(name, layer, settings, {**common, "dtype": settings.dtype, **figures})
            progress(done / len(asked))


def _chain(model: Any, settings: StreamingSettings, device: str, eager: bool) -> Chain:
    return whisper_stages(streaming_encoder(model, settings, device), settings, graph=False if eager else None)


def captured(chain: Chain) -> bool:
    """Whether a chain's blocks run as a captured CUDA graph."""
    return any(isinstance(stage, CausalWhisper) and stage.captured for stage in chain.stages)


def _row(model: str, layer: int, settings: StreamingSettings | None, figures: Row) -> Row:
    """One entry of the JSON. settings None: the offline reference, which has no lag but the future's."""
    if settings is None:
        how: Row = {"mode": "offline", "block_ms": None, "history_s": None, "delay_ms": None, "lag_ms": None}
        how["silence_ms"] = None
        own: Row = {"ms_per_s": None, "step_ms": None}
    else:
        lag_ms = settings.block_ms + settings.delay_ms + LOOK_AHEAD_MS
        how = {"mode": settings.mode, "block_ms": settings.block_ms, "history_s": settings.history_s}
        how |= {"delay_ms": settings.delay_ms, "lag_ms": lag_ms}
        how |= {"silence_ms": settings.silence_ms if settings.mode == "cached" else 0.0}
        own = {}
    return {"model": model, "layer": layer, **how, **own, **figures}


def show(rows: Sequence[Row]) -> Table:
    table = Table(title="Causal Whisper against offline Whisper")
    columns = [
        "model",
        "layer",
        "mode",
        "block ms",
        "delay ms",
        "silence ms",
        "history s",
        "worst wait ms",
        "phone accuracy",
    ]
    for name in [*columns, "of offline", "± SE", "linear r", "cosine", "ms per s", "step p50 ms", "step p99 ms"]:
        table.add_column(name, justify="left" if name in ("model", "mode") else "right")
    for row in rows:
        step = row["step_ms"] or {"p50": None, "p99": None}
        fidelity = [row.get(name) for name in NO_FIDELITY]  # of earlier files some
        table.add_row(
            row["model"],
            str(row["layer"]),
            row["mode"],
            *(_text(row[name], "g") for name in ("block_ms", "delay_ms", "silence_ms", "history_s", "lag_ms")),
            *(_text(value, ".3f") for value in fidelity),
            *(_text(value, ".1f") for value in (row["ms_per_s"], step["p50"], step["p99"])),
        )
    return table


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _test_trial(text: str) -> int:
    if not text.isdecimal() or int(text) not in set(range(TRIALS)) - set(TRAIN):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a trial from 0 to {TRIALS - 1} that trains no probe"
        )
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["base"], help="Whisper models (default: base)")
    parser.add_argument("--layer", nargs="+", type=int, default=[3], help="encoder blocks (default: 3)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rows", nargs="+", default=ROWS, metavar="ROW", help="[MODE:]BLOCK+DELAY[/SILENCE][@HISTORY]")
    which.add_argument("--fast", dest="rows", action="store_const", const=FAST_ROWS, help="three rows only")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of the causal encoder (default: float32)")
    parser.add_argument("--eager", action="store_true", help="on CUDA each kernel by itself, no captured graph")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--student", type=Path, metavar="FILE", help="causal rows of a distilled student's weights")
    parser.add_argument(
        "--test-trials",
        nargs="+",
        type=_test_trial,
        default=TEST,
        metavar="N",
        help=f"trials of the speech that are tested, not of {' '.join(map(str, TRAIN))}, which train the probe "
        f"(default: {' '.join(map(str, TEST))}); a student must not have heard them",
    )
    parser.add_argument("--random-weights", action="store_true", help="an untrained model: for time, not for fidelity")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw fidelity against wait and against cost")
    parser.add_argument(
        "--retime",
        type=Path,
        metavar="JSON",
        help="measure the times of an earlier run's rows again, on a machine that is idle now; write them into --json",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        work = _retime if options.retime else _run
        work(options, sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        say(str(error))
        return 2
    return 0


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    for text in options.rows:
        parse_row(text, 1)
    if options.random_weights and options.picture:
        raise UserError("--picture: found --random-weights, expected trained ones: these keep nothing worth drawing")
    draw = _drawing() if options.picture else None
    torch.set_num_threads(options.threads)
    with working("aligning the speech"):
        training, testing = (
            ([], load_speech(TEST[:1])) if options.random_weights else map(load_speech, (TRAIN, options.test_trials))
        )
    content = {
        "command": " ".join(["python -m benchmarks.fidelity", *arguments]),
        "machine": machine_facts(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "train_trials": TRAIN,
        "test_trials": options.test_trials,
    }
    rows: list[Row] = []
    for name in options.model:
        for layer in options.layer:
            for row in measure(options, name, layer, training, testing):
                rows.append(row)
                if options.json:  # each time, so that what is done outlives an interruption
                    options.json.write_text(json.dumps({"rows": rows, **content}, indent=1) + "\n", encoding="utf-8")
    Console(width=180).print(show(rows))
    if draw is not None:
        draw(rows, options.picture)


def _retime(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Fidelity does not depend on what else a machine does, time does: only the times are measured."""
    if options.json is None:
        raise UserError("--retime: found no --json, expected the file to write: name one")
    draw = _drawing() if options.picture else None
    torch.set_num_threads(options.threads)
    content = json.loads(options.retime.read_text(encoding="utf-8"))
    sound = load_speech(TEST[:1])[0].sound
    rows = [row for row in content["rows"] if row["mode"] != "offline"]
    with working("times") as progress:
        for done, row in enumerate(rows, start=1):
            row |= {**_times_again(row, sound, options.eager), "threads": options.threads}
            progress(done / len(rows))
    content["times"] = {
        "command": " ".join(["python -m benchmarks.fidelity", *arguments]),
        "machine": machine_facts(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    Console(width=180).print(show(content["rows"]))
    if draw is not None:
        draw(content["rows"], options.picture)


def _times_again(row: Row, sound: Floats, eager: bool) -> Row:
    loaded = untrained_whisper(row["model"], 0) if row["random_weights"] else load_whisper(row["model"])
    settings = StreamingSettings(
        row["layer"], row["block_ms"], row["history_s"], row["delay_ms"], row["mode"], row["dtype"]
    )
    settings = replace(settings, silence_ms=row["silence_ms"])
    chain = _chain(loaded.model, settings, row["device"], eager)
    return {**timing(chain, settings, sound), "graph": captured(chain)}


def _drawing() -> Any:
    """Asked for before the work begins, so that a missing library costs nobody minutes."""
    try:
        from benchmarks.frontier import draw_frontier
    except ImportError as error:
        raise UserError(
            "picture: found no matplotlib, expected 3.8 or later; run: pip install 'corticast[bench]'"
        ) from error
    return draw_frontier


if __name__ == "__main__":
    sys.exit(main())
