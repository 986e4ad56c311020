"""Mistakes that a user can make, through the command line: exit status 2 and one clear line, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.cli import COMMANDS
from tests.mistakes import Fails, Rig, fails, rig, still, whole_rig, write

__all__ = ["fails", "rig", "still", "whole_rig", "write"]  # fixtures

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
            ("unknown key 'sound.chanel', did you mean 'channel'?", "known here: channel, delay_s, name"),
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
    assert "has no channel 'AUXX', did you mean" in line


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
