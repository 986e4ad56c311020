"""`corticast dataset podcast`: openneuro-py against a local server, and what it fetched through the readers."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from encoders.analysis.phone_times import read_events
from realtime.cli import main
from realtime.commands import podcast
from realtime.commands.analysis_data import load_patients
from realtime.commands.analyze import add_arguments
from realtime.config import load_config
from realtime.montage_file import load_montage
from realtime.sources.recording import load_recording
from tests import podcast as small
from tests.podcast import Served, ecog_uv, served, write_podcast

openneuro = pytest.importorskip("openneuro._download", reason="openneuro-py is not installed")

EDF = "sub-03/ieeg/sub-03_task-podcast_ieeg.edf"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with served(write_podcast(tmp_path / "published")) as state:
        monkeypatch.setattr(openneuro, "gql_url", f"{state.url}/graphql")
        monkeypatch.setattr(podcast, "RETRIES", 0)
        yield state


def asked_for(out: Path, *words: str) -> int:
    return main(["dataset", "podcast", "--out", str(out), *words])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("corticast: ")
    return last


def test_a_line_that_breaks_and_a_damaged_file_are_made_good(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    server.breaks_at[EDF] = 20_000
    assert asked_for(out, "--subject", "sub-3") == 2
    assert "run this again: it goes on where it was" in one_line(capsys)
    assert (out / EDF).stat().st_size == 20_000
    server.asked.clear()
    assert asked_for(out, "--subject", "03") == 0
    assert server.asked == [(EDF, "bytes=20000-")], "what was there was fetched again"
    fetched = sorted(path.relative_to(server.root) for path in server.root.rglob("*") if path.is_file())
    for file in (path for path in fetched if path.parts[0] != "sub-02"):
        assert (out / file).read_bytes() == (server.root / file).read_bytes(), file
    assert not (out / "sub-02").exists()
    damaged = bytearray((out / EDF).read_bytes())
    damaged[-100] ^= 1
    (out / EDF).write_bytes(damaged)
    server.damaged.add(EDF)  # and once more on the way
    monkeypatch.setattr(podcast, "RETRIES", 1)
    assert asked_for(out, "--subject", "03") == 0
    assert (out / EDF).read_bytes() == (server.root / EDF).read_bytes()


def test_damage_on_the_way_is_told(server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.damaged.add("stimuli/podcast.wav")
    assert asked_for(tmp_path / "set", "--subject", "02") == 2
    assert "could not be fetched (Failed to download 1 file)" in one_line(capsys)
    assert not (tmp_path / "set/derivatives").exists(), "prepared from a damaged file"


@pytest.mark.usefixtures("server")
def test_the_analysis_that_is_suggested_has_all_that_was_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked_for(tmp_path / "set", "--subject", "03") == 0
    (told,) = re.findall(r"corticast analyze (.+)", capsys.readouterr().err)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args(shlex.split(told))
    made = tmp_path / "set/derivatives/corticast"
    assert (options.config, options.transcript) == (made / "sub-03.toml", [made / "words.csv"])
    assert all(file.is_file() for file in (options.config, *options.transcript))
    assert read_events(made / "words.csv", "word")[1][0] == ("Act", 0.71, 0.79)


@pytest.mark.usefixtures("server")
def test_what_was_fetched_goes_into_an_analysis(tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert asked_for(out, "--subject", "02", "03") == 0
    made = out / "derivatives/corticast"
    for subject in ("02", "03"):
        recording = load_recording(out / f"sub-{subject}")
        ecog = recording.streams["ecog"]
        assert ecog.spec.channels == small.GOOD
        np.testing.assert_allclose(ecog.data[:], ecog_uv(subject)[1:6].T, atol=0.06)  # 16 bits of the file
        assert (ecog.bad, ecog.coordinates) == (("LGA3",), "MNI152NLin2009aSym, mm")
        assert ecog.positions["LO1"] == (-53.0, 30.0, 5.5)
        heard = recording.streams["sound"]
        assert float(heard.stamps[0]) == float(ecog.stamps[0]) == 0.0
        np.testing.assert_allclose(heard.data[:], small.sound() / 32768, atol=1e-6)
    montage = load_montage(made / "sub-03_montage.csv")
    assert [(one.name, one.kind, one.bad) for one in montage.electrodes] == [
        *(("LGA2", "grid", False), ("LGA3", "grid", True), ("LGB65", "grid", False)),
        *(("LO1", "strip", False), ("DLAMT2", "depth", False)),
    ]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    recordings = [str(out / f"sub-{subject}") for subject in ("02", "03")]
    montages = [str(made / f"sub-{subject}_montage.csv") for subject in ("02", "03")]
    options = parser.parse_args([*recordings, "--out", str(tmp_path), "--montage", *montages])
    config = load_config(made / "sub-03.toml")
    assert config.ecog.mains_hz == 60
    patients = load_patients(options, config)
    assert [(one.name, one.electrodes, one.system) for one in patients] == [
        (name, small.GOOD, "MNI152NLin2009aSym") for name in ("sub-02", "sub-03")
    ]
    (segment,) = patients[1].segments(with_sound=True)
    assert segment.times[-1] - segment.times[0] > small.SECONDS - 1
    words = (made / "words.csv").read_text(encoding="utf-8").splitlines()
    assert words[:3] == ["kind,label,start_s,end_s", "word,Act,0.710,0.790", 'word,"one,",0.990,1.190']
    assert len(words) == 1 + len(small.WORDS), "the word without times"


def test_a_second_run_leaves_what_was_edited(server: Served, tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert asked_for(out, "--subject", "03") == 0
    config = out / "derivatives/corticast/sub-03.toml"
    config.write_text(config.read_text() + 'bad = ["LO1"]\n')
    server.asked.clear()
    assert asked_for(out, "--subject", "03") == 0
    assert load_config(config).ecog.bad == ("LO1",)
    assert server.asked == []


def test_what_can_be_foreseen_is_one_line(
    server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    assert asked_for(out, "--subject", "10") == 2
    assert "no subject '10'; there are: 01, 02" in one_line(capsys)
    assert main(["dataset", "podcst", "--out", str(out)]) == 2
    assert "did you mean 'podcast'" in one_line(capsys)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000_000))
        assert asked_for(out, "--subject", "03") == 2
        assert "0.20 GB free, 1 subject(s) of ds005574 need 0.82 GB more" in one_line(capsys)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "openneuro", None)
        assert asked_for(out, "--subject", "03") == 2
        assert "pip install 'corticast[dataset]'" in one_line(capsys)
    with monkeypatch.context() as patch:
        patch.setattr(openneuro, "gql_url", "http://127.0.0.1:9/graphql")
        assert asked_for(out, "--subject", "03") == 2
        assert "check the network" in one_line(capsys)
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset_description.json").write_text(
        (server.root / "dataset_description.json").read_text().replace("v1.0.2", "v1.0.1")
    )
    assert asked_for(other, "--subject", "03") == 2
    assert "holds another version" in one_line(capsys)
    assert not out.exists()
