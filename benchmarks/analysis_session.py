"""A simulated session for `corticast analyze`: real speech, a patient with known truth, as a recording folder.

    python -m benchmarks.analysis_session FOLDER [--whisper base] [--trials 10] [--electrodes 64]

FOLDER then holds session/ (sound and simulated raw ECoG, phones.csv) and truth.json.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from encoders.analysis.features import layers_of
from encoders.patient import PatientConfig, SimulatedPatient, Stimulus
from encoders.phones import PhoneAlignment, align_phones
from encoders.speech import load_trials
from encoders.weights import load_whisper
from encoders.whisper import offline_embedding
from realtime.audio import Resample
from realtime.block import Floats, Spec, regular
from realtime.commands import wiring
from realtime.commands.console import say, working
from realtime.sources.recording import RecordedStream, Recording, save_folder

SOUND_HZ, PAUSE_S = 16_000, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--whisper", default="base")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--electrodes", type=int, default=64)
    parser.add_argument("--layer-driven", type=int, default=30)
    parser.add_argument("--phone-driven", type=int, default=12)
    parser.add_argument("--onset-driven", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sound, phones = spoken(options.trials)
    with working("what an offline Whisper hears"):
        model = load_whisper(options.whisper).model
        stimulus = Stimulus(sound, offline_embedding(model, sound, layers_of(model)), phones)
    config = PatientConfig(
        electrodes=options.electrodes,
        seed=options.seed,
        layer_driven=options.layer_driven,
        phone_driven=options.phone_driven,
        onset_driven=options.onset_driven,
    )
    with working("simulating the patient"):
        patient = SimulatedPatient(config, [stimulus])
        spec = Spec("ECoG (simulated)", config.rate_hz, tuple(t.name for t in patient.truth), "microvolts")
        patient.calibrate(wiring.ecog_lane(spec, wiring.EcogPlan()), stimulus, rounds=2, repeats=3)
        ecog = patient.record(stimulus, options.seed + 1)
    save(options.folder, spec, sound, ecog, phones, patient)
    say(f"wrote {options.folder / 'session'} and {options.folder / 'truth.json'}")


def spoken(trials: int) -> tuple[Floats, PhoneAlignment]:
    """The first trials of the read speech as one sound at 16 kHz, with its phones."""
    pieces, phones, words, missing, at = [], [], [], [], 0.0
    with working("speech and its phones") as progress:
        for number, trial in enumerate(load_trials()[:trials]):
            rows = regular(trial.sound[:, None], trial.rate_hz)
            sound = np.clip(Resample(trial.rate_hz, SOUND_HZ).layer(rows).data[:, 0], -1, 1).astype(np.float32)
            aligned = align_phones(sound, trial.transcript)
            phones += [(label, a + at, b + at) for label, a, b in aligned.phones]
            words += [(word, a + at, b + at) for word, a, b in aligned.words]
            missing += aligned.missing_words
            pieces += [sound, np.zeros(round(PAUSE_S * SOUND_HZ), np.float32)]
            at += len(sound) / SOUND_HZ + PAUSE_S
            progress((number + 1) / trials)
    return np.concatenate(pieces), PhoneAlignment(phones, words, missing)


def save(
    folder: Path, spec: Spec, sound: Floats, ecog: Floats, phones: PhoneAlignment, patient: SimulatedPatient
) -> None:
    stamps = np.arange(len(sound)) / SOUND_HZ
    streams = {
        "sound": RecordedStream(
            Spec("sound", SOUND_HZ, ("sound",)), sound[:, None].astype(np.float32), stamps, type="Audio"
        ),
        "ecog": RecordedStream(spec, ecog.astype(np.float32), np.arange(len(ecog)) / spec.rate_hz, type="ECoG"),
    }
    save_folder(Recording(streams), folder / "session")
    with (folder / "session" / "phones.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("kind", "start_s", "end_s", "label"))
        writer.writerows(("phone", f"{a:.4f}", f"{b:.4f}", label) for label, a, b in phones.phones)
        writer.writerows(("word", f"{a:.4f}", f"{b:.4f}", word) for word, a, b in phones.words)
    truth = [
        {
            "name": t.name,
            "kind": t.kind,
            "layer": t.layer,
            "phone_class": t.phone_class,
            "ceiling": t.ceiling_drawn if t.driven else None,
            "lag_s": t.lag_s,
            "position_mm": t.position_mm,
        }
        for t in patient.truth
    ]
    (folder / "truth.json").write_text(json.dumps(truth, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
