"""`corticast sham`: sound that the patient does not hear goes to Whisper; then no electrode may follow."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.io import wavfile

from realtime.block import Block, Spec
from realtime.commands.choose import pick_stream, sound_by_rate
from realtime.commands.console import machine_facts, say, titled, working
from realtime.commands.evaluate import score_rows, score_table
from realtime.commands.options import channel, file_to_write, seconds
from realtime.commands.session import Session, open_session
from realtime.config import Config, SoundTable, load_config
from realtime.delay import delays_in_words
from realtime.engine import EngineSettings
from realtime.errors import UserError
from realtime.pick import channel_number
from realtime.sources.recording import RecordedStream, Recording, load_recording
from realtime.sources.replay import replay

LEAST_S = 60.0
FALSE_SHARE = 0.05  # of electrodes expected to follow by chance, after correction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="the .toml file of the rig; it needs [model] file")
    parser.add_argument("sound", type=Path, help=".wav file, or a recording: what the patient will not hear")
    parser.add_argument(
        "--channel", type=channel, default=0, help="label or number of the sound's channel (default: 0)"
    )
    parser.add_argument("--seconds", type=seconds, default=120.0, help="of sham, 60 or more (default: 120)")
    parser.add_argument("--json", type=file_to_write, metavar="FILE", help="write what was found, and with what")


def run(options: argparse.Namespace) -> int:
    """Exit status 0 where no electrode follows, 1 where one does."""
    config = load_config(options.config)
    if config.model.file is None:
        raise UserError("[model] file is not given: without a model nothing is predicted that could follow")
    if options.seconds < LEAST_S:
        raise UserError(f"--seconds: found {options.seconds:g}, expected {LEAST_S:g} or more, for there to be a null")
    sound = sham_sound(options.sound, options.channel, f"{config.engine.name}-sham-sound", options.seconds)
    say("keep the room as it is, and play nothing of this file: it goes to Whisper alone")
    settings, aligned = listen(sham_config(config, sound.spec), sound, options.seconds)
    if not aligned:
        raise UserError("nothing was predicted: look with corticast check whether the ECoG stream sends")
    rows = score_rows(aligned, settings.electrodes, settings.row_rate_hz)
    Console(markup=False).print(score_table(rows, titled("sham", bool(settings.facts["simulated"]))))
    say(f"reference: {settings.facts['reference']}; {delays_in_words(settings.facts['delays'])}")
    status, words = verdict(rows)
    say(words)
    if options.json:
        content = sham_facts(options, sound, settings, rows)
        options.json.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        say(f"wrote {options.json}")
    return status


def sham_facts(
    options: argparse.Namespace, sound: RecordedStream, settings: EngineSettings, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """As JSON: what stands for the sham afterwards. The sound's sha256 is of the samples sent, float32."""
    status, words = verdict(rows)
    return {
        "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "passed": status == 0,
        "verdict": words,
        "simulated": bool(settings.facts["simulated"]),
        "seconds": options.seconds,
        "sound": {
            "name": options.sound.name,
            "channel": options.channel,
            "rate_hz": sound.spec.rate_hz,
            "sha256": hashlib.sha256(np.asarray(sound.data, np.float32).tobytes()).hexdigest(),
        },
        "model": {"name": settings.facts["model"], "sha256": settings.facts["model_sha256"]},
        "whisper": settings.facts["whisper"],
        "reference": settings.facts["reference"],
        "delays_s": settings.facts["delays"],
        "row_rate_hz": settings.row_rate_hz,
        "electrodes": rows,
        "machine": machine_facts(),
    }


def verdict(rows: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """(exit status, what to say) of scored electrodes: none may follow what was not heard."""
    known = [row for row in rows if row["p_fdr"] is not None]
    follow = [row["name"] for row in known if row["p_fdr"] < FALSE_SHARE]
    if not known:
        return 1, "SHAM: no electrode could be scored; run it for longer, and look with corticast check"
    if follow:
        return 1, (
            f"SHAM: {len(follow)} of {len(known)} electrodes follow a sound that the patient did not hear: "
            f"{', '.join(follow[:8])}. Run it once more: chance alone does this in up to one sham of "
            f"{1 / FALSE_SHARE:.0f}. If they follow again, look for a cable that carries the sound into the amplifier"
        )
    return 0, f"SHAM: none of {len(known)} electrodes follows the sound that the patient did not hear, as it should be"


def sham_config(config: Config, sound: Spec) -> Config:
    """The rig with the sham's sound in the stimulus's place, as an engine of its own, which records nothing."""
    return config.model_copy(
        update={
            "sound": SoundTable(name=sound.name, channel=0),
            "engine": config.engine.model_copy(update={"name": f"{config.engine.name}-sham"}),
            "record": type(config.record)(),
            "watch": type(config.watch)(),
            "states": type(config.states)(),
        }
    )


def sham_sound(path: Path, channel_: str | int, name: str, seconds_: float) -> RecordedStream:
    """One channel of a sound file or recording as a stream, repeated until it is long enough."""
    stream = _wav(path) if path.suffix.lower() == ".wav" else None
    if stream is None:
        stream = pick_stream(load_recording(path), "sound", None, sound_by_rate)
    number, rate_hz = channel_number(stream.spec, channel_), stream.spec.rate_hz
    column = np.nan_to_num(stream.data[:, [number]].astype(np.float32))
    if not len(column):
        raise UserError(f"{str(path)!r} holds no sound: give another file")
    rows = round((seconds_ + 2.0) * rate_hz)
    data = np.tile(column, (-(-rows // len(column)), 1))[:rows]
    return RecordedStream(Spec(name, rate_hz, ("sham",)), data, np.arange(rows) / rate_hz, type="Audio", source_id=name)


def listen(config: Config, sound: RecordedStream, seconds_: float) -> tuple[EngineSettings, list[Block]]:
    """Settings and aligned blocks of an engine that hears the sham, beside the one that may be running."""
    stop, aligned = threading.Event(), list[Block]()
    sending = threading.Thread(
        target=replay, args=(Recording({"sound": sound}),), kwargs={"stop": stop, "wait_s": 600.0}, daemon=True
    )
    sending.start()
    session = _open(config, aligned)
    try:
        session.engine.start()
        with working(f"sham, {seconds_:.0f} s") as progress:
            for second in range(int(seconds_)):
                if session.engine.failed.wait(1.0):
                    break
                progress((second + 1) / seconds_)
    finally:
        session.engine.stop()
        stop.set()
        sending.join(10.0)
    return session.engine.settings, aligned


def _open(config: Config, aligned: list[Block]) -> Session:
    facts = {"sham": True, "warning": "SHAM: the patient does not hear this sound; no electrode may follow it"}
    return open_session(config, facts=facts, on_aligned=aligned.append)


def _wav(path: Path) -> RecordedStream:
    try:
        rate_hz, data = wavfile.read(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)!r} cannot be read as WAV ({error}): give a .wav file, or a recording") from None
    scale = np.float32(np.iinfo(data.dtype).max) if data.dtype.kind in "iu" else np.float32(1.0)
    rows = np.asarray(data, np.float32).reshape(len(data), -1) / scale
    labels = tuple(f"channel {i}" for i in range(rows.shape[1]))
    return RecordedStream(Spec(path.name, float(rate_hz), labels), rows, np.arange(len(rows)) / rate_hz)
