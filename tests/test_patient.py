"""The simulated patient against its own truth, through the real ECoG chain, on one minute of real speech."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from scipy.ndimage import gaussian_filter1d
from scipy.signal import welch

from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.patient_ceiling import ceilings
from encoders.phones import PHONE_CLASS, PhoneAlignment, align_phones
from encoders.speech import load_trials
from realtime.block import Block, regular
from realtime.signals import ecog_chain
from realtime.stage import Chain

pytest.importorskip("pocketsphinx")

SMALL = PatientConfig(electrodes=32, layer_driven=8, phone_driven=4, onset_driven=4, seed=3)
Values = npt.NDArray[np.float64]


@functools.cache
def stimulus() -> Stimulus:
    spoken = load_trials()[0]
    sound = soxr.resample(spoken.sound, spoken.rate_hz, 16_000).astype(np.float32)
    rng = np.random.default_rng(0)
    frames = len(sound) // 320
    embeddings = {n: gaussian_filter1d(rng.standard_normal((frames, 64)), 3, axis=0) for n in (2, 4)}
    return Stimulus(sound, embeddings, align_phones(sound, spoken.transcript))


@functools.cache
def patient(config: PatientConfig = SMALL) -> SimulatedPatient:
    return SimulatedPatient(config, [stimulus()])


def chain() -> Chain:
    return ecog_chain(SMALL.rate_hz, SMALL.electrodes, baseline=(np.zeros(32), np.full(32, 0.5)))


def observed(config: PatientConfig, seed: int) -> Block:
    return chain().layer(regular(patient(config).record(stimulus(), seed), config.rate_hz))


def kinds(name: str) -> list[int]:
    return [e for e, truth in enumerate(patient().truth) if truth.kind == name]


def test_truth_is_as_configured() -> None:
    truth = patient().truth
    assert [t.name for t in truth] == [f"G{i}" for i in range(1, 33)]
    assert {k: len(kinds(k)) for k in ("layer", "phone", "onset", "undriven", "dead")} == {
        "layer": 8,
        "phone": 4,
        "onset": 4,
        "undriven": 15,
        "dead": 1,
    }
    assert sorted(t.layer for t in truth if t.layer is not None) == [2] * 4 + [4] * 4
    assert all(0.05 <= t.lag_s <= 0.25 and 0.3 <= t.ceiling_drawn <= 0.8 for t in truth if t.driven)
    assert len({t.position_mm for t in truth}) == 32
    default = PatientConfig()
    assert default.electrodes - default.layer_driven - default.phone_driven - default.onset_driven >= 16
    with pytest.raises(ValueError, match="undriven"):
        replace(SMALL, electrodes=16)


def test_drive_has_unit_sd_and_is_shifted_by_the_lag() -> None:
    drive = patient().drive(stimulus())
    driven = np.array([t.driven for t in patient().truth])
    assert len(drive) == -(-len(stimulus().sound) // 320)
    np.testing.assert_allclose(drive[:, driven].std(axis=0), 1, atol=1e-6)
    assert np.all(drive[:, ~driven] == 0)

    whole_rows = patient(replace(SMALL, lag_s=(0.1, 0.1))).drive(stimulus())
    without = patient(replace(SMALL, lag_s=(0.0, 0.0))).drive(stimulus())
    for e in np.flatnonzero(driven):
        assert np.corrcoef(whole_rows[5:, e], without[:-5, e])[0, 1] > 0.9999


def test_layer_drives_are_linear_in_their_own_layer_and_whitened() -> None:
    """Least squares from the embedding, an independent path, explains the drive fully, and only from its own layer."""
    without = patient(replace(SMALL, lag_s=(0.0, 0.0))).drive(stimulus())
    for e in kinds("layer"):
        own = patient().truth[e].layer
        for layer, x in stimulus().embeddings.items():
            design = np.c_[x, np.ones(len(x))]
            rest = without[: len(x), e] - design @ np.linalg.lstsq(design, without[: len(x), e], rcond=None)[0]
            assert (rest.std() < 1e-6) == (layer == own)


def test_phone_and_onset_drives_follow_the_alignment() -> None:
    """Against a plain loop over rows, away from the smoothed edges."""
    without = patient(replace(SMALL, lag_s=(0.0, 0.0))).drive(stimulus())
    phones = stimulus().phones.phones
    for e in kinds("phone"):
        wanted = patient().truth[e].phone_class
        inside: list[float] = []
        outside: list[float] = []
        for row, value in enumerate(without[:, e]):
            t = row / 50
            label = next((p for p, start, end in phones if start <= t < end), "SIL")
            if any(abs(t - edge) < 0.06 for p, *edges in phones for edge in edges if wanted in (p, PHONE_CLASS[p])):
                continue
            (inside if wanted in (label, PHONE_CLASS[label]) else outside).append(value)
        assert np.ptp(outside) < 1e-2
        if inside:  # a single phone may be shorter than its edges
            assert min(inside) > max(outside) + 0.5


def test_onsets_come_after_pauses_and_adapt() -> None:
    phones = [("SIL", 0, 0.5), ("AA", 0.5, 1.5), ("SIL", 1.5, 1.6), ("S", 1.6, 2.5), ("SIL", 2.5, 2.8), ("N", 2.8, 3.5)]
    sound = np.zeros(16_000 * 4, np.float32)
    short = Stimulus(sound, {2: np.random.default_rng(0).standard_normal((200, 5))}, PhoneAlignment(phones, [], []))
    config = replace(SMALL, lag_s=(0.0, 0.0))
    onset = SimulatedPatient(config, [short]).drive(short)[:, kinds("onset")[0]]
    silent = onset[10]
    above = (onset - silent) / (onset.max() - silent)
    assert above[26:30].max() > 0.9  # the onset at 0.5 s
    assert 0.2 < above[70] < 0.5  # adapted
    assert above[82:90].max() < 0.5  # 1.6 s follows a pause that is too short
    assert above[136] < 0.02
    assert above[141:146].max() > 0.9  # the onset at 2.8 s


def test_recordings_repeat_by_seed() -> None:
    one, again, other = (patient().record(stimulus(), seed) for seed in (1, 1, 2))
    assert one.dtype == np.float32
    assert one.shape == (round(len(stimulus().sound) / 16), 32)
    assert one.tobytes() == again.tobytes()
    alive = [e for e in range(32) if e not in kinds("dead")]
    assert all(abs(np.corrcoef(np.diff(one[:, e]), np.diff(other[:, e]))[0, 1]) < 0.9 for e in alive)
    assert np.ptp(one[:, kinds("dead")]) == 0


def test_spectra_look_like_an_amplifiers() -> None:
    raw = patient(replace(SMALL, artefacts=False)).record(stimulus(), 5)[:, kinds("undriven")]
    assert 20 < np.median(raw.std(axis=0)) < 100
    f, power = welch(raw, 1000, nperseg=4000, axis=0)

    def at(frequency_hz: float) -> Values:
        return np.asarray(power[np.abs(f - frequency_hz) < 0.3].max(axis=0), np.float64)

    for hum_hz in (50, 150):
        assert np.median(at(hum_hz) / at(hum_hz - 5)) > 10
    falling = (f > 4) & (f < 40)
    slope = np.polyfit(np.log(f[falling]), np.log(power[falling]), 1)[0]
    assert np.all((slope > -3.2) & (slope < -1.8))
    assert np.all(at(110) > 2 * at(230))  # carriers above the background


def test_artefacts_are_where_they_are_said_to_be() -> None:
    spans = patient().artefact_spans(stimulus(), 5)
    assert spans
    difference = patient().record(stimulus(), 5) - patient(replace(SMALL, artefacts=False)).record(stimulus(), 5)
    expected = np.zeros(difference.shape, bool)
    for start_s, end_s, electrodes in spans:
        expected[np.ix_(range(round(start_s * 1000), round(end_s * 1000)), electrodes)] = True
    assert np.all(difference[~expected] == 0)
    assert np.abs(difference[expected]).max() > 150


def test_ceilings_are_the_drawn_ones() -> None:
    config = replace(SMALL, seed=4)
    subject = SimulatedPatient(config, [stimulus()])
    subject.calibrate(chain(), stimulus(), rounds=2, repeats=5)
    done: list[float] = []
    repeats = 16
    found = ceilings(subject.responses([stimulus()], chain, repeats, 1, lambda n, total: done.append(n / total)))
    drawn = np.array([t.ceiling_drawn for t in subject.truth])
    driven = np.array([t.driven for t in subject.truth])
    expected = drawn / np.sqrt(1 + (1 / drawn[driven].mean() ** 2 - 1) / repeats)  # the mean keeps 1 / repeats of noise
    assert np.mean(np.abs(found - expected)[driven]) < 0.03
    assert np.corrcoef(found[driven], drawn[driven])[0, 1] > 0.97
    undriven = np.array([t.kind == "undriven" for t in subject.truth])
    assert np.all(np.abs(found[undriven]) < 4.5 / np.sqrt(stimulus().rows))
    assert np.isnan(found[[t.kind == "dead" for t in subject.truth]]).all()
    assert done[-1] == 1


def lag_scores(rows: Block, drive: Values, electrode: int, lags_s: Values) -> Values:
    """Correlation of an electrode's observed rows with the unlagged drive, delayed by each lag."""
    good = ~np.asarray(rows.extra["bad"][:, electrode], bool)
    times, data = rows.times[good], rows.data[good, electrode]
    grid = np.arange(len(drive)) / 50
    return np.array([np.corrcoef(data, np.interp(times - lag, grid, drive))[0, 1] for lag in lags_s])


def test_planted_lags_come_back_through_the_whole_chain() -> None:
    """Also a test of the chain's time stamps: what they are off by would be found as lag."""
    config = replace(SMALL, ceiling=(0.8, 0.85), artefacts=False)
    without = patient(replace(config, lag_s=(0.0, 0.0))).drive(stimulus())
    rows = observed(config, 7)
    lags_s = np.arange(-0.05, 0.4, 0.002)
    errors_s = []
    for e, truth in enumerate(patient(config).truth):
        if truth.driven:
            scores = lag_scores(rows, without[:, e], e, lags_s)
            errors_s.append(lags_s[np.argmax(scores)] - truth.lag_s)
    assert np.max(np.abs(errors_s)) < 0.02
    assert abs(np.mean(errors_s)) < 0.006


def test_undriven_electrodes_follow_nothing() -> None:
    """No drive is found in them at any lag, through the common average neither."""
    config = replace(SMALL, ceiling=(0.7, 0.8), artefacts=False)
    drive = patient(config).drive(stimulus())
    driven = [e for e, t in enumerate(patient(config).truth) if t.driven]
    rows = observed(config, 8)
    lagged = np.array([0.0])
    scores = [lag_scores(rows, drive[:, d], e, lagged)[0] for e in kinds("undriven") for d in driven]
    assert np.max(np.abs(scores)) < 5 / np.sqrt(len(rows))
    own = [lag_scores(rows, drive[:, d], d, lagged)[0] for d in driven]
    assert np.min(own) > 0.5
