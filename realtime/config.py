"""What a configuration file may say, checked. See configs/live.toml for every key with its meaning."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from realtime.errors import UserError, nearest
from realtime.states import State


class Table(BaseModel):
    """A table of the file: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StreamTable(Table):
    """Which LSL stream: what is given must match exactly."""

    name: str | None = None
    type: str | None = None
    source_id: str | None = None

    @model_validator(mode="after")
    def _named(self) -> StreamTable:
        if not (self.name or self.type or self.source_id):
            raise ValueError("found no name, type or source_id, expected at least one: say which LSL stream it is")
        return self


Channel = str | Annotated[int, Field(strict=True, ge=0)]
DelayS = Annotated[float, Field(ge=-1, le=1)]


class SoundTable(StreamTable):
    """channel: label or number, from 0, of the stream's channel that carries what the patient hears.

    delay_s: from the sound in the room to its stamp, taken off the stamps; None: not measured.
    """

    channel: Channel = 0
    delay_s: DelayS | None = None


class EcogTable(StreamTable):
    """montage: montage.csv or BIDS electrodes.tsv. exclude: labels of channels that are no electrodes.

    bad: electrodes left out of the reference, beside those that the montage calls bad. delay_s: from an electrode to
    its stamp, taken off the stamps; None: not measured. keep_contaminated: electrodes that record the sound itself
    count in claims. artefact_sd: see `Artefacts`.
    """

    montage: Path | None = None
    reference: Literal["common average", "bipolar", "none"] = "common average"
    delay_s: DelayS | None = None
    exclude: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    mains_hz: Literal[50, 60] = 50
    band_hz: tuple[float, float] = (70.0, 150.0)
    artefact_sd: float = Field(10.0, ge=5, le=1000)
    keep_contaminated: bool = False


class WhisperTable(Table):
    """Which Whisper, which layer, and how it is made causal. A model file knows; without one these count.

    device, graph: where and how it is computed, which no model file fixes. graph: on CUDA, single blocks as one
    captured graph; false: each kernel by itself.
    """

    model: str = "base"
    file: Path | None = None
    layer: int = Field(3, ge=1)
    mode: Literal["cached", "window"] = "cached"
    block_ms: float = Field(40.0, gt=0)
    delay_ms: float = Field(60.0, ge=0)
    history_s: float = Field(10.0, gt=0)
    silence_ms: float = Field(2000.0, ge=0)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    graph: bool = True


class ModelTable(Table):
    """file: what `corticast fit` or the demo wrote. Without it nothing is predicted.

    adapt: its read-out learns from what is observed from the start; a running engine can be told to, too.
    """

    file: Path | None = None
    adapt: bool = False

    @model_validator(mode="after")
    def _something_to_adapt(self) -> ModelTable:
        if self.adapt and self.file is None:
            raise ValueError("found adapt = true and no file, expected a model to adapt: give its file")
        return self


class EngineTable(Table):
    """wait_s: for the streams to appear. threads: torch's own; more than one only helps when cores are idle.

    cores: numbers of those that the engine may run on; none: all. realtime: ask for real-time priority.
    accept_commands: of monitors, anywhere on the network.
    """

    name: str = Field("corticast", pattern=r"^[\w-]+$")
    wait_s: float = Field(10.0, gt=0)
    ring_s: float = Field(30.0, ge=1)
    max_backlog_s: float = Field(5.0, ge=0.2)
    score_window_s: float = Field(60.0, ge=30)
    threads: int = Field(1, ge=1)
    cores: tuple[Annotated[int, Field(strict=True, ge=0)], ...] = ()
    realtime: bool = True
    accept_commands: bool = False

    @model_validator(mode="after")
    def _ring_holds_backlog(self) -> EngineTable:
        if self.max_backlog_s >= self.ring_s:
            raise ValueError(
                f"found max_backlog_s = {self.max_backlog_s:g}, expected less than ring_s = {self.ring_s:g}: "
                "shorten the one or lengthen the other"
            )
        return self


class RecordTable(Table):
    """file: XDF to record all sources and results into. sound: false keeps the sound stream out of it."""

    file: Path | None = None
    sound: bool = True


class WatchTable(Table):
    """stream: a second sound, such as a microphone in the room: its level is shown and it is recorded, and no more."""

    stream: str | None = None
    channel: Channel = 0


class StatesTable(Table):
    """stream: of markers, text or numbers, that say what the patient does. map: which marker means which state.

    start: the state before the first marker. guard_s: so long after a change rows count for no state.
    """

    stream: str | None = None
    map: dict[str, State] = Field(default_factory=dict)
    start: State = "listening"
    guard_s: float = Field(0.5, ge=0)


class SessionTable(Table):
    """folder: in which every run makes a folder of its own, for what is needed to repeat or defend its figures."""

    folder: Path = Path("sessions")
    log: bool = True


class Config(Table):
    """A whole configuration file."""

    sound: SoundTable
    ecog: EcogTable
    whisper: WhisperTable = WhisperTable()
    model: ModelTable = ModelTable()
    engine: EngineTable = EngineTable()
    record: RecordTable = RecordTable()
    watch: WatchTable = WatchTable()
    states: StatesTable = StatesTable()
    session: SessionTable = SessionTable()


def load_config(path: Path) -> Config:
    """Read and check a TOML file; file names in it are relative to it. Raises UserError with one line."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"configuration {path} cannot be read ({error.strerror}): give the path of a .toml file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        raise UserError(f"configuration {path} is not valid TOML: {reason}; correct it there") from None
    return placed_in(path.parent, checked(content, f"configuration {path}"))


def placed_in(folder: Path, config: Config) -> Config:
    """What a configuration means in a file of this folder: its file names are relative to it."""
    return _placed(config, lambda file: folder / file.expanduser())


def resolved(config: Config) -> Config:
    """The same with absolute file names: they mean the same wherever it is read again."""
    return _placed(config, Path.resolve)


def checked(content: dict[str, Any], origin: str) -> Config:
    """The configuration in a table of tables; UserError in one line that begins with `origin`."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{origin}: {_first_mistake(error)}") from None


def _placed(config: Config, place: Callable[[Path], Path]) -> Config:
    """With each file name as `place` gives it."""

    def placed(table: Table) -> Table:
        paths = {key: value for key in type(table).model_fields if isinstance(value := getattr(table, key), Path)}
        return table.model_copy(update={key: place(path) for key, path in paths.items()})

    return config.model_copy(update={name: placed(getattr(config, name)) for name in type(config).model_fields})


def _first_mistake(error: ValidationError) -> str:
    """One mistake of perhaps many; a misspelt key first, because what it should be called is missing then too."""
    errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    first = errors[0]
    where = _place(first["loc"])
    key = ".".join(where) or "the file"
    if first["type"] == "extra_forbidden":
        known = _known_keys(where[:-1])
        return f"unknown key {key!r}{nearest(where[-1], known)}; known here: {', '.join(known)}"
    if first["type"] == "missing" and len(where) == 1:
        return f"table [{key}] is missing: add it, as configs/live.toml does"
    if first["type"] == "value_error":
        return f"[{key}]: {first['msg'].removeprefix('Value error, ')}"
    expected = " or ".join(dict.fromkeys(_expected(e) for e in errors if _place(e["loc"]) == where))
    return f"{key}: found {first['input']!r}, expected {expected}; correct it there"


def _place(loc: tuple[int | str, ...]) -> list[str]:
    """Tables, key and place in a list; without the member of a union, which pydantic names last."""
    where: list[str] = []
    for part in loc:
        if len(where) == 2 and not isinstance(part, int):
            break
        where.append(str(part))
    return where


def _expected(error: Any) -> str:
    if error["type"] in ("model_type", "model_attributes_type"):
        return "a table"
    if error["type"] == "missing":
        return "one value more"
    if error["type"] == "string_pattern_mismatch":
        return "letters, digits, _ and - alone"
    found: str = error["msg"].removeprefix("Input should be ").replace("a valid tuple", "a list")
    return found


def _known_keys(tables: list[str]) -> list[str]:
    table: type[BaseModel] = Config
    for name in tables:
        annotation = table.model_fields[name].annotation
        assert isinstance(annotation, type)
        table = annotation
    return sorted(table.model_fields)
