"""What adaptation gives and costs, on simulated patients: `python -m benchmarks.adaptation [--seeds N] [--json FILE]`.

The patients' rows are drawn directly: a session of 8 minutes, in which the tuning turns by 60 degrees after 3, or
does not; and one that begins with no model at all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drifting_patient import Drifting, drifting, mean_r
from encoders.adapted import AdaptedModel
from encoders.ridge import LaggedRidge
from realtime.adapting import run_adapting
from realtime.block import Block, Floats
from realtime.commands.console import machine_facts, working
from realtime.commands.options import file_to_write

MINUTES, TURN_AT, MINUTE = 8.0, 3.0, 3000  # rows


def adapted(one: Drifting, model: LaggedRidge | None = None) -> Block:
    return run_adapting(AdaptedModel(model or one.model), one.x, one.observed)


def turned(seed: int, degrees: float, tuned: int) -> dict[str, float]:
    """Mean r over electrodes of the fitted model and of what was shown, by part of the session."""
    one = drifting(seed, MINUTES, TURN_AT, degrees, tuned=tuned)
    shown, t = adapted(one), one.turned
    fitted = np.asarray(shown.extra["fitted"], np.float32)
    parts = {"before": (MINUTE, t), "minute 1": (t, t + MINUTE), "minute 2": (t + MINUTE, t + 2 * MINUTE)}
    parts["minutes 3 to 5"] = (t + 2 * MINUTE, t + 5 * MINUTE)
    kinds = {"fitted": fitted, "shown": shown.data, "adapted": np.asarray(shown.extra["adapted"], np.float32)}
    return {
        f"{kind}, {part}": mean_r(predicted, one.observed, *rows)
        for kind, predicted in kinds.items()
        for part, rows in parts.items()
    }


def from_nothing(seed: int, tuned: int) -> dict[str, Any]:
    """Minutes until a session without calibration reaches 90 % of the fitted model's r, in windows of a minute."""
    one = drifting(seed, 12.0, 12.0, 0.0, tuned=tuned)
    blank = LaggedRidge(one.model.projection, 0 * one.model.weights, 0 * one.model.intercept)
    shown: Floats = adapted(one, blank).data
    fitted: Floats = one.model.layer(one.x).data
    ends = range(MINUTE, len(shown) + 1, MINUTE // 4)
    share = [mean_r(shown, one.observed, e - MINUTE, e) / mean_r(fitted, one.observed, e - MINUTE, e) for e in ends]
    reached = [end / MINUTE for end, s in zip(ends, share, strict=True) if s >= 0.9]
    return {"minutes_to_90_percent": reached[0] if reached else None, "share_at_the_end": float(np.mean(share[-8:]))}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write the figures as JSON")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    options = parser.parse_args()
    report: dict[str, Any] = {"simulated": True, "machine": machine_facts(), "seeds": options.seeds}
    for tuned in (30, 50):
        for name, degrees in (("turned by 60 degrees", 60.0), ("nothing changes", 0.0)):
            with working(f"{tuned} tuned components, {name}") as progress:
                rows = []
                for seed in range(options.seeds):
                    rows.append(turned(seed, degrees, tuned))
                    progress((seed + 1) / options.seeds)
            means = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
            report[f"{tuned} components, {name}"] = means
            print(f"{tuned} components, {name}:", *(f"{k} {v:.3f}" for k, v in means.items()), sep="\n  ")
        with working(f"{tuned} tuned components, from nothing"):
            began = [from_nothing(seed, tuned) for seed in range(options.seeds)]
        report[f"{tuned} components, from nothing"] = began
        print(f"{tuned} components, from nothing:", *began, sep="\n  ")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
