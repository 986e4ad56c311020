"""How often phone-driven, onset-driven and undriven electrodes are called right: 20 simulated patients, real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encoders.analysis.phone_times import PhoneTimes
from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.whisper import StreamingSettings
from realtime.commands import analysis_phonemes
from realtime.commands.analysis_data import Listened, Patient, Segment
from realtime.commands.analysis_setup import Setup
from realtime.commands.analysis_store import Store

SEEDS = range(20)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_phone_onset_and_undriven_electrodes_are_called(tmp_path: Path) -> None:
    """Five minutes of speech, 24 electrodes with ceilings of 0.4 or more; high gamma drawn directly from the drive."""
    pytest.importorskip("pocketsphinx")
    from benchmarks.analysis_session import spoken

    sound, phones = spoken(5)
    rows = Stimulus(sound, {}, phones).rows
    counts = dict.fromkeys(("phone", "phonetic", "own top", "onset", "onset phonetic", "undriven", "called"), 0)
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        stimulus = Stimulus(sound, {1: rng.standard_normal((rows, 20))}, phones)
        config = PatientConfig(24, seed=seed, layer_driven=0, phone_driven=8, onset_driven=8, ceiling=(0.4, 0.8))
        patient = SimulatedPatient(config, [stimulus])
        ceilings, drive = np.array([t.ceiling_drawn for t in patient.truth]), patient.drive(stimulus)
        observed = ceilings * drive + np.sqrt(1 - ceilings**2) * rng.standard_normal(drive.shape)
        times = np.arange(len(observed)) / 50.0
        segment = Segment(times, observed.astype(np.float32), np.zeros(observed.shape, np.bool_), None)
        names = tuple(t.name for t in patient.truth)
        listened = Listened(tmp_path, names, [segment], PhoneTimes(phones.phones, phones.words, {}, []), True)
        found = analysis_phonemes.compute(
            Patient(str(seed), [listened]), Setup((), StreamingSettings(3)), Store(tmp_path)
        ).arrays
        called = found["encodes"] & found["phonetic"]
        for e, truth in enumerate(patient.truth):
            if truth.kind == "phone":
                counts["phone"] += 1
                counts["phonetic"] += int(called[e])
                counts["own top"] += truth.phone_class in (found["own_top_phone"][e], found["own_top_manner"][e])
            elif truth.kind == "onset":
                counts["onset"] += 1
                counts["onset phonetic"] += int(called[e])
            else:
                counts["undriven"] += 1
                counts["called"] += int(called[e])
    print(counts)
    assert counts["phonetic"] >= 0.9 * counts["phone"]
    assert counts["own top"] >= 0.9 * counts["phone"]
    assert counts["onset phonetic"] <= 0.05 * counts["onset"]
    assert counts["called"] <= 0.05 * counts["undriven"]
