"""A sham: which sound goes to Whisper, in which engine, and what is said of the electrodes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from realtime.block import Block, regular
from realtime.cli import main
from realtime.commands import sham as sham_command
from realtime.commands.sham import sham_config, sham_sound, verdict
from realtime.config import Config
from realtime.engine import EngineSettings
from realtime.errors import UserError
from realtime.sources.recording import RecordedStream


def rows(*p_fdr: float | None) -> list[dict[str, object]]:
    return [{"name": f"G{i}", "r": 0.1, "p_fdr": p} for i, p in enumerate(p_fdr)]


def test_the_verdict() -> None:
    assert verdict(rows(0.3, None, 0.06))[0] == 0
    assert "none of 2 electrodes" in verdict(rows(0.3, None, 0.06))[1]
    status, words = verdict(rows(0.3, 0.01, 0.02))
    assert status == 1
    assert "2 of 3 electrodes follow" in words
    assert "G1, G2" in words
    assert "up to one sham of 20" in words
    assert verdict(rows(None, None))[0] == 1, "nothing scored is no proof of nothing"


def test_one_channel_of_the_file_is_sent_for_long_enough(tmp_path: Path) -> None:
    data = np.stack([np.zeros(800), np.arange(800) * 30], axis=1).astype(np.int16)
    wavfile.write(tmp_path / "s.wav", 16000, data)
    stream = sham_sound(tmp_path / "s.wav", 1, "e-sham-sound", 3.0)
    assert stream.data.shape == (5 * 16000, 1)
    np.testing.assert_allclose(stream.data[:800, 0], data[:, 1] / 32767, atol=1e-6)
    np.testing.assert_array_equal(stream.data[800:1600], stream.data[:800])
    assert (stream.spec.name, stream.spec.rate_hz) == ("e-sham-sound", 16000.0)
    with pytest.raises(UserError, match="has no channel 2"):
        sham_sound(tmp_path / "s.wav", 2, "x", 3.0)
    (tmp_path / "t.wav").write_text("no sound", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as WAV"):
        sham_sound(tmp_path / "t.wav", 0, "x", 3.0)


@pytest.mark.parametrize("follows", [False, True])
def test_what_stands_for_the_sham_afterwards(
    follows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine is left out: rows that follow, or do not, stand where it would give them."""
    rng = np.random.default_rng(3)
    predicted, noise = rng.normal(size=(2, 65 * 50, 2)).astype(np.float32)
    observed = predicted + noise if follows else noise
    facts = {
        "reference": "common average", "delays": {"sound": None, "ecog": 0.004}, "simulated": True, "model": "ridge",
        "model_sha256": "f00d", "whisper": {"name": "tiny.en"},
    }  # fmt: skip
    settings = EngineSettings("e-sham", ("G1", "G2"), (1, 8), facts)
    heard: list[RecordedStream] = []

    def listen(_config: Config, sound: RecordedStream, _seconds: float) -> tuple[EngineSettings, list[Block]]:
        heard.append(sound)
        rows = regular(np.stack([predicted, observed], axis=2), 50.0)
        return settings, [Block(rows.data, rows.times, 0, {"bad": np.zeros(predicted.shape, bool)})]

    monkeypatch.setattr(sham_command, "listen", listen)
    wavfile.write(tmp_path / "other.wav", 16000, rng.normal(0, 0.1, 16000).astype(np.float32))
    (tmp_path / "rig.toml").write_text('[sound]\nname = "s"\n[ecog]\nname = "e"\n[model]\nfile = "m.safetensors"\n')
    words = ["sham", str(tmp_path / "rig.toml"), str(tmp_path / "other.wav"), "--json", str(tmp_path / "sham.json")]
    assert main([*words, "--seconds", "65"]) == int(follows)
    assert "reference: common average; sound: delay not measured; ecog: 4 ms" in capsys.readouterr().err
    found = json.loads((tmp_path / "sham.json").read_text(encoding="utf-8"))
    assert found["passed"] is not follows
    assert ("follow a sound" in found["verdict"]) is follows
    assert found["sound"]["name"] == "other.wav"
    assert found["sound"]["sha256"] == hashlib.sha256(np.asarray(heard[0].data).tobytes()).hexdigest()
    assert found["model"] == {"name": "ridge", "sha256": "f00d"}
    assert found["delays_s"] == {"sound": None, "ecog": 0.004}
    assert [row["name"] for row in found["electrodes"]] == ["G1", "G2"]
    assert (min(row["p_fdr"] for row in found["electrodes"]) < 0.05) is follows
    assert found["reference"] == "common average"
    assert found["machine"]["cores"]


def test_the_sham_is_an_engine_of_its_own_that_records_nothing(tmp_path: Path) -> None:
    content = {"sound": {"name": "mic", "channel": 1, "delay_s": 0.02}, "ecog": {"name": "amp", "bad": ["G3"]}}
    wav = tmp_path / "s.wav"
    wavfile.write(wav, 16000, np.ones(800, np.float32))
    rig = Config.model_validate({**content, "record": {"file": tmp_path / "x.xdf"}, "states": {"stream": "Markers"}})
    sham = sham_config(rig, sham_sound(wav, 0, "corticast-sham-sound", 1.0).spec)
    assert (sham.sound.name, sham.sound.channel, sham.sound.delay_s) == ("corticast-sham-sound", 0, None)
    assert sham.engine.name == "corticast-sham"
    assert sham.ecog == rig.ecog
    assert sham.record.file is None
    assert sham.states.stream is None
