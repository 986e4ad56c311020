"""`corticast dataset`: fetch a public data set, and make it ready for fit and analyze."""

from __future__ import annotations

import argparse
from pathlib import Path

from realtime.commands import podcast
from realtime.commands.console import say, working
from realtime.commands.podcast_prepared import prepare
from realtime.errors import UserError, nearest

DATASETS = {"podcast": "9 patients who heard 30 min of a podcast, OpenNeuro ds005574 (CC0)"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    told = "; ".join(f"{name}: {what}" for name, what in DATASETS.items())
    parser.add_argument("name", metavar="NAME", help=told)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the set; a second run goes on in it"
    )
    parser.add_argument(
        "--subject",
        nargs="+",
        default=list(podcast.EDF_BYTES),
        metavar="ID",
        help=f"some of {', '.join(podcast.EDF_BYTES)} (default: all)",
    )


def run(options: argparse.Namespace) -> int:
    if options.name not in DATASETS:
        raise UserError(
            f"unknown data set {options.name!r}{nearest(options.name, DATASETS)}; there are: {', '.join(DATASETS)}"
        )
    out: Path = options.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {str(out)!r} is a file, expected a folder or a new name: choose another")
    subjects = podcast.known_subjects(options.subject)
    podcast.fetch(out, subjects)
    for subject in subjects:
        with working(f"preparing sub-{subject}"):
            config = prepare(out, subject)
        recording = out / f"sub-{subject}"
        say(f"corticast fit {recording} --config {config} --out sub-{subject}.safetensors")
        words = config.with_name("words.csv")
        say(f"corticast analyze {recording} --config {config} --transcript {words} --out analysis-{subject}")
    return 0
