"""Small HuBERT, wav2vec 2.0 and WavLM of random weights, against windows cut out and encoded one by one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from encoders.speech_models import SpeechModelWindow, load_speech_model
from realtime.block import regular
from realtime.errors import UserError
from tests.contract import verify_contract
from tests.test_mel import RATE, babble

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "hubert": (HubertModel, HubertConfig, {}),
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config, {}),
    "wav2vec2 large": (Wav2Vec2Model, Wav2Vec2Config, {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}),
    "wavlm": (WavLMModel, WavLMConfig, {}),
}


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    make, config, more = KINDS[request.param]
    torch.manual_seed(2)
    return make(config(**SMALL, **more)).eval()


def output_of_block(model: Any, layer: int, sound: np.ndarray) -> np.ndarray:
    outputs: list[torch.Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    hook = model.encoder.layers[layer - 1].register_forward_hook(keep)
    with torch.no_grad():
        model(torch.tensor(sound[None], dtype=torch.float32))
    hook.remove()
    return outputs[0].numpy().reshape(-1, SMALL["hidden_size"])


def window_by_window(model: Any, sound: np.ndarray, layer: int, block: int, window: int, tail: int) -> np.ndarray:
    """Nothing carried on: each block's sound cut out of the whole, through the whole model."""
    rows, total, done = [], 1 + (len(sound) - 400) // 320, 0
    while done + block + tail <= total:
        stop = done + block + tail
        piece = sound[max(0, stop - window) * 320 : (stop - 1) * 320 + 400].astype(np.float64)
        piece = (piece - np.mean(piece)) / np.sqrt(np.var(piece) + 1e-7)
        hidden = output_of_block(model, layer, piece)
        rows.append(hidden[len(hidden) - tail - block :][:block])
        done += block
    return np.concatenate(rows)


@pytest.mark.parametrize(("layer", "block", "window", "tail"), [(1, 5, 20, 3), (2, 4, 500, 0), (3, 10, 12, 1)])
def test_equals_windows_one_by_one(model: Any, layer: int, block: int, window: int, tail: int) -> None:
    sound = babble(1.3)
    found = SpeechModelWindow(model, layer, block, window, tail).layer(regular(sound[:, None], RATE, 3.0))
    expected = window_by_window(model, sound, layer, block, window, tail)
    assert found.data.shape == expected.shape
    np.testing.assert_allclose(found.data, expected, atol=2e-4 * expected.std())
    np.testing.assert_allclose(found.times, 3.0 + (320 * np.arange(len(found)) + 200) / RATE, atol=1e-9)


@settings(max_examples=2, deadline=None)
@given(cuts=st.lists(st.integers(0, RATE), max_size=5))
def test_keeps_the_contract(model: Any, cuts: list[int]) -> None:
    stage = SpeechModelWindow(model, 2, 5, 15, 2)
    verify_contract(stage, regular(babble(1.0)[:, None], RATE), cuts, tolerance=3e-4, tolerance_in_sd=True)


def test_silence_and_what_is_not_a_number(model: Any) -> None:
    sound = np.zeros((RATE, 1), np.float32)
    sound[5000] = np.nan
    found = SpeechModelWindow(model, 2, 5, 15).layer(regular(sound, RATE))
    assert np.isfinite(found.data).all()
    np.testing.assert_array_equal(np.flatnonzero(found.extra["bad"]), [15])  # samples 4800 to 5199


def test_after_a_gap_blocks_lie_where_they_did(model: Any) -> None:
    """And once the windows hold nothing from before the gap, its rows are those of an unbroken stream."""
    stage = SpeechModelWindow(model, 2, 5, 15)
    x = regular(babble(1.0)[:, None], RATE)
    whole = stage.layer(x)
    before, state = stage.step(x.rows(0, 3000), stage.initial_state())
    after, _ = stage.step(x.rows(3333, len(x)), state)
    assert (before.end, after.index, after.end) == (5, 15, whole.end)
    alone = stage.layer(regular(x.data[15 * 320 :], RATE))
    np.testing.assert_array_equal(after.data, alone.data)
    np.testing.assert_allclose(after.data[10:], whole.data[25:], atol=1e-5)
    np.testing.assert_allclose(after.times, whole.times[15:], atol=1e-9)


def test_a_saved_model_is_loaded_from_its_folder(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = load_speech_model(tmp_path)
    assert type(loaded) is type(model)
    x = regular(babble(0.5)[:, None], RATE)
    found, expected = (SpeechModelWindow(m, 2, 5, 15).layer(x).data for m in (loaded, model))
    np.testing.assert_array_equal(found, expected)


def test_mistakes_are_told(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="layers 1 to 3"):
        SpeechModelWindow(model, 4)
    with pytest.raises(UserError, match="do not fit"):
        SpeechModelWindow(model, 1, 5, 6, 2)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_speech_model(tmp_path / "missing")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="speech-models"):
        load_speech_model(tmp_path)
