"""Both modes of the causal Whisper: number types, buffers of fixed shape, silence, and what is not a number."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import whisper.model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import encoders.append
import encoders.linear
from encoders.graph import StaticCall
from encoders.linear import laid_out, linear
from encoders.weights import untrained_whisper
from encoders.whisper import (
    CausalWhisper,
    Encoder,
    StreamingSettings,
    WindowWhisper,
    pick_device,
    streaming_encoder,
    whisper_stages,
)
from realtime.block import Block, concat, regular
from realtime.commands import wiring
from realtime.config import WhisperTable
from realtime.errors import UserError
from realtime.stage import Chain, Stage
from tests.contract import verify_contract
from tests.oracles import whisper as oracle
from tests.test_mel import RATE, babble
from tests.tiny_whisper import TOLERANCE_SD, in_sd, stem_block, tiny_whisper

BFLOAT16_SD = 0.06  # largest difference from float32; bfloat16 has 8 bits, so one rounding is 0.4 %
BFLOAT16_RMS_SD = 0.012
MODES: list[Any] = [
    lambda encoder: CausalWhisper(encoder, 5, 35, 3),
    lambda encoder: WindowWhisper(encoder, 5, 35, 3),
]


@pytest.fixture(scope="module", name="small")
def _small() -> whisper.model.Whisper:
    return tiny_whisper()


@pytest.fixture(params=MODES, ids=["cached", "window"])
def mode(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("make", MODES, ids=["cached", "window"])
@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(0, 160), max_size=6))
def test_bfloat16_keeps_the_contract(small: whisper.model.Whisper, make: Any, cuts: list[int]) -> None:
    stage: Stage[Any] = make(Encoder(small, 2, dtype=torch.bfloat16))
    verify_contract(stage, stem_block(160), cuts, tolerance=BFLOAT16_SD, tolerance_in_sd=True)


def test_bfloat16_is_near_the_float64_oracle(small: whisper.model.Whisper, mode: Any) -> None:
    x = stem_block(160)
    found = mode(Encoder(small, 3, dtype=torch.bfloat16)).layer(x).data
    encode = oracle.encode if mode is MODES[0] else oracle.encode_windows
    expected = encode(small, x.data.astype(np.float64), 3, 5, 35, 3)
    assert in_sd(found, expected) < BFLOAT16_SD
    rms = np.sqrt(np.mean(((found - expected) / expected.std(axis=0)) ** 2))
    assert 1e-5 < rms < BFLOAT16_RMS_SD, "smaller would be float32 under another name"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [0, 1, 5, 300])
def test_a_packed_weight_multiplies_as_the_plain_one(dtype: torch.dtype, rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, bias, x = (torch.randn(shape, generator=generator) for shape in ((40, 24), (40,), (3, rows, 24)))
    found = linear(x.to(dtype), laid_out(weight.to(dtype)), bias.to(dtype))
    expected = F.linear(x.to(dtype).double(), weight.to(dtype).double(), bias.to(dtype).double())
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=1e-4 if dtype == torch.float32 else 0.1, rtol=0.01)


def test_where_torch_cannot_pack_the_plain_product_serves(
    small: whisper.model.Whisper, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = stem_block(60)
    packed = mode(Encoder(small, 2)).layer(x)
    monkeypatch.setattr(encoders.linear, "_packed", lambda _weight: None)
    plain = mode(Encoder(small, 2)).layer(x)
    assert in_sd(plain.data, packed.data) < TOLERANCE_SD


def test_where_torch_has_no_script_python_gives_the_same_rows(
    small: whisper.model.Whisper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    x = stem_block(160)
    scripted = CausalWhisper(Encoder(small, 2), 5, 35, 3, silence=20)
    monkeypatch.delattr(torch.jit, "script")
    encoders.append.compiled.cache_clear()
    plain = CausalWhisper(Encoder(small, 2), 5, 35, 3, silence=20)
    encoders.append.compiled.cache_clear()
    assert isinstance(scripted._append_blocks, torch.jit.ScriptFunction)
    assert plain._append_blocks is encoders.append.append_blocks
    assert in_sd(plain.layer(x).data, scripted.layer(x).data) < TOLERANCE_SD
    assert len(caplog.records) == 1


@settings(max_examples=6, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 160), max_size=6),
    block=st.sampled_from([1, 5]),
    tail=st.sampled_from([0, 4]),
    history=st.sampled_from([7, 35]),
)
def test_buffers_of_fixed_shape_keep_the_contract(
    small: whisper.model.Whisper, cuts: list[int], block: int, tail: int, history: int
) -> None:
    """The path that CUDA captures, with the captured graph replaced by calling what it captures."""
    stage = CausalWhisper(Encoder(small, 2), block, history, tail, graph=True)
    x = stem_block(160)
    verify_contract(stage, x, cuts, tolerance=TOLERANCE_SD, tolerance_in_sd=True)
    expected = oracle.encode(small, x.data.astype(np.float64), 2, block, stage.history, tail)
    one, two, found = stage.initial_state(), stage.initial_state(), []
    for start in range(0, len(x), block):  # block by block, beside another stream
        result, one = stage.step(x.rows(start, start + block), one)
        _, two = stage.step(stem_block(160, seed=1).rows(start, start + block), two)
        found.append(result)
    assert in_sd(concat(found).data, expected) < TOLERANCE_SD


@pytest.mark.parametrize("tail", [0, 10])
def test_buffers_of_fixed_shape_serve_across_swaps(small: whisper.model.Whisper, tail: int) -> None:
    x = stem_block(3300)
    usual, fixed = (CausalWhisper(Encoder(small, 2), 20, 200, tail, graph=graph) for graph in (False, True))
    state, results = fixed.initial_state(), []
    for start in range(0, len(x), 20):
        result, state = fixed.step(x.rows(start, start + 20), state)
        results.append(result)
    assert in_sd(concat(results).data, usual.layer(x).data) < TOLERANCE_SD


def test_single_blocks_go_through_the_buffers_of_fixed_shape(small: whisper.model.Whisper) -> None:
    stage = CausalWhisper(Encoder(small, 1), 5, 35, graph=True)
    calls = 0

    class Counting:
        buffers = stage._static.buffers if stage._static else ()

        def __call__(self) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return stage._one_block(*self.buffers)

    stage._static = Counting()  # type: ignore[assignment]
    state = stage.initial_state()
    for start in range(0, 50, 5):
        _, state = stage.step(stem_block(50).rows(start, start + 5), state)
    assert calls == 10


def test_a_graph_that_cannot_be_captured_says_so_once_and_serves(caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is CUDA: the graph is captured")
    with caplog.at_level(logging.WARNING):
        call = StaticCall(lambda x, y: x + y, (torch.ones(2), torch.ones(2)))
    assert not call.captured
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "graph not captured" in caplog.text
    call.buffers[0].fill_(3)
    torch.testing.assert_close(call(), torch.full((2,), 4.0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_cuda_equals_the_oracle(small: whisper.model.Whisper, dtype: torch.dtype) -> None:
    stage = CausalWhisper(Encoder(small, 2, "cuda", dtype), 5, 35, 3)
    assert stage._static is not None
    assert stage._static.captured
    x = stem_block(160)
    state, results = stage.initial_state(), []
    for start in range(0, len(x), 5):
        result, state = stage.step(x.rows(start, start + 5), state)
        results.append(result)
    expected = oracle.encode(small, x.data.astype(np.float64), 2, 5, 35, 3)
    assert in_sd(concat(results).data, expected) < (TOLERANCE_SD if dtype == torch.float32 else BFLOAT16_SD)


def test_a_frame_that_is_not_a_number_does_not_spread(small: whisper.model.Whisper, mode: Any) -> None:
    x = stem_block(120)
    data = x.data.copy()
    data[30, 4], data[31] = np.nan, np.inf
    zeros = x.data.copy()
    zeros[30:32] = 0
    found = mode(Encoder(small, 2)).layer(Block(data, x.times))
    assert np.isfinite(found.data).all()
    np.testing.assert_array_equal(np.flatnonzero(found.extra["bad"]), [30, 31])
    np.testing.assert_array_equal(found.data, mode(Encoder(small, 2)).layer(Block(zeros, x.times)).data)


@pytest.mark.parametrize("name", ["cached", "window"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_silence_gives_finite_rows_and_is_forgotten(small: whisper.model.Whisper, name: str, dtype: str) -> None:
    chosen = StreamingSettings(2, 100, 1.0, 40, name, dtype)
    chain = whisper_stages(streaming_encoder(small, chosen), chosen)
    silent = np.zeros(2 * RATE, np.float32)
    speech = babble(1.0)
    found = chain.layer(regular(np.concatenate([silent, speech, silent])[:, None], RATE))
    assert np.isfinite(found.data).all()
    assert found.data[110:140].std(axis=0).max() > 1e-3, "speech leaves no trace"
    constant = chain.layer(regular(np.full((RATE, 1), 0.5, np.float32), RATE))
    assert np.isfinite(constant.data).all()


def test_settings_name_type_and_device(small: whisper.model.Whisper) -> None:
    assert StreamingSettings(layer=2, block_ms=100.0).dtype == "float32"  # a model file of before
    assert streaming_encoder(small, StreamingSettings(2, dtype="bfloat16")).dtype == torch.bfloat16
    with pytest.raises(UserError, match="float16' needs a CUDA device"):
        streaming_encoder(small, StreamingSettings(2, dtype="float16"))
    with pytest.raises(UserError, match="expected float32, bfloat16, float16"):
        streaming_encoder(small, StreamingSettings(2, dtype="int8"))
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("graph", [True, False])
def test_a_configuration_says_whether_a_graph_is_captured(graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool | None] = []

    def noted(encoder: Encoder, settings: StreamingSettings, graph: bool | None) -> Chain:
        asked.append(graph)
        return whisper_stages(encoder, settings, graph=graph)

    monkeypatch.setattr(wiring, "whisper_stages", noted)
    monkeypatch.setattr(wiring, "load_whisper", lambda *_: untrained_whisper("tiny.en", 0))
    table = WhisperTable(model="tiny.en", layer=1, history_s=1, graph=graph, device="cpu")
    found = wiring.embedding_of(table)
    header = SimpleNamespace(whisper=found.facts)
    wiring.embedding_for(header, table)  # type: ignore[arg-type]
    assert asked == 2 * [None if graph else False]
    assert "graph" not in found.facts, "no model file fixes it"


def test_a_missing_cuda_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        pick_device("cuda")


def test_a_model_fixes_the_type_and_leaves_the_device_free() -> None:
    fitted = StreamingSettings(3)
    wiring._check_table(WhisperTable(device="cpu"), "base", fitted)
    with pytest.raises(UserError, match="dtype = 'bfloat16', but the model was fitted with 'float32'"):
        wiring._check_table(WhisperTable(dtype="bfloat16"), "base", fitted)
