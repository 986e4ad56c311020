"""`corticast report --from-sources` needs the session's folder and its very model, wherever it is started."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from encoders.model_file import load_model, model_hash
from realtime.cli import main
from realtime.commands import wiring
from realtime.commands.session_log import SETTINGS, SessionLog
from realtime.config import load_config
from realtime.sources.recording import Recording, save_folder
from tests.rig import TABLE, small_model, small_recording

CONFIG = """
[sound]
name = "again sound"
channel = "stimulus"
[ecog]
name = "again ecog"
exclude = ["AUX"]
[model]
file = "models/model.safetensors"
[engine]
name = "again"
"""


def write_session(folder: Path, recording: Recording, model: Path) -> None:
    """session.json as a run writes it that was started in the folder of its configuration."""
    config = load_config(Path("rig.toml"))
    assert config.model.file is not None
    assert not config.model.file.is_absolute()
    _, header = load_model(model)
    spec = recording.streams["ecog"].spec
    facts = {"model_sha256": model_hash(model), "delays": {}, "horizon_s": header.horizon_s}
    session: Any = SimpleNamespace(
        engine=SimpleNamespace(settings=SimpleNamespace(electrodes=header.electrodes, facts=facts)),
        header=header,
        plan=wiring.plan_for(config, header),
        inlets=[SimpleNamespace(spec=recording.streams[name].spec, found=name) for name in ("sound", "ecog")],
    )
    assert session.inlets[1].spec == spec
    SessionLog(folder).begin(config, session)
    content = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    content["recording"] = "../recording"
    (folder / SETTINGS).write_text(json.dumps(content), encoding="utf-8")


def test_from_any_folder_and_with_no_other_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, elsewhere = tmp_path / "rig", tmp_path / "elsewhere"
    (rig / "models").mkdir(parents=True)
    elsewhere.mkdir()
    recording = small_recording(6.0, "again")
    model = small_model(rig / "models", recording, wiring.embedding_of(TABLE))
    save_folder(recording, rig / "recording")
    (rig / "rig.toml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(rig)
    write_session(rig / "log", recording, model)
    monkeypatch.chdir(elsewhere)
    words = ["report", str(rig / "log"), "--from-sources"]
    assert main([*words, "--json", "again.json"]) == 0, capsys.readouterr().err
    assert json.loads((elsewhere / "again.json").read_text(encoding="utf-8"))["seconds"] > 5.0
    shutil.move(model, elsewhere / "moved.safetensors")
    assert main(words) == 2
    assert "model.safetensors is not there: give --model" in capsys.readouterr().err
    assert main([*words, "--model", "moved.safetensors"]) == 0, capsys.readouterr().err
    small_model(rig / "models", small_recording(6.0, "again"), wiring.embedding_of(TABLE), row_rate_hz=100.0)
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"has sha256 {model_hash(model)[:12]}" in told
    assert f"a model of sha256 {model_hash(elsewhere / 'moved.safetensors')[:12]}" in told
