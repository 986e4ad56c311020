"""What a closing report says of masks and contamination, from the recorded sources."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from encoders.model_file import ModelHeader
from realtime.commands import wiring
from realtime.commands.console import working
from realtime.commands.contaminating import contamination_of
from realtime.commands.material import Calibration
from realtime.config import Config
from realtime.masked import Masked
from realtime.offline import read_pieces, through
from realtime.rig_watch import contamination_facts, masked_facts
from realtime.sources.recording import RecordedStream, Recording


def rig_again(
    sound: RecordedStream, ecog: RecordedStream, config: Config, header: ModelHeader, contaminated: list[str]
) -> dict[str, Any]:
    """As `RigWatch.report` of the engine that ran. contaminated: as the session tells."""
    delays = wiring.delays_for(config, header)
    plan = replace(wiring.EcogPlan.fitted(header), delay_s=delays["ecog"])
    chain = wiring.upto(wiring.ecog_lane(ecog.spec, plan), "band_power")
    masked = Masked(len(header.electrodes), header.row_rate_hz)
    with working("counting what is masked") as progress:
        found = through(chain, read_pieces(ecog), len(ecog.stamps), progress)
        minutes = [minute for block in found for minute in masked.add(block)] + masked.finish()
    with working("which electrodes record the sound") as progress:
        one = Calibration(sound, ecog, config.sound.channel, delays["sound"])
        result = contamination_of([one], plan, progress)
    return {
        "contaminated": contaminated,
        "masked": masked_facts(masked, minutes, header.electrodes),
        "contamination": contamination_facts(result, header.electrodes),
    }


def rig_told(recording: Recording, engine: str, electrodes: Sequence[str], contaminated: list[str]) -> dict[str, Any]:
    """As `rig_again`, from what the engine told in its status: minutes whose shares are rounded. Empty without any."""
    told = [json.loads(text) for _, text in recording.markers.get(f"{engine}.status", ())]
    minutes = [{k: event[k] for k in ("minute", "rows", "share")} for event in told if event["event"] == "masked"]
    found = [event for event in told if event["event"] == "contamination"]
    if not minutes and not found:
        return {}
    rows = sum(minute["rows"] for minute in minutes)
    total = sum((minute["rows"] * np.array(minute["share"]) for minute in minutes), np.zeros(len(electrodes)))
    share = dict(zip(electrodes, np.round(total / max(1, rows), 4).tolist(), strict=True))
    facts = {key: found[-1][key] for key in ("contaminated", "r", "z", "seconds")} if found else None
    masked = {"rows": rows, "share": share, "minutes": minutes}
    return {"contaminated": contaminated, "masked": masked, "contamination": facts}


def largest_apart(before: dict[str, Any], now: dict[str, Any]) -> tuple[float, float]:
    """The largest difference of a share masked, and of a correlation with the sound, over electrodes."""
    a, b = (np.array(list(rig["masked"]["share"].values()), float) for rig in (before, now))
    r_a, r_b = (np.array((rig["contamination"] or {"r": [None] * len(a)})["r"], float) for rig in (before, now))
    either = np.isfinite(r_a) | np.isfinite(r_b)
    apart = np.where(np.isfinite(r_a) & np.isfinite(r_b), np.abs(r_a - r_b), np.inf)[either]
    return float(np.max(np.abs(a - b), initial=0.0)), float(np.max(apart, initial=0.0))
