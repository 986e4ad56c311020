"""Recorder, recordings and replay: what was sent comes back, number for number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import pyxdf
from scipy.io import wavfile

from realtime.block import Block, Spec, regular
from realtime.clock import Clock
from realtime.errors import UserError
from realtime.sinks.lsl import Outlet
from realtime.sinks.recorder import Recorder
from realtime.sources.formats.xdf import unlike_live
from realtime.sources.lsl import LslInlet, StreamQuery, local_clock
from realtime.sources.recording import RecordedStream, Recording, load_recording, save_folder, to_blocks
from realtime.sources.replay import replay
from tests.lsl_streams import pull, unique

ROOT = Path(__file__).resolve().parent.parent


def made(rows: int = 1500, tag: str = "") -> Recording:
    """Sound without, ECoG with a gap and jitter in its stamps, names unique to a test."""
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((8 * rows, 1)).astype(np.float32)
    ecog = np.stack([np.arange(rows), rng.standard_normal(rows)], axis=1).astype(np.float32)
    stamps = 40.0 + np.arange(rows) / 1000 + rng.normal(0, 1e-4, rows)
    stamps[rows // 2 :] += 0.25
    return Recording(
        {
            "sound": RecordedStream(
                Spec(f"sound{tag}", 8000.0, ("mono",)), sound, 40.0 + np.arange(8 * rows) / 8000, type="Audio"
            ),
            "ecog": RecordedStream(
                Spec(f"ecog{tag}", 1000.0, ("LA1", "LA2"), "uV"), ecog, stamps, ((0, 1e-3), (900, 2e-3)), "ECoG", "amp"
            ),
        },
        {"words": [(40.5, "hello"), (41.0, "wörld")]},
    )


def same(found: RecordedStream, sent: RecordedStream) -> None:
    assert (found.spec, found.type, found.source_id) == (sent.spec, sent.type, sent.source_id)
    assert (found.offsets, found.anchor_s) == (sent.offsets, sent.anchor_s)
    np.testing.assert_array_equal(found.data, sent.data)
    np.testing.assert_allclose(found.stamps, sent.stamps, rtol=0, atol=1e-9)


def test_a_folder_round_trips(tmp_path: Path) -> None:
    recording = made()
    save_folder(recording, tmp_path / "new" / "session")
    found = load_recording(tmp_path / "new" / "session")
    assert found.streams.keys() == recording.streams.keys()
    for name, stream in recording.streams.items():
        same(found.streams[name], stream)
    assert found.markers == recording.markers
    assert wavfile.read(tmp_path / "new" / "session" / "sound.wav")[0] == 8000
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["session"], "something was left aside"
    with pytest.raises(UserError, match="exists already"):
        save_folder(recording, tmp_path / "new" / "session")


def test_a_folder_made_by_hand_needs_little(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "sound.wav", 16000, np.array([0, 16384, -32768], np.int16))
    np.save(tmp_path / "ecog.npy", np.arange(6.0).reshape(3, 2))
    entries = {"sound": {"file": "sound.wav"}, "ecog": {"file": "ecog.npy", "rate_hz": 500, "start_s": 2.5}}
    (tmp_path / "recording.json").write_text(json.dumps({"streams": entries}))
    streams = load_recording(tmp_path).streams
    np.testing.assert_array_equal(streams["sound"].data, [[0], [0.5], [-1]])
    assert streams["sound"].spec == Spec("sound", 16000.0, ("sound_0",))
    np.testing.assert_allclose(streams["ecog"].stamps, [2.5, 2.502, 2.504])


def broken(path: Path, how: str) -> Path:
    save_folder(made(100), path)
    content = json.loads((path / "recording.json").read_text())
    if how == "no sound":
        (path / "sound.wav").unlink()
    elif how == "cut":
        whole = (path / "ecog.npy").read_bytes()
        (path / "ecog.npy").write_bytes(whole[: len(whole) // 2])
    elif how == "not JSON":
        (path / "recording.json").write_text("{")
    elif how == "no list":
        (path / "recording.json").write_text("[]")
    elif how == "outside":
        content["streams"]["ecog"]["file"] = "../ecog.npy"
    elif how == "channels":
        content["streams"]["ecog"]["channels"] = ["LA1"]
    elif how == "NaN stamps":
        np.save(path / "ecog.stamps.npy", np.full(100, np.nan))
    if how in ("outside", "channels"):
        (path / "recording.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("how", ["no sound", "cut", "not JSON", "no list", "outside", "channels", "NaN stamps"])
def test_a_damaged_folder_is_one_clear_line(tmp_path: Path, how: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recording(broken(tmp_path / "session", how))
    assert "session" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_recording_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_recording(tmp_path / "none.xdf")
    (tmp_path / "text.xdf").write_text("not XDF at all")
    with pytest.raises(UserError, match="cannot be read as XDF"):
        load_recording(tmp_path / "text.xdf")
    with pytest.raises(UserError, match=r"lacks 'recording.json'"):
        load_recording(tmp_path)


def test_a_recorded_stream_goes_through_the_live_clock() -> None:
    stream = made().streams["ecog"]
    first, second = to_blocks(stream, Clock(1000.0))
    assert (first.index, first.end, second.index) == (0, 750, 1000)
    data = np.concatenate([first.data, second.data])
    np.testing.assert_array_equal(data, stream.data)
    clock = Clock(1000.0)
    for offset in stream.offsets:
        clock.set_offset(*offset)
    state, times = clock.initial_state(), []
    for start in range(0, 1500, 37):  # as if pulled live
        spans, state = clock.stamp(stream.stamps[start : start + 37], state)
        times += [span.times for span in spans]
    np.testing.assert_array_equal(np.concatenate([first.times, second.times]), np.concatenate(times))
    assert first.times[0] == stream.stamps[0] + 1e-3


def test_an_anchor_leaves_out_what_came_before_it() -> None:
    stream = made().streams["ecog"]
    late = RecordedStream(stream.spec, stream.data, stream.stamps, anchor_s=float(stream.stamps[200]))
    blocks = to_blocks(late)
    assert blocks[0].index == 0
    assert blocks[0].data[0, 0] == 200
    with pytest.raises(UserError, match="started too late"):
        to_blocks(RecordedStream(stream.spec, stream.data, stream.stamps, anchor_s=12.0))


def test_recorder_to_xdf_and_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec = Spec(unique("ecog"), 500.0, ("LA1", "LA2"), "uV")
    status_spec = Spec(unique("engine") + ".status", 0.0, ("status",))
    outlet = Outlet(spec, "ECoG", spec.name)
    status = Outlet(status_spec, "Markers", status_spec.name, text=True)
    recorder = Recorder(
        tmp_path / "a" / "session.xdf", [StreamQuery(name=spec.name), StreamQuery(name=status_spec.name)]
    )
    recorder.start()
    assert recorder.running
    rows = 1000
    block = regular(np.stack([np.arange(rows), -np.arange(rows)], 1).astype(np.float32), 500.0, local_clock())
    for first in range(0, rows, 20):
        outlet.push(block.rows(first, first + 20))
    anchor = {"event": "anchor", "stream": spec.name, "index": 0, "raw_s": block.times[100], "offset_s": 0.5}
    for event in (anchor, {"event": "offset", "stream": spec.name, "index": 300, "offset_s": 0.5002}, anchor, "other"):
        status.push_text(json.dumps(event), local_clock())
    recorder.stop()
    assert not recorder.running
    assert recorder.size_bytes > rows * 2 * 4

    plain, _ = pyxdf.load_xdf(str(tmp_path / "a" / "session.xdf"))  # as anybody would
    rows_of = {one["info"]["name"][0]: one["time_series"] for one in plain}
    np.testing.assert_array_equal(rows_of[spec.name], block.data)
    assert len(rows_of[status_spec.name]) == 4
    recording = load_recording(tmp_path / "a" / "session.xdf")
    assert capfd.readouterr().out == ""
    stream = recording.streams[spec.name]
    assert (stream.spec, stream.type, stream.source_id) == (spec, "ECoG", spec.name)
    np.testing.assert_array_equal(stream.data, block.data)
    np.testing.assert_allclose(stream.stamps, block.times, rtol=0, atol=1e-7)
    assert stream.offsets == ((0, 0.5), (300, 0.5002))
    assert json.loads(recording.markers[status_spec.name][0][1]) == anchor
    blocks = to_blocks(stream)
    np.testing.assert_array_equal(blocks[0].data, block.data[100:])
    assert blocks[0].times[0] == pytest.approx(block.times[100] + 0.5, abs=1e-7)
    with pytest.raises(UserError, match="exists already"):
        Recorder(tmp_path / "a" / "session.xdf", [StreamQuery(name=spec.name)]).start()
    damage(tmp_path / "a" / "session.xdf")
    outlet.close()
    status.close()


def damage(path: Path) -> None:
    """A file cut short, as after a crash, still loads up to there; and one whose head is gone does not."""
    content = path.read_bytes()
    path.with_name("cut.xdf").write_bytes(content[: len(content) * 2 // 3])
    stream = next(iter(load_recording(path.with_name("cut.xdf")).streams.values()))
    assert 0 < len(stream.data) < 1000
    path.with_name("head.xdf").write_bytes(b"XDF:" + content[100:200])
    with pytest.raises(UserError):
        load_recording(path.with_name("head.xdf"))


def test_recorder_says_which_stream_is_missing(tmp_path: Path) -> None:
    spec = Spec(unique("there"), 100.0, ("a",))
    outlet = Outlet(spec, "ECoG", spec.name)
    recorder = Recorder(tmp_path / "x.xdf", [StreamQuery(name=spec.name), StreamQuery(name="absent")])
    with pytest.raises(UserError, match=rf"missing name 'absent'; found: .*{spec.name}"):
        recorder.start()
    assert not recorder.running
    outlet.close()


def process(path: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "realtime.sources.replay", str(path), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def line(child: subprocess.Popen[str]) -> dict[str, object]:
    assert child.stdout is not None
    found: dict[str, object] = json.loads(child.stdout.readline())
    return found


def test_replay_sends_exactly_what_was_recorded(tmp_path: Path) -> None:
    recording = made(tag=unique(""))
    save_folder(recording, tmp_path / "session")
    child = process(tmp_path / "session", "--prefix", "again-", "--start-delay", "0.2", "--linger", "60")
    names = [f"again-{stream.spec.name}" for stream in recording.streams.values()]
    assert line(child) == {"state": "ready", "streams": names}
    inlets = [LslInlet(StreamQuery(name=name), 10).connect() for name in names]
    for inlet in inlets:
        inlet.open()
    started = line(child)
    assert started["state"] == "started"
    sound, ecog = recording.streams["sound"], recording.streams["ecog"]
    got_sound, got_ecog = pull(inlets[0], len(sound.data)), pull(inlets[1], len(ecog.data))
    for (data, raw), stream, inlet in zip((got_sound, got_ecog), (sound, ecog), inlets, strict=True):
        np.testing.assert_array_equal(data, stream.data)
        np.testing.assert_allclose(raw - raw[0], stream.stamps - stream.stamps[0], rtol=0, atol=1e-9)
        assert (inlet.spec.channels, inlet.spec.unit) == (stream.spec.channels, stream.spec.unit)
    assert got_sound[1][0] == pytest.approx(started["start_s"], abs=1e-9)
    # Each on its own clock: the first offset puts both on one.
    assert got_ecog[1][0] - got_sound[1][0] == pytest.approx(ecog.stamps[0] + 1e-3 - sound.stamps[0], abs=1e-9)
    assert got_sound[1][-1] < local_clock(), "sent before its time"
    assert line(child) == {"state": "finished", "sent": {names[0]: len(sound.data), names[1]: len(ecog.data)}}
    child.send_signal(signal.SIGINT)  # no need to linger
    assert child.wait(20) == 0
    assert child.communicate()[1] == ""


def test_replay_ends_cleanly_when_interrupted(tmp_path: Path) -> None:
    save_folder(made(60_000, tag=unique("")), tmp_path / "session")
    child = process(tmp_path / "session", "--wait", "0", "--streams", "ecog")
    assert line(child)["state"] == "ready"
    assert line(child)["state"] == "started"
    child.send_signal(signal.SIGINT)
    assert line(child)["state"] == "interrupted"
    assert child.wait(20) == 0
    assert child.communicate()[1] == ""


def test_replay_needs_listeners_and_known_names() -> None:
    recording = made(100, tag=unique(""))
    with pytest.raises(UserError, match=r"nobody listens to .*sound.* after 0.1 s"):
        replay(recording, wait_s=0.1)
    with pytest.raises(UserError, match=r"no stream 'sounds', did you mean 'sound'\?; it has: sound, ecog"):
        replay(recording, streams=["sounds"])


def test_replay_mistakes_exit_with_two_and_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, realtime.sources.replay as r; s = r.main(sys.argv[1:]); "
        "sys.exit(9 if 'torch' in sys.modules else s)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "none")], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_replay_leaves_an_engines_results_out_and_survives_a_clock_set_back() -> None:
    tag = unique("")
    recording = made(200, tag=tag)
    ecog = recording.streams["ecog"]
    stamps = np.array(ecog.stamps)
    stamps[150:] -= 1000
    name = f"patient{tag}.predicted"
    recording.streams["ecog"] = RecordedStream(ecog.spec, ecog.data, stamps)
    recording.streams[name] = RecordedStream(Spec(name, 50.0, ("LA1",)), ecog.data[:, :1], ecog.stamps)
    recording.markers[f"patient{tag}.status"] = []
    reports: list[dict[str, object]] = []
    sent = replay(recording, wait_s=0, linger_s=0, start_delay_s=0, report=reports.append, stop=threading.Event())
    assert sent == {f"sound{tag}": 1600, f"ecog{tag}": 200}
    assert [r["state"] for r in reports] == ["ready", "started", "finished"]


def test_blocks_of_a_recording_join_up() -> None:
    blocks = to_blocks(made().streams["sound"])
    assert [type(b) for b in blocks] == [Block]
    np.testing.assert_allclose(blocks[0].times, 40.0 + np.arange(12_000) / 8000, atol=1e-9)


def test_where_a_replay_cannot_be_what_was_shown_is_said() -> None:
    def told(*events: dict[str, object]) -> list[str]:
        return [*unlike_live("rig", [(float(i), json.dumps(event)) for i, event in enumerate(events)])]

    anchor = {"event": "anchor", "stream": "mic", "lane": "sound", "raw_s": 5.0}
    other = {**anchor, "stream": "amplifier", "lane": "ecog", "raw_s": 7.0}
    skip = {"event": "skip", "stream": "mic", "rows": 80}
    assert told(anchor, other, anchor, {"event": "gap", "lost": 3}) == []
    (again,) = told(anchor, other, {**anchor, "raw_s": 60.0}, {**other, "raw_s": 60.5})
    assert "engine 'rig' began 2 times" in again
    (skipped,) = told(anchor, skip, skip)
    assert "skipped samples 2 times" in skipped
