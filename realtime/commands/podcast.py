"""The "Podcast" ECoG data set (Zada et al. 2025), OpenNeuro ds005574: fetched through openneuro-py."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from realtime.errors import UserError

DATASET, TAG = "ds005574", "1.0.2"
TASK, SOUND, TRANSCRIPT = "podcast", "stimuli/podcast.wav", "stimuli/podcast_transcript.csv"
EDF_BYTES = {  # of each subject's recording in this version
    "01": 228_588_800,
    "02": 207_393_040,
    "03": 491_050_240,
    "04": 323_756_800,
    "05": 307_857_408,
    "06": 328_135_424,
    "07": 1_017_481_984,
    "08": 167_754_752,
    "09": 377_908_736,
}
SOUND_BYTES, TABLES_BYTES = 317_520_626, 10_000_000
RETRIES = 5  # of a file, by openneuro-py, each after twice the pause


def recording_file(root: Path, subject: str) -> Path:
    return root / f"sub-{subject}" / "ieeg" / f"sub-{subject}_task-{TASK}_ieeg.edf"


def known_subjects(asked: Sequence[str]) -> list[str]:
    """As the set numbers them, each once; 3 and sub-03 are 03. Raises UserError for one that it has not."""
    found = [subject.removeprefix("sub-").zfill(2) for subject in asked]
    for subject, given in zip(found, asked, strict=True):
        if subject not in EDF_BYTES:
            raise UserError(f"--subject: {DATASET} has no subject {given!r}; there are: {', '.join(EDF_BYTES)}")
    return list(dict.fromkeys(found))


def fetch(root: Path, subjects: Sequence[str]) -> None:
    """Recordings, tables and sound into `root`; what is there whole is checked and not fetched again.

    openneuro-py goes on where a file ends, and checks each by size and by the MD5 that the server gives. Raises
    UserError where it is not installed, the disk is too small, or a file cannot be had.
    """
    try:
        from openneuro import download
    except ImportError:
        raise UserError(
            "the data set is fetched through openneuro-py, which is not installed: pip install 'corticast[dataset]'"
        ) from None
    _require_room(root, subjects)
    include = [f"sub-{subject}/ieeg/*" for subject in subjects] + [SOUND, TRANSCRIPT]
    again = "check the network and the disk, and run this again: it goes on where it was"
    try:
        download(dataset=DATASET, tag=TAG, target_dir=root, include=include, max_retries=RETRIES)
    except FileExistsError as error:
        raise UserError(f"{str(root)!r} holds another version of {DATASET} ({error}): choose another --out") from None
    except (RuntimeError, OSError) as error:
        raise UserError(f"{DATASET} could not be fetched ({_reason(error)}); {again}") from None


def _require_room(root: Path, subjects: Sequence[str]) -> None:
    files = {recording_file(root, subject): EDF_BYTES[subject] for subject in subjects}
    files[root / SOUND] = SOUND_BYTES
    lacking = sum(max(0, size - (file.stat().st_size if file.is_file() else 0)) for file, size in files.items())
    place = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < lacking + TABLES_BYTES:
        raise UserError(
            f"{str(place)!r} has {free / 1e9:.2f} GB free, {len(subjects)} subject(s) of {DATASET} need "
            f"{(lacking + TABLES_BYTES) / 1e9:.2f} GB more: choose another --out, or fewer with --subject"
        )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.split(" Re-run this command")[0].rstrip(".") or type(error).__name__
