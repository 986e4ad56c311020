"""A microphone as an LSL stream of its own, so that it is recorded like any source."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from realtime.block import Block, Floats, Spec, Times
from realtime.errors import UserError
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import local_clock

QUEUE = 256  # blocks between the sound card's thread and ours: seconds
BLOCK_S = 0.01
LATEST_S = 1.0
SILENT_S = 2.0  # a device that gives nothing for so long has vanished
RETRY_S = 2.0
DELAY_JUMP_S = 0.05  # the time of a block is smoothed unless it is further than this from where it is due
AWAY_S = 1.0
DROPPED_S = 2e-3  # less than this may be the moment at which a block came
SMOOTHING = 0.01
CLICKS_HZ, CLICKS_S, CLICK_S = 48_000, 60, 0.004
CLICK_GAPS_S = (0.15, 0.6)  # uneven: one delay alone then fits


@dataclass(frozen=True)
class Microphone:
    """An input device. number: by which PortAudio knows it, which changes when devices come and go."""

    number: int
    name: str
    channels: int
    rate_hz: float


@dataclass
class Counts:
    """What became of a microphone's sound. overflows: flags by which PortAudio tells that samples were dropped."""

    sent: int = 0
    overflows: int = 0
    dropped: int = 0  # rows that our own queue could not hold
    lost_devices: int = 0
    level_db: float = -np.inf
    peak: float = 0.0


def portaudio() -> Any:
    """The sounddevice module. Raises UserError where it, or PortAudio, is missing."""
    try:
        import sounddevice
    except ImportError:
        raise UserError("no microphone: sounddevice is not installed; pip install 'corticast[microphone]'") from None
    except OSError:
        raise UserError(
            "no microphone: the PortAudio library was not found; install it (apt install libportaudio2)"
        ) from None
    return sounddevice


def microphones(audio: Any) -> list[Microphone]:
    """All devices that give sound, the default one first."""
    try:
        devices = list(enumerate(audio.query_devices()))
        default = audio.default.device[0]
    except Exception as error:  # PortAudio's own, of many kinds
        raise UserError(f"the sound devices could not be listed ({error}): check the sound system") from None
    found = [
        Microphone(number, str(d["name"]), int(d["max_input_channels"]), float(d["default_samplerate"]))
        for number, d in devices
        if d["max_input_channels"] > 0
    ]
    return sorted(found, key=lambda one: one.number != default)


def choose(found: list[Microphone], wanted: str | None) -> Microphone:
    """By number, by name or by a part of the name that only one has. Raises UserError."""
    names = "; ".join(f"{one.number}: {one.name}" for one in found)
    if not found:
        raise UserError("no microphone: no device that gives sound was found; connect one and try again")
    if wanted is None:
        return found[0]
    exact = [one for one in found if wanted in (str(one.number), one.name)]
    part = exact or [one for one in found if wanted.lower() in one.name.lower()]
    if len(part) != 1:
        how = "no device" if not part else "more than one device"
        raise UserError(f"{how} is called {wanted!r}; there are: {names}; give a number or more of the name")
    return part[0]


def outlet_for(microphone: Microphone, name: str, rate_hz: float, channels: int) -> Outlet:
    labels = tuple(f"mic{i}" for i in range(channels))
    meta = {"device": microphone.name}
    return Outlet(Spec(name, rate_hz, labels, "full scale"), "Audio", f"{name}-microphone", meta=meta)


class Capture:
    """One opened device, until it vanishes. Blocks wait in a queue of fixed size.

    With each comes the time of its first sample: when it came, less the delay that PortAudio states.
    """

    def __init__(self, audio: Any, microphone: Microphone, rate_hz: float, channels: int, counts: Counts):
        self.blocks: queue.Queue[tuple[Floats, float, bool]] = queue.Queue(QUEUE)
        self._counts = counts
        self._missed = False
        self._stream = audio.InputStream(
            device=microphone.number,
            samplerate=rate_hz,
            channels=channels,
            dtype="float32",
            blocksize=round(rate_hz * BLOCK_S),
            callback=self._take,
        )

    def __enter__(self) -> Capture:
        self._stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    @property
    def active(self) -> bool:
        return bool(self._stream.active)

    def _take(self, data: Floats, _frames: int, times: Any, status: Any) -> None:
        """In PortAudio's thread: nothing here may wait."""
        now = local_clock()
        if status.input_overflow:
            self._counts.overflows += 1
        late_s = float(times.currentTime) - float(times.inputBufferAdcTime)
        if not 0 < late_s < LATEST_S:  # some sound systems state none
            late_s = len(data) / float(self._stream.samplerate)
        dropped = self._missed or bool(status.input_overflow)
        try:
            self.blocks.put_nowait((np.array(data, np.float32), now - late_s, dropped))
            self._missed = False
        except queue.Full:
            self._counts.dropped += len(data)
            self._missed = True


class _Times:
    """Regular times of blocks that come irregularly: a line that leans toward what was measured.

    Blocks that waited come late, and then many at once: the line is only begun anew where samples were dropped, or
    where the measured times have stayed away from it for a second.
    """

    def __init__(self, rate_hz: float):
        self._period = 1.0 / rate_hz
        self._next_s: float | None = None
        self._away_s = 0.0

    def of(self, rows: int, first_s: float, dropped: bool) -> Times:
        """Times of a block whose first row was measured at first_s; dropped: samples before it are missing."""
        error_s = 0.0 if self._next_s is None else first_s - self._next_s
        self._away_s = self._away_s + rows * self._period if abs(error_s) > DELAY_JUMP_S else 0.0
        if self._next_s is None or (dropped and error_s > DROPPED_S) or self._away_s > AWAY_S:
            self._next_s, self._away_s = first_s, 0.0
        elif not self._away_s:
            self._next_s += min(max(SMOOTHING * error_s, -self._period / 2), self._period / 2)  # times always increase
        times: Times = np.float64(self._next_s) + np.arange(rows, dtype=np.float64) * self._period
        self._next_s += rows * self._period
        return times


def send(
    audio: Any,
    find: Callable[[], Microphone],
    outlet: Outlet,
    counts: Counts,
    stop: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Send a microphone's sound until `stop`. A device that vanishes is told of, and looked for again.

    find: gives the device, or raises UserError as long as it is not there. The outlet stays: its stream shows a gap.
    """
    gone = False
    while not stop.is_set():
        try:
            microphone = find()
            with Capture(audio, microphone, outlet.spec.rate_hz, len(outlet.spec.channels), counts) as capture:
                if gone:
                    say(f"{microphone.name}: back")
                gone = False
                _pass_on(capture, outlet, counts, stop)
        except Exception as error:  # PortAudio's own, of many kinds
            reason = str(error)
        else:
            reason = "it gave no more sound"
        if stop.is_set():
            return
        if not gone:
            counts.lost_devices += 1
            say(f"the microphone has vanished ({reason}): connect it again; it is looked for every {RETRY_S:g} s")
            gone = True
        stop.wait(RETRY_S)
        _look_again(audio)


def _pass_on(capture: Capture, outlet: Outlet, counts: Counts, stop: threading.Event) -> None:
    """Blocks to the outlet until the device gives no more."""
    times, heard_s = _Times(outlet.spec.rate_hz), time.monotonic()
    while not stop.is_set():
        try:
            data, first_s, dropped = capture.blocks.get(timeout=0.1)
        except queue.Empty:
            if not capture.active or time.monotonic() - heard_s > SILENT_S:
                return
            continue
        heard_s = time.monotonic()
        outlet.push(Block(data, times.of(len(data), first_s, dropped), counts.sent))
        counts.sent += len(data)
        counts.peak = float(np.max(np.abs(data), initial=0.0))
        power = float(np.mean(np.square(data, dtype=np.float64))) if data.size else 0.0
        counts.level_db = 10.0 * float(np.log10(max(power, 1e-12)))


def _look_again(audio: Any) -> None:
    """PortAudio lists devices once, when it begins: a new one shows after it began anew."""
    if hasattr(audio, "_terminate"):
        audio._terminate()
        audio._initialize()


def clicks() -> Floats:
    """(samples,) a minute of short noise bursts at uneven intervals, at CLICKS_HZ."""
    rng = np.random.default_rng(0)
    sound = np.zeros(CLICKS_S * CLICKS_HZ, np.float32)
    length, at = round(CLICK_S * CLICKS_HZ), 0
    while (at := at + round(rng.uniform(*CLICK_GAPS_S) * CLICKS_HZ)) < len(sound) - length:
        sound[at : at + length] = 0.5 * np.hanning(length) * rng.uniform(-1, 1, length)
    return sound


@contextlib.contextmanager
def playing_clicks() -> Iterator[None]:
    """Clicks on the default loudspeaker, over and over. Raises UserError where there is none."""
    audio = portaudio()
    try:
        audio.play(clicks(), CLICKS_HZ, loop=True)
    except Exception as error:  # PortAudio's own, of many kinds
        raise UserError(f"the clicks could not be played ({error}): connect a loudspeaker, or play speech") from None
    try:
        yield
    finally:
        audio.stop()
