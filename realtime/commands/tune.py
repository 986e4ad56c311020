"""`corticast tune`: find the smallest block that this machine keeps up with, and write a configuration for it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import tomlkit

from benchmarks.latency_case import CHANNELS, RATE_HZ, Case, require_possible
from benchmarks.latency_overload import Limit, smallest_block, trial
from encoders.whisper import pick_device
from realtime.commands.console import say
from realtime.commands.options import file_to_write, seconds
from realtime.config import Config, checked, load_config, placed_in, resolved
from realtime.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="a .toml file; its Whisper is what is measured")
    parser.add_argument("--out", type=file_to_write, required=True, metavar="FILE.toml", help="the file to write")
    parser.add_argument("--channels", type=CHANNELS, default=256, help="of the ECoG stream (default: 256)")
    parser.add_argument("--rate", type=RATE_HZ, default=2000.0, metavar="HZ", help="of the ECoG stream (default: 2000)")
    parser.add_argument("--seconds", type=seconds, help="of each trial (default: 15)")
    parser.add_argument("--fast", action="store_true", help="a few seconds of each trial: for tests, not for a rig")


def run(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if config.model.file is not None:
        raise UserError(
            f"{options.config} names a fitted model, which fixes block_ms: tune before calibration, "
            "from a configuration without [model] file"
        )
    if options.out.exists():
        raise UserError(f"{str(options.out)!r} exists already and is not written over: choose another file name")
    _require_same_files(options.config, config, options.out)
    case = _case(config, options)
    require_possible(case, random_weights=False)
    limit = smallest_block(case, trial(options.fast, options.seconds, False, []))
    if limit is None:
        raise UserError(
            f"this machine does not keep up with Whisper {case.model!r}, layer {case.layer}, at any block: "
            'close other programs, or choose a smaller one, such as model = "tiny.en", layer = 2'
        )
    _write(options.config, options.out, limit)
    say(f"this machine {limit.advice()}")
    say(f"wrote {options.out}: calibrate with it, for the model is fitted to its blocks")
    return 0


def _require_same_files(source: Path, config: Config, out: Path) -> None:
    there = placed_in(out.parent, checked(tomlkit.parse(source.read_text(encoding="utf-8")).unwrap(), str(source)))
    if resolved(there) != resolved(config):
        raise UserError(
            f"{source} names files relative to its folder, which would be others in that of {out}: "
            "write --out beside it, or give those files' whole paths"
        )


def _case(config: Config, options: argparse.Namespace) -> Case:
    table = config.whisper
    return Case(
        model=table.model,
        layer=table.layer,
        mode=table.mode,
        history_s=table.history_s,
        delay_ms=table.delay_ms,
        device=pick_device(table.device),
        eager=not table.graph,
        dtype=table.dtype,
        silence_ms=table.silence_ms,
        weights=table.file,
        channels=options.channels,
        rate_hz=options.rate,
        threads=config.engine.threads,
    )


def _write(source: Path, path: Path, limit: Limit) -> None:
    """The same file with the block that was found, its comments kept. Written aside and renamed."""
    content = tomlkit.parse(source.read_text(encoding="utf-8"))
    whisper = content.setdefault("whisper", tomlkit.table())
    whisper["block_ms"] = limit.case.block_ms
    checked(content.unwrap(), str(path))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(tomlkit.dumps(content), encoding="utf-8")
    aside.replace(path)
