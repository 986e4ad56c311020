"""The same recording through the offline chains again, in this process and in a new one: the same bytes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.lstm_attention import LstmAttention, LstmAttentionConfig, LstmAttentionStage
from encoders.model_file import load_model, model_hash, save_model
from encoders.projection import fit_projection
from realtime.block import Block
from realtime.commands import wiring
from realtime.offline import run_chain
from realtime.sources.recording import load_recording, save_folder
from tests.rig import ELECTRODES, TABLE, small_model, small_recording

SECONDS = 9.0


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording and two model files."""
    folder = tmp_path_factory.mktemp("determinism")
    recording = small_recording(SECONDS, "same")
    embedding = wiring.embedding_of(TABLE)
    save_folder(recording, folder / "session")
    _, header = load_model(small_model(folder, recording, embedding))
    torch.manual_seed(0)
    config = LstmAttentionConfig(components=16, electrodes=len(ELECTRODES), horizon_s=0.04)
    model = LstmAttention(config)
    torch.nn.init.normal_(model.readout.weight)
    some = np.random.default_rng(2).normal(size=(400, embedding.width)).astype(np.float32)
    save_model(folder / "lstm.safetensors", LstmAttentionStage(model, fit_projection(some, 16)), header)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    wiring.bound_threads(1)
    yield
    wiring.bound_threads(before)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of all bytes that each lane gives for the recording in a folder, from chains made anew."""
    recording = load_recording(folder / "session")
    sound, ecog = (recording.streams[lane] for lane in ("sound", "ecog"))
    found = {}
    for kind in ("model", "lstm"):
        model, header = load_model(folder / f"{kind}.safetensors")
        chain = wiring.sound_lane(sound.spec, "stimulus", wiring.embedding_for(header), model)
        found[kind] = digest(run_chain(sound, chain))
    baseline = (header.baseline_median, header.baseline_mad)
    lane = wiring.ecog_lane(ecog.spec, wiring.EcogPlan.fitted(header), baseline)
    found["ecog"] = digest(run_chain(ecog, lane))
    return found


def digest(blocks: list[Block]) -> str:
    assert sum(len(block) for block in blocks) > 40 * (SECONDS - 2)
    result = hashlib.sha256()
    for block in blocks:
        result.update(f"{block.index} {len(block)}".encode())
        for array in (block.data, block.times, *(block.extra[name] for name in sorted(block.extra))):
            result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def test_again_in_this_process_and_in_another(session: Path) -> None:
    first = digests(session)
    assert len(set(first.values())) == 3, "different lanes gave the same bytes"
    assert digests(session) == first
    code = (
        "import json, sys; from pathlib import Path; from realtime.commands import wiring; wiring.bound_threads(1); "
        "from tests.test_determinism import digests; print(json.dumps(digests(Path(sys.argv[1]))))"
    )
    root = Path(__file__).parent.parent
    other = subprocess.run(
        [sys.executable, "-c", code, session], cwd=root, capture_output=True, text=True, timeout=200, check=True
    )
    assert json.loads(other.stdout.splitlines()[-1]) == first


def test_an_equal_model_is_an_equal_file(session: Path, tmp_path: Path) -> None:
    model, header = load_model(session / "lstm.safetensors")
    save_model(tmp_path / "again.safetensors", model, header)
    assert model_hash(tmp_path / "again.safetensors") == model_hash(session / "lstm.safetensors")


def test_the_digest_sees_one_bit(session: Path) -> None:
    recording = load_recording(session / "session")
    stream = recording.streams["ecog"]
    block = Block(stream.data[:400].copy(), stream.stamps[:400])
    before = digest([block])
    block.data.view(np.uint32)[7, 0] ^= 1
    assert digest([block]) != before
