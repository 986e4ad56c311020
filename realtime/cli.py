"""The command line: `corticast COMMAND`. A foreseeable mistake is one line on stderr and exit status 2.

That line begins with `corticast:` and is the last; lines of progress may come before it.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from realtime.errors import UserError, nearest
from realtime.manners import leave_realtime

COMMANDS = {
    "demo": "simulate a patient, fit, replay held-out speech over LSL and show predicted beside observed",
    "run": "run the engine against LSL sources",
    "streams": "list the LSL streams on the network",
    "check": "look at a rig before a session: streams, hum, level, disk, latency",
    "montage": "write a first draft of a montage from a stream's channels",
    "sync": "measure how late sound and amplifier stamp the same sound",
    "contamination": "find electrodes that record the sound itself",
    "fit": "fit a model to calibration recordings",
    "evaluate": "score a model on recordings",
    "analyze": "tell which layers, phonemes and moments the electrodes follow, as a report",
    "dataset": "fetch a public data set, and make it ready for fit and analyze",
    "segments": "cut observed and predicted activity to words or phones, as MNE Epochs",
    "distill": "train a causal student of Whisper on any speech, without labels",
    "bench": "measure how late predictions are on this machine, beside other software",
    "tune": "find the smallest block that this machine keeps up with, and write a configuration for it",
    "monitor": "open the window on a running engine",
    "microphone": "send a microphone as an LSL stream",
    "record": "record streams and an engine's outlets, in a process that outlives the engine",
    "sham": "play to Whisper what the patient does not hear: no electrode may follow",
    "report": "repeat a session's closing report from its folder and recording",
    "scrub": "copy a recording without sound, names and identifiers",
    "replay": "send a recording over LSL again, or run it through a model as fast as it goes",
}


MODULES = {"report": "session_report"}  # where a command's module has another name


def program() -> NoReturn:
    """`main`, then the end at once: a thread that computes yet would abort as the interpreter is taken down."""
    leave_realtime()
    status = main()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it has gone
            stream.flush()
    os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 after a user's mistake, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_help())
            return 0
        return _command(words[0], words[1:])
    except UserError as error:
        print(f"corticast: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("corticast: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has gone
        return 0


def _command(name: str, words: Sequence[str]) -> int:
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}{nearest(name, COMMANDS)}; there are: {', '.join(COMMANDS)}")
    module = importlib.import_module(f"realtime.commands.{MODULES.get(name, name)}")
    parser = _Parser(prog=f"corticast {name}", description=COMMANDS[name])
    module.add_arguments(parser)
    status: int = module.run(parser.parse_args(words))
    return status


def _help() -> str:
    lines = [f"  {name:<13} {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: corticast COMMAND [--help]", "", *lines, "", "For research use, not a medical device."])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{message}; see {self.prog} --help")


if __name__ == "__main__":
    program()
