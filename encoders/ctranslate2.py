"""Whisper weights out of a CTranslate2 `model.bin`, under openai's names.

Layout (binary version 6, little endian): u32 version; text "WhisperSpec"; u32 revision; u32 count; per variable: text
name, u8 rank, u32 dims[rank], u8 type, u32 byte length, data; then u32 count of aliases and (alias, target) texts.
A text is a u16 length that counts its closing NUL, and the bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from whisper.model import ModelDimensions

from realtime.errors import UserError

VERSION = 6
SPEC = "WhisperSpec"
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
NUMPY = (np.float32, np.int8, np.int16, np.int32, np.float16, np.int16)  # NumPy has no bfloat16: its bits
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class _Damaged(Exception):
    pass


class _Reader:
    """Takes values off the front of a buffer and never past its end."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self.offset = 0

    def take(self, count: int) -> memoryview:
        left = len(self.content) - self.offset
        if count > left:
            raise _Damaged(f"it ends at byte {len(self.content)}, {count - left} bytes short")
        piece = self.content[self.offset : self.offset + count]
        self.offset += count
        return piece

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def text(self) -> str:
        raw = bytes(self.take(self.number("H")))
        try:
            text = raw.decode("ascii")
        except UnicodeDecodeError as error:
            raise _Damaged(f"a name before byte {self.offset} is not text") from error
        if not text.endswith("\0"):
            raise _Damaged(f"a name before byte {self.offset} has no end")
        return text[:-1]

    def variable(self) -> tuple[str, Tensor]:
        name = self.text()
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind = self.number("B")
        if kind >= len(TYPES):
            raise _Damaged(f"{name} has the unknown type {kind}")
        dtype, found = np.dtype(NUMPY[kind]).newbyteorder("<"), self.number("I")
        expected = math.prod(shape) * dtype.itemsize
        if found != expected:
            raise _Damaged(f"{name} has {found} bytes, expected {expected} for {shape} of {TYPES[kind]}")
        array = np.frombuffer(self.take(found), dtype).astype(NUMPY[kind])  # a copy: aligned, and the file can go
        tensor = torch.from_numpy(array.reshape(shape))
        return name, tensor.view(torch.bfloat16) if TYPES[kind] == "bfloat16" else tensor


def parse_variables(content: bytes) -> dict[str, Tensor]:
    """All variables of a `model.bin` by their CTranslate2 names, aliases included; raises _Damaged."""
    reader = _Reader(content)
    version = reader.number("I")
    if version != VERSION:
        raise _Damaged(f"its version is {version}, expected {VERSION}")
    spec = reader.text()
    if spec != SPEC:
        raise _Damaged(f"it holds a {spec[:40]!r}, expected a {SPEC!r}")
    reader.number("I")  # revision of the spec: the names below are checked instead
    variables: dict[str, Tensor] = {}
    for _ in range(reader.number("I")):
        name, tensor = reader.variable()
        variables[name] = tensor
    for _ in range(reader.number("I")):
        alias, target = reader.text(), reader.text()
        if target not in variables:
            raise _Damaged(f"{alias} stands for {target}, which it lacks")
        variables[alias] = variables[target]
    if reader.offset != len(reader.content):
        raise _Damaged(f"{len(reader.content) - reader.offset} bytes follow its end")
    return variables


def parse_ctranslate2(content: bytes, origin: str) -> tuple[ModelDimensions, dict[str, Tensor]]:
    """Dimensions and openai state dict of a `model.bin`'s content, in the type that it has.

    origin: what to call the file. Raises UserError where it is damaged, quantised or no Whisper.
    """
    try:
        variables = parse_variables(content)
        dims = _dimensions(variables)
        state = dict(_openai_names(variables, dims))
    except _Damaged as error:
        raise UserError(f"{origin} is not a whole CTranslate2 Whisper model.bin: {error}; get it again") from error
    return dims, state


def _get(variables: Mapping[str, Tensor], name: str, rank: int) -> Tensor:
    if name not in variables:
        raise _Damaged(f"it lacks {name}")
    tensor = variables[name]
    if tensor.ndim != rank:
        raise _Damaged(f"{name} has {tensor.ndim} dimensions, expected {rank}")
    if rank and tensor.dtype not in FLOATS:
        raise _Damaged(f"{name} is quantised to {tensor.dtype}, expected a float16 or float32 conversion")
    return tensor


def _dimensions(variables: Mapping[str, Tensor]) -> ModelDimensions:
    _, n_mels, _ = _get(variables, "encoder/conv1/weight", 3).shape
    audio_ctx, audio_state = _get(variables, "encoder/position_encodings/encodings", 2).shape
    text_ctx, text_state = _get(variables, "decoder/position_encodings/encodings", 2).shape
    n_vocab, _ = _get(variables, "decoder/embeddings/weight", 2).shape
    heads = {half: int(_get(variables, f"{half}/num_heads", 0)) for half in ("encoder", "decoder")}
    layers = {
        half: len(
            {name.split("/")[1] for name in variables if name.startswith(f"{half}/layer_") and name.count("/") > 2}
        )
        for half in ("encoder", "decoder")
    }
    audio = (n_mels, audio_ctx, audio_state, heads["encoder"], layers["encoder"])
    return ModelDimensions(*audio, n_vocab, text_ctx, text_state, heads["decoder"], layers["decoder"])


def _openai_names(variables: Mapping[str, Tensor], dims: ModelDimensions) -> Iterator[tuple[str, Tensor]]:
    for conv in ("conv1", "conv2"):
        yield f"encoder.{conv}.weight", _get(variables, f"encoder/{conv}/weight", 3)
        yield f"encoder.{conv}.bias", _get(variables, f"encoder/{conv}/bias", 1)
    yield "decoder.token_embedding.weight", _get(variables, "decoder/embeddings/weight", 2)  # the read-out as well
    for half, last, layers in (("encoder", "ln_post", dims.n_audio_layer), ("decoder", "ln", dims.n_text_layer)):
        yield f"{half}.positional_embedding", _get(variables, f"{half}/position_encodings/encodings", 2)
        yield from _norm(variables, f"{half}/layer_norm", f"{half}.{last}")
        for i in range(layers):
            yield from _layer(variables, f"{half}/layer_{i}", f"{half}.blocks.{i}", crossed=half == "decoder")


def _layer(variables: Mapping[str, Tensor], theirs: str, ours: str, crossed: bool) -> Iterator[tuple[str, Tensor]]:
    attention = f"{theirs}/self_attention"
    yield from _norm(variables, f"{attention}/layer_norm", f"{ours}.attn_ln")
    yield from _linear(variables, f"{attention}/linear_0", f"{ours}.attn", ("query", "key", "value"))
    yield from _linear(variables, f"{attention}/linear_1", f"{ours}.attn", ("out",))
    if crossed:
        attention = f"{theirs}/attention"
        yield from _norm(variables, f"{attention}/layer_norm", f"{ours}.cross_attn_ln")
        yield from _linear(variables, f"{attention}/linear_0", f"{ours}.cross_attn", ("query",))
        yield from _linear(variables, f"{attention}/linear_1", f"{ours}.cross_attn", ("key", "value"))
        yield from _linear(variables, f"{attention}/linear_2", f"{ours}.cross_attn", ("out",))
    yield from _norm(variables, f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
    yield from _linear(variables, f"{theirs}/ffn/linear_0", f"{ours}.mlp", ("0",))
    yield from _linear(variables, f"{theirs}/ffn/linear_1", f"{ours}.mlp", ("2",))


def _norm(variables: Mapping[str, Tensor], theirs: str, ours: str) -> Iterator[tuple[str, Tensor]]:
    yield f"{ours}.weight", _get(variables, f"{theirs}/gamma", 1)
    yield f"{ours}.bias", _get(variables, f"{theirs}/beta", 1)


def _linear(
    variables: Mapping[str, Tensor], theirs: str, ours: str, names: tuple[str, ...]
) -> Iterator[tuple[str, Tensor]]:
    """One stacked projection as `names`, in order along its rows."""
    weight, bias = _get(variables, f"{theirs}/weight", 2), _get(variables, f"{theirs}/bias", 1)
    if len(weight) % len(names) or len(bias) != len(weight):
        raise _Damaged(f"{theirs} has {len(weight)} rows and {len(bias)} biases, expected {len(names)} equal parts")
    for name, rows, offsets in zip(names, weight.chunk(len(names)), bias.chunk(len(names)), strict=True):
        yield f"{ours}.{name}.weight", rows
        if name != "key":  # a key bias moves all scores of a query alike, so softmax drops it; openai has none
            yield f"{ours}.{name}.bias", offsets
