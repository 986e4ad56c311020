"""What the engine's settings tell of the rig: montage, reference, delays, whether voices are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from encoders.model_file import ModelHeader
from realtime.block import Spec
from realtime.commands import wiring
from realtime.config import Config
from realtime.montage import Position


def rig_facts(
    config: Config,
    header: ModelHeader | None,
    plan: wiring.EcogPlan,
    spec: Spec,
    told: Mapping[str, Position] = MappingProxyType({}),
) -> dict[str, Any]:
    """delays: seconds of each stream, None where not measured. positions, regions, groups: by electrode's name.

    told: positions that the stream's own description gives, by channel, for want of a montage's.
    """
    delays = wiring.delays_for(config, header)
    facts = {
        **plan.places(spec, told),
        "channels": list(plan.channels(spec)),
        "coordinates": plan.montage.system if plan.montage else "",
        "reference": plan.reference,
        "reference_bad": plan.reference_facts(spec)["bad"],
        "delays": delays,
    }
    warning = delay_warning(header, delays)
    return {**facts, "warning": warning} if warning else facts


def delay_warning(header: ModelHeader | None, delays: dict[str, float | None]) -> str:
    """Where the model was fitted with a delay measured and now it is not, or the other way round."""
    if header is None:
        return ""
    for name, now_s in delays.items():
        fitted_s = header.delays.get(name)
        if (fitted_s is None) != (now_s is None):
            return (
                f"{name}: the model was fitted with {_words(fitted_s)}, and now it is {_words(now_s)}: "
                "its lags contain the difference"
            )
    return ""


def _words(delay_s: float | None) -> str:
    return "delay not measured" if delay_s is None else f"a delay of {1e3 * delay_s:g} ms"
