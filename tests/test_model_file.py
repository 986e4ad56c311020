"""Model files: a round trip predicts identically, damage and wrong streams are refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.lstm_attention import LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.model_file import BrainModel, ModelHeader, load_model, model_hash, save_model
from encoders.projection import fit_projection
from encoders.ridge import LaggedRidge
from realtime.block import Floats, Spec, regular
from realtime.errors import UserError

NAMES = tuple(f"G{i + 1}" for i in range(6))
HEADER = ModelHeader(
    electrodes=NAMES[:3],
    rate_hz=1000.0,
    channels=NAMES,
    baseline_median=np.array([0.1, -2.0, 1 / 3]),
    baseline_mad=np.array([1.0, 0.5, 2.0], np.float32),
    horizon_s=0.1,
    montage={"groups": {"G": [1, 2, 3]}, "bad": []},
    reference={"mode": "common average"},
    whisper={"name": "base", "sha256": "ab" * 32, "layer": 3, "mode": "cached", "streaming": {"block_s": 0.1}},
    training={"r": np.array([0.1, 0.2, 0.3]), "seconds": np.float64(3.5), "note": "µV ≤ 3"},
    created_by="corticast 0.1.0",
)


def embeddings(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, 8)).astype(np.float32)


def stages() -> dict[str, BrainModel]:
    rng = np.random.default_rng(1)
    projection = fit_projection(embeddings(100), 5)
    torch.manual_seed(0)
    model = LstmAttention(LstmAttentionConfig(5, 3, 6, heads=2, head_width=3, attention_s=0.1, skip_lags=4))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    model.set_skip(rng.standard_normal((4, 5, 3)).astype(np.float32), np.ones(3, np.float32))
    ridge = LaggedRidge(projection, rng.standard_normal((6, 5, 3)), rng.standard_normal(3), 0.1)
    return {"ridge": ridge, "lstm_attention": LstmAttentionStage(model, projection)}


@pytest.fixture(params=["ridge", "lstm_attention"])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, BrainModel]:
    stage = stages()[request.param]
    save_model(tmp_path / "deep" / "a.safetensors", stage, HEADER)
    return tmp_path / "deep" / "a.safetensors", stage


def test_round_trip_predicts_identically(saved: tuple[Path, BrainModel]) -> None:
    path, stage = saved
    loaded, header = load_model(path)
    x = regular(embeddings(50, 3), 50.0)
    expected, found = stage.layer(x), loaded.layer(x)
    assert type(loaded) is type(stage)
    assert loaded.lag_s == stage.lag_s
    assert np.array_equal(found.data, expected.data)
    assert np.array_equal(found.extra["attention"], expected.extra["attention"])
    for f in fields(ModelHeader):
        wanted = getattr(HEADER, f.name)
        if isinstance(wanted, np.ndarray):
            assert np.array_equal(getattr(header, f.name), wanted)
        elif f.name != "training":
            assert getattr(header, f.name) == wanted
    assert header.training == {"r": [0.1, 0.2, 0.3], "seconds": 3.5, "note": "µV ≤ 3"}
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_a_file_of_before_has_fifty_rows_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [f for f in fields(ModelHeader) if f.name != "row_rate_hz"]
    with monkeypatch.context() as before:
        before.setattr("encoders.model_file.fields", lambda _kind: known)
        save_model(tmp_path / "old.safetensors", stages()["ridge"], HEADER)
    assert b"row_rate_hz" not in (tmp_path / "old.safetensors").read_bytes()
    assert load_model(tmp_path / "old.safetensors")[1].row_rate_hz == 50.0
    save_model(tmp_path / "new.safetensors", stages()["ridge"], replace(HEADER, row_rate_hz=200.0))
    assert load_model(tmp_path / "new.safetensors")[1].row_rate_hz == 200.0


def test_any_altered_byte_or_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, stages()["ridge"], HEADER)
    content = path.read_bytes()

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(content) - 1), st.integers(1, 255), st.booleans())
    def check(at: int, change: int, cut: bool) -> None:
        altered = content[:at] if cut else content[:at] + bytes([content[at] ^ change]) + content[at + 1 :]
        path.write_bytes(altered)
        with pytest.raises(UserError, match=r"a\.safetensors"):
            load_model(path)

    check()


def test_a_changed_tensor_or_header_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, stages()["ridge"], HEADER)
    content = path.read_bytes()
    for altered in (content[:-1] + bytes([content[-1] ^ 1]), content.replace(b"common average", b"common overage")):
        path.write_bytes(altered)
        with pytest.raises(UserError, match="altered or damaged"):
            load_model(path)


def test_absent_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        model_hash(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("not a model")
    with pytest.raises(UserError, match="not a model"):
        load_model(tmp_path / "text")
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="found format None"):
        load_model(tmp_path / "other.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(path, stages()["ridge"], HEADER)
    before = model_hash(path)
    with pytest.raises(TypeError):
        save_model(path, stages()["ridge"], replace(HEADER, training={"x": object()}))
    assert model_hash(path) == before
    assert len(list(tmp_path.iterdir())) == 1


def test_hash_is_the_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(tmp_path / name, stages()["ridge"], HEADER)
    save_model(tmp_path / "c", stages()["ridge"], replace(HEADER, horizon_s=0.2))
    hashes = [model_hash(tmp_path / name) for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_stream_it_was_trained_for_is_accepted() -> None:
    same = Spec("ecog", 1000.0, NAMES, "uV")
    HEADER.require_stream(same)
    with pytest.raises(UserError):
        HEADER.require_stream(replace(same, channels=NAMES[::-1]))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec("amp", 1000.0, NAMES[:4]), r"6 channels at 1000 Hz, but stream 'amp' has 4 channels"),
        (Spec("amp", 2000.0, NAMES), r"at 1000 Hz, but stream 'amp' runs at 2000 Hz"),
        (
            Spec("amp", 1000.0, ("G1", "G3", "G2", "G4", "G5", "G6")),
            r"'amp' differ at 2: 'G2' in the model, 'G3' in the stream, 3: 'G3' in the model, 'G2' in the stream",
        ),
    ],
)
def test_another_stream_is_refused_with_both_sides_named(spec: Spec, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        HEADER.require_stream(spec)
    assert "\n" not in str(error.value)
