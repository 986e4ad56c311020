"""`corticast sync` through real LSL streams with stamps 37 ms apart, with and without a shared sound, and by clicks."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import firwin

from realtime.block import Block, Spec
from realtime.cli import main
from realtime.sinks.lsl import Outlet
from realtime.sources.sound import CLICKS_HZ
from tests.test_sync import AUX_HZ, SOUND_HZ, heard

Values = npt.NDArray[np.float64]
SECONDS, PIECE_S, PATIENCE_S = 30, 0.1, 60.0
FASTER, LISTEN_S = 5, "9"  # 30 s of stamps are sent in 6 s
DELAY_S = 0.037


def auxiliary(sound: Values, rate_hz: float) -> Values:
    """What an amplifier of AUX_HZ has of a sound on its auxiliary channel, with noise."""
    slow = np.convolve(sound, firwin(161, 450, fs=rate_hz), "same")
    aux = 900 * np.interp(np.arange(int(len(sound) / rate_hz * AUX_HZ)) / AUX_HZ, np.arange(len(sound)) / rate_hz, slow)
    return np.asarray(aux + 0.1 * aux.std() * np.random.default_rng(1).normal(size=len(aux)), np.float64)


@contextmanager
def sending(
    folder: Path, sound_of: Callable[[], tuple[Values, float]], shared: bool, sound_hz: float = SOUND_HZ
) -> Iterator[Path]:
    """A configuration whose streams are sent once both are listened to; the sound is stamped DELAY_S later."""
    name = f"sync{uuid.uuid4().hex[:8]}"
    sound = Outlet(Spec(f"{name} sound", sound_hz, ("left",)), "Audio", f"{name}-sound")
    ecog = Outlet(Spec(f"{name} ecog", AUX_HZ, ("G1", "AUX1")), "ECoG", f"{name}-ecog")
    config = folder / f"{name}.toml"
    config.write_text(
        f'[sound]\nname = "{name} sound"\n[ecog]\nname = "{name} ecog"\n[engine]\nwait_s = 60\n', encoding="utf-8"
    )

    def send() -> None:
        assert sound.wait_for_consumers(PATIENCE_S)
        assert ecog.wait_for_consumers(PATIENCE_S)
        words, rate_hz = sound_of()
        rng = np.random.default_rng(2)
        aux = auxiliary(words if shared else words[::-1], rate_hz)
        rows = np.stack([rng.normal(size=len(aux)), aux], axis=1)
        for k in range(round(SECONDS / PIECE_S)):
            threading.Event().wait(PIECE_S / FASTER)  # or buffers overflow, and rows are lost
            for outlet, data, hz, late_s in ((sound, words[:, None], sound_hz, DELAY_S), (ecog, rows, AUX_HZ, 0.0)):
                part = np.arange(round(k * PIECE_S * hz), round((k + 1) * PIECE_S * hz))
                outlet.push(Block(data[part].astype(np.float32), 1000.0 + late_s + part / hz, int(part[0])))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield config
    sender.join(PATIENCE_S)
    for outlet in (sound, ecog):
        outlet.close()


def test_37_ms_between_two_streams_within_2_ms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sending(tmp_path, lambda: (heard(SECONDS), SOUND_HZ), shared=True) as config:
        words = ["sync", str(config), "--aux", "AUX1", "--seconds", LISTEN_S, "--json", str(tmp_path / "sync.json")]
        assert main(words) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "sync.json").read_text(encoding="utf-8"))
    assert report["offset_s"] == pytest.approx(DELAY_S, abs=0.002)
    assert report["drift_ppm"] is None, "30 s say nothing of clocks"
    assert "[sound]\ndelay_s = 0.037" in capsys.readouterr().out


@pytest.mark.long
def test_streams_that_share_nothing_give_no_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sending(tmp_path, lambda: (heard(SECONDS), SOUND_HZ), shared=False) as config:
        assert main(["sync", str(config), "--aux", "AUX1", "--seconds", LISTEN_S]) == 2
    told = capsys.readouterr()
    assert "cannot be measured: no shared signal" in told.err
    assert "delay_s" not in told.out


class FakeLoudspeaker:
    """Stands where sounddevice would, with a cable from the loudspeaker to microphone and amplifier."""

    def __init__(self) -> None:
        self.playing = threading.Event()
        self.played: Values = np.zeros(0)
        self.stopped = False

    def play(self, data: Any, rate_hz: float, loop: bool) -> None:
        assert (rate_hz, loop) == (CLICKS_HZ, True)
        self.played = np.asarray(data, np.float64)
        self.playing.set()

    def stop(self) -> None:
        self.stopped = True

    def what_is_heard(self) -> tuple[Values, float]:
        assert self.playing.wait(PATIENCE_S)
        return self.played[: SECONDS * CLICKS_HZ], float(CLICKS_HZ)


@pytest.mark.long
def test_clicks_that_are_played_are_measured_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loudspeaker = FakeLoudspeaker()
    monkeypatch.setitem(sys.modules, "sounddevice", loudspeaker)
    with sending(tmp_path, loudspeaker.what_is_heard, shared=True, sound_hz=float(CLICKS_HZ)) as config:
        words = ["sync", str(config), "--aux", "AUX1", "--clicks", "--seconds", LISTEN_S]
        assert main([*words, "--json", str(tmp_path / "sync.json")]) == 0, capsys.readouterr().err
    assert loudspeaker.stopped
    assert json.loads((tmp_path / "sync.json").read_text())["offset_s"] == pytest.approx(DELAY_S, abs=0.002)
