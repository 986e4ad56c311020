"""A trained model in one `.safetensors` file, with a JSON header; no pickle.

The header says what the model was trained on and for. A digest over tensors and header refuses a file that was
cut short or altered.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from encoders.lstm_attention import LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.projection import Projection
from encoders.ridge import LaggedRidge
from realtime.block import Floats, Spec
from realtime.errors import UserError

FORMAT = "corticast-model-1"
METADATA = "corticast"
BrainModel = LaggedRidge | LstmAttentionStage
Tensors = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class ModelHeader:
    """What a model was trained on and for.

    electrodes: names of the predicted channels. rate_hz, channels: names of all channels of the ECoG stream, in
    order, and its rate. row_rate_hz: of predicted and observed rows; a model of more than 50 predicts all rows of a
    frame side by side, (frames, rows of a frame x electrodes). montage, reference: as the ECoG chain was set. delays:
    seconds taken off the stamps of `sound` and `ecog`, None where none was measured. baseline_median, baseline_mad:
    (electrodes,) of the z-score. whisper: name, sha256, layer, mode and streaming settings. training: the fit's report.
    """

    electrodes: tuple[str, ...]
    rate_hz: float
    channels: tuple[str, ...]
    baseline_median: Floats
    baseline_mad: Floats
    horizon_s: float = 0.0
    row_rate_hz: float = 50.0  # of a file that says none
    montage: dict[str, Any] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    whisper: dict[str, Any] = field(default_factory=dict)
    ecog: dict[str, Any] = field(default_factory=dict)
    delays: dict[str, float | None] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    created_by: str = ""

    def require_stream(self, spec: Spec) -> None:
        """Raise UserError, naming both sides, unless the ECoG stream is the one that the model was trained for."""
        start = f"the model was trained for {len(self.channels)} channels at {self.rate_hz:g} Hz"
        remedy = "choose the model of this montage, or fit one on a recording of this stream"
        if len(spec.channels) != len(self.channels):
            found = f"stream {spec.name!r} has {len(spec.channels)} channels at {spec.rate_hz:g} Hz"
            raise UserError(f"{start}, but {found}; {remedy}")
        differing = [
            f"{i + 1}: {ours!r} in the model, {theirs!r} in the stream"
            for i, (ours, theirs) in enumerate(zip(self.channels, spec.channels, strict=True))
            if ours != theirs
        ]
        if differing:
            more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise UserError(
                f"{start}, but the channel names of stream {spec.name!r} differ at {', '.join(differing[:3])}{more}; "
                f"{remedy}"
            )
        if abs(spec.rate_hz - self.rate_hz) > 1e-3 * self.rate_hz:
            raise UserError(f"{start}, but stream {spec.name!r} runs at {spec.rate_hz:g} Hz; {remedy}")


@dataclass(frozen=True)
class ModelFile:
    """A model file's content, before it is a stage again."""

    kind: Literal["ridge", "lstm_attention"]
    tensors: Tensors
    header: ModelHeader
    config: dict[str, Any]


def save_model(path: Path | str, stage: BrainModel, header: ModelHeader) -> None:
    """Write the model aside and rename it into place, so that no half-written file ever carries the name."""
    path = Path(path)
    content = _to_bytes(_pack(stage, header))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def load_model(path: Path | str) -> tuple[BrainModel, ModelHeader]:
    """The stage and header in a file. Raises UserError when it is absent, damaged or of another format."""
    content = read_model(path)
    return _unpack(content), content.header


def read_model(path: Path | str) -> ModelFile:
    """The checked content of a model file. Raises UserError as load_model."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"model file {path} does not exist; give the path of a file that `fit` wrote")
    try:
        with safe_open(str(path), framework="np") as file:
            metadata: dict[str, str] = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            tensors: Tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"model file {path} is damaged or not a model ({error}); copy it again or fit anew") from error
    found = metadata.get("format")
    if found != FORMAT:
        raise UserError(f"{path} is not a model this version reads: found format {found!r}, expected {FORMAT!r}")
    text, stated = metadata.get("header", ""), metadata.get("sha256", "")
    computed = _digest(tensors, text)
    if stated != computed:
        raise UserError(
            f"model file {path} was altered or damaged: its content has sha256 {computed[:12]}, "
            f"expected {stated[:12]}; copy it again or fit anew"
        )
    return _parse(text, tensors)


def model_hash(path: Path | str) -> str:
    """sha256 of the file, hexadecimal. Raises UserError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"model file {path} cannot be read ({error.strerror}); give the path of a model") from error


def _pack(stage: BrainModel, header: ModelHeader) -> ModelFile:
    p = stage.projection
    tensors: Tensors = {"projection.mean": p.mean, "projection.sd": p.sd, "projection.matrix": p.matrix}
    tensors["header.baseline_median"] = np.asarray(header.baseline_median)
    tensors["header.baseline_mad"] = np.asarray(header.baseline_mad)
    if isinstance(stage, LaggedRidge):
        tensors |= {"weights": stage.weights, "intercept": stage.intercept}
        return ModelFile("ridge", tensors, header, {"horizon_s": stage.horizon_s})
    tensors |= {f"model.{name}": t.detach().cpu().numpy() for name, t in stage.model.state_dict().items()}
    return ModelFile("lstm_attention", tensors, header, asdict(stage.model.config))


def _unpack(content: ModelFile) -> BrainModel:
    t = content.tensors
    projection = Projection(t["projection.mean"], t["projection.sd"], t["projection.matrix"])
    if content.kind == "ridge":
        return LaggedRidge(projection, t["weights"], t["intercept"], content.config["horizon_s"])
    model = LstmAttention(LstmAttentionConfig(**content.config))
    prefix = "model."
    model.load_state_dict({n.removeprefix(prefix): torch.from_numpy(a) for n, a in t.items() if n.startswith(prefix)})
    return LstmAttentionStage(model, projection)


def _to_bytes(content: ModelFile) -> bytes:
    plain = {f.name: getattr(content.header, f.name) for f in fields(ModelHeader) if f.name not in _ARRAYS}
    text = json.dumps({"kind": content.kind, "config": content.config, "header": plain}, sort_keys=True, default=_plain)
    tensors = {name: np.ascontiguousarray(array) for name, array in content.tensors.items()}
    parts = {"format": FORMAT, "header": text, "sha256": _digest(tensors, text)}
    # under one name, because safetensors writes several in random order and equal models should be equal files
    return save(tensors, {METADATA: json.dumps(parts)})


_ARRAYS = ("baseline_median", "baseline_mad")


def _parse(text: str, tensors: Tensors) -> ModelFile:
    parts = json.loads(text)
    header = dict(parts["header"])
    for name in _ARRAYS:
        header[name] = tensors[f"header.{name}"]
    for name in ("electrodes", "channels"):
        header[name] = tuple(header[name])
    return ModelFile(parts["kind"], tensors, ModelHeader(**header), parts["config"])


def _plain(value: object) -> object:
    """NumPy values, paths and tuples as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a model header holds JSON values and arrays, found {type(value).__name__}")


def _digest(tensors: Tensors, text: str) -> str:
    """sha256 over header text and, by name, each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
