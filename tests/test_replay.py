"""Replay: speed, start, loop and stamps; and --fast, which gives every format the numbers of its arrays."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.block import Block, Spec
from realtime.cli import main
from realtime.commands import choose, wiring
from realtime.commands.console import console
from realtime.errors import UserError
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import LslInlet, StreamQuery, local_clock
from realtime.sources.player import SEAM_S, Player, Timeline
from realtime.sources.recording import RecordedStream, Recording, load_recording, save_folder
from realtime.sources.replay import replay
from tests.rig import ECOG_HZ, SOUND_HZ, TABLE, small_model, small_recording
from tests.written import write_bids, write_nwb, write_wav

RATE_HZ = 100.0


class Kept(Outlet):
    """Keeps what it is given."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.blocks: list[Block] = []

    def push(self, block: Block) -> None:
        self.blocks.append(block)


def counting(rows: int, start_s: float = 50.0, gap_s: float = 0.0, name: str = "ecog") -> RecordedStream:
    """A counter, with a gap in its middle."""
    stamps = start_s + np.arange(rows) / RATE_HZ
    stamps[rows // 2 :] += gap_s
    return RecordedStream(Spec(name, RATE_HZ, ("n",)), np.arange(rows, dtype=np.float32)[:, None], stamps)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 700),
    gap_s=st.floats(0, 3),
    start_s=st.floats(0, 0.5),
    ticks=st.lists(st.floats(0.01, 2.0), min_size=1, max_size=5),
    rounds=st.integers(1, 3),
)
def test_every_row_once_in_order_and_never_early(
    rows: int, gap_s: float, start_s: float, ticks: list[float], rounds: int
) -> None:
    stream = counting(rows + 60, gap_s=gap_s)
    timeline = Timeline.of([stream], start_s)
    kept = Kept(stream.spec)
    with ThreadPoolExecutor(1) as reader:
        player = Player(kept, stream, timeline, reader, loop=rounds > 1)
        player.shift_s = 1000.0
        at_s, count, seen = timeline.first_s, 0, 0
        while not player.finished and player.round < rounds:
            player.send_due(at_s)
            assert all(block.times[-1] <= at_s + 1000.0 + 1e-9 for block in kept.blocks[seen:]), "sent early"
            seen = len(kept.blocks)
            at_s += ticks[count % len(ticks)]
            count += 1
    numbers = np.concatenate([block.data[:, 0] for block in kept.blocks])
    times = np.concatenate([block.times for block in kept.blocks])
    first = int(np.flatnonzero(stream.stamps >= 50.0 + start_s)[0])
    one = np.arange(first, rows + 60)
    np.testing.assert_array_equal(numbers[: rounds * len(one)], np.tile(one, rounds))
    whole = [stream.stamps[first:] + 1000.0 + n * timeline.round_s for n in range(rounds)]
    np.testing.assert_allclose(times[: rounds * len(one)], np.concatenate(whole), rtol=0, atol=1e-9)
    assert timeline.seams_s["ecog"] == pytest.approx(SEAM_S)


def test_the_seam_of_each_stream_is_what_it_lacks() -> None:
    long, short = counting(300), counting(100, start_s=50.5, name="short")
    timeline = Timeline.of([long, short])
    assert timeline.round_s == pytest.approx(3.0 + SEAM_S)
    assert timeline.seams_s == pytest.approx({"ecog": SEAM_S, "short": 3.0 + SEAM_S - 1.0})
    with pytest.raises(UserError, match="start earlier"):
        Timeline.of([long, short], 2.0)


def tagged(stream: RecordedStream) -> RecordedStream:
    return replace(stream, spec=replace(stream.spec, name=f"{stream.spec.name}-{uuid.uuid4().hex[:8]}"))


class Sending:
    """A replay in a thread, and an inlet on its first stream."""

    def __init__(self, recording: Recording, **options: object) -> None:
        self.reports: list[dict[str, object]] = []
        self.shares: list[float] = []
        self.looped = threading.Event()
        self.stop = threading.Event()
        self.began_s = local_clock()
        self.stream = next(iter(recording.streams.values()))
        keys = {"start_delay_s": 0.1, "linger_s": 60.0, "chunk_ms": 5.0, **options}
        self.thread = threading.Thread(
            target=replay,
            args=(recording,),
            kwargs={**keys, "report": self.told, "progress": self.shares.append, "stop": self.stop},
        )
        self.thread.start()
        self.inlet = LslInlet(StreamQuery(name=self.stream.spec.name), 20).connect()
        self.inlet.open()

    def told(self, line: dict[str, object]) -> None:
        self.reports.append(line)

    def rows(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        while sum(len(raw) for _, raw in parts) < count:
            data, raw = self.inlet.pull(30)
            assert len(raw), "the stream ended early"
            parts.append((data.copy(), raw.copy()))
        self.stop.set()
        self.thread.join(30)
        return np.concatenate([d for d, _ in parts]), np.concatenate([r for _, r in parts])


def test_faster_than_real_time_keeps_spacing_and_gap() -> None:
    stream = tagged(counting(4000, gap_s=2.5))
    sending = Sending(Recording({"ecog": stream}), speed=60.0)
    data, raw = sending.rows(4000)
    np.testing.assert_array_equal(data, stream.data)
    np.testing.assert_allclose(raw - raw[0], stream.stamps - stream.stamps[0], rtol=0, atol=1e-6)
    started = next(line for line in sending.reports if line["state"] == "started")
    assert raw[0] == pytest.approx(started["start_s"], abs=1e-6), "as live: stamps are those of now"
    assert local_clock() - sending.began_s < 40.0, "sent no faster than it was recorded"
    assert sending.shares == sorted(sending.shares)


def test_original_stamps_start_and_loop() -> None:
    stream = tagged(counting(400, start_s=50.0))
    sending = Sending(Recording({"ecog": stream}), speed=20.0, as_live=False, start_s=1.0, loop=True)
    data, raw = sending.rows(700)
    np.testing.assert_array_equal(data[:700, 0], np.resize(np.arange(100, 400), 700))
    np.testing.assert_allclose(raw[:300], stream.stamps[100:], rtol=0, atol=1e-6)
    assert raw[300] - raw[299] == pytest.approx(SEAM_S + 1 / RATE_HZ, abs=1e-6)
    looped = [line for line in sending.reports if line["state"] == "looped"]
    assert looped[0] == {"state": "looped", "round": 2, "gap_s": {stream.spec.name: SEAM_S}}


def test_a_file_that_vanishes_is_told() -> None:
    def gone(_first: int, _stop: int) -> np.ndarray:
        raise OSError("stale file handle")

    from realtime.sources.samples import OnDisk

    stream = tagged(counting(100))
    with pytest.raises(UserError, match="could not be read on"):
        replay(Recording({"ecog": replace(stream, data=OnDisk(gone, (100, 1)))}), wait_s=0, linger_s=0)


# --- --fast: every format, and real LSL ----------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays() -> Recording:
    """Sound in one channel, ECoG without its NaN spell: what every format can hold."""
    recording = small_recording(8.0, "formats")
    sound, ecog = recording.streams["sound"], recording.streams["ecog"]
    sound = replace(sound, spec=Spec("sound", SOUND_HZ, ("sound_0",)), data=np.ascontiguousarray(sound.data[:, 1:]))
    return Recording(
        {"sound": sound, "ecog": replace(ecog, spec=replace(ecog.spec, name="ecog"), data=np.nan_to_num(ecog.data))}
    )


@pytest.fixture(scope="module")
def written(arrays: Recording, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same numbers as a folder, a BIDS-iEEG set and an NWB file; and a model."""
    folder = tmp_path_factory.mktemp("written")
    save_folder(arrays, folder / "arrays")
    sound, ecog = arrays.streams["sound"], arrays.streams["ecog"]
    channels, data = ecog.spec.channels, np.asarray(ecog.data)
    write_wav(folder / "bids" / "stimuli" / "speech.wav", SOUND_HZ, np.asarray(sound.data)[:, 0])
    write_bids(folder / "bids", data, ECOG_HZ, channels, [(0.0, "speech.wav")])
    write_nwb(folder / "a.nwb", data, ECOG_HZ, channels, (SOUND_HZ, np.asarray(sound.data)[:, 0]))
    model = small_model(folder, arrays, wiring.embedding_of(TABLE))
    return {"arrays": folder / "arrays", "bids": folder / "bids", "nwb": folder / "a.nwb", "model": model}


def fast(path: Path, model: Path, out: Path, *options: str) -> dict[str, np.ndarray]:
    assert main(["replay", str(path), "--fast", "--model", str(model), "--out", str(out), *options]) == 0
    with np.load(out, allow_pickle=False) as content:
        return dict(content)


@pytest.mark.parametrize("kind", ["bids", "nwb"])
def test_fast_gives_the_numbers_of_the_arrays(written: dict[str, Path], kind: str, tmp_path: Path) -> None:
    expected = fast(written["arrays"], written["model"], tmp_path / "arrays.npz")
    found = fast(written[kind], written["model"], tmp_path / f"{kind}.npz")
    assert len(expected["times"]) > 300
    assert np.isfinite(expected["observed"]).mean() > 0.9
    began_s = 0.25 if kind == "nwb" else 0.0
    np.testing.assert_allclose(found["times"] - began_s, expected["times"], atol=1e-9)
    for name in ("predicted", "observed"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
    np.testing.assert_array_equal(found["electrodes"], expected["electrodes"])


def test_fast_twice_gives_identical_bytes(
    written: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fast(written["nwb"], written["model"], tmp_path / "first.npz")
    again = fast(written["nwb"], written["model"], tmp_path / "again.npz")
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    one, other = (line for line in capsys.readouterr().out.splitlines() if line.startswith("sha256 "))
    assert one == other
    later = fast(written["nwb"], written["model"], tmp_path / "later.npz", "--start", "2")
    assert later["times"][0] >= 2.25
    assert len(first["times"]) - len(later["times"]) > 90
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert again.keys() == {"times", "predicted", "observed", "electrodes"}


@pytest.mark.parametrize("kind", ["nwb", pytest.param("bids", marks=pytest.mark.long)])
def test_over_lsl_the_arrays_arrive(arrays: Recording, written: dict[str, Path], kind: str) -> None:
    recording = load_recording(written[kind])
    tag = uuid.uuid4().hex[:8]
    ecog = replace(recording.streams["ecog"], spec=replace(recording.streams["ecog"].spec, name=f"ecog-{tag}"))
    sending = Sending(Recording({"ecog": ecog}), speed=8.0)
    data, raw = sending.rows(len(ecog.stamps))
    np.testing.assert_allclose(data, arrays.streams["ecog"].data, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(raw - raw[0], np.arange(len(raw)) / ECOG_HZ, rtol=0, atol=1e-6)
    assert sending.inlet.spec.channels == arrays.streams["ecog"].spec.channels
    assert sending.inlet.spec.unit == "microvolts"


# --- the command line ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_folder(Recording({"ecog": tagged(counting(100_000))}), tmp_path / "session")
    return tmp_path / "session"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fast"], "--fast needs --model"),
        (["--fast", "--model", "m", "--loop"], "leave out --loop"),
        (["--model", "m"], "belong to --fast"),
        (["--fast", "--model", "m", "--out", "x.csv"], "expected a name that ends in .npz"),
        (["--speed", "0"], "--speed: found '0', expected a number of seconds above 0"),
        (["--speed", "2", "--fast"], "not allowed with argument"),
        (["--start", "-1"], "--start: found '-1', expected seconds of 0 or more"),
        (["--chunk-ms", "0"], "--chunk-ms: found '0', expected milliseconds from 0.1 to 10000"),
        (["--chunk-ms", "nan"], "--chunk-ms: found 'nan', expected milliseconds from 0.1 to 10000"),
        (["--wait", "-1"], "--wait: found '-1', expected seconds of 0 or more"),
        (["--linger", "-2"], "--linger: found '-2', expected seconds of 0 or more"),
        (["--start-delay", "inf"], "--start-delay: found 'inf', expected seconds of 0 or more"),
        (["--as-live", "--original-stamps"], "not allowed with argument"),
        (["--start", "5000"], "start earlier"),
        (["--sound", "soudn"], "no stream 'soudn'"),
    ],
)
def test_mistakes_of_the_command_line(
    folder: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(folder), "--wait", "0", *options]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_chunk_of_no_length_is_refused() -> None:
    with pytest.raises(UserError, match="chunks of 0 ms: expected a length above 0"):
        replay(Recording({"ecog": tagged(counting(10))}), chunk_ms=0.0)


def test_interrupted_it_ends_cleanly(folder: Path) -> None:
    command = [sys.executable, "-m", "realtime.cli", "replay", str(folder), "--wait", "0", "--loop", "--speed", "0.5"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    states = (json.loads(line)["state"] for line in child.stdout)
    assert [next(states), next(states)] == ["ready", "started"]
    child.send_signal(signal.SIGINT)
    assert next(states) == "interrupted"
    assert child.wait(20) == 0
    assert child.communicate()[1] == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Somebody sits at the terminal: what is written to it is what they answer."""
    typed = Terminal()
    monkeypatch.setattr("sys.stdin", typed)
    monkeypatch.setattr(console, "_force_terminal", True)
    return typed


def test_on_a_terminal_it_asks_which_stream_is_meant(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    grid, strip = (
        RecordedStream(Spec(name, 1000.0, ("A",)), np.zeros((4, 1), np.float32), np.arange(4) / 1000)
        for name in ("grid", "strip [left]")
    )
    recording = Recording({"grid": grid, "strip [left]": strip})
    terminal.write("7\n2\n")
    terminal.seek(0)
    assert choose.pick_stream(recording, "ecog", None, choose.ecog_by_rate) is strip
    assert "strip [left] (1 at 1000 Hz)" in capsys.readouterr().err
    with pytest.raises(UserError, match="no stream was chosen: name it with --ecog"):
        choose.pick_stream(recording, "ecog", None, choose.ecog_by_rate)


def test_elsewhere_it_names_them() -> None:
    one = RecordedStream(Spec("grid", 1000.0, ("A",)), np.zeros((4, 1), np.float32), np.arange(4) / 1000)
    recording = Recording({"grid": one, "strip": replace(one, spec=replace(one.spec, name="strip"))})
    with pytest.raises(UserError, match="name it with --ecog; found: grid"):
        choose.pick_stream(recording, "ecog", None, choose.ecog_by_rate)
