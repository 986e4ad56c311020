"""Kinds of options that several commands take."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from realtime.errors import UserError
from realtime.ranges import above_0, between

seconds = above_0("a number of seconds")


def horizon(text: str) -> float | None:
    """Seconds from 0 to 1, or None for `auto`."""
    if text == "auto":
        return None
    try:
        return between(0, 1, "seconds")(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None


def channel(text: str) -> str | int:
    """A channel by number or by label."""
    return int(text) if text.isdecimal() else text


def file_to_write(text: str) -> Path:
    """A file in a folder that is there: better told before the work than after it."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a file name in a folder that exists")
    return path


def place_to_write(text: str) -> Path:
    """A file or a folder, there or not, in a folder that is there."""
    path = Path(text)
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a name in a folder that exists")
    return path


def refuse_one_file_twice(files: Mapping[str, Path | None]) -> None:
    """files: by the option that names each. Raises UserError where two are one, which the later would overwrite."""
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is not None:
            other = seen.setdefault(path.resolve(), option)
            if other != option:
                raise UserError(f"{option} {path} is the file of {other}, too: give it another name")


def add_whisper_option(parser: argparse._ActionsContainer) -> None:
    """--whisper-file, for commands that take a model."""
    parser.add_argument(
        "--whisper-file",
        type=Path,
        metavar="FILE",
        help="weights that the model was fitted to, where they are a file of your own, such as a distilled student",
    )
