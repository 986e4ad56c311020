"""What a user would write today for the same job, beside ours: same input, same hop, in turns within one run.

Computing is processor time per second of sound (or of stream), so that other programs disturb it little.
The ratio is of medians, theirs over ours, with a bootstrap interval of 95 % over the repetitions, taken in pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

from realtime.block import Floats
from realtime.commands.console import say, working
from realtime.errors import UserError

REPETITIONS, FAST_REPETITIONS = 9, 2
Run = Callable[[], float]  # one repetition: processor milliseconds per second of sound


@dataclass(frozen=True)
class Peer:
    """ms_per_s: theirs, median over repetitions. ratio: theirs over ours, with its interval."""

    name: str
    what: str
    ms_per_s: float
    ratio: float
    ratio_low: float
    ratio_high: float

    def entry(self) -> dict[str, Any]:
        """Of the JSON's `peers`."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.what}: {self.ms_per_s:.1f} ms per s, "
            f"{self.ratio:.2f} times ours ({self.ratio_low:.2f} to {self.ratio_high:.2f})"
        )


@dataclass(frozen=True)
class Contender:
    """A peer before it has run."""

    name: str
    what: str
    run: Run


class Missing(Exception):
    """A peer cannot be compared here; says why."""


def run_peers(fast: bool, random_weights: bool, skipped: Callable[[str, str], None]) -> list[Peer]:
    """All peers that are installed. skipped(name, reason) is told of the others."""
    from benchmarks.peers_lstm import lstm_contenders
    from benchmarks.peers_transport import transport_peers
    from benchmarks.peers_whisper import whisper_contenders

    model, layer = ("tiny.en", 2) if fast else ("base", 3)
    repetitions = FAST_REPETITIONS if fast else REPETITIONS
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours, theirs = whisper_contenders(model, layer, random_weights, skipped, fast)
        peers = in_turns("Whisper", ours, theirs, repetitions)
        peers += in_turns("LSTM", *lstm_contenders(fast), repetitions)
    finally:
        torch.set_num_threads(before)
    if fast:
        return peers
    try:
        return [*peers, *transport_peers(skipped)]
    except UserError as error:  # the rows and the peers that are done are worth more than these
        skipped("MNE-LSL, ezmsg-lsl", str(error))
        return peers


def skipped_line(name: str, reason: str) -> None:
    say(f"peer {name} left out: {reason}")


def in_turns(title: str, ours: Run, theirs: Sequence[Contender], repetitions: int) -> list[Peer]:
    """Every contender once, ours between them, and that `repetitions` times; a first round warms up."""
    own: list[float] = []
    their: dict[str, list[float]] = {c.name: [] for c in theirs}
    with working(f"peers: {title}") as share:
        for turn in range(repetitions + 1):
            figures = {c.name: c.run() for c in theirs}
            mine = ours()
            if turn:
                own.append(mine)
                for name, value in figures.items():
                    their[name].append(value)
            share((turn + 1) / (repetitions + 1))
    return [compared(c.name, c.what, np.array(their[c.name]), np.array(own)) for c in theirs]


def compared(name: str, what: str, theirs: Floats, ours: Floats) -> Peer:
    """theirs, ours: (repetitions,) processor ms per s, of the same turns."""
    low = high = ratio = ratio_of_medians(theirs, ours)
    if len(ours) > 1:
        interval = bootstrap(
            (theirs, ours), ratio_of_medians, paired=True, method="percentile", n_resamples=2000, rng=0
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Peer(name, what, float(np.median(theirs)), float(ratio), low, high)


def ratio_of_medians(theirs: Floats, ours: Floats, axis: int = -1) -> Any:
    return np.median(theirs, axis=axis) / np.median(ours, axis=axis)


def processor_ms(work: Callable[[], object]) -> float:
    """Processor time of this process, all its threads."""
    began = time.process_time()
    work()
    return 1e3 * (time.process_time() - began)


@contextmanager
def optional(name: str, skipped: Callable[[str, str], None]) -> Iterator[None]:
    """Leaves a peer out, with its reason, where its package or its weights are not there."""
    try:
        yield
    except (ImportError, Missing) as error:
        skipped(name, str(error))
