"""The reader of CTranslate2 files against a writer of its own, and against damage."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.model import ModelDimensions, Whisper

from encoders.ctranslate2 import parse_ctranslate2
from realtime.errors import UserError

SMALL = ModelDimensions(8, 20, 12, 3, 2, 31, 16, 12, 2, 3)


def write_ctranslate2(model: Whisper, dtype: type = np.float16) -> bytes:
    """`model` as CTranslate2 would write it, by the published layout and independent of the reader."""
    tensors = {name: t.detach().numpy() for name, t in model.state_dict().items()}
    out: dict[str, np.ndarray] = {
        "encoder/num_heads": np.array(model.dims.n_audio_head, np.int16),
        "decoder/num_heads": np.array(model.dims.n_text_head, np.int16),
        "decoder/pre_norm": np.array(1, np.int8),
        "decoder/embeddings/weight": tensors["decoder.token_embedding.weight"],
    }
    for name in ("conv1/weight", "conv1/bias", "conv2/weight", "conv2/bias"):
        out[f"encoder/{name}"] = tensors["encoder." + name.replace("/", ".")]
    for half, last in (("encoder", "ln_post"), ("decoder", "ln")):
        out[f"{half}/position_encodings/encodings"] = tensors[f"{half}.positional_embedding"]
        norms = {f"{half}/layer_norm": f"{half}.{last}"}
        blocks = model.encoder.blocks if half == "encoder" else model.decoder.blocks
        for i in range(len(blocks)):
            to, of = f"{half}/layer_{i}", f"{half}.blocks.{i}"
            stacks = {f"{to}/self_attention/linear_0": [f"{of}.attn.{p}" for p in ("query", "key", "value")]}
            stacks[f"{to}/self_attention/linear_1"] = [f"{of}.attn.out"]
            norms |= {f"{to}/self_attention/layer_norm": f"{of}.attn_ln", f"{to}/ffn/layer_norm": f"{of}.mlp_ln"}
            stacks |= {f"{to}/ffn/linear_0": [f"{of}.mlp.0"], f"{to}/ffn/linear_1": [f"{of}.mlp.2"]}
            if half == "decoder":
                norms[f"{to}/attention/layer_norm"] = f"{of}.cross_attn_ln"
                stacks[f"{to}/attention/linear_0"] = [f"{of}.cross_attn.query"]
                stacks[f"{to}/attention/linear_1"] = [f"{of}.cross_attn.key", f"{of}.cross_attn.value"]
                stacks[f"{to}/attention/linear_2"] = [f"{of}.cross_attn.out"]
            for there, parts in stacks.items():
                out[f"{there}/weight"] = np.concatenate([tensors[f"{p}.weight"] for p in parts])
                zeros = np.zeros(len(tensors[f"{parts[0]}.weight"]))
                out[f"{there}/bias"] = np.concatenate([tensors.get(f"{p}.bias", zeros) for p in parts])
        for there, here in norms.items():
            out[f"{there}/gamma"], out[f"{there}/beta"] = tensors[f"{here}.weight"], tensors[f"{here}.bias"]
    return write_variables(out, dtype)


def write_variables(variables: dict[str, np.ndarray], dtype: type) -> bytes:
    file = io.BytesIO()

    def text(value: str) -> None:
        file.write(struct.pack("<H", len(value) + 1) + value.encode() + b"\0")

    file.write(struct.pack("<I", 6))
    text("WhisperSpec")
    file.write(struct.pack("<II", 3, len(variables)))
    for name, values in variables.items():
        array = values.astype(dtype) if values.ndim else values
        text(name)
        file.write(struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape))
        kind = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}[array.dtype.name]
        file.write(struct.pack("<BI", kind, array.nbytes) + array.tobytes())
    file.write(struct.pack("<I", 1))
    text("decoder/projection/weight")
    text("decoder/embeddings/weight")
    return file.getvalue()


def small_model() -> Whisper:
    torch.manual_seed(0)
    model = Whisper(SMALL).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


SMALL_FILE = write_ctranslate2(small_model(), np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_reader_takes_back_what_the_writer_wrote(dtype: type) -> None:
    model = small_model()
    dims, state = parse_ctranslate2(write_ctranslate2(model, dtype), "small")
    assert dims == SMALL
    back = Whisper(dims)
    back.load_state_dict(state)  # strict
    for name, tensor in model.state_dict().items():
        expected = tensor.numpy().astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(back.state_dict()[name].numpy(), expected, name)


def test_a_key_bias_changes_no_attention() -> None:
    """Why it may be dropped: softmax of scores with and without, in plain NumPy."""
    rng = np.random.default_rng(0)
    q, k, b = rng.normal(size=(5, 4)), rng.normal(size=(7, 4)), rng.normal(size=4)

    def softmax(x: np.ndarray) -> np.ndarray:
        e: np.ndarray = np.exp(x)
        return np.asarray(e / e.sum(1, keepdims=True))

    np.testing.assert_allclose(softmax(q @ (k + b).T), softmax(q @ k.T), atol=1e-12)


@given(st.integers(0, len(SMALL_FILE) - 1))
@settings(max_examples=25, deadline=None)
def test_any_truncation_is_refused(length: int) -> None:
    with pytest.raises(UserError, match="whole CTranslate2"):
        parse_ctranslate2(SMALL_FILE[:length], "it")


@given(st.integers(0, len(SMALL_FILE) - 1), st.integers(1, 255))
@settings(max_examples=25, deadline=None)
def test_an_altered_byte_never_escapes_as_another_error(at: int, flip: int) -> None:
    content = bytearray(SMALL_FILE)
    content[at] ^= flip
    try:
        _, state = parse_ctranslate2(bytes(content), "it")
    except UserError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


def test_altered_headers() -> None:
    """The first variables' names, ranks, sizes and types, where damage does most."""
    refused, end = 0, SMALL_FILE.index(b"embeddings/weight") + len("embeddings/weight") + 15
    for at in range(end):
        content = bytearray(SMALL_FILE)
        content[at] ^= 0xFF
        try:
            parse_ctranslate2(bytes(content), "it")
        except UserError:
            refused += 1
    assert refused > end / 2  # not where a number of heads or a name that nobody needs was hit


def test_trailing_bytes_and_quantised_weights_are_refused() -> None:
    with pytest.raises(UserError, match="3 bytes follow its end"):
        parse_ctranslate2(SMALL_FILE + b"abc", "it")
    with pytest.raises(UserError, match=r"quantised to torch\.int8"):
        parse_ctranslate2(write_ctranslate2(small_model(), np.int8), "it")
    lacking = SMALL_FILE.replace(b"encoder/layer_1/ffn/linear_1/bias", b"encoder/layer_1/ffn/linear_1/mias")
    with pytest.raises(UserError, match="lacks encoder/layer_1/ffn/linear_1/bias"):
        parse_ctranslate2(lacking, "it")
