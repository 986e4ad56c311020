"""`corticast distill`: train a causal student of Whisper on any speech, without labels."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from encoders.distillation import Distiller, DistillSettings, distil
from encoders.distillation_data import read_speech
from encoders.encoder import FRAME_S
from encoders.student import load_checkpoint, save_checkpoint, write_student
from encoders.weights import LoadedWhisper, file_sha256, load_whisper
from encoders.whisper import StreamingSettings, pick_device
from realtime.commands.console import say, working
from realtime.commands.options import file_to_write
from realtime.errors import UserError

SAVE_EVERY_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--audio", type=Path, nargs="+", required=True, metavar="DIR", help="folders or files of speech"
    )
    parser.add_argument("--out", type=file_to_write, required=True, metavar="FILE", help="student, .safetensors")
    parser.add_argument("--whisper", default="base", help="the teacher (default: base)")
    parser.add_argument("--file", type=Path, help="weights of the teacher, where it is not to be downloaded")
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="a student to begin with, to suit it to these voices (else the teacher)",
    )
    parser.add_argument("--layer", type=int, default=3, help="train blocks 1 to this one (default: 3)")
    parser.add_argument("--block-ms", type=float, nargs="+", help="block sizes (default: 40 with a delay of 60)")
    parser.add_argument("--delay-ms", type=float, nargs="+", help="commit delay of each block size given (default: 0)")
    parser.add_argument("--history-s", type=float, default=10.0, help="how far back a frame attends (default: 10)")
    parser.add_argument(
        "--silence-ms",
        type=float,
        default=2000.0,
        help="silence behind the newest frame, as in [whisper] (default: 2000)",
    )
    parser.add_argument("--epochs", type=int, default=8, help="passes over the speech (default: 8)")
    parser.add_argument("--rate", type=float, default=2e-4, help="highest learning rate (default: 2e-4)")
    parser.add_argument(
        "--mix", type=float, default=0.9, help="how far to go from the first to the trained weights (default: 0.9)"
    )
    parser.add_argument("--patience", type=int, default=3, help="stop after so many epochs without gain (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same student (default: 0)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--dtype", default="float32", choices=("float32", "bfloat16"), help="of matrix products while training"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that --out's checkpoint holds")


def run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    checkpoint = options.out.with_name(f"{options.out.name}.checkpoint")
    _check_files(options, checkpoint)
    torch.set_num_threads(options.threads)
    with working("reading the speech"):
        speech = read_speech(options.audio, options.seed)
    teacher = load_whisper(options.whisper, options.file)
    start = load_whisper(options.whisper, options.start) if options.start else None
    minutes = (len(speech.train) + len(speech.held_out)) / 16_000 / 60
    say(f"{minutes:.1f} min of speech in {speech.files} files, {len(speech.held_out) / 16_000:.0f} s of it held out")
    with working("listening to the teacher"):
        distiller = Distiller(teacher, speech, settings, pick_device(options.device), start)
        if options.resume and checkpoint.exists():
            load_checkpoint(checkpoint, teacher, distiller)
    _train(distiller, teacher, checkpoint)
    write_student(options.out, teacher, distiller)
    checkpoint.unlink(missing_ok=True)
    best = distiller.progress.best_epoch
    say(f"{options.out}: the student of epoch {best}, sha256 {file_sha256(options.out)}")
    say(f'use it with file = "{options.out}" under [whisper] in the configuration')
    return 0


def _settings(options: argparse.Namespace) -> DistillSettings:
    usual = StreamingSettings(options.layer)
    blocks = options.block_ms or [usual.block_ms]
    delays = options.delay_ms or ([0.0] * len(blocks) if options.block_ms else [usual.delay_ms])
    if len(delays) != len(blocks):
        raise UserError(
            f"--delay-ms has {len(delays)} value(s) and --block-ms {len(blocks)}: give each block its delay"
        )
    if options.epochs < 1 or options.patience < 1 or not 0 < options.rate < 1 or options.threads < 1:
        raise UserError("--epochs, --patience and --threads must be at least 1, and --rate between 0 and 1")
    if not 0 < options.mix <= 1:
        raise UserError(f"--mix: found {options.mix:g}, expected a share above 0 and at most 1")
    history = _frames("--history-s", 1e3 * options.history_s)
    pairs = [(_frames("--block-ms", b), _frames("--delay-ms", d)) for b, d in zip(blocks, delays, strict=True)]
    for block, delay in pairs:
        _check_pair(block, delay, history)
    return DistillSettings(
        options.layer,
        tuple(pairs),
        history,
        options.epochs,
        options.rate,
        options.patience,
        options.seed,
        options.dtype,
        options.mix,
        _frames("--silence-ms", options.silence_ms),
    )


def _frames(what: str, value_ms: float) -> int:
    frames = value_ms / (1e3 * FRAME_S)
    if abs(frames - round(frames)) > 1e-6 or frames < 0:
        raise UserError(f"{what}: found {value_ms:g} ms, expected a multiple of 20 ms")
    return round(frames)


def _check_pair(block: int, delay: int, history: int) -> None:
    if not 1 <= block <= min(50, history) or delay > 50:
        raise UserError(
            f"block of {20 * block} ms with a delay of {20 * delay} ms: expected a block of 20 to 1000 ms, not longer "
            "than --history-s, and a delay of at most 1000 ms"
        )


def _check_files(options: argparse.Namespace, checkpoint: Path) -> None:
    if options.out.suffix != ".safetensors":
        raise UserError(f"--out {options.out}: expected a name that ends in .safetensors")
    if options.resume and not checkpoint.exists():
        raise UserError(f"nothing to resume: no checkpoint at {checkpoint}; leave --resume out to begin")
    if checkpoint.exists() and not options.resume:
        raise UserError(f"{checkpoint} holds an unfinished run: add --resume to go on with it, or remove it")


def _train(distiller: Distiller, teacher: LoadedWhisper, checkpoint: Path) -> None:
    """Ctrl-C is heeded between two windows, with a checkpoint. Raises KeyboardInterrupt then."""
    saved = time.monotonic()
    told = len(distiller.progress.scores)
    with _interrupts() as asked, working(f"distilling blocks 1 to {distiller.settings.layer}") as show:

        def tell(now: Distiller, _loss: float) -> None:
            nonlocal saved, told
            show(now.progress.window / now.windows)
            for epoch in range(told, len(now.progress.scores)):
                say(_line(now, epoch))
            if told < len(now.progress.scores) or time.monotonic() - saved > SAVE_EVERY_S or asked():
                save_checkpoint(checkpoint, teacher, now)
                saved = time.monotonic()
            told = len(now.progress.scores)

        if not distil(distiller, tell, asked):
            say(f"stopped; go on with the same command and --resume (checkpoint {checkpoint})")
            raise KeyboardInterrupt


def _line(distiller: Distiller, epoch: int) -> str:
    parts = [
        f"{20 * block}+{20 * tail} ms {score:.3f}"
        for (block, tail), score in zip(distiller.settings.pairs, distiller.progress.scores[epoch], strict=True)
    ]
    before = "untrained" if distiller.start_sha256 is None else "at the start"
    what = f"epoch {epoch} of {distiller.settings.epochs}" if epoch else before
    return f"{what}: share of the teacher kept on held-out speech: {', '.join(parts)}"


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether Ctrl-C was pressed; a second one interrupts at once."""
    pressed: list[int] = []

    def press(number: int, _frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
