"""Past the limit: how long until latency is normal again, and a configuration that keeps away from it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from benchmarks.latency_case import Case, write_files
from benchmarks.latency_overload import BLOCKS_MS, trial
from benchmarks.latency_stall import normal_again
from benchmarks.processes import TooSlow
from encoders.model_file import load_model
from encoders.weights import file_sha256, untrained_whisper
from realtime.cli import main
from realtime.config import load_config
from realtime.errors import UserError

RIG = """# our rig
[sound]
name = "Microphone"
[ecog]
name = "Amplifier"
[whisper]
model = "tiny.en"  # small
layer = 2
"""


@pytest.mark.parametrize("needed", [0, 3, len(BLOCKS_MS) - 1, len(BLOCKS_MS)])
def test_tune_writes_the_smallest_block_that_keeps_up(
    needed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """On a machine that keeps up from the block of number `needed` on."""
    tried: list[Case] = []

    def keeps_up(case: Case) -> bool:
        tried.append(case)
        return BLOCKS_MS.index(case.block_ms) >= needed

    monkeypatch.setattr("realtime.commands.tune.trial", lambda *_: keeps_up)
    source, out = tmp_path / "rig.toml", tmp_path / "tuned.toml"
    source.write_text(RIG)
    status = main(["tune", str(source), "--out", str(out), "--channels", "64", "--rate", "1000"])
    assert {(c.model, c.layer, c.channels, c.rate_hz) for c in tried} == {("tiny.en", 2, 64, 1000.0)}
    if needed == len(BLOCKS_MS):
        assert status == 2
        assert "at any block" in capsys.readouterr().err.splitlines()[-1]
        assert not out.exists()
        return
    assert status == 0
    assert load_config(out).whisper.block_ms == BLOCKS_MS[needed]
    assert "# our rig" in out.read_text(), "comments are kept"
    assert "# small" in out.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rig.toml", "tuned.toml"]


@pytest.mark.parametrize(("error", "raised"), [(TooSlow, None), (UserError, "the source died")])
def test_only_a_machine_that_is_too_slow_does_not_keep_up(
    error: type[UserError], raised: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_case(*_: Any) -> None:
        raise error("the source died" if raised else "the client was not measured within 45 s")

    monkeypatch.setattr("benchmarks.latency_overload.run_case", run_case)
    keeps_up = trial(True, None, False, [])
    if raised is None:
        assert not keeps_up(Case())
        return
    with pytest.raises(UserError, match=raised):
        keeps_up(Case())


@pytest.mark.parametrize(
    ("device", "there", "measured"), [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu")]
)
def test_tune_measures_on_the_device_that_the_engine_takes(
    device: str, there: bool, measured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Case] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setattr("realtime.commands.tune.require_possible", lambda *_, **__: None)
    monkeypatch.setattr("realtime.commands.tune.trial", lambda *_: lambda case: tried.append(case) or True)  # type: ignore[func-returns-value]
    source = tmp_path / "rig.toml"
    source.write_text(f'{RIG}device = "{device}"\n')
    assert main(["tune", str(source), "--out", str(tmp_path / "tuned.toml")]) == 0
    assert {case.device for case in tried} == {measured}


def test_tune_measures_the_whisper_that_the_rig_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A student's file, its dtype and its silence, as far as the model that the benchmark's engine loads."""
    student = tmp_path / "student.safetensors"
    other = untrained_whisper("tiny.en", 3).model
    state = {name: tensor.half() for name, tensor in other.state_dict().items()}
    save_file(state, student, {"dims": json.dumps(asdict(other.dims))})
    tried: list[Case] = []
    monkeypatch.setattr("realtime.commands.tune.trial", lambda *_: lambda case: tried.append(case) or True)  # type: ignore[func-returns-value]
    source = tmp_path / "rig.toml"
    source.write_text(f'{RIG}file = "student.safetensors"\ndtype = "bfloat16"\nsilence_ms = 500\n')
    assert main(["tune", str(source), "--out", str(tmp_path / "tuned.toml")]) == 0
    write_files(tmp_path, tried[0], random_weights=False)
    measured = load_config(tmp_path / "rig.toml").whisper
    assert measured.file == student
    header = load_model(tmp_path / "model.safetensors")[1].whisper
    assert (header["sha256"], header["dtype"], header["silence_ms"]) == (file_sha256(student), "bfloat16", 500.0)
    assert load_config(tmp_path / "tuned.toml").whisper.file == student


def test_tune_writes_no_rig_that_means_other_files(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "elsewhere").mkdir()
    source, out = tmp_path / "rig.toml", tmp_path / "elsewhere" / "tuned.toml"
    source.write_text(f'{RIG}file = "student.safetensors"\n')
    assert main(["tune", str(source), "--out", str(out)]) == 2
    assert "relative to its folder" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("words", [("--channels", "0"), ("--channels", "5000"), ("--rate", "-1"), ("--rate", "nan")])
def test_tune_measures_no_stream_that_cannot_be(words: tuple[str, ...], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "rig.toml").write_text(RIG)
    assert main(["tune", str(tmp_path / "rig.toml"), "--out", str(tmp_path / "tuned.toml"), *words]) == 2
    assert f"{words[0]}: found {words[1]!r}, expected a" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("what", "message"), [("model", "fixes block_ms"), ("there", "exists already")])
def test_tune_refuses_before_it_measures(what: str, message: str, tmp_path: Path, capsys: Any) -> None:
    source, out = tmp_path / "rig.toml", tmp_path / "tuned.toml"
    source.write_text(RIG + ('[model]\nfile = "m.safetensors"\n' if what == "model" else ""))
    if what == "there":
        out.write_text("precious")
    assert main(["tune", str(source), "--out", str(out)]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists() or out.read_text() == "precious"


def test_a_stall_is_over_when_latency_has_been_normal_for_a_second() -> None:
    arrived = np.arange(0.0, 10.0, 0.1)
    latency = np.full(100, 5.0)
    latency[20] = 7.0  # the largest before
    held = (arrived >= 4.0) & (arrived < 6.0)
    latency[(arrived >= 6.0) & (arrived < 6.55)] = 900.0
    latency[70] = 12.0  # once more, less than a second later
    arrived, latency = arrived[~held], latency[~held]
    assert normal_again(arrived, latency, 4.0, 5.95) == pytest.approx(7.1)
    latency[latency == 12.0] = 10.0  # twice the median before
    assert normal_again(arrived, latency, 4.0, 5.95) == pytest.approx(6.6)
    latency[-34::5] = 11.0  # twice a second to the end
    with pytest.raises(UserError, match="did not return"):
        normal_again(arrived, latency, 4.0, 6.65)
