"""The microphone outlet against a sound card in the test's hands, over real LSL."""

from __future__ import annotations

import builtins
import sys
import threading
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from realtime.cli import main
from realtime.commands.microphone import meter
from realtime.errors import UserError
from realtime.sources import sound
from realtime.sources.lsl import LslInlet, StreamQuery
from realtime.sources.sound import Counts, Microphone, choose, microphones, outlet_for, portaudio, send

RATE_HZ = 16000.0
PATIENCE_S = 20.0


class FakeAudio:
    """Stands where sounddevice would. `gone`: its microphone has been pulled out."""

    def __init__(self) -> None:
        self.gone = False
        self.began_anew = 0
        self.streams: list[FakeStream] = []
        self.opened = threading.Condition()
        self.default = SimpleNamespace(device=[2, 0])

    def query_devices(self) -> list[dict[str, Any]]:
        names = [("Speakers", 0), ("HDA Intel: Analog", 2), ("USB Microphone", 1)]
        return [
            {"name": name, "max_input_channels": channels, "default_samplerate": RATE_HZ}
            for name, channels in names
            if not (self.gone and name.startswith("USB"))
        ]

    def InputStream(self, **wanted: Any) -> FakeStream:
        with self.opened:
            self.streams.append(FakeStream(self, wanted))
            self.opened.notify_all()
        return self.streams[-1]

    def await_stream(self, count: int) -> FakeStream:
        with self.opened:
            assert self.opened.wait_for(lambda: len(self.streams) >= count, PATIENCE_S)
        stream = self.streams[count - 1]
        assert stream.started.wait(PATIENCE_S)
        return stream

    def _terminate(self) -> None:
        self.began_anew += 1

    def _initialize(self) -> None: ...


class FakeStream:
    def __init__(self, audio: FakeAudio, wanted: dict[str, Any]):
        self.wanted, self.samplerate, self._audio = wanted, wanted["samplerate"], audio
        self.started = threading.Event()
        self.closed = False

    def start(self) -> None:
        self.started.set()

    def close(self) -> None:
        self.closed = True

    @property
    def active(self) -> bool:
        return not self._audio.gone

    def give(self, first: int, rows: int, overflow: bool = False) -> None:
        data = (np.arange(first, first + rows, dtype=np.float32) / 65536)[:, None]
        times = SimpleNamespace(currentTime=5.02, inputBufferAdcTime=5.0)
        self.wanted["callback"](data, rows, times, SimpleNamespace(input_overflow=overflow))
        data[:] = -1  # PortAudio uses its buffer again


class Running:
    def __init__(self, audio: FakeAudio, name: str):
        self.counts, self.stop, self.said = Counts(), threading.Event(), list[str]()
        self.told = threading.Condition()
        found = choose(microphones(audio), "usb")
        self.outlet = outlet_for(found, name, RATE_HZ, 1)
        find = lambda: choose(microphones(audio), "usb")  # noqa: E731
        arguments = (audio, find, self.outlet, self.counts, self.stop, self._say)
        self.thread = threading.Thread(target=send, args=arguments, daemon=True)

    def _say(self, line: str) -> None:
        with self.told:
            self.said.append(line)
            self.told.notify_all()

    def until_said(self, words: str) -> None:
        with self.told:
            assert self.told.wait_for(lambda: any(words in line for line in self.said), PATIENCE_S), self.said

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        self.outlet.close()


def pulled(inlet: LslInlet, rows: int) -> tuple[np.ndarray, np.ndarray]:
    data: list[np.ndarray] = []
    stamps: list[np.ndarray] = []
    while sum(map(len, stamps)) < rows:
        part, times = inlet.pull(PATIENCE_S)
        assert len(times), "no more came"
        data.append(part.copy())
        stamps.append(times)
    return np.concatenate(data), np.concatenate(stamps)


def test_sound_goes_out_whole_and_a_device_that_vanishes_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "RETRY_S", 0.05)
    audio, name = FakeAudio(), f"mic-{uuid.uuid4().hex[:8]}"
    with Running(audio, name) as running:
        inlet = LslInlet(StreamQuery(name=name), PATIENCE_S).connect()
        assert inlet.found.source_id == f"{name}-microphone"
        inlet.open()
        assert running.outlet.wait_for_consumers(PATIENCE_S)
        stream = audio.await_stream(1)
        assert stream.wanted["device"] == 2
        for first in range(0, 1600, 160):
            stream.give(first, 160, overflow=first == 800)
        data, stamps = pulled(inlet, 1600)
        np.testing.assert_array_equal(data[:, 0], np.arange(1600, dtype=np.float32) / 65536)
        assert np.all(np.diff(stamps) > 0)
        assert inlet.now() - stamps[0] > 0.02, "the delay that PortAudio states is taken off"
        assert running.counts.overflows == 1

        audio.gone = True
        running.until_said("the microphone has vanished")
        assert stream.closed
        audio.gone = False
        running.until_said("back")
        audio.await_stream(2).give(1600, 160)
        np.testing.assert_array_equal(pulled(inlet, 160)[0][:, 0], np.arange(1600, 1760, dtype=np.float32) / 65536)
        inlet.close()
    assert audio.began_anew >= 1, "or a new device would never be listed"
    assert (running.counts.sent, running.counts.lost_devices) == (1760, 1)
    assert len([line for line in running.said if "vanished" in line]) == 1


def test_a_queue_that_is_full_counts_what_it_drops() -> None:
    counts = Counts()
    audio = FakeAudio()
    capture = sound.Capture(audio, Microphone(2, "m", 1, RATE_HZ), RATE_HZ, 1, counts)
    for block in range(sound.QUEUE + 3):
        audio.streams[0].give(160 * block, 160)
    assert counts.dropped == 480
    assert capture.blocks.qsize() == sound.QUEUE
    capture.blocks.get()
    audio.streams[0].give(160 * (sound.QUEUE + 3), 160)
    flagged = [capture.blocks.get()[2] for _ in range(sound.QUEUE)]
    assert flagged == [False] * (sound.QUEUE - 1) + [True], "the block behind what was dropped says so"


def test_ten_milliseconds_that_the_card_dropped_are_in_the_times_at_once() -> None:
    clock, at = sound._Times(RATE_HZ), 5.0
    for block in range(300):
        dropped = block == 200
        at += 0.01 if dropped else 0.0
        times = clock.of(160, at + 160 * block / RATE_HZ, dropped)
        np.testing.assert_allclose(times[0], at + 160 * block / RATE_HZ, atol=1e-6)


def test_times_follow_the_card_and_not_the_moments_of_its_blocks() -> None:
    """A card 100 ppm fast; blocks up to 3 ms late, once all of a stall at once, once 0.2 s dropped."""
    rng, clock = np.random.default_rng(0), sound._Times(RATE_HZ)
    true = 7.0 + np.arange(3000) * 0.01 * (1 - 1e-4)
    true[2000:] += 0.2
    measured = true + rng.uniform(0, 0.003, len(true))
    measured[1000:1030] = measured[1030]
    times = np.stack([clock.of(160, first_s, block == 2000) for block, first_s in enumerate(measured)])
    error = times[:, 0] - true
    assert np.abs(error[300:]).max() < 0.005
    steps = np.diff(times.ravel())
    assert steps.min() > 0
    assert np.count_nonzero(steps > 0.1) == 1


def test_devices_are_chosen_by_number_name_or_part(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    found = microphones(FakeAudio())
    assert [one.number for one in found] == [2, 1], "the default first; what gives no sound is none"
    assert choose(found, None).number == choose(found, "2").number == choose(found, "usb").number == 2
    assert choose(found, "HDA Intel: Analog").number == 1
    with pytest.raises(UserError, match="no device is called 'nothing'"):
        choose(found, "nothing")
    with pytest.raises(UserError, match="more than one device is called 'a'; there are: 2: USB"):
        choose([*found, Microphone(7, "Analog 2", 1, RATE_HZ)], "a")
    with pytest.raises(UserError, match="connect one and try again"):
        choose([], None)
    monkeypatch.setitem(sys.modules, "sounddevice", FakeAudio())
    assert main(["microphone", "--list"]) == 0
    assert "USB Microphone" in capsys.readouterr().out
    for words, line in (
        (["--channels", "3"], "--channels: found 3, USB Microphone has 1 to 1"),
        (["--rate", "4000"], "--rate: found 4000, expected 8000 to 384000 Hz"),
        (["--device", "x"], "no device is called 'x'"),
    ):
        assert main(["microphone", *words]) == 2
        assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"), [(ImportError, "pip install 'corticast"), (OSError, "apt install libportaudio2")]
)
def test_a_missing_library_is_one_line(error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "sounddevice":
            raise error("not there")
        return real(name, *rest, **named)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        portaudio()


def test_the_meter_is_a_line() -> None:
    counts = Counts()
    assert "no sound yet" in meter(counts)
    counts.sent, counts.level_db, counts.peak = 100, -30.0, 0.5
    assert meter(counts).startswith("[" + "#" * 15 + " " * 15 + "] -30 dBFS | 0 overflows")
    counts.peak, counts.level_db = 1.0, -3.0
    assert "clips: lower the gain" in meter(counts)
