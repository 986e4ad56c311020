"""Epochs into MNE's files: observed and predicted, with what each event is and why others were dropped."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoders.analysis.epochs import Rules
from encoders.analysis.phone_classes import MANNER, PHONE_PLACE
from realtime.block import Floats
from realtime.errors import UserError

AFTER_PAUSE_S = 0.2
MOST_BYTES = 1_900_000_000  # of a file, above which MNE would split it


@dataclass(frozen=True, slots=True)
class Event:
    """start_s, end_s: seconds from the sound's start of its recording."""

    recording: str
    kind: str
    label: str
    start_s: float
    end_s: float


def require_mne() -> Any:
    """MNE. Raises UserError where it, or pandas, which it keeps events' data in, is not installed."""
    try:
        import mne
        import pandas  # noqa: F401
    except ImportError:
        raise UserError(
            "epochs need MNE and pandas, which are not installed: pip install 'corticast[analysis]'"
        ) from None
    return mne


def write_epochs(
    path: Path,
    data: Floats,
    events: Sequence[Event],
    reasons: Sequence[str],
    electrodes: Sequence[str],
    bads: Sequence[str],
    rules: Rules,
    about: str,
) -> tuple[Path, Path]:
    """Write `path` (observed) and the file of the same name with _predicted (the same epochs); gives both.

    data: (kept, lags, electrodes, 2), in SDs of the model's baseline, NaN where masked. reasons: of each event; empty:
    kept. In the files event n of all has sample n; its time stands in `metadata`, with its label and class.
    """
    mne = require_mne()
    if data[..., 0].nbytes > MOST_BYTES:
        raise UserError(
            f"{len(data)} epochs are {data[..., 0].nbytes / 1e9:.1f} GB, more than one file of MNE holds: shorten "
            "--window, or give fewer recordings"
        )
    kept = np.flatnonzero([not reason for reason in reasons])
    codes = {name: code for code, name in enumerate(sorted({_event_name(event) for event in events}), start=1)}
    numbers = np.array([[n, 0, codes[_event_name(events[int(n)])]] for n in kept])
    info = mne.create_info(list(electrodes), rules.row_hz, "ecog")
    info["bads"] = list(bads)
    metadata = _metadata(events).iloc[kept].reset_index(drop=True)
    files = (path, path.with_name(f"{path.name[: -len('-epo.fif')]}_predicted{path.name[-len('-epo.fif') :]}"))
    for number, (file, what) in enumerate(zip(files, ("observed", about), strict=True)):
        with info._unlock():
            info["description"] = f"high gamma in SDs, {what}; baseline: {_baseline_in_words(rules)}"
        epochs = mne.EpochsArray(
            data[..., number].transpose(0, 2, 1),
            info,
            numbers,
            tmin=float(rules.lags_s[0]),
            event_id={name: code for name, code in codes.items() if code in numbers[:, 2]},
            metadata=metadata,
            selection=kept,
            drop_log=tuple((reason,) if reason else () for reason in reasons),
            verbose="ERROR",
        )
        aside = file.with_name(f".{os.getpid()}-{file.name}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that begins with a dot
                epochs.save(aside, overwrite=True, verbose="ERROR")
            aside.replace(file)
        finally:
            aside.unlink(missing_ok=True)
    return files


def _event_name(event: Event) -> str:
    """What events are counted by: the phone, or that it is a word."""
    return event.label if event.kind == "phone" else "word"


def _metadata(events: Sequence[Event]) -> Any:
    import pandas as pd

    rows, ends_s = [], dict[str, float]()
    for event in events:
        silent_s = event.start_s - ends_s.get(event.recording, -np.inf)
        ends_s[event.recording] = max(event.end_s, ends_s.get(event.recording, -np.inf))
        phone = event.kind == "phone"
        rows.append(
            {
                "recording": event.recording,
                "kind": event.kind,
                "label": event.label,
                "manner": MANNER.get(event.label, "") if phone else "",
                "place": PHONE_PLACE.get(event.label, "") if phone else "",
                "onset_s": event.start_s,
                "duration_s": event.end_s - event.start_s,
                "after_pause": bool(silent_s >= AFTER_PAUSE_S),
            }
        )
    return pd.DataFrame(rows)


def _baseline_in_words(rules: Rules) -> str:
    if rules.mode == "none":
        return "none"
    return f"{rules.mode} of {rules.baseline_s[0]:g} to {rules.baseline_s[1]:g} s"
