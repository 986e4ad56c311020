"""Of which electrodes anything is claimed: not of those that record the sound itself, unless one asks for it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Sequence

import numpy as np

from realtime.block import Mask
from realtime.commands import wiring
from realtime.commands.console import say, working
from realtime.commands.contaminating import contamination_of
from realtime.commands.material import Calibration
from realtime.config import Config
from realtime.contamination import ENOUGH_S
from realtime.rig_watch import flagged_names


def add_keep_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep-contaminated",
        action="store_true",
        help="electrodes that record the sound itself count like the others (default: marked, and left out of claims)",
    )


def keeps(options: argparse.Namespace, config: Config | None = None) -> bool:
    """Whether the command line, or the configuration, keeps contaminated electrodes in."""
    return bool(getattr(options, "keep_contaminated", False) or (config is not None and config.ecog.keep_contaminated))


def contaminated_names(calibrations: Sequence[Calibration], plan: wiring.EcogPlan) -> list[str]:
    """Names of the electrodes that record the sound itself, over all recordings together; says so."""
    with working("which electrodes record the sound") as progress:
        result = contamination_of(calibrations, plan, progress)
    names = flagged_names(result, plan.electrodes(calibrations[0].ecog.spec))
    if names:
        say(f"warning: these electrodes record the sound itself, what they follow is no evidence: {', '.join(names)}")
    elif float(result.seconds.max(initial=0.0)) < ENOUGH_S:
        say(f"whether electrodes record the sound itself is not known: that takes {ENOUGH_S:g} s of sound")
    return names


def tell_of_reference(contaminated: Sequence[str], plan: wiring.EcogPlan) -> None:
    """Where contaminated electrodes are part of the reference: how to take them out of it."""
    if contaminated and plan.reference == "common average":
        bad = json.dumps([*plan.bad, *contaminated])
        say(f"  through the common average the others hear a little of them: write bad = {bad} under [ecog], fit again")


def claimed_of(electrodes: Sequence[str], contaminated: Collection[str], keep: bool) -> Mask:
    """(electrodes,) True where something may be claimed."""
    return np.array([keep or name not in contaminated for name in electrodes], np.bool_)
