"""A simulated patient: real speech in, raw electrocorticography (ECoG) out, with known truth. Never human data.

Each driven electrode has a high-gamma carrier whose log power follows a drive: a projection of one Whisper layer's
offline embedding, the presence of a class of phones, speech onsets with adaptation, or a projection that passes only
by what was heard in the last seconds. Around it lie what amplifiers record besides: 1/f background, mains hum, drift,
artefacts, a dead channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.interpolate import CubicSpline
from scipy.special import polygamma

from encoders.patient_ceiling import Response, ratio, reliability
from encoders.patient_drive import (
    fit_gate,
    fit_projection,
    onset_response,
    presence,
    project,
    spans,
    speech_runs,
)
from encoders.patient_noise import (
    BACKGROUND_UV,
    CARRIER_EDGE_HZ,
    CARRIER_HZ,
    HUM_HARMONICS,
    HUM_UV,
    Artefact,
    artefacts,
    background_spectrum,
    carrier_spectrum,
    hum,
    mixing,
    noise,
)
from encoders.patient_rig import RigConfig, SessionBlock, contaminated_electrodes, heard, in_the_cable, rig_artefacts
from encoders.phones import PHONE_CLASS, PhoneAlignment
from realtime.block import Block, bad_samples, regular
from realtime.stage import Chain, Stage

Values = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Kind = Literal["layer", "phone", "onset", "history", "undriven", "dead"]

SOUND_HZ, ROW_HZ = 16_000, 50.0
SPACING_MM = 10.0
CARRIER_UV = 6.0  # SD of a driven electrode's carrier
UNDRIVEN_SHARE = 1.5  # undriven carriers are so much larger: the others' share in the common average then drowns
BAND_HZ, ROW_S = 80.0, 0.02  # of the usual chain, for the first guess of the gains
FIRST_GUESS = 0.94  # of what theory says about that chain: measured


@dataclass(frozen=True)
class PatientConfig:
    """Electrode counts by kind; what is left over is undriven, one of them dead. lag_s, ceiling, memory_s: ranges that
    each electrode's are drawn from. rig: what else a rig's recording holds, nothing by default."""

    electrodes: int = 64
    rate_hz: float = 1000.0
    seed: int = 0
    layer_driven: int = 24
    phone_driven: int = 12
    onset_driven: int = 12
    history_driven: int = 0
    mains_hz: float = 50.0
    lag_s: tuple[float, float] = (0.05, 0.25)
    ceiling: tuple[float, float] = (0.3, 0.8)
    memory_s: tuple[float, float] = (1.5, 4.0)
    artefacts: bool = True
    rig: RigConfig = field(default_factory=RigConfig)

    def __post_init__(self) -> None:
        driven = self.layer_driven + self.phone_driven + self.onset_driven + self.history_driven
        undriven = self.electrodes - driven
        if undriven < 1:
            raise ValueError(f"{self.electrodes} electrodes leave {undriven} undriven, expected at least the dead one")
        if self.rate_hz < 2 * CARRIER_HZ[1] + 4 * CARRIER_EDGE_HZ:
            raise ValueError(f"a rate of {self.rate_hz:g} Hz does not hold the carriers, expected at least 380 Hz")


@dataclass(frozen=True)
class Stimulus:
    """One trial. sound: (samples,) float32 at 16 kHz. embeddings: per layer (frames, dim) at 50 Hz, frame j centred
    at sample 320 j. phones: its alignment."""

    sound: Float32s
    embeddings: Mapping[int, npt.NDArray[np.floating]]
    phones: PhoneAlignment

    @property
    def rows(self) -> int:
        """Rows 20 ms apart, the first at the sound's start, that lie within the sound."""
        return -(-len(self.sound) * int(ROW_HZ) // SOUND_HZ)


@dataclass(frozen=True)
class ElectrodeTruth:
    """What an electrode follows. phone_class: a manner class or one phone. position_mm: on the 8 x 8 grid.

    memory_s: how far back the sound reaches that opens or shuts a history-dependent one. after_speech: loud sound
    opens it.
    """

    name: str
    kind: Kind
    layer: int | None
    phone_class: str | None
    lag_s: float
    ceiling_drawn: float
    position_mm: tuple[float, float]
    memory_s: float | None = None
    after_speech: bool = False

    @property
    def driven(self) -> bool:
        return self.kind in ("layer", "phone", "onset", "history")


class SimulatedPatient:
    """Electrodes with a fixed truth, fitted once to the stimuli that its scales come from.

    truth: one ElectrodeTruth per electrode, "G1" first. gain: (electrodes,) log power per SD of drive; a first guess
    from theory until `calibrate` has measured it. contaminated: numbers of the electrodes with sound in their cable.
    """

    def __init__(self, config: PatientConfig, stimuli_for_statistics: Sequence[Stimulus]) -> None:
        stimuli = list(stimuli_for_statistics)
        if not stimuli or not stimuli[0].embeddings:
            raise ValueError("a patient is fitted to stimuli with embeddings: found none, give at least one")
        self.config = config
        rng = np.random.default_rng([config.seed, 0])
        self.truth = _draw_truth(config, stimuli, rng)
        self._layers = sorted(stimuli[0].embeddings)
        self._projections = {
            layer: fit_projection([s.embeddings[layer] for s in stimuli], len(self._of(layer)), rng)
            for layer in self._layers
        }
        sounds = [s.sound for s in stimuli]
        self._gates = {
            e: fit_gate(sounds, t.memory_s, t.after_speech) for e, t in enumerate(self.truth) if t.memory_s is not None
        }
        self._driven = np.array([t.driven for t in self.truth])
        self._mean, self._sd = np.zeros(config.electrodes), np.ones(config.electrodes)
        drives = np.concatenate([self.drive(s) for s in stimuli])
        self._mean = drives.mean(axis=0)
        self._sd = np.where(drives.std(axis=0) > 1e-9, drives.std(axis=0), 1.0)

        noise_sd = np.sqrt(polygamma(1, BAND_HZ * ROW_S))  # of the log of a mean square with 2 B T degrees of freedom
        ceilings = np.array([t.ceiling_drawn for t in self.truth])
        self.gain = np.where(self._driven, ratio(ceilings) * noise_sd * FIRST_GUESS, 0.0)
        self._carrier_uv = CARRIER_UV * rng.uniform(0.8, 1.2, config.electrodes)
        self._carrier_uv *= np.where(self._driven, 1.0, UNDRIVEN_SHARE)
        self._background_uv = BACKGROUND_UV * np.exp(rng.normal(0, 0.2, config.electrodes))
        self._hum_uv = HUM_UV * np.exp(rng.normal(0, 0.5, config.electrodes))
        self._position_mm = np.array([t.position_mm for t in self.truth])
        self._mixing = mixing(self._position_mm)
        self._alive = np.array([t.kind != "dead" for t in self.truth])
        self.contaminated = contaminated_electrodes(
            config.rig, self._driven, self._alive, self._position_mm, config.seed
        )

    def _of(self, layer: int) -> list[int]:
        return [e for e, truth in enumerate(self.truth) if truth.layer == layer]

    # ---- drive ------------------------------------------------------------------------------------------------------

    def drive(self, stimulus: Stimulus) -> Values:
        """(rows, electrodes) noise-free drive at the times 0.02 j from the sound's start, lags included.

        In SDs over the stimuli that the patient was fitted to, mean 0 over them; undriven electrodes are 0.
        """
        return self._drive_at(stimulus, np.arange(stimulus.rows) / ROW_HZ)

    def _drive_at(self, stimulus: Stimulus, times_s: Values) -> Values:
        out = np.zeros((len(times_s), len(self.truth)))
        lags_s = np.array([t.lag_s for t in self.truth])
        for layer, projection in self._projections.items():
            of = self._of(layer)
            out[:, of] = project(projection, stimulus.embeddings[layer], times_s, lags_s[of])
        for e, gate in self._gates.items():
            out[:, e] *= gate.at(stimulus.sound, times_s - lags_s[e])
        runs = speech_runs(stimulus.phones.phones)
        for e, truth in enumerate(self.truth):
            if truth.phone_class is not None:
                out[:, e] = presence(spans(stimulus.phones.phones, truth.phone_class), times_s - truth.lag_s)
            elif truth.kind == "onset":
                out[:, e] = onset_response(runs, times_s - truth.lag_s)
        out[:, self._driven] = ((out - self._mean) / self._sd)[:, self._driven]
        return out

    # ---- recording --------------------------------------------------------------------------------------------------

    def record(self, stimulus: Stimulus, seed: int, blocks: Sequence[SessionBlock] = ()) -> Float32s:
        """(samples, electrodes) float32 microvolts: simulated raw ECoG over the sound's duration.

        The same seed gives the same bytes; another seed the same drive in other noise. blocks: parts in which the
        patient speaks or does not hear the sound; outside of them it listens.
        """
        raw = self._record(self._amplitude(stimulus, blocks), seed, self.config.artefacts)
        rig, rate_hz = self.config.rig, self.config.rate_hz
        if self.contaminated:
            cable = in_the_cable(stimulus.sound, SOUND_HZ, rate_hz, len(raw), rig.contamination_uv, blocks)
            raw[:, self.contaminated] += cable[:, None]
        for artefact in self._rig_artefacts(len(raw), seed):
            _add(raw, artefact)
        return raw

    def artefact_spans(self, stimulus: Stimulus, seed: int) -> list[tuple[float, float, list[int]]]:
        """(start_s, end_s, electrodes) of the artefacts in the recording of that seed."""
        samples = self._samples(stimulus)
        own = self._artefacts(samples, seed) if self.config.artefacts else []
        return [a.span for a in (*own, *self._rig_artefacts(samples, seed))]

    def _samples(self, stimulus: Stimulus) -> int:
        return round(len(stimulus.sound) / SOUND_HZ * self.config.rate_hz)

    def _amplitude(self, stimulus: Stimulus, blocks: Sequence[SessionBlock] = ()) -> Float32s:
        """(samples, electrodes) amplitude of the carriers in microvolts, of the same mean power for every gain."""
        times_s = np.arange(stimulus.rows + 1) / ROW_HZ
        at = np.arange(self._samples(stimulus)) / self.config.rate_hz
        amplitude = np.empty((len(at), len(self.truth)), np.float32)
        drive = self._drive_at(stimulus, times_s) * heard(blocks, times_s)[:, None]
        for part in np.array_split(np.arange(len(self.truth)), 8):
            log_power = self.gain[part] * CubicSpline(times_s, drive[:, part])(at)
            power = np.exp(np.clip(log_power, -6.0, 6.0))
            amplitude[:, part] = self._carrier_uv[part] * np.sqrt(power / power.mean(axis=0))
        return amplitude

    def _record(self, amplitude: Float32s, seed: int, with_artefacts: bool, workers: int = 2) -> Float32s:
        samples, electrodes = amplitude.shape
        rng = np.random.default_rng([self.config.seed, 1, seed])
        count = scipy.fft.next_fast_len(samples, real=True)
        raw = noise(rng, count, electrodes, carrier_spectrum(count, self.config.rate_hz), workers)[:samples]
        raw *= amplitude
        spectrum = background_spectrum(count, self.config.rate_hz)
        background = noise(rng, count, electrodes, spectrum, workers, self._mixing.astype(np.float32))[:samples]
        background *= self._background_uv.astype(np.float32)
        raw += background
        raw += hum(rng, samples, self.config.rate_hz, self.config.mains_hz) @ self._hum_mixture(rng)
        if with_artefacts:
            for artefact in self._artefacts(samples, seed):
                _add(raw, artefact)
        raw[:, ~self._alive] = 0.0
        return raw

    def _hum_mixture(self, rng: np.random.Generator) -> Float32s:
        """(harmonics, electrodes) microvolts: how much of each harmonic an electrode picks up in this recording."""
        relative = np.array(HUM_HARMONICS)[:, None] * rng.uniform(0.7, 1.3, (len(HUM_HARMONICS), len(self.truth)))
        return (relative * self._hum_uv).astype(np.float32)

    def _artefacts(self, samples: int, seed: int) -> list[Artefact]:
        rng = np.random.default_rng([self.config.seed, 2, seed])
        return artefacts(rng, samples, self.config.rate_hz, self._alive)

    def _rig_artefacts(self, samples: int, seed: int) -> list[Artefact]:
        rng = np.random.default_rng([self.config.seed, 4, seed])
        return rig_artefacts(rng, samples, self.config.rate_hz, self.config.rig, self._alive, self._position_mm)

    # ---- ceilings ---------------------------------------------------------------------------------------------------

    def calibrate(self, chain: Stage[Any], stimulus: Stimulus, *, rounds: int = 3, repeats: int = 6) -> None:
        """Set `gain` so that each driven electrode's ceiling after the chain is the one drawn.

        Pilot recordings without artefacts; the ceiling is the root of the mean correlation between two repeats, and
        the drive's SD in this stimulus is taken into account. Seeds of the pilots differ from every recording's.
        """
        chain = _before_z_score(chain)
        drive_sd = np.maximum(self.drive(stimulus).std(axis=0), 1e-3)
        ceilings = np.array([t.ceiling_drawn for t in self.truth])
        for number in range(rounds):
            seeds = [PILOT_SEED + number * repeats + i for i in range(repeats)]
            found = reliability(self._repeats(stimulus, chain, seeds))
            wanted = ratio(ceilings) * drive_sd
            change = np.clip(wanted / ratio(np.clip(found, 0.05, 0.99)), 0.5, 2.0)
            self.gain = np.where(self._driven, self.gain * change, 0.0)

    def responses(
        self,
        stimuli: Sequence[Stimulus],
        chain_factory: Callable[[], Stage[Any]],
        repeats: int = 50,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Response]:
        """For each stimulus, one observed recording and the mean over independent noise repeats.

        Both go through the chain; its z-score, which only shifts and scales, is left out, so that no row is lost to
        its baseline. Masked rows and artefacts do not count. progress: called with (recordings done, in all).
        """
        total = len(stimuli) * (repeats + 1)
        tell = progress or (lambda _done, _total: None)
        found = []
        for number, stimulus in enumerate(stimuli):
            seeds = [CEILING_SEED + (seed * len(stimuli) + number) * 1000 + i for i in range(repeats + 1)]
            recordings = self._repeats(stimulus, _before_z_score(chain_factory()), seeds)
            observed = next(recordings)
            sums, counts = np.zeros(observed.data.shape), np.zeros(observed.data.shape)
            for done, block in enumerate(recordings, start=2):
                good = ~bad_samples(block)
                sums += np.where(good, block.data, 0.0)
                counts += good
                tell(number * (repeats + 1) + done, total)
            used = ~bad_samples(observed) & (counts >= repeats / 2)
            found.append(Response(observed, sums / np.maximum(counts, 1), used))
        return found

    def _repeats(self, stimulus: Stimulus, chain: Stage[Any], seeds: Sequence[int]) -> Iterator[Block]:
        """Recordings of those seeds through the chain, in order, without artefacts; two at work at a time."""
        amplitude = self._amplitude(stimulus)

        def one(seed: int) -> Block:
            raw = self._record(amplitude, seed, with_artefacts=False, workers=1)
            return chain.layer(regular(raw, self.config.rate_hz))

        with ThreadPoolExecutor(2) as pool:
            yield from pool.map(one, seeds)


PILOT_SEED, CEILING_SEED = 2**40, 2**41  # far from any recording's


def _draw_truth(config: PatientConfig, stimuli: Sequence[Stimulus], rng: np.random.Generator) -> list[ElectrodeTruth]:
    layers = sorted(stimuli[0].embeddings)
    heard = [label for s in stimuli for label, _, _ in s.phones.phones if PHONE_CLASS[label] != "silence"]
    labels, counts = np.unique(np.array(heard, str), return_counts=True)
    classes = sorted({PHONE_CLASS[str(label)] for label in labels})
    common = [str(label) for label in labels[np.argsort(-counts, kind="stable")]][:6]
    wanted = [*classes, *common]  # every class, then single phones, then again
    if config.phone_driven and not wanted:
        raise ValueError("the stimuli hold no speech: found no phone to drive an electrode")
    drives: list[tuple[Kind, int | None, str | None]] = [
        *(("layer", layers[i % len(layers)], None) for i in range(config.layer_driven)),
        *(("phone", None, wanted[i % len(wanted)]) for i in range(config.phone_driven)),
        *(("onset", None, None) for _ in range(config.onset_driven)),
        *(("history", layers[i % len(layers)], None) for i in range(config.history_driven)),
    ]
    drives += [("undriven", None, None) for _ in range(config.electrodes - len(drives) - 1)]
    drives.append(("dead", None, None))
    columns = int(np.ceil(np.sqrt(config.electrodes)))
    memories = np.random.default_rng([config.seed, 3])
    truth = []
    for e, which in enumerate(rng.permutation(len(drives))):
        kind, layer, phone_class = drives[which]
        lag_s, ceiling = rng.uniform(*config.lag_s), rng.uniform(*config.ceiling)
        if kind in ("undriven", "dead"):
            lag_s = ceiling = 0.0
        position = (SPACING_MM * (e % columns), SPACING_MM * (e // columns))
        one = ElectrodeTruth(f"G{e + 1}", kind, layer, phone_class, lag_s, ceiling, position)
        if kind == "history":
            after_speech = bool(memories.integers(2))
            one = replace(one, memory_s=memories.uniform(*config.memory_s), after_speech=after_speech)
        truth.append(one)
    return truth


def _add(raw: Float32s, artefact: Artefact) -> None:
    raw[artefact.start : artefact.start + len(artefact.shape)] += artefact.shape[:, None] * artefact.size_uv


def _before_z_score(chain: Stage[Any]) -> Stage[Any]:
    if isinstance(chain, Chain) and chain.names[-1:] == ("z_score",):
        return Chain(list(zip(chain.names[:-1], chain.stages[:-1], strict=True)))
    return chain
