"""The highest sustainable load of this machine: most channels times rate, then the smallest block."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.latency_case import SWEPT, Case, Measured, require_possible, run_case
from benchmarks.latency_stall import Stall, run_stall
from benchmarks.processes import TooSlow
from realtime.commands.console import machine_facts, say, working
from realtime.errors import UserError

BLOCKS_MS = (20.0, 40.0, 60.0, 80.0, 100.0, 160.0, 200.0, 300.0)
STREAMS = (  # from most to least
    *((1024, 2000.0), (512, 2000.0), (256, 2000.0)),
    *((256, 1000.0), (128, 1000.0), (64, 1000.0), (32, 500.0)),
)
SEARCHED = ("block_ms", "channels", "rate", "picture")  # options that a search has no use for
STALLS_S = (3.0, 8.0)  # max_backlog_s is 5
SECONDS, WARM_UP_S = 15.0, 11.0
FAST_SECONDS, FAST_WARM_UP_S = 2.0, 0.5
ROOM = 0.8  # of a block that computing may take at p99: the rest is for a worse moment
Try = Callable[[Case], bool]


@dataclass(frozen=True)
class Limit:
    """The heaviest case that this machine keeps up with. at_least: nothing heavier was tried."""

    case: Case
    at_least: bool = False

    def advice(self) -> str:
        """What to write into a configuration."""
        case = self.case
        return (
            f"keeps up with {'at least ' if self.at_least else ''}{case.channels} channels at {case.rate_hz:g} Hz and "
            f"blocks of {case.block_ms:g} ms{', the shortest there are' if case.block_ms == BLOCKS_MS[0] else ''}; "
            f"configure [whisper] model = {case.model!r}, layer = {case.layer}, block_ms = {case.block_ms:g} "
            f"(and fit the model with it), [engine] threads = {case.threads}"
        )


def highest(start: Case, keeps_up: Try) -> Limit | None:
    """By bisection for the most channels at which the longest block keeps up, then for the smallest block there; None
    where nothing keeps up.

    Taken for granted: what keeps up keeps up with a longer block, and with less of a stream.
    """
    cases = [replace(start, channels=channels, rate_hz=rate_hz) for channels, rate_hz in STREAMS]
    most = _first(len(cases), lambda k: keeps_up(replace(cases[k], block_ms=BLOCKS_MS[-1])))
    if most == len(cases):
        return None
    return Limit(_smallest_block(cases[most], keeps_up), at_least=most == 0)


def smallest_block(case: Case, keeps_up: Try) -> Limit | None:
    """By bisection, for the channels, rate and all else of `case`; None where not even the longest block keeps up."""
    if not keeps_up(replace(case, block_ms=BLOCKS_MS[-1])):
        return None
    return Limit(_smallest_block(case, keeps_up))


def _smallest_block(case: Case, keeps_up: Try) -> Case:
    """With the longest block it is known to keep up."""
    cases = [replace(case, block_ms=block_ms) for block_ms in BLOCKS_MS]
    return cases[_first(len(cases) - 1, lambda k: keeps_up(cases[k]))]


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first number below count that it holds for, as then for all after it; count where it holds for none."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def sustained(measured: Measured) -> bool:
    """Nothing lost or skipped, and computing leaves room in a block at p99."""
    row = measured.row()
    return not row["lost"] and not row["skipped"] and row["compute_ms"]["p99"] <= ROOM * measured.case.block_ms


def find_limits(options: argparse.Namespace) -> int:
    """`corticast bench --overload`: search, show, write. Model, layer, mode, threads and device as given."""
    tried: list[Measured] = []
    _refuse_unused(options)
    require_possible(_start(options), options.random_weights)
    limit = highest(_start(options), trial(options.fast, options.seconds, options.random_weights, tried))
    stalls = [] if limit is None or options.fast else _held_still(limit.case, options.random_weights)
    if limit is None:
        say("not even the smallest load keeps up here: close other programs, or choose --model tiny.en --layer 2")
    else:
        say(f"this machine {limit.advice()}")
    _write(options, tried, limit, stalls)
    return 0 if limit else 1


def _held_still(case: Case, random_weights: bool) -> list[Stall]:
    """Shorter and longer than the backlog that the engine works off."""
    stalls = []
    for stall_s in STALLS_S:
        with working(f"the engine held still for {stall_s:g} s") as share:
            stalls.append(run_stall(case, stall_s, WARM_UP_S, random_weights, share))
        say(f"  {stalls[-1]}")
    return stalls


def _refuse_unused(options: argparse.Namespace) -> None:
    for name in SEARCHED:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} has no use with --overload: leave one of them out")
    for name, field in SWEPT.items():
        if len(getattr(options, name) or ()) > 1:
            raise UserError(f"--overload searches for one {field}: give --{name.replace('_', '-')} one value")


def _start(options: argparse.Namespace) -> Case:
    given = {field: getattr(options, name) for name, field in SWEPT.items() if name not in SEARCHED}
    chosen = {key: values[0] for key, values in given.items() if values}
    chosen["load"] = None if chosen.get("load") == "none" else chosen.get("load")
    return Case(**chosen, eager=options.eager)


def trial(fast: bool, seconds: float | None, random_weights: bool, tried: list[Measured]) -> Try:
    """Whether this machine keeps up with a case, by running it. `tried` collects what was measured.

    What fails for another reason, such as a source that dies, raises UserError: it says nothing of the load.
    """
    length_s = seconds or (FAST_SECONDS if fast else SECONDS)
    warm_up_s = FAST_WARM_UP_S if fast else WARM_UP_S

    def keeps_up(case: Case) -> bool:
        with working(f"{case}") as share:
            try:
                measured = run_case(case, length_s, warm_up_s, random_weights, share)
            except TooSlow as error:
                say(f"  does not keep up: {error}")
                return False
        tried.append(measured)
        kept = sustained(measured)
        p99 = measured.row()["compute_ms"]["p99"]
        say(f"  {'keeps up' if kept else 'does not keep up'}: computing p99 {p99:.1f} ms")
        return kept

    return keeps_up


def _write(
    options: argparse.Namespace, tried: Sequence[Measured], limit: Limit | None, stalls: Sequence[Stall]
) -> None:
    if options.json:
        content = {
            "rows": [m.row() for m in tried],
            "peers": [],
            "machine": machine_facts(),
            "stalls": [vars(stall) for stall in stalls],
            "overload": None
            if limit is None
            else {**vars(limit.case), "at_least": limit.at_least, "advice": limit.advice()},
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
