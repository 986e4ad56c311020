"""Mistakes that a user can make, through the command line: exit status 2 and one clear line, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pylsl
import pytest
from safetensors.numpy import save

from encoders.archive import cache_dir
from realtime.audio import Resample
from realtime.block import Block, Spec, concat, regular
from realtime.cli import COMMANDS, main
from realtime.commands import wiring
from realtime.commands.session import open_session
from realtime.config import load_config
from realtime.lane import Lane, Step
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import StreamQuery
from realtime.sources.recording import Recording, save_folder
from tests.rig import ELECTRODES, TABLE, rows_of, small_model, small_recording, speech
from tests.test_live import wait_until

WAIT_S = 5.0  # for streams that are there
Fails = Callable[..., str]


MONTAGE = (*ELECTRODES, "AUX")
SPECS = {
    "sound": Spec("sound", 22050.0, ("room", "stimulus")),
    "ecog": Spec("ecog", 1000.0, MONTAGE),
    "narrow": Spec("narrow", 1000.0, MONTAGE[:4]),
    "renamed": Spec("renamed", 1000.0, ("B1", *MONTAGE[1:])),
    "slow": Spec("slow", 500.0, MONTAGE),
    "telephone": Spec("telephone", 4000.0, ("line",)),
    "amplifier": Spec("amplifier", 16000.0, (*MONTAGE, "MIC")),
    "slow amplifier": Spec("slow amplifier", 1000.0, (*MONTAGE, "MIC")),
}
OTHERS = {
    "text": (pylsl.cf_string, 1000.0),
    "irregular": (pylsl.cf_float32, 0.0),
    "integers": (pylsl.cf_int16, 1000.0),
}


@dataclass
class Rig:
    """Real LSL outlets under names of their own, and a model for `sound` and `ecog`."""

    prefix: str
    model: Path
    recording: Recording
    open: dict[str, Any] = field(default_factory=dict)

    def name(self, kind: str) -> str:
        return f"{self.prefix} {kind}"

    def send(self, kind: str) -> None:
        """Have an outlet of this kind. Only those that are needed: LSL finds no more than 16 on one machine."""
        name = self.name(kind)
        if kind in SPECS and kind not in self.open:
            self.open[kind] = Outlet(replace(SPECS[kind], name=name, unit="microvolts"), "any", name)
        elif kind in OTHERS:
            format_, rate_hz = OTHERS[kind]
            self.open[kind] = pylsl.StreamOutlet(pylsl.StreamInfo(name, "any", 3, rate_hz, format_, name))


@pytest.fixture(scope="module")
def whole_rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    prefix = f"bad-{uuid.uuid4().hex[:8]}"
    recording = small_recording(2.0, prefix)
    model = small_model(tmp_path_factory.mktemp("model"), recording, wiring.embedding_of(TABLE))
    rig = Rig(prefix, model, recording)
    for kind in ("sound", "ecog"):
        rig.send(kind)
    return rig


@pytest.fixture
def rig(whole_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Without the second that a connection waits for a twin: no test here has one."""
    monkeypatch.setattr("realtime.sources.lsl.TWIN_S", 0.05)
    yield whole_rig
    for kind in set(whole_rig.open) - {"sound", "ecog"}:
        del whole_rig.open[kind]


class Still:
    """Stands where a connected LSL inlet would, for what is checked before a row flows."""

    def __init__(self, query: StreamQuery, _wait_s: float):
        kind = str(query.name).split(" ", 1)[1]
        self.spec = replace(SPECS[kind], name=str(query.name))
        self.warnings: list[str] = []

    def connect(self) -> Still:
        return self


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.commands.session.LslInlet", Still)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command that must fail; gives its one line. quiet: nothing else may be on stderr."""

    def run(*words: object, quiet: bool = True) -> str:
        assert main([str(word) for word in words]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("corticast: ")
        assert len([line for line in lines if line.startswith("corticast: ")]) == 1
        assert len(lines) == 1 or not quiet
        assert not any("Traceback" in line or line.startswith("  File") for line in lines)
        return lines[-1]

    return run


@pytest.fixture
def write(tmp_path: Path, rig: Rig) -> Callable[..., Path]:
    """A configuration with streams by kind, and further keys as {"table.key": value}."""

    def to_file(sound: str = "sound", ecog: str = "ecog", keys: dict[str, Any] | None = None) -> Path:
        for kind in (sound, ecog):
            rig.send(kind)
        values = {
            "sound.name": rig.name(sound),
            "ecog.name": rig.name(ecog),
            "whisper.model": "tiny.en",
            "whisper.layer": 2,
            "whisper.delay_ms": 40.0,
            "engine.name": rig.prefix,
            "engine.wait_s": WAIT_S,
            **(keys or {}),
        }
        path = tmp_path / "rig.toml"
        lines = [f"{key} = {json.dumps(value, default=str)}" for key, value in values.items()]
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return to_file


# --- the command line itself -----------------------------------------------------------------------


def test_an_unknown_command_names_the_nearest(fails: Fails) -> None:
    line = fails("strems")
    assert "unknown command 'strems', did you mean 'streams'?" in line
    assert all(command in line for command in COMMANDS)


@pytest.mark.parametrize("command", ["run", "check", "streams"])
@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "soon"])
def test_a_time_that_is_none(command: str, value: str, fails: Fails, tmp_path: Path) -> None:
    config = [] if command == "streams" else [tmp_path / "rig.toml"]
    line = fails(command, *config, f"--seconds={value}")
    assert f"--seconds: found '{value}', expected a number of seconds above 0; see corticast {command} --help" in line


def test_options_that_do_not_exist(fails: Fails) -> None:
    assert "unrecognized arguments: --sconds=3; see corticast streams --help" in fails("streams", "--sconds=3")
    assert "required: config; see corticast run --help" in fails("run")


def test_an_engine_name_that_cannot_be_one(fails: Fails, write: Callable[..., Path]) -> None:
    line = fails("run", write(), "--name", "two words")
    assert "the command line: engine.name: found 'two words', expected letters, digits, _ and - alone" in line
    assert "found ''" in fails("run", write(), "--name", "")


def test_an_existing_recording_is_refused_before_anything_else(
    fails: Fails, write: Callable[..., Path], tmp_path: Path
) -> None:
    there = tmp_path / "there.xdf"
    there.write_bytes(b"precious")
    line = fails("run", write("nowhere"), "--record", there)
    assert "there.xdf' exists already and is not written over: choose another file name" in line
    assert there.read_bytes() == b"precious"


def test_a_process_of_its_own_ends_so_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "realtime.cli", "run", str(tmp_path / "no.toml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("corticast: configuration ")
    assert ended.stderr.count("\n") == 1


# --- the configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sound]\nname = 'a'\n[ecog]\nname = 'b'\n[egine]\n", ("unknown key 'egine', did you mean 'engine'?",)),
        (
            "[sound]\nname = 'a'\nchanel = 1\n[ecog]\nname = 'b'\n",
            ("unknown key 'sound.chanel', did you mean 'channel'?", "known here: channel, name"),
        ),
        ("[sound]\nname = 'a'\n[ecog]\nname = 'b'\nmains_hz = 55\n", ("ecog.mains_hz: found 55, expected 50 or 60",)),
        ("[sound]\nname = 'a'\n[ecog]\nname = 7\n", ("ecog.name: found 7, expected a valid string",)),
        ("[sound]\nname = 'a'\n", ("table [ecog] is missing: add it",)),
        ("[sound\n", ("is not valid TOML", "line 1", "correct it there")),
        ("\xff\xfe", ("is not valid TOML",)),
    ],
)
def test_a_configuration_with_a_mistake(text: str, words: tuple[str, ...], fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(text, encoding="latin-1")
    for command in ("run", "check"):
        line = fails(command, path)
        assert str(path) in line
        assert all(word in line for word in words), line


def test_a_configuration_that_is_not_there(fails: Fails, tmp_path: Path) -> None:
    assert "no.toml cannot be read (No such file or directory): give the path of a .toml" in fails(
        "run", tmp_path / "no.toml"
    )
    assert "cannot be read (Is a directory)" in fails("check", tmp_path)


# --- streams ---------------------------------------------------------------------------------------


def test_a_stream_that_never_appears(rig: Rig, fails: Fails, write: Callable[..., Path]) -> None:
    line = fails("run", write("sund", keys={"engine.wait_s": 0.5}), quiet=False)
    assert f"no LSL stream with name '{rig.name('sund')}' appeared within 0.5 s; found: " in line
    assert f"'{rig.name('sound')}' (type 'any', 2 x float32 at 22050 Hz" in line
    assert "start its program or correct the name" in line


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "has text channels; numbers are needed (int16, int32, float32, float64): choose another stream"),
        ("irregular", "has no regular rate (0 Hz stated); one with a fixed rate is needed"),
    ],
)
def test_a_stream_of_another_kind(kind: str, words: str, rig: Rig, fails: Fails, write: Callable[..., Path]) -> None:
    for config in ({"sound": kind}, {"ecog": kind}):
        line = fails("run", write(**config), quiet=False)
        assert f"stream '{rig.name(kind)}' {words}" in line


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("narrow", "has 4 channels at 1000 Hz"),
        ("renamed", "differ at 1: 'A1' in the model, 'B1' in the stream"),
        ("slow", "runs at 500 Hz"),
        ("integers", "has 3 channels at 1000 Hz"),
    ],
)
def test_a_model_for_other_electrodes(
    kind: str, words: str, rig: Rig, fails: Fails, write: Callable[..., Path]
) -> None:
    line = fails("run", write(ecog=kind, keys={"model.file": rig.model}), quiet=False)
    assert "the model was trained for 7 channels at 1000 Hz, but" in line
    assert words in line
    assert f"'{rig.name(kind)}'" in line
    assert "choose the model of this montage, or fit one" in line


@pytest.mark.parametrize("key", ["exclude", "bad"])
@pytest.mark.usefixtures("still")
def test_electrodes_that_the_stream_has_not(key: str, fails: Fails, write: Callable[..., Path]) -> None:
    line = fails("run", write(keys={f"ecog.{key}": ["AUXX"]}), quiet=False)
    assert "has no channel 'AUXX', did you mean 'AUX'?; it has 7: A1, A2" in line


@pytest.mark.usefixtures("still")
def test_a_sound_channel_that_the_stream_has_not(rig: Rig, fails: Fails, write: Callable[..., Path]) -> None:
    line = fails("run", write(keys={"sound.channel": "stimulis"}), quiet=False)
    assert f"stream '{rig.name('sound')}' has no channel 'stimulis', did you mean 'stimulus'?; it has 2: room" in line
    assert "has no channel 2: it has channels 0 to 1" in fails("run", write(keys={"sound.channel": 2}), quiet=False)


TOO_SLOW = "found, at least 8000 Hz expected, because speech needs 4 kHz of bandwidth"


def test_sound_below_8_khz_is_refused_with_the_reason(rig: Rig, fails: Fails, write: Callable[..., Path]) -> None:
    line = fails("run", write("telephone"), quiet=False)
    assert f"stream '{rig.name('telephone')}': sound at 4000 Hz {TOO_SLOW}" in line
    keys = {"sound.channel": "MIC", "ecog.exclude": ["MIC", "AUX"]}
    line = fails("run", write("slow amplifier", "slow amplifier", keys), quiet=False)
    assert f"stream '{rig.name('slow amplifier')}': sound at 1000 Hz {TOO_SLOW}" in line


# --- weights and models ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("w.pt", "is not a whole openai-whisper .pt file"),
        ("model.bin", "is not a whole CTranslate2 Whisper model.bin: its version is"),
        ("w.safetensors", "is not a whole safetensors file"),
        ("w.txt", "expected .pt, .bin (CTranslate2) or .safetensors"),
    ],
)
@pytest.mark.usefixtures("still")
def test_damaged_weights(name: str, words: str, fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(bytes(range(256)) * 40)
    line = fails("run", write(keys={"whisper.file": file}), quiet=False)
    assert str(file) in line
    assert words in line
    assert len(line) < 400


@pytest.mark.usefixtures("still")
def test_weights_cut_short(fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    (whole,) = cache_dir().glob("whisper-tiny.en-*.safetensors")
    short = tmp_path / "short.safetensors"
    with whole.open("rb") as file:
        short.write_bytes(file.read(3_000_000))
    assert str(short) in fails("run", write(keys={"whisper.file": short}), quiet=False)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"whisper.file": "nowhere.pt"}, "no Whisper weights at"),
        ({"whisper.model": "tiny.em"}, "unknown Whisper model 'tiny.em', did you mean 'tiny.en'?"),
        ({"whisper.layer": 9}, "Whisper layer 9 does not exist: this model has layers 1 to 4"),
        ({"whisper.block_ms": 30.0}, "block of 30 ms and delay of 40 ms must be multiples of 20 ms"),
        ({"ecog.band_hz": [150.0, 70.0]}, "band of 150 to 70 Hz"),
        ({"ecog.band_hz": [70.0, 600.0]}, "between 0 and 500 Hz"),
        ({"ecog.exclude": [*ELECTRODES, "AUX"]}, "exclude leaves no electrode"),
    ],
)
@pytest.mark.usefixtures("still")
def test_settings_that_do_not_fit(keys: dict[str, Any], words: str, fails: Fails, write: Callable[..., Path]) -> None:
    assert words in fails("run", write(keys=keys), quiet=False)


@pytest.mark.parametrize("damage", ["garbage", "empty", "cut", "flipped", "absent", "weights"])
def test_a_damaged_model_file(damage: str, rig: Rig, fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    content = bytearray(rig.model.read_bytes())
    content[-5] ^= 1
    path = tmp_path / "m.safetensors"
    contents = {
        "garbage": b"not a model" * 99,
        "empty": b"",
        "cut": bytes(content[: len(content) // 2]),
        "flipped": bytes(content),
        "weights": save({"weights": np.zeros(3)}),
    }
    if damage in contents:
        path.write_bytes(contents[damage])
    line = fails("run", write("nowhere", "nowhere", {"model.file": path}))
    assert str(path) in line
    assert any(word in line for word in ("damaged", "does not exist", "is not a model"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"whisper.layer": 3}, "[whisper] layer = 3, but the model was fitted with 2: leave the key out"),
        ({"whisper.delay_ms": 0.0}, "[whisper] delay_ms = 0.0, but the model was fitted with 40"),
        ({"ecog.mains_hz": 60}, "[ecog] mains_hz = 60.0, but the model was fitted with 50.0"),
        ({"ecog.bad": ["A2"]}, "[ecog] bad = ('A2',), but the model was fitted with ()"),
    ],
)
@pytest.mark.usefixtures("still")
def test_settings_that_the_model_was_not_fitted_with(
    keys: dict[str, Any], words: str, rig: Rig, fails: Fails, write: Callable[..., Path]
) -> None:
    assert words in fails("run", write(keys={"model.file": rig.model, **keys}), quiet=False)


def test_a_recording_that_has_no_place(rig: Rig, fails: Fails, write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keys = {"record.file": tmp_path / "file" / "x.xdf", "model.file": rig.model}
    assert "of the recording cannot be made (" in fails("run", write(keys=keys), "--no-monitor", quiet=False)


# --- recordings ------------------------------------------------------------------------------------


@pytest.fixture
def folder(rig: Rig, tmp_path: Path) -> Path:
    save_folder(rig.recording, tmp_path / "session")
    return tmp_path / "session"


def test_evaluate_what_cannot_be(rig: Rig, fails: Fails, folder: Path, tmp_path: Path) -> None:
    model = ["--model", rig.model]
    assert "no.xdf' does not exist" in fails("evaluate", tmp_path / "no.xdf", *model, quiet=False)
    assert "no.safetensors does not exist" in fails("evaluate", folder, "--model", tmp_path / "no.safetensors")
    line = fails("evaluate", folder, *model, "--json", tmp_path / "no" / "x.json")
    assert "--json: found" in line
    assert "expected a file name in a folder that exists" in line
    line = fails("evaluate", folder, *model, "--ecog", "egoc", quiet=False)
    assert "the recording has no stream 'egoc', did you mean 'ecog'?; it has: sound, ecog" in line
    line = fails("evaluate", folder, *model, "--channel", "stimulis", quiet=False)
    assert "has no channel 'stimulis', did you mean 'stimulus'?" in line
    line = fails("evaluate", folder, *model, "--channel", "stimulus", quiet=False)
    assert "s to evaluate found, at least" in line
    assert "evaluate a longer recording" in line


def test_replay_of_nothing(fails: Fails, tmp_path: Path) -> None:
    assert "no.xdf' does not exist: give an .xdf file" in fails("replay", tmp_path / "no.xdf")
    (tmp_path / "bad.xdf").write_bytes(b"no XDF at all")
    assert "cannot be read as XDF" in fails("replay", tmp_path / "bad.xdf")


# --- what is unusual and right ---------------------------------------------------------------------


def running(path: Path) -> tuple[Any, dict[str, list[Block]], list[Block]]:
    """A started session, what either lane was given and the sound lane's embeddings."""
    session = open_session(load_config(path))
    given: dict[str, list[Block]] = {"sound": [], "ecog": []}
    embeddings: list[Block] = []
    for lane in (session.engine.sound, session.engine.ecog):

        def tapped(y: Block, step: Step, lane: Lane = lane, publish: Any = lane.publish) -> None:
            publish(y, step)
            embeddings.extend([y] if len(y) and lane.name == "sound" else [])
            given[lane.name].append(step.x)

        lane.publish = tapped
    session.engine.start()
    return session, given, embeddings


def count(blocks: list[Block]) -> int:
    return sum(map(len, list(blocks)))


def test_integer_streams_are_taken(rig: Rig, write: Callable[..., Path]) -> None:
    session, given, _ = running(write(ecog="integers"))
    source = rig.open["integers"]
    assert source.wait_for_consumers(20)
    values = np.arange(600, dtype=np.int16).reshape(200, 3) - 300
    source.push_chunk(values.tolist(), pylsl.local_clock())
    wait_until(lambda: count(given["ecog"]) == 200)
    session.engine.stop()
    np.testing.assert_array_equal(rows_of(given["ecog"])[0], values)
    assert session.engine.samples()["ecog"] == {"received": 200, "lost": 0, "skipped": 0}


def test_the_sound_may_be_a_channel_of_the_amplifier(rig: Rig, write: Callable[..., Path]) -> None:
    keys = {"sound.channel": "MIC", "ecog.exclude": ["MIC", "AUX"]}
    session, given, embeddings = running(write("amplifier", "amplifier", keys))
    assert session.engine.settings.electrodes == ELECTRODES
    source = rig.open["amplifier"]
    words = Resample(22050.0).layer(regular(speech(4.0)[:, None], 22050.0)).data
    brain = np.random.default_rng(0).normal(size=(len(words), 7)).astype(np.float32)
    block = regular(np.concatenate([brain, words], axis=1), 16000.0, pylsl.local_clock())
    at = 0
    while not (given["sound"] and given["ecog"]):  # both listen
        source.push(block.rows(at, at + 160))
        at += 160
        time.sleep(0.01)
    for start in range(at, len(block), 1600):
        source.push(block.rows(start, start + 1600))
    for blocks in given.values():
        wait_until(lambda blocks=blocks: blocks[-1].data[-1].tolist() == block.data[-1].tolist())
    session.engine.stop()
    for name, blocks in given.items():
        found = rows_of(blocks)[0]
        assert session.engine.samples()[name] == {"received": len(found), "lost": 0, "skipped": 0}
        np.testing.assert_array_equal(found, block.data[-len(found) :])
    assert session.engine.ecog.state[0] is None
    picked = session.engine.ecog.chain.stages[0].layer(block).data
    np.testing.assert_array_equal(picked, brain[:, :6])
    expected = session.engine.sound.chain.layer(concat(given["sound"]))
    assert len(expected) > 50
    difference = np.abs(rows_of(embeddings)[0] - expected.data) / expected.data.std(axis=0)
    assert difference.max() < 3e-4
