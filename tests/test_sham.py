"""A sham: which sound goes to Whisper, in which engine, and what is said of the electrodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from realtime.commands.sham import sham_config, sham_sound, verdict
from realtime.config import Config
from realtime.errors import UserError


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
