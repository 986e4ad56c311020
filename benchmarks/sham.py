"""How often a sham finds an electrode that follows: by chance, at most one in twenty should.

`python -m benchmarks.sham FOLDER` fits the patient of `rig_pictures` once, and then pairs speech that it does not hear
with new ECoG, sham after sham, through the chains that run live. Each sham's ECoG follows other speech, or, in a second
turn, nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.rig_pictures import CALIBRATION_S, CONFIG, DRIVEN, MEASURED, SHAM_S, corticast, patient
from encoders.model_file import load_model
from realtime.align import align
from realtime.block import Block
from realtime.commands import wiring
from realtime.commands.console import machine_facts
from realtime.commands.evaluate import score_rows
from realtime.commands.sham import FALSE_SHARE, verdict
from realtime.offline import run_chain
from realtime.sources.recording import save_folder
from realtime.subframes import FRAME_RATE_HZ

TAIL_S = 2.0  # of ECoG beyond the sound
SHAMS_AT_S = (390.0, 480.0, 270.0)  # where in the speech the sounds that nobody hears begin
LAST_S = 500.0  # where in it the patient's own may begin at the latest


def fitted(folder: Path) -> Path:
    """The model file, fitted where it is not there yet."""
    model = folder / "patient.safetensors"
    if not model.exists():
        save_folder(patient(0.0, CALIBRATION_S, 1), folder / "calibration")
        corticast(folder, "montage", "calibration", "--out", "montage.csv")
        (folder / "live.toml").write_text(CONFIG.format(model="", delay=MEASURED), encoding="utf-8")
        words = ("fit", "calibration", "--config", "live.toml", "--out", model.name, "--quick")
        print(corticast(folder, *words))
    return model


def shams(path: Path, count: int, driven: int) -> list[dict[str, object]]:
    """Of each sham: whether it fails, which electrodes follow, and the largest r."""
    model, header = load_model(path)
    embedding = wiring.embedding_for(header)
    plan = wiring.EcogPlan.fitted(header)
    lane = ("loop-back", embedding, model, header.delays.get("sound"))
    sounds = [patient(begin_s, SHAM_S, 0).streams["sound"] for begin_s in SHAMS_AT_S]
    predicted = [run_chain(sound, wiring.sound_lane(sound.spec, *lane))[0] for sound in sounds]
    baseline = header.baseline_median, header.baseline_mad
    found: list[dict[str, object]] = []
    for seed in range(count):
        which = seed % len(sounds)
        begin_s = apart_from(SHAMS_AT_S[which], seed)
        ecog = patient(begin_s, SHAM_S + TAIL_S, 1000 + seed, driven).streams["ecog"]
        observed = run_chain(ecog, wiring.ecog_lane(ecog.spec, plan, baseline))[0]
        found.append(one(align(predicted[which], observed), header.electrodes))
    return found


def one(aligned: Block, names: tuple[str, ...]) -> dict[str, object]:
    rows = score_rows([aligned], names, FRAME_RATE_HZ)
    following = [row["name"] for row in rows if row["p_fdr"] is not None and row["p_fdr"] < FALSE_SHARE]
    r = [row["r"] for row in rows if row["r"] is not None]
    return {"failed": bool(verdict(rows)[0]), "following": following, "r": max(r), "p": [row["p_fdr"] for row in rows]}


def apart_from(sham_s: float, seed: int) -> float:
    """Where the patient's own speech begins: anywhere but in the sham's."""
    rng = np.random.default_rng([seed, 7])
    while True:
        begin_s = float(rng.uniform(0.0, LAST_S))
        if abs(begin_s - sham_s) > SHAM_S + TAIL_S:
            return begin_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the patient's model, kept from one run to the next")
    parser.add_argument("--shams", type=int, default=200, help="of each kind (default: 200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sham's figures")
    options = parser.parse_args()
    path = fitted(options.folder)
    content: dict[str, object] = {"simulated": True, "machine": machine_facts()}
    for what, driven in (("ECoG follows other speech", DRIVEN), ("ECoG follows nothing", 0)):
        found = shams(path, options.shams, driven)
        failed = [sham for sham in found if sham["failed"]]
        print(f"{what}: {len(failed)} of {len(found)} shams failed; following: {[s['following'] for s in failed]}")
        content[what] = found
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
