"""For tests of bad input: streams and a model to be wrong about, and a command that must fail in one line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pylsl
import pytest

from realtime.block import Spec
from realtime.cli import main
from realtime.commands import wiring
from realtime.sinks.lsl import Outlet
from realtime.sources.lsl import StreamQuery
from realtime.sources.recording import Recording
from tests.rig import ELECTRODES, TABLE, small_model, small_recording

WAIT_S = 5.0  # for streams that are there
Fails = Callable[..., str]


MONTAGE = (*ELECTRODES, "AUX")
SPECS = {
    "sound": Spec("sound", 22050.0, ("room", "stimulus")),
    "ecog": Spec("ecog", 1000.0, MONTAGE),
    "narrow": Spec("narrow", 1000.0, MONTAGE[:4]),
    "renamed": Spec("renamed", 1000.0, ("B1", *MONTAGE[1:])),
    "slow": Spec("slow", 500.0, MONTAGE),
    "telephone": Spec("telephone", 4000.0, ("line",)),
    "amplifier": Spec("amplifier", 16000.0, (*MONTAGE, "MIC")),
    "slow amplifier": Spec("slow amplifier", 1000.0, (*MONTAGE, "MIC")),
}
OTHERS = {
    "text": (pylsl.cf_string, 1000.0),
    "irregular": (pylsl.cf_float32, 0.0),
    "integers": (pylsl.cf_int16, 1000.0),
}


@dataclass
class Rig:
    """Real LSL outlets under names of their own, and a model for `sound` and `ecog`."""

    prefix: str
    model: Path
    recording: Recording
    open: dict[str, Any] = field(default_factory=dict)

    def name(self, kind: str) -> str:
        return f"{self.prefix} {kind}"

    def send(self, kind: str) -> None:
        """Have an outlet of this kind. Only those that are needed: LSL finds no more than 16 on one machine."""
        name = self.name(kind)
        if kind in SPECS and kind not in self.open:
            self.open[kind] = Outlet(replace(SPECS[kind], name=name, unit="microvolts"), "any", name)
        elif kind in OTHERS:
            format_, rate_hz = OTHERS[kind]
            self.open[kind] = pylsl.StreamOutlet(pylsl.StreamInfo(name, "any", 3, rate_hz, format_, name))


@pytest.fixture(scope="module")
def whole_rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    prefix = f"bad-{uuid.uuid4().hex[:8]}"
    recording = small_recording(2.0, prefix)
    model = small_model(tmp_path_factory.mktemp("model"), recording, wiring.embedding_of(TABLE))
    rig = Rig(prefix, model, recording)
    for kind in ("sound", "ecog"):
        rig.send(kind)
    return rig


@pytest.fixture
def rig(whole_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Without the second that a connection waits for a twin: no test here has one."""
    monkeypatch.setattr("realtime.sources.lsl.TWIN_S", 0.05)
    yield whole_rig
    for kind in set(whole_rig.open) - {"sound", "ecog"}:
        del whole_rig.open[kind]


class Still:
    """Stands where a connected LSL inlet would, for what is checked before a row flows."""

    def __init__(self, query: StreamQuery, _wait_s: float):
        kind = str(query.name).split(" ", 1)[1]
        self.spec = replace(SPECS[kind], name=str(query.name))
        self.warnings: list[str] = []

    def connect(self) -> Still:
        return self


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.commands.session.LslInlet", Still)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command that must fail; gives its one line. quiet: nothing else may be on stderr."""

    def run(*words: object, quiet: bool = True) -> str:
        alone = ["--no-supervisor"] if words[0] == "run" else []  # another process's lines would not be seen here
        assert main([*(str(word) for word in words), *alone]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("corticast: ")
        assert len([line for line in lines if line.startswith("corticast: ")]) == 1
        assert len(lines) == 1 or not quiet
        assert not any("Traceback" in line or line.startswith("  File") for line in lines)
        return lines[-1]

    return run


@pytest.fixture
def write(tmp_path: Path, rig: Rig) -> Callable[..., Path]:
    """A configuration with streams by kind, and further keys as {"table.key": value}."""

    def to_file(sound: str = "sound", ecog: str = "ecog", keys: dict[str, Any] | None = None) -> Path:
        for kind in (sound, ecog):
            rig.send(kind)
        values = {
            "sound.name": rig.name(sound),
            "ecog.name": rig.name(ecog),
            "whisper.model": "tiny.en",
            "whisper.layer": 2,
            "whisper.delay_ms": 40.0,
            "engine.name": rig.prefix,
            "engine.wait_s": WAIT_S,
            **(keys or {}),
        }
        path = tmp_path / "rig.toml"
        lines = [f"{key} = {json.dumps(value, default=str)}" for key, value in values.items()]
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return to_file
