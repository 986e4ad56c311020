"""A distilled student as a file that loads wherever a Whisper does, and the checkpoint of a run that goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from encoders.archive import SEAL, atomic, content_sha256, load_sealed, save_sealed
from encoders.distillation import Distiller, Progress
from encoders.encoder import FRAME_S
from encoders.weights import LoadedWhisper
from realtime.errors import UserError

STUDENT = "corticast student 1"
CHECKPOINT = "corticast distillation checkpoint 1"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def write_student(path: Path, teacher: LoadedWhisper, distiller: Distiller) -> None:
    """The teacher with the best blocks of the run in place of its own, decoder and all.

    A tensor that loses nothing by it is stored in half precision. The metadata says whose student it is, which
    blocks were trained, for which pairs of block and delay, and its held-out scores.

    Raises UserError where it cannot be written.
    """
    state = dict(teacher.model.state_dict())
    state.update({f"encoder.blocks.{name}": tensor for name, tensor in distiller.progress.best.items()})
    best = distiller.progress.best_epoch
    about: dict[str, Any] = {
        "teacher": teacher.name,
        "teacher_sha256": teacher.sha256,
        "start_sha256": distiller.start_sha256,
        "layer": distiller.settings.layer,
        "pairs_ms": _pairs_ms(distiller),
        "history_s": distiller.settings.history * FRAME_S,
        "epoch": best,
        "held_out_score": distiller.progress.scores[best],
        "held_out_score_untrained": distiller.progress.scores[0],
        "speech_sha256": distiller.speech.sha256,
        "settings": asdict(distiller.settings),
    }
    metadata = {"format": STUDENT, "dims": json.dumps(asdict(teacher.model.dims)), "student": json.dumps(about)}
    tensors = {name: _smallest(tensor).contiguous() for name, tensor in state.items()}
    try:
        with atomic(path) as part:
            part.write_bytes(_sorted_header(save(tensors, {**metadata, SEAL: content_sha256(tensors, metadata)})))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): make room there, or name another --out") from error


def _sorted_header(content: bytes) -> bytes:
    """A safetensors file whose metadata stand in order, so that the same student has the same hash: the library's own
    order is another each time."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def read_about(path: Path) -> dict[str, Any] | None:
    """What a student's file says about it; None for any other file of weights. Raises UserError where it is damaged."""
    _, metadata = load_sealed(path, must_be_sealed=False)
    if metadata.get("format") != STUDENT:
        return None
    about: dict[str, Any] = json.loads(metadata["student"])
    return about


def save_checkpoint(path: Path, teacher: LoadedWhisper, distiller: Distiller) -> None:
    """All that a run needs to go on as if it had never stopped. A whole file replaces the last one, or nothing does."""
    progress = distiller.progress
    tensors = {f"block.{name}": tensor for name, tensor in distiller.blocks.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best.items()}
    for number, moments in distiller.optimiser.state_dict()["state"].items():
        tensors |= {f"moment.{number}.{name}": moments[name] for name in MOMENTS}
    metadata = {"format": CHECKPOINT, "run": _run(teacher, distiller), "window": str(progress.window)}
    save_sealed(path, tensors, metadata | {"scores": json.dumps(progress.scores)})


def load_checkpoint(path: Path, teacher: LoadedWhisper, distiller: Distiller) -> None:
    """Put a run where the checkpoint left it. Raises UserError for a damaged file and for one of another run."""
    tensors, metadata = load_sealed(path)
    if metadata.get("format") != CHECKPOINT:
        raise UserError(f"{path} is no checkpoint of a distillation: remove it or name another --out")
    found, expected = json.loads(metadata["run"]), json.loads(_run(teacher, distiller))
    for key, value in expected.items():
        if found.get(key) != value:
            raise UserError(
                f"{path} belongs to a run with {key} = {found.get(key)}, here it is {value}: "
                "resume with what the run began with, or remove the checkpoint"
            )
    distiller.blocks.load_state_dict(_under(tensors, "block."))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(tensors, "moment.").items():
        number, moment = name.split(".")
        moments.setdefault(int(number), {})[moment] = tensor
    groups = distiller.optimiser.state_dict()["param_groups"]
    distiller.optimiser.load_state_dict({"state": moments, "param_groups": groups})
    best = _under(tensors, "best.")
    distiller.progress = Progress(int(metadata["window"]), json.loads(metadata["scores"]), best)


def _run(teacher: LoadedWhisper, distiller: Distiller) -> str:
    """What two stretches of one run have in common, as JSON."""
    sources = {"teacher": teacher.sha256, "start": distiller.start_sha256, "speech": distiller.speech.sha256}
    return json.dumps({**asdict(distiller.settings), **sources}, sort_keys=True)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _smallest(tensor: Tensor) -> Tensor:
    half = tensor.to(torch.float16)
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


def _pairs_ms(distiller: Distiller) -> list[list[int]]:
    return [[round(1000 * FRAME_S) * frames for frames in pair] for pair in distiller.settings.pairs]
