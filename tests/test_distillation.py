"""Distilling: one masked pass against the streaming stage; a run that learns, stops, goes on and is loaded."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper.model
from safetensors.torch import save_file

from encoders.distillation import Distiller, DistillSettings, distil, readable
from encoders.distillation_data import Speech, read_speech, window
from encoders.distillation_model import Silent, causal_states, layout, silent_keys
from encoders.mel import whole_clip_stem
from encoders.silence import SILENT_LOG_MEL
from encoders.student import load_checkpoint, read_about, save_checkpoint, write_student
from encoders.weights import LoadedWhisper, file_sha256, load_whisper, untrained_whisper
from encoders.whisper import CausalWhisper, Encoder, StreamingSettings, offline_embedding, whisper_stages
from realtime.block import regular
from realtime.cli import main
from realtime.commands import distill
from realtime.errors import UserError
from tests.test_distillation_data import write_speech
from tests.tiny_whisper import TOLERANCE_SD, in_sd, stem_block, tiny_whisper

SETTINGS = DistillSettings(layer=2, pairs=((5, 0), (2, 3)), history=100, epochs=2, rate=3e-3)


@pytest.fixture(scope="module", name="teacher")
def _teacher() -> LoadedWhisper:
    return LoadedWhisper(tiny_whisper(), "tiny", "0" * 64, "untrained")


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module", name="speech")
def _speech(folder: Path) -> Speech:
    return read_speech([folder])


def weights(distiller: Distiller) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in distiller.blocks.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------- the parallel forward pass


def quiet(model: whisper.model.Whisper) -> Silent:
    frames = whole_clip_stem(torch.full((3000, 80), SILENT_LOG_MEL), Encoder(model, 1).stem)
    return silent_keys(model.encoder.blocks, frames + model.encoder.positional_embedding)


@pytest.mark.parametrize(
    ("block", "tail", "history", "silence"),
    [(5, 0, 500, 0), (5, 0, 20, 30), (1, 2, 9, 0), (2, 3, 16, 7), (1, 1, 500, 100), (5, 5, 40, 1), (7, 2, 35, 0)],
)
def test_one_masked_pass_equals_the_stream(block: int, tail: int, history: int, silence: int) -> None:
    """After each of three blocks, over 400 frames, several chunks of queries."""
    small, x = tiny_whisper(), stem_block(400)
    positioned = torch.from_numpy(x.data) + small.encoder.positional_embedding[: len(x)]
    at, silent = layout(len(x), block, tail, history, silence), quiet(small) if silence else None
    states = causal_states(small.encoder.blocks, positioned, at, silent)
    for depth, state in enumerate(states, start=1):
        expected = CausalWhisper(Encoder(small, depth), block, history, tail, silence=silence).layer(x).data
        found = causal_states(small.encoder.blocks[:depth], positioned, at, silent)[-1]
        assert state.shape == expected.shape
        assert in_sd(state.numpy(), expected) < TOLERANCE_SD
        assert in_sd(found.numpy(), expected) < TOLERANCE_SD, "as the last block"


def test_the_teacher_is_the_offline_whisper(teacher: LoadedWhisper, speech: Speech) -> None:
    distiller = Distiller(teacher, speech, SETTINGS)
    sound = window(speech.train, 0)[: 20 * 16_000]
    expected = offline_embedding(teacher.model, sound, [1, 2])
    for layer, found in enumerate(distiller._targets(sound), start=1):
        assert in_sd(found.numpy(), expected[layer]) < TOLERANCE_SD


def test_too_short_a_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="4 frames"):
        layout(4, 5, 0, 100)


def test_readable_counts_small_channels_as_much_as_huge_ones() -> None:
    """An error of one SD in a channel costs the same whatever the channel's scale; the teacher's own spread costs 1."""
    torch.manual_seed(0)
    states = torch.randn(4000, 3) * torch.tensor([500.0, 1.0, 0.01]) + 7.0
    metric = readable([states])
    costs = [float((metric[:, i] * states[:, i].std()).square().sum()) for i in range(3)]
    assert np.allclose(costs, 1 / 3, rtol=0.1)
    assert float(((states - states.mean(dim=0)) @ metric.T).square().sum(dim=1).mean()) == pytest.approx(1.0, rel=1e-3)


# ---------------------------------------------------------------- a run


@pytest.fixture(scope="module", name="finished")
def _finished(teacher: LoadedWhisper, speech: Speech) -> tuple[Distiller, list[float]]:
    distiller, losses = Distiller(teacher, speech, SETTINGS), []
    assert distil(distiller, lambda _, loss: losses.append(loss))
    return distiller, losses


def test_a_run_learns(finished: tuple[Distiller, list[float]], teacher: LoadedWhisper) -> None:
    distiller, losses = finished
    scores = distiller.progress.scores
    assert len(losses) == distiller.windows == 4
    assert losses[-1] < 0.8 * losses[0]
    assert all(after > before for before, after in zip(scores[0], scores[-1], strict=True))
    assert distiller.progress.best_epoch in (1, 2)
    untouched = tiny_whisper().encoder.state_dict()
    assert same(teacher.model.encoder.state_dict(), untouched), "the teacher must not learn"


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_a_stopped_run_goes_on_as_if_it_had_not(
    finished: tuple[Distiller, list[float]], teacher: LoadedWhisper, speech: Speech, tmp_path: Path, windows: int
) -> None:
    path = tmp_path / "run.checkpoint"
    first = Distiller(teacher, speech, SETTINGS)
    assert not distil(first, stop=lambda: first.progress.window == windows)
    save_checkpoint(path, teacher, first)
    second = Distiller(teacher, speech, SETTINGS)
    load_checkpoint(path, teacher, second)
    assert second.progress.window == windows
    assert distil(second)
    assert same(weights(second), weights(finished[0]))
    assert same(second.progress.best, finished[0].progress.best)
    assert second.progress.scores == finished[0].progress.scores


def test_the_student_goes_part_of_the_way(teacher: LoadedWhisper, speech: Speech) -> None:
    """With the halfway student, twice the way from the teacher is where training ended."""
    distiller = Distiller(teacher, speech, replace(SETTINGS, mix=0.5, epochs=1))
    assert distil(distiller)
    assert distiller.progress.best_epoch == 1
    before, after = teacher.model.encoder.blocks[:2].state_dict(), distiller.blocks.state_dict()
    for name, found in distiller.progress.best.items():
        assert torch.allclose(2 * found - before[name], after[name], atol=1e-6), name


def test_a_student_learns_on_from_where_another_ended(
    finished: tuple[Distiller, list[float]], teacher: LoadedWhisper, speech: Speech, tmp_path: Path
) -> None:
    """The teacher stays the teacher, and half of the way is half of the way from the first student."""
    other = tiny_whisper()
    other.encoder.blocks[:2].load_state_dict(finished[0].progress.best)
    start = replace(teacher, model=other, sha256="2" * 64)
    distiller = Distiller(teacher, speech, replace(SETTINGS, mix=0.5, epochs=1, seed=1), start=start)
    assert distiller.score() == pytest.approx(max(finished[0].progress.scores, key=np.mean), abs=1e-6)
    first = weights(distiller)
    assert same(first, finished[0].progress.best)
    distiller.run_window()
    assert not same(weights(distiller), first)
    for name, found in distiller.student_weights().items():
        assert torch.allclose(2 * found - first[name], distiller.blocks.state_dict()[name], atol=1e-6), name
    path = tmp_path / "run.checkpoint"
    save_checkpoint(path, teacher, distiller)
    with pytest.raises(UserError, match=f"start = {start.sha256}, here it is None"):
        load_checkpoint(path, teacher, Distiller(teacher, speech, distiller.settings))


def test_a_run_ends_early_when_nothing_is_gained(teacher: LoadedWhisper, speech: Speech) -> None:
    distiller = Distiller(teacher, speech, replace(SETTINGS, rate=0.0, epochs=9, patience=2))
    assert distil(distiller)
    assert len(distiller.progress.scores) == 3
    assert distiller.progress.best_epoch == 0


def test_checkpoints_of_another_run_and_damaged_ones_are_refused(
    finished: tuple[Distiller, list[float]], teacher: LoadedWhisper, speech: Speech, tmp_path: Path
) -> None:
    path = tmp_path / "run.checkpoint"
    save_checkpoint(path, teacher, finished[0])
    with pytest.raises(UserError, match=r"seed = 0, here it is 3"):
        load_checkpoint(path, teacher, Distiller(teacher, speech, replace(SETTINGS, seed=3)))
    with pytest.raises(UserError, match="teacher"):
        load_checkpoint(path, replace(teacher, sha256="1" * 64), finished[0])
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="was altered"):
        load_checkpoint(path, teacher, finished[0])
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a whole safetensors"):
        load_checkpoint(path, teacher, finished[0])


def test_a_layer_that_is_not_there_is_refused(teacher: LoadedWhisper, speech: Speech) -> None:
    with pytest.raises(UserError, match="layer 4 does not exist"):
        Distiller(teacher, speech, replace(SETTINGS, layer=4))


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module", name="teacher_file")
def _teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "tiny.safetensors"
    model = untrained_whisper("tiny", 0).model
    state = {name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}
    save_file(state, path, {"dims": json.dumps(asdict(model.dims))})
    return path


def command(folder: Path, teacher_file: Path, out: Path, *more: str) -> list[str]:
    words = ["distill", "--audio", str(folder), "--whisper", "tiny", "--file", str(teacher_file), "--layer", "1"]
    words += ["--epochs", "1", "--rate", "3e-5", "--silence-ms", "0"]  # to untrained weights silence is no silence
    return [*words, "--block-ms", "100", "--out", str(out), *more]


@pytest.fixture(name="interrupted_after")
def _interrupted_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C in the middle of a window."""

    def at(window_number: int) -> None:
        run_window = Distiller.run_window

        def pressed(self: Distiller) -> float:
            if self.progress.window == window_number:
                monkeypatch.setattr(Distiller, "run_window", run_window)
                signal.raise_signal(signal.SIGINT)
            return run_window(self)

        monkeypatch.setattr(Distiller, "run_window", pressed)

    return at


def test_the_command_stops_resumes_and_its_student_loads(
    folder: Path,
    teacher_file: Path,
    tmp_path: Path,
    interrupted_after: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, unbroken = tmp_path / "student.safetensors", tmp_path / "unbroken.safetensors"
    checkpoint = tmp_path / "student.safetensors.checkpoint"
    interrupted_after(0)
    assert main(command(folder, teacher_file, out)) == 130
    assert checkpoint.is_file()
    assert not out.exists()
    assert main(command(folder, teacher_file, out)) == 2
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]
    assert main(command(folder, teacher_file, out, "--resume")) == 0
    assert not checkpoint.exists()
    assert main(command(folder, teacher_file, unbroken)) == 0
    assert file_sha256(out) == file_sha256(unbroken)

    student, own = load_whisper("tiny", file=out), load_whisper("tiny", file=teacher_file)
    assert student.sha256 == file_sha256(out) != own.sha256
    about = read_about(out)
    assert about is not None
    assert about["teacher_sha256"] == own.sha256
    assert (about["layer"], about["pairs_ms"], about["start_sha256"]) == (1, [[100, 0]], None)
    assert read_about(teacher_file) is None
    sound = regular(window(read_speech([folder]).train, 0)[:48_000, None], 16_000)
    found, before = (
        whisper_stages(Encoder(each.model, 1), StreamingSettings(1)).layer(sound).data for each in (student, own)
    )
    assert found.shape == before.shape
    assert in_sd(found, before) > 0.05
    changed = [
        name
        for name, tensor in student.model.state_dict().items()
        if not torch.equal(tensor, own.model.state_dict()[name])
    ]
    assert changed
    assert all(name.startswith("encoder.blocks.0.") for name in changed)
    onward = tmp_path / "onward.safetensors"
    assert main(command(folder, teacher_file, onward, "--start", str(out))) == 0
    assert "at the start: share of the teacher" in capsys.readouterr().err
    again = read_about(onward)
    assert again is not None
    assert (again["teacher_sha256"], again["start_sha256"]) == (own.sha256, student.sha256)
    assert again["held_out_score_untrained"] == pytest.approx(about["held_out_score"], abs=1e-6)


@pytest.mark.parametrize(
    ("words", "pairs"),
    [
        ([], ((2, 3),)),
        (["--block-ms", "100", "20"], ((5, 0), (1, 0))),
        (["--block-ms", "100", "--delay-ms", "40"], ((5, 2),)),
    ],
)
def test_a_student_is_of_the_default_stream_or_of_what_is_asked(words: list[str], pairs: tuple[Any, ...]) -> None:
    parser = argparse.ArgumentParser()
    distill.add_arguments(parser)
    assert distill._settings(parser.parse_args(["--audio", "a", "--out", "b", *words])).pairs == pairs


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--resume"], "nothing to resume"),
        (["--block-ms", "30"], "multiple of 20 ms"),
        (["--block-ms", "100", "40", "--delay-ms", "60"], "give each block its delay"),
        (["--epochs", "0"], "at least 1"),
        (["--mix", "1.5"], "expected a share above 0"),
        (["--audio", "nowhere"], "no recordings at nowhere"),
        (["--out", "student.pt"], "ends in .safetensors"),
        (["--block-ms", "100", "--history-s", "0.04"], "not longer than --history-s"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path, teacher_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(command(folder, teacher_file, tmp_path / "student.safetensors", *more)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("corticast: ")
    assert message in last


def test_a_student_keeps_what_half_precision_holds(finished: tuple[Distiller, list[float]], tmp_path: Path) -> None:
    """The teacher's own float16 tensors stay float16; what was trained keeps float32; nothing is rounded."""
    from encoders.archive import load_sealed

    distiller = finished[0]
    model = tiny_whisper()
    for parameter in model.parameters():
        parameter.copy_(parameter.to(torch.float16).float())
    write_student(tmp_path / "s.safetensors", LoadedWhisper(model, "tiny", "0" * 64, "file"), distiller)
    tensors, _ = load_sealed(tmp_path / "s.safetensors")
    assert tensors["decoder.token_embedding.weight"].dtype == torch.float16
    for name, tensor in distiller.progress.best.items():
        assert torch.equal(tensors[f"encoder.blocks.{name}"].float(), tensor)
