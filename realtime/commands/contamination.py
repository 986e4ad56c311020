"""`corticast contamination`: which electrodes of a recording hold the sound itself."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from realtime.commands import wiring
from realtime.commands.console import say, working
from realtime.commands.contaminating import contamination_of
from realtime.commands.options import file_to_write
from realtime.commands.recorded import add_stream_options, both_streams
from realtime.config import EcogTable, load_config
from realtime.contamination import ENOUGH_S, R_LIMIT, Z_LIMIT, ContaminationResult
from realtime.delay import delays_in_words
from realtime.rig_watch import contamination_facts
from realtime.sources.recording import FORMATS

SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help=FORMATS)
    add_stream_options(parser)
    parser.add_argument("--out", type=file_to_write, metavar="PNG", help="draw the correlations bin by bin")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """Exit status 0 where no electrode is flagged, 1 where one is."""
    config = load_config(options.config) if options.config else None
    plan = wiring.EcogPlan.of(config.ecog if config else EcogTable(name="any"))
    recordings = [both_streams(path, options, config) for path in options.recordings]
    electrodes = plan.electrodes(recordings[0].ecog.spec)
    with working("comparing spectrograms") as progress:
        result = contamination_of(recordings, plan, progress)
    Console(markup=False).print(_table(result, electrodes))
    delays = {"sound": recordings[0].delay_s, "ecog": plan.delay_s}
    say(f"before the reference; {delays_in_words(delays)}")
    say(_verdict(result, electrodes))
    if options.out:
        draw(result, electrodes, options.out)
        say(f"drew {options.out}")
    if options.json:
        content = {"electrodes": electrodes, "delays_s": delays, **contamination_facts(result, electrodes)}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if result.flagged.any() else 0


def _verdict(result: ContaminationResult, electrodes: tuple[str, ...]) -> str:
    seconds = float(result.seconds.max(initial=0.0))
    if seconds < ENOUGH_S:
        return f"{seconds:.0f} s of sound and clean ECoG, {ENOUGH_S:g} needed: nothing can be said"
    names = [electrodes[i] for i in np.flatnonzero(result.flagged)]
    if not names:
        return f"no electrode of {len(electrodes)} records the sound, from {seconds:.0f} s of it"
    return (
        f"{len(names)} of {len(electrodes)} electrodes record the sound itself: {', '.join(names)}. What they "
        "follow is no evidence of the brain: move their cables, check plugs, or list them in [ecog] bad"
    )


def _table(result: ContaminationResult, electrodes: tuple[str, ...]) -> Table:
    title = f"r in the same bins, z against sound of other times; flagged over z = {Z_LIMIT:g} and r = {R_LIMIT:g}"
    table = Table("electrode", "r", "z", "seconds", "", title=title)
    for e in np.argsort(-np.nan_to_num(result.z, nan=-np.inf), kind="stable")[:SHOWN]:
        numbers = [f"{v:.{d}f}" if np.isfinite(v) else "-" for v, d in ((result.r[e], 3), (result.z[e], 1))]
        mark = "records the sound" if result.flagged[e] else ""
        table.add_row(electrodes[e], *numbers, f"{result.seconds[e]:.0f}", mark)
    return table


def draw(result: ContaminationResult, electrodes: tuple[str, ...], path: Path) -> None:
    """Correlation with the sound at the same frequency, electrodes over bins, and z beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2 + 0.16 * min(len(electrodes), 128)), layout="constrained")
    profile, bars = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    limit = max(0.1, float(np.nanmax(np.abs(result.profile), initial=0.1)))
    hz = result.bins_hz
    extent = (hz[0] - 5, hz[-1] + 5, len(electrodes) - 0.5, -0.5)
    image = profile.imshow(
        result.profile.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent, interpolation="nearest"
    )
    figure.colorbar(image, ax=profile, label="r with the sound in the same 10 Hz bin", location="top")
    profile.set_xlabel("frequency (Hz)")
    step = max(1, len(electrodes) // 64)
    profile.set_yticks(range(0, len(electrodes), step), electrodes[::step], fontsize=6)
    colours = ["tab:red" if flagged else "0.6" for flagged in result.flagged]
    bars.barh(range(len(electrodes)), np.nan_to_num(result.z), color=colours)
    bars.axvline(Z_LIMIT, color="k", linewidth=0.8, linestyle="--")
    bars.set_xlabel("z: SDs of other times")
    figure.savefig(path, dpi=120)
