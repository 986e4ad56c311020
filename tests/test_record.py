"""`corticast record`: a recording that outlives the engine, is found again, and says when something is wrong."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from realtime.block import Spec, regular
from realtime.cli import main
from realtime.errors import UserError
from realtime.sinks.keeper import Watch, start_recording
from realtime.sinks.lsl import Outlet
from realtime.sinks.recorder import Recorder
from realtime.sinks.recording_status import Status, is_alive, read_status, status_file, stop_recording, trouble
from realtime.sources.lsl import StreamQuery, local_clock
from realtime.sources.recording import load_recording
from tests.lsl_streams import unique

PATIENCE_S = 30.0


def until(there: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def outlet() -> Iterator[Outlet]:
    spec = Spec(unique("ecog"), 500.0, ("count", "a"))
    one = Outlet(spec, "ECoG", spec.name)
    yield one
    one.close()


def push(outlet: Outlet, first: int, rows: int = 500) -> None:
    count = np.arange(first, first + rows, dtype=np.float32)
    outlet.push(regular(np.stack([count, -count], axis=1), 500.0, local_clock()))


STANDS_IN = """#!{python}
import pathlib, sys
pathlib.Path(sys.argv[1]).write_bytes(b"half")
print({said!r}, flush=True)
sys.stdin.readline()
"""


def stand_in(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script in LabRecorder's place."""
    program = tmp_path / "recorder"
    program.write_text(STANDS_IN.format(python=sys.executable, said=said))
    program.chmod(0o755)
    monkeypatch.setattr("realtime.sinks.recorder._program", lambda: program)


@pytest.mark.skipif(os.name != "posix", reason="stands in for LabRecorder with a script")
def test_words_of_several_streams_may_share_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LabRecorder's threads print as they come: seen in one of five starts of 60 streams on a busy machine."""
    said = "Started data collection for stream Started data collection for stream a.b.\n\nStarted data collection for"
    stand_in(said, tmp_path, monkeypatch)
    recorder = Recorder(tmp_path / "a.xdf", [StreamQuery(name=name) for name in "abc"])
    recorder.start()
    recorder.stop()


@pytest.mark.skipif(os.name != "posix", reason="stands in for LabRecorder with a script")
def test_a_recorder_that_hangs_at_the_start_is_told_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in("Opened the stream b.", tmp_path, monkeypatch)
    recorder = Recorder(tmp_path / "a.xdf", [StreamQuery(name="b")])
    with pytest.raises(UserError, match=r"did not start within 1 s \(of 1 streams 0 did; .*Opened the stream b"):
        recorder.start(timeout_s=1.0)
    assert not recorder.path.exists(), "the next try would find a file that is there already"


def state(path: Path) -> Status:
    status = read_status(path)
    assert status is not None
    return status


BEGINS = """
import sys
from pathlib import Path
from types import SimpleNamespace
from realtime.sinks.keeper import start_recording
from realtime.sources.lsl import StreamQuery
start_recording(Path(sys.argv[1]), [StreamQuery(name=sys.argv[2])], "some-engine")
print("recording", flush=True)
sys.stdin.read()
"""


def test_a_recording_outlives_the_process_that_began_it(outlet: Outlet, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "session.xdf"
    engine = subprocess.Popen(
        [sys.executable, "-c", BEGINS, str(path), outlet.spec.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout is not None
    assert engine.stdout.readline() == "recording\n"
    push(outlet, 0)
    engine.kill()
    engine.wait()
    push(outlet, 500)
    assert is_alive(state(path))
    assert state(path).engine == "some-engine"
    with pytest.raises(UserError, match="exists already"):
        start_recording(path, [StreamQuery(name=outlet.spec.name)])
    assert main(["record", str(path), "--stop"]) == 0
    assert not status_file(path).exists()
    recorded = load_recording(path).streams[outlet.spec.name]
    np.testing.assert_array_equal(recorded.data[:, 0], np.arange(1000))
    with pytest.raises(UserError, match="is not being recorded"):
        stop_recording(path)


@pytest.mark.long
def test_an_engines_outlets_are_recorded_by_its_name(outlet: Outlet, tmp_path: Path) -> None:
    engine = unique("engine")
    spec = Spec(f"{engine}.observed", 50.0, ("e0",))
    result, path = Outlet(spec, "HighGamma", spec.name), tmp_path / "named.xdf"
    assert main(["record", str(path), "--streams", outlet.spec.name, "--engine", engine, "--detach"]) == 0
    push(outlet, 0)
    result.push(regular(np.ones((50, 1), np.float32), 50.0, local_clock()))
    stop_recording(path)
    assert set(load_recording(path).streams) == {outlet.spec.name, spec.name}
    result.close()


def test_a_recorder_that_ends_is_told_in_one_line(outlet: Outlet, tmp_path: Path) -> None:
    """The file holds a whole beginning of what was sent, and sending never waited."""
    path = tmp_path / "killed.xdf"
    start_recording(path, [StreamQuery(name=outlet.spec.name)])
    push(outlet, 0)
    until(lambda: state(path).size_bytes > 4000, "the file does not grow")
    assert trouble(path) == ""
    os.kill(state(path).recorder_pid, signal.SIGKILL)
    until(lambda: not is_alive(state(path)), "nobody noticed")
    assert trouble(path) == "LabRecorder ended by itself: killed.xdf holds what came before; record to another file"
    recorded = load_recording(path).streams[outlet.spec.name].data[:, 0]
    assert 0 < len(recorded) <= 500
    np.testing.assert_array_equal(recorded, np.arange(len(recorded)))
    with pytest.raises(UserError, match=r"is not being recorded: LabRecorder ended by itself"):
        stop_recording(path)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="a quota on the file's size stands for a disk that is full")
def test_a_disk_that_is_full_is_told_and_the_file_holds_what_came_before(outlet: Outlet, tmp_path: Path) -> None:
    """Nothing more can be written: the recorder lives on, the operator is told, at the end as well."""
    import resource

    path = tmp_path / "full.xdf"
    start_recording(path, [StreamQuery(name=outlet.spec.name)])
    push(outlet, 0)
    until(lambda: state(path).size_bytes > 4000, "the file does not grow")
    limit = path.stat().st_size + 20_000
    resource.prlimit(state(path).recorder_pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    sent = itertools.count(500, 500)

    def is_told() -> bool:
        push(outlet, next(sent))
        time.sleep(0.5)
        return "the recording has not grown for" in trouble(path)

    until(is_told, "nobody noticed")
    assert is_alive(state(path)), "LabRecorder goes on"
    resource.prlimit(state(path).recorder_pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert is_told(), "what has room again is not taken up again"
    with pytest.raises(UserError, match=r"could not be written to its end, its disk is probably full"):
        stop_recording(path)
    recorded = load_recording(path).streams[outlet.spec.name].data[:, 0]
    assert 500 <= len(recorded) < next(sent)
    np.testing.assert_array_equal(recorded, np.arange(len(recorded)))


def test_what_cannot_be_recorded_is_one_line(outlet: Outlet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"not every stream to record is there: missing name 'nowhere'"):
        main_raising(tmp_path / "x.xdf", "--streams", "nowhere")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("realtime.commands.record.SEARCH_S", 0.3)
    with pytest.raises(UserError, match=r"no outlet of an engine 'nobody' was found"):
        main_raising(tmp_path / "x.xdf", "--engine", "nobody")
    with pytest.raises(UserError, match=r"name at least one"):
        main_raising(tmp_path / "x.xdf")
    (tmp_path / "there.xdf").write_bytes(b"precious")
    with pytest.raises(UserError, match=r"exists already and is not written over"):
        main_raising(tmp_path / "there.xdf", "--streams", outlet.spec.name)
    assert (tmp_path / "there.xdf").read_bytes() == b"precious"


def main_raising(*words: object) -> None:
    from realtime.commands import record

    import argparse  # isort: skip

    parser = argparse.ArgumentParser()
    record.add_arguments(parser)
    record.run(parser.parse_args([str(word) for word in words]))


def test_the_watch_speaks_of_a_file_that_stands_still_and_of_little_room() -> None:
    watch = Watch(0.0)
    plenty = 10**12
    assert [watch.check(1000 * t, plenty, t) for t in range(1, 60)] == [""] * 59
    assert watch.check(59_000, plenty, 70.0) == ""
    assert "has not grown for 17 s (1000000 MB free): record to another file" in watch.check(59_000, plenty, 76.0)
    assert watch.check(60_000, plenty, 77.0) == ""
    assert "has 500 MB left" in watch.check(61_000, 5 * 10**8, 78.0)
    fast = Watch(0.0)
    told = [fast.check(10**8 * t, 4 * 10**10, t) for t in range(1, 30)]
    assert told[-1] == "the recording's disk has 40000 MB left, enough for 7 min: make room"


def test_a_status_of_a_process_that_has_gone_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "old.xdf"
    assert read_status(path) is None
    status_file(path).write_text("{}")
    assert read_status(path) is None
    content = {"state": "recording", "file": str(path), "engine": "e", "streams": [], "pid": os.getpid()}
    status_file(path).write_text(json.dumps(content))
    assert not is_alive(read_status(path)), "a process of that number, but no recorder"
    assert "has ended" in trouble(path)


def test_a_run_tells_how_its_recording_stands(tmp_path: Path) -> None:
    from realtime.commands.recordings import Recordings

    told: list[dict[str, object]] = []
    engine = SimpleNamespace(tell=told.append, facts_now={})
    path = tmp_path / "gone.xdf"
    config = SimpleNamespace(record=SimpleNamespace(file=path, sound=True), engine=SimpleNamespace(name="e"))
    watch = Recordings(config, SimpleNamespace(engine=engine))  # type: ignore[arg-type]
    watch.look()
    assert engine.facts_now["recording"] == {"on": False}
    watch.path = path
    content = {"state": "recording", "file": str(path), "engine": "e", "streams": [], "pid": os.getpid()}
    status_file(path).write_text(json.dumps({**content, "size_bytes": 7, "free_bytes": 8}))
    for _ in range(3):
        watch.look()
    assert engine.facts_now["recording"] == {
        "on": False,
        "sound": True,
        "file": str(path),
        "bytes": 7,
        "free_bytes": 8,
    }
    (event,) = told
    assert "has ended: start another recording" in str(event["message"])
