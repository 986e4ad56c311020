"""`EcogPlan`: how an ECoG stream becomes high gamma; what a configuration says and a model file remembers of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from encoders.model_file import ModelHeader
from realtime.block import Spec
from realtime.config import Config, EcogTable
from realtime.errors import UserError
from realtime.montage import Electrode, Montage, Position, from_facts, joined, model_differences
from realtime.montage_file import load_montage
from realtime.pick import channel_number
from realtime.signals import ARTEFACT_SD
from realtime.subframes import FRAME_RATE_HZ

KEYS = ("mains_hz", "band_hz", "reference", "bad", "exclude", "artefact_sd")  # of [ecog], which a model fixes


@dataclass(frozen=True)
class EcogPlan:
    """bad, exclude: channel labels, or electrodes of the montage. montage: None where the labels are all there is.
    row_rate_hz: of the high gamma, which a fit chooses."""

    mains_hz: float = 50.0
    band_hz: tuple[float, float] = (70.0, 150.0)
    bad: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    reference: str = "common average"
    montage: Montage | None = None
    delay_s: float | None = None
    artefact_sd: float = ARTEFACT_SD
    row_rate_hz: float = FRAME_RATE_HZ

    @staticmethod
    def of(table: EcogTable) -> EcogPlan:
        montage = load_montage(table.montage) if table.montage else None
        mains_hz = float(table.mains_hz)
        return EcogPlan(
            mains_hz,
            table.band_hz,
            table.bad,
            table.exclude,
            table.reference,
            montage,
            table.delay_s,
            table.artefact_sd,
        )

    @staticmethod
    def fitted(header: ModelHeader) -> EcogPlan:
        facts = header.ecog
        return EcogPlan(
            facts["mains_hz"],
            tuple(facts["band_hz"]),
            tuple(facts["bad"]),
            tuple(facts["exclude"]),
            str(header.reference.get("kind", "common average")),
            from_facts(header.montage),
            header.delays.get("ecog"),
            facts.get("artefact_sd", ARTEFACT_SD),  # a model file of before knows of none
            header.row_rate_hz,
        )

    def facts(self) -> dict[str, Any]:
        """`ecog` of a model's header; reference, montage, delays and rows a second are beside it."""
        return {
            "mains_hz": self.mains_hz,
            "band_hz": list(self.band_hz),
            "bad": list(self.bad),
            "exclude": list(self.exclude),
            "artefact_sd": self.artefact_sd,
        }

    def reference_facts(self, spec: Spec) -> dict[str, Any]:
        """`reference` of a model's header: its kind, the groups that share one, and what counts in none."""
        contacts = self._contacts(spec)
        groups = self.groups(spec) if self.reference == "common average" else []
        return {
            "kind": self.reference,
            "groups": [[contacts[i].name for i in group] for group in groups],
            "pairs": list(self.electrodes(spec)) if self.reference == "bipolar" else [],
            "bad": [contacts[i].name for i in self.bad_channels(spec)],
        }

    def channels(self, spec: Spec) -> tuple[str, ...]:
        """Labels of the channels that are electrodes, in the stream's order. UserError where the montage differs."""
        for label in self.exclude:
            channel_number(spec, label)
        if self.montage is not None:
            self.montage.require_stream(spec, self.exclude)
        found = tuple(label for label in spec.channels if label not in self.exclude)
        if not found:
            raise UserError(f"[ecog] exclude leaves no electrode of stream {spec.name!r}: name fewer channels")
        return found

    def _contacts(self, spec: Spec) -> list[Electrode]:
        known = self.montage.by_channel if self.montage else {}
        return [known.get(label, Electrode(label, label)) for label in self.channels(spec)]

    def electrodes(self, spec: Spec) -> tuple[str, ...]:
        """Names of what is predicted and observed: electrodes, or pairs of them in a bipolar reference."""
        self.bad_channels(spec)
        names = [one.name for one in self._contacts(spec)]
        if self.reference != "bipolar":
            return tuple(names)
        return tuple(f"{names[a]}-{names[b]}" for a, b in self.pairs(spec))

    def groups(self, spec: Spec) -> list[list[int]]:
        """Places of the electrodes of each group; without a montage all are one."""
        contacts = self._contacts(spec)
        names = dict.fromkeys(one.group for one in contacts)
        return [[i for i, one in enumerate(contacts) if one.group == name] for name in names]

    def pairs(self, spec: Spec) -> list[tuple[int, int]]:
        """Places of neighbours: those that follow each other in the montage's order within one group."""
        contacts = self._contacts(spec)
        order = {one.channel: i for i, one in enumerate(self.montage.electrodes)} if self.montage else {}
        found = []
        for group in self.groups(spec):
            found += list(itertools.pairwise(sorted(group, key=lambda i: order.get(contacts[i].channel, i))))
        if not found:
            raise UserError("[ecog] reference: bipolar needs groups of two electrodes or more: correct the montage")
        return found

    def bad_channels(self, spec: Spec) -> list[int]:
        """Places of the electrodes that are in no reference."""
        contacts = self._contacts(spec)
        names = {one.name: i for i, one in enumerate(contacts)}
        labels = {one.channel: i for i, one in enumerate(contacts)}
        said = [names[bad] if bad in names else labels.get(bad) for bad in self.bad]
        for bad, place in zip(self.bad, said, strict=True):
            if place is None:
                channel_number(
                    replace(spec, channels=tuple(dict.fromkeys((*names, *labels)))), bad
                )  # raises, with what there is
        marked = [i for i, one in enumerate(contacts) if one.bad]
        return sorted({*(i for i in said if i is not None), *marked})

    @property
    def named_bad(self) -> set[str]:
        """As configuration and montage call them, whatever the stream."""
        marked = self.montage.electrodes if self.montage else ()
        return {*self.bad, *(one.name for one in marked if one.bad)}

    def places(
        self,
        spec: Spec,
        told: Mapping[str, Position] = MappingProxyType({}),
        regions: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, dict[str, Any]]:
        """What is known of each electrode, for those who draw it: positions, regions, groups, by name.

        told, regions: of channels, by the stream itself; each counts where the montage has none at all.
        """
        contacts = self._contacts(spec)
        if all(one.position is None for one in contacts):
            contacts = [replace(one, position=told.get(one.channel)) for one in contacts]
        if not any(one.region for one in contacts):
            contacts = [replace(one, region=regions.get(one.channel, "")) for one in contacts]
        pairs = self.pairs(spec) if self.reference == "bipolar" else [(i, i) for i in range(len(contacts))]
        of = {name: (contacts[a], contacts[b]) for name, (a, b) in zip(self.electrodes(spec), pairs, strict=True)}
        return {
            "positions": {
                name: np.mean([a.position, b.position], axis=0).tolist()
                for name, (a, b) in of.items()
                if a.position is not None and b.position is not None
            },
            "regions": {name: "/".join(_distinct(a.region, b.region)) for name, (a, b) in of.items() if a.region},
            "groups": {name: a.group for name, (a, _) in of.items() if a.group},
        }


def _distinct(*words: str) -> Sequence[str]:
    return [word for word in dict.fromkeys(words) if word]


def plan_for(config: Config, header: ModelHeader | None) -> EcogPlan:
    """The ECoG settings of the model, where there is one. Raises UserError where the file says otherwise.

    The delay is the rig's, not the model's: the file's counts where it says one.
    """
    if header is None:
        return EcogPlan.of(config.ecog)
    fitted, asked = EcogPlan.fitted(header), EcogPlan.of(config.ecog)
    for key in config.ecog.model_fields_set & set(KEYS):
        if getattr(asked, key) != getattr(fitted, key):
            raise UserError(
                f"[ecog] {key} = {getattr(asked, key)!r}, but the model was fitted with {getattr(fitted, key)!r}: "
                "leave the key out, or fit a model with it"
            )
    if asked.montage is not None:
        _require_montage(fitted.montage, asked.montage)
    return replace(fitted, delay_s=fitted.delay_s if asked.delay_s is None else asked.delay_s)


def _require_montage(fitted: Montage | None, found: Montage) -> None:
    remedy = "choose the model of this montage, or fit one with it"
    if fitted is None:
        raise UserError(f"the model was fitted without a montage, but [ecog] names {found.origin}: {remedy}")
    differences = list(model_differences(fitted, found))
    if differences:
        raise UserError(f"the model was fitted with another montage: {joined(differences)}; {remedy}")
