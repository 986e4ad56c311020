"""Transport: 256 channels at 2 kHz from a source process into a NumPy array, by our inlet and by others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Peer, compared
from benchmarks.processes import Children
from realtime.commands.console import working
from realtime.errors import UserError

CHANNELS, RATE_HZ = 256, 2000.0
TURNS, WINDOWS = 3, 4
STREAM = "bench-transport"
RECEIVERS = ("ours", "MNE-LSL", "ezmsg-lsl")
Skipped = Callable[[str, str], None]
Figures = dict[str, Any]


def transport_peers(skipped: Skipped, turns: int = TURNS, windows: int = WINDOWS) -> list[Peer]:
    """MNE-LSL and ezmsg-lsl where they are installed; each turn a fresh process, ours beside them."""
    found: dict[str, list[Figures]] = {name: [] for name in RECEIVERS}
    with tempfile.TemporaryDirectory(prefix="corticast-bench-") as name, working("peers: transport") as share:
        folder = Path(name)
        with Children(folder) as children:
            words = ("ecog", "--name", STREAM, "--rate-hz", RATE_HZ, "--channels", CHANNELS)
            source = children.start("source", "benchmarks.latency_source", *words, "--log", folder / "source.npz")
            children.await_state(source, "sending", 60)
            for turn in range(turns):
                for receiver in [name for name in RECEIVERS if name in found]:
                    missing = _receive(children, folder, receiver, turn, windows)
                    if missing:
                        skipped(receiver, missing)
                        del found[receiver]
                share((turn + 1) / turns)
        with np.load(folder / "source.npz") as pushes:
            source_log = dict(pushes)
        for receiver, figures in found.items():
            for turn in range(turns):
                with np.load(folder / _file(receiver, turn)) as told:
                    figures.append(_figures(dict(told), source_log))
    own = found.pop("ours")
    return [_peer(receiver, figures, own) for receiver, figures in found.items()]


def _file(receiver: str, turn: int) -> str:
    return f"{receiver}-{turn}.npz"


def _receive(children: Children, folder: Path, receiver: str, turn: int, windows: int) -> str:
    """One turn of one receiver; why there is none, where there is none."""
    words = (receiver, "--name", STREAM, "--windows", windows, "--out", folder / _file(receiver, turn))
    child = children.start(f"{receiver}-{turn}", "benchmarks.transport_client", *words)
    try:
        return str(children.await_state(child, "done", 60 + windows)["missing"])
    except UserError as error:  # of another's package: the comparison goes on without it
        if receiver == "ours":
            raise
        return str(error)
    finally:
        child.close()


def _figures(told: Figures, source: Figures) -> Figures:
    """cpu_ms per window, and ms from the push of the newest row held to when it was held."""
    chunks = np.searchsorted(source["ends"], told["counters"], side="right")
    return {"cpu_ms": told["cpu_ms"], "late_ms": 1e3 * (told["times"] - source["pushed_s"][chunks])}


def _peer(name: str, theirs: list[Figures], own: list[Figures]) -> Peer:
    def late(figures: list[Figures]) -> str:
        values = np.concatenate([f["late_ms"] for f in figures])
        return f"p50 {np.percentile(values, 50):.2f}, p99 {np.percentile(values, 99):.2f} ms"

    what = (
        f"transport of {CHANNELS} channels at {RATE_HZ:g} Hz; a row is held {late(theirs)} after its push, "
        f"ours {late(own)}"
    )
    cpu = [np.concatenate([f["cpu_ms"] for f in figures]) for figures in (theirs, own)]
    return compared(name, what, *cpu)
