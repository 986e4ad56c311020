"""`[record] sound = false`: what LabRecorder writes then holds no sound, no watched microphone and no log-mel rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import pyxdf

from realtime.commands.recordings import recording
from realtime.commands.session import open_session
from realtime.config import Config
from realtime.sources.recording import Recording
from tests.lsl_streams import unique
from tests.rig import await_state, replaying, small_config, small_recording

SECONDS = 5.0


@pytest.mark.long
@pytest.mark.parametrize("with_sound", [False, True])
def test_the_file_holds_sound_only_where_it_may(with_sound: bool, tmp_path: Path) -> None:
    prefix, engine = unique("private"), unique("engine")
    source = small_recording(SECONDS, prefix)
    sound = source.streams["sound"]
    room = replace(sound, spec=replace(sound.spec, name=f"{prefix} room"), source_id=f"{prefix} room")
    tables = small_config(prefix, None, engine).model_dump()
    tables |= {"record": {"file": tmp_path / "s.xdf", "sound": with_sound}, "watch": {"stream": f"{prefix} room"}}
    config = Config.model_validate(tables)
    with replaying(Recording({**source.streams, "room": room}), tmp_path) as replay:
        session = open_session(config)
        assert f"{engine}.sound" in session.engine.results.names()
        with recording(config, session):
            session.engine.start()
            await_state(replay, "finished")
            session.engine.stop()
    streams, _ = pyxdf.load_xdf(str(tmp_path / "s.xdf"))
    rows = {stream["info"]["name"][0]: len(stream["time_stamps"]) for stream in streams}
    voices = {f"{prefix} sound", f"{prefix} room", f"{engine}.sound"}
    assert voices & set(rows) == (voices if with_sound else set())
    kinds = {stream["info"]["type"][0] for stream in streams}
    assert with_sound == ("Audio" in kinds)
    assert rows[f"{prefix} ecog"] >= 0.9 * SECONDS * 1000
    assert rows[f"{engine}.observed"] > 0
    assert rows[f"{engine}.status"] > 0
