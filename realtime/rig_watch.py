"""What the engine watches beside its predictions: how much is masked, and which electrodes record the sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from realtime.bipolar import Bipolar
from realtime.block import ROW_RATE_HZ
from realtime.contamination import Contamination, ContaminationResult
from realtime.contamination_watch import ContaminationWatch
from realtime.lane import Lane, Step
from realtime.masked import Masked, MaskedMinute
from realtime.sources.pump import Event
from realtime.stage import Chain

MINUTES = 24 * 60  # that a report looks back on
WORTH_TELLING = 0.1  # share masked of an electrode
NAMED = 6
SOUND_HZ = 16_000.0  # of the sound lane past its resampling


class RigWatch:
    """Told of every step of both lanes, in their threads; tells `masked` and `contamination` once a minute of ECoG.

    known: names that were contaminated when the model was fitted. facts: gets `contaminated`, the names of those known
    and those flagged, and on_contaminated is told of them. Chains without `resample` and `artefacts` are not
    looked at for contamination, those without `band_power` not for masks. row_rate_hz: of the band power.
    """

    def __init__(
        self,
        electrodes: tuple[str, ...],
        sound: Lane,
        ecog: Lane,
        tell: Callable[[Event], None],
        facts: dict[str, Any],
        known: Sequence[str] = (),
        on_contaminated: Callable[[tuple[str, ...]], None] = lambda _names: None,
        row_rate_hz: float = ROW_RATE_HZ,
    ):
        self.minutes: deque[MaskedMinute] = deque(maxlen=MINUTES)
        self.masked = Masked(len(electrodes), row_rate_hz)
        self.contamination: ContaminationResult | None = None
        self._electrodes, self._tell, self._facts = electrodes, tell, facts
        self._known, self._on_contaminated = tuple(known), on_contaminated
        self._leave_out(self._known)
        self._watch: ContaminationWatch | None = None
        self._stage = unreferenced(ecog.chain)
        if "resample" in sound.chain.names and self._stage in ecog.chain.names:
            rate_hz = ecog.spec.rate_hz
            heard = Contamination(len(electrodes), rate_hz, SOUND_HZ)
            self._watch = ContaminationWatch(heard, rate_hz, self._found, self._failed)

    def start(self) -> None:
        if self._watch is not None:
            self._watch.start()

    def finish(self, timeout_s: float) -> None:
        """Nothing more will come."""
        for minute in self.masked.finish():
            self._tell_masked(minute)
        if self._watch is not None:
            self._watch.finish(timeout_s)

    def saw_sound(self, step: Step) -> None:
        if self._watch is not None:
            self._watch.add_sound(step.blocks["resample"])

    def saw_ecog(self, step: Step) -> None:
        if "band_power" in step.blocks:
            for minute in self.masked.add(step.blocks["band_power"]):
                self._tell_masked(minute)
        if self._watch is not None:
            self._watch.add_ecog(step.blocks[self._stage])

    def report(self) -> dict[str, Any]:
        """For a closing report: share masked per electrode, in all and by minute; contamination. As JSON values."""
        found = None if self.contamination is None else contamination_facts(self.contamination, self._electrodes)
        return {
            "contaminated": list(self.contaminated),
            "masked": masked_facts(self.masked, list(self.minutes), self._electrodes),
            "contamination": found,
        }

    def _tell_masked(self, minute: MaskedMinute) -> None:
        self.minutes.append(minute)
        event: Event = {"event": "masked", "minute": minute.minute, "rows": minute.rows}
        event["share"] = np.round(minute.share, 3).tolist()
        if minute.share.max(initial=0.0) >= WORTH_TELLING:
            event["message"] = f"minute {minute.minute + 1}: {masked_words(minute.share, self._electrodes)}"
        self._tell(event)

    def _found(self, result: ContaminationResult) -> None:
        before, self.contamination = self.contamination, result
        names = flagged_names(result, self._electrodes)
        self._leave_out(names)
        event: Event = {"event": "contamination", **contamination_facts(result, self._electrodes)}
        if names and (before is None or flagged_names(before, self._electrodes) != names):
            event["message"] = f"these electrodes record the sound itself: {', '.join(names)}; check cables and plugs"
        self._tell(event)

    def _leave_out(self, names: Sequence[str]) -> None:
        both = {*self._known, *names}
        self.contaminated = tuple(name for name in self._electrodes if name in both)
        self._facts["contaminated"] = list(self.contaminated)
        self._on_contaminated(self.contaminated)

    def _failed(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        message = f"contamination is no longer watched: {reason}; predictions go on"
        self._tell({"event": "contamination_failed", "message": message})


def unreferenced(chain: Chain) -> str:
    """The stage past which contamination is looked for: before a common average, which would pass one electrode's
    sound on to all, but after bipolar differences, which are other channels and pass on nothing."""
    bipolar = any(isinstance(stage, Bipolar) for stage in chain.stages)
    return "reference" if bipolar else "artefacts"


def masked_words(share: Any, electrodes: tuple[str, ...]) -> str:
    """The mean share masked, and the electrodes with the most."""
    order = [i for i in np.argsort(-share, kind="stable")[:NAMED] if share[i] >= WORTH_TELLING]
    most = ", ".join(f"{electrodes[i]} {100 * share[i]:.0f} %" for i in order)
    return f"{100 * float(np.mean(share)):.1f} % masked" + (f"; most: {most}" if most else "")


def masked_facts(masked: Masked, minutes: Sequence[MaskedMinute], electrodes: tuple[str, ...]) -> dict[str, Any]:
    """Rows, and the share masked of each electrode, in all and by minute, as JSON values."""
    share = dict(zip(electrodes, np.round(masked.share, 4).tolist(), strict=True))
    by_minute = [{"minute": m.minute, "rows": m.rows, "share": np.round(m.share, 4).tolist()} for m in minutes]
    return {"rows": masked.rows, "share": share, "minutes": by_minute}


def flagged_names(result: ContaminationResult, electrodes: tuple[str, ...]) -> list[str]:
    return [electrodes[i] for i in np.flatnonzero(result.flagged)]


def contamination_facts(result: ContaminationResult, electrodes: tuple[str, ...]) -> dict[str, Any]:
    """A result as JSON values: the names flagged; r, z and seconds per electrode, None where not known."""
    columns = {"r": result.r, "z": result.z, "seconds": result.seconds}
    numbers = {k: [round(float(v), 4) if np.isfinite(v) else None for v in column] for k, column in columns.items()}
    return {"contaminated": flagged_names(result, electrodes), **numbers}
