"""What causality costs: the paper's bidirectional form, fitted offline to the same rows, beside the model."""

from __future__ import annotations

from typing import Any

from encoders.bidirectional import fit_reference
from encoders.scores import number
from encoders.training import FitConfig, FitResult, mean_r
from realtime.commands.console import say, working
from realtime.commands.material import Material
from realtime.subframes import mean_over_offsets, per_frame


def cost_of_causality(material: Material, config: FitConfig, result: FitResult) -> dict[str, Any]:
    """Mean r over electrodes, and r of each, on the validation block that neither had learnt from."""
    with working("bidirectional reference") as progress:
        _, r = fit_reference(material.segments(config.horizon_s), config, progress)
    r = mean_over_offsets(r, per_frame(material.row_rate_hz))
    causal, acausal = mean_r(result.validation[result.kind]), mean_r(r)
    say(f"bidirectional over segments of 5 s: mean r {acausal:.3f}; this model: {causal:.3f}, on the validation block")
    return {"mean_r": {"model": causal, "bidirectional": acausal}, "r": [number(value) for value in r]}
