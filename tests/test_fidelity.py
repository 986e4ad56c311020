"""What the causal Whisper keeps, also where its caches swap; and that the benchmark's figures mean what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import whisper.model

from benchmarks import fidelity
from benchmarks.phone_probe import (
    PHONES,
    RATE_HZ,
    SILENT,
    TEST,
    TRAIN,
    PhoneProbe,
    Recovery,
    Speech,
    centred_cosine,
    frame_labels,
    load_speech,
)
from encoders.phones import PhoneAlignment
from encoders.speech import load_trials
from encoders.weights import LoadedWhisper, load_whisper
from encoders.whisper import CausalWhisper, Encoder, StreamingSettings, offline_embedding, whisper_stages
from realtime.audio import Resample
from realtime.block import Floats, regular
from realtime.errors import UserError
from realtime.stage import Chain
from tests.test_mel import babble

AFTER_SWAP = 100  # frames, 2 s
SWAP_TRIALS = (5, 7, 8, 9)  # 253 s that train nothing


def causal_stage(chain: Chain) -> CausalWhisper:
    (stage,) = (s for s in chain.stages if isinstance(s, CausalWhisper))
    return stage


def at_every_distance(chain: Chain, sound: Floats, before: Floats, shifts: Sequence[int]) -> npt.NDArray[np.float32]:
    """Embeddings of one sound at different distances from a swap, (shifts, frames, width).

    With shift i its first frame comes i * AFTER_SWAP frames after the first swap, because so much more of `before`
    precedes it. With all shifts in range(period / AFTER_SWAP), each frame is once among the first after a swap.
    """
    first_swap = causal_stage(chain).epoch
    leads = [(first_swap + i * AFTER_SWAP) * 320 for i in shifts]
    frames = len(sound) // 320 - 5
    results = []
    for lead in leads:
        stream = np.concatenate([before[-lead:], sound])
        results.append(chain.layer(regular(stream[:, None], RATE_HZ)).data[lead // 320 :][:frames])
    return np.stack(results)


def near_a_swap(chain: Chain, frames: int, shifts: Sequence[int]) -> npt.NDArray[np.bool_]:
    """(shifts, frames), for the result of `at_every_distance`: at most AFTER_SWAP frames after a swap."""
    stage = causal_stage(chain)
    since_first = np.arange(frames) + AFTER_SWAP * np.asarray(shifts)[:, None]
    return np.asarray(since_first % (stage.epoch - stage.history) < AFTER_SWAP)


@pytest.fixture(scope="module")
def tiny() -> Chain:
    return whisper_stages(Encoder(load_whisper("tiny.en").model, 2), StreamingSettings(2, 100, delay_ms=0))


def mean_r(one: Floats, other: Floats) -> float:
    """Pearson correlation of each channel, averaged."""
    a, b = (x - x.mean(axis=0) for x in (one.astype(np.float64), other.astype(np.float64)))
    r = np.sum(a * b, axis=0) / np.sqrt(np.sum(a**2, axis=0) * np.sum(b**2, axis=0))
    return float(r.mean())


def test_embeddings_near_a_swap_are_those_far_from_it(tiny: Chain) -> None:
    """The same frames under other positions and a cache just taken over: as alike as far from any swap."""
    trial = load_trials()[TEST[0]]
    sound = Resample(trial.rate_hz).layer(regular(trial.sound[:, None], trial.rate_hz)).data[:, 0]
    shifts = (0, 3, 6)
    found = at_every_distance(tiny, sound[: 17 * RATE_HZ], sound[: 45 * RATE_HZ], shifts)
    near = near_a_swap(tiny, found.shape[1], shifts)
    assert near.sum(axis=1).tolist() == [AFTER_SWAP] * 3
    near_far, far_far = [], []
    for a, b, c in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        one, other, third = (found[i][near[a]] for i in (a, b, c))
        near_far += [mean_r(one, other), mean_r(one, third)]
        far_far.append(mean_r(other, third))
    assert np.mean(near_far) > np.mean(far_far) - 0.03, f"{np.mean(near_far):.3f} near, {np.mean(far_far):.3f} far"


# ---------------------------------------------------------------- the benchmark's own figures


def test_a_frame_has_the_phone_at_its_centre() -> None:
    alignment = PhoneAlignment([("SIL", 0.0, 0.05), ("AA", 0.05, 0.1), ("Z", 0.1, 0.125)], [], [])
    labels = frame_labels(alignment, 1921)  # 0.12 s and one sample: frames at 0, 20, ... 120 ms
    a, z = PHONES.index("AA"), PHONES.index("Z")
    assert labels.tolist() == [SILENT, SILENT, SILENT, a, a, z, z]
    assert len(PHONES) == 39


def test_the_probe_finds_what_is_linear_and_only_that() -> None:
    rng = np.random.default_rng(3)
    labels = [rng.integers(SILENT, 4, 800) for _ in range(3)]
    directions = 3 * rng.normal(size=(5, 12))
    embeddings = [directions[y] + rng.normal(size=(800, 12)) for y in labels]
    probe = PhoneProbe(embeddings[:2], labels[:2])
    assert probe.accuracy(embeddings[2:], labels[2:]) > 0.95
    assert probe.accuracy([rng.permutation(embeddings[2])], labels[2:]) < 0.4
    right = probe.right(embeddings[2], labels[2])
    spoken = labels[2] != SILENT
    assert right[spoken].mean() == pytest.approx(probe.accuracy(embeddings[2:], labels[2:]))
    assert not right[~spoken].any()


def test_recovery_is_blind_to_a_linear_map_and_falls_with_noise() -> None:
    rng = np.random.default_rng(4)
    offline = [rng.normal(size=(900, 6)) * [9, 5, 3, 2, 1, 1] + 50 for _ in range(2)]
    mixing = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    mixed = [(x / [9, 5, 3, 2, 1, 1]) @ mixing - 7 for x in offline]
    assert Recovery(offline[:1], mixed[:1], 4).r(offline[1:], mixed[1:]) > 0.97
    noisy = [x + 3 * x.std(axis=0) * rng.normal(size=x.shape) for x in offline]
    assert 0.2 < Recovery(offline[:1], noisy[:1], 4).r(offline[1:], noisy[1:]) < 0.5  # 1 / sqrt(10) for one component
    assert centred_cosine(offline, offline) == pytest.approx(1.0)
    assert abs(centred_cosine(offline[:1], offline[1:])) < 0.1


def test_a_share_comes_with_the_error_that_repeated_speech_shows() -> None:
    """1,000 tests of 40 stretches, each hard or easy for both: the shares scatter by what any one test says."""
    rng = np.random.default_rng(5)

    def test() -> tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]]]:
        ease = rng.uniform(0.4, 1.0, (40, 1)).repeat(100, axis=1)
        theirs = rng.uniform(size=ease.shape) < ease
        ours = np.where(theirs, rng.uniform(size=ease.shape) < 0.8 + 0.2 * ease, rng.uniform(size=ease.shape) < 0.2)
        halves = [np.split(x.reshape(-1).astype(np.int64), [1700]) for x in (ours, theirs)]
        return halves[0], halves[1]

    shares, errors = zip(*(fidelity.share_of(*test()) for _ in range(1000)), strict=True)
    assert np.mean(errors) == pytest.approx(np.std(shares), rel=0.1)
    ours, theirs = test()
    assert fidelity.share_of(ours, theirs)[0] == sum(x.sum() for x in ours) / sum(x.sum() for x in theirs)
    assert fidelity.share_of(theirs, theirs) == (1.0, 0.0)


def test_what_trains_the_probe_is_not_tested(capsys: pytest.CaptureFixture[str]) -> None:
    for trial in ("3", "10", "-1", "one"):
        with pytest.raises(SystemExit):
            fidelity.main(["--test-trials", "7", trial])
        assert "expected a trial from 0 to 9 that trains no probe" in capsys.readouterr().err


def test_rows_are_read_or_refused() -> None:
    assert fidelity.parse_row("40+60", 3) == StreamingSettings(3, 40.0, 10.0, 60.0, "cached")
    assert fidelity.parse_row("window:100+0@2.5", 2) == StreamingSettings(2, 100.0, 2.5, 0.0, "window")
    for text in ("100", "a+b", "40+60@", "100+-20", "40+60 "):
        with pytest.raises(UserError, match="BLOCK\\+DELAY"):
            fidelity.parse_row(text, 3)


def test_the_benchmark_writes_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    torch.manual_seed(2)
    model = whisper.model.Whisper(whisper.model.ModelDimensions(80, 1500, 24, 3, 2, 100, 16, 24, 3, 1))
    speech = [Speech(i, babble(8.0, i), np.resize(np.arange(3), 400)) for i in range(3)]
    monkeypatch.setattr(fidelity, "load_speech", lambda numbers: speech[1:] if numbers == TRAIN else speech[:1])
    monkeypatch.setattr(fidelity, "load_whisper", lambda name: LoadedWhisper(model.eval(), name, "0", "untrained"))
    monkeypatch.setattr(fidelity, "TIMED_S", 2.0)
    threads = torch.get_num_threads()
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    options = ["--layer", "2", "--rows", "100+0@2", "40+60@1", "--json", str(file), "--picture", str(picture)]
    assert fidelity.main(options) == 0
    torch.set_num_threads(threads)
    content = json.loads(file.read_text())
    assert content["machine"]["cores"]
    assert content["command"].endswith(str(picture))
    offline, plain, tail = content["rows"]
    names = "model layer mode block_ms history_s delay_ms silence_ms lag_ms device threads dtype random_weights student"
    figures = "graph phone_accuracy offline_phone_accuracy of_offline of_offline_se linear_r cosine ms_per_s step_ms"
    for row in (offline, plain, tail):
        assert set(row) == set(f"{names} {figures}".split())
    assert offline["mode"] == "offline"
    assert offline["phone_accuracy"] == plain["offline_phone_accuracy"]
    assert (offline["of_offline"], offline["of_offline_se"]) == (1.0, 0.0)
    assert tail["of_offline"] == pytest.approx(tail["phone_accuracy"] / tail["offline_phone_accuracy"])
    assert content["test_trials"] == list(TEST)
    assert (plain["lag_ms"], tail["lag_ms"], tail["history_s"], tail["student"]) == (112.5, 112.5, 1.0, None)
    assert 0 < tail["step_ms"]["p50"] <= tail["step_ms"]["p99"]
    assert tail["ms_per_s"] >= 12.5 * tail["step_ms"]["p50"]  # 25 steps a second, half of them at least the median
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert fidelity.main(["--rows", "nonsense"]) == 2
    again = tmp_path / "again.json"
    monkeypatch.setattr(fidelity, "timing", lambda *_: {"ms_per_s": 1.0, "step_ms": {"p50": 2.0, "p99": 3.0}})
    assert fidelity.main(["--retime", str(file), "--json", str(again)]) == 0
    timed = json.loads(again.read_text())
    for before, after in zip(content["rows"], timed["rows"], strict=True):
        causal = before["mode"] != "offline"
        assert after == {**before, **({"ms_per_s": 1.0, "step_ms": {"p50": 2.0, "p99": 3.0}} if causal else {})}
    assert timed["times"]["machine"]["cores"]
    assert fidelity.main(["--retime", str(file)]) == 2


@pytest.mark.parametrize("words", [["--eager"], []])
def test_random_weights_give_times_alone_and_the_graph_is_told(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The captured graph is replaced by calling what it captures, as there may be no CUDA."""
    torch.manual_seed(2)
    model = whisper.model.Whisper(whisper.model.ModelDimensions(80, 1500, 24, 3, 2, 100, 16, 24, 3, 1))
    monkeypatch.setattr(fidelity, "load_speech", lambda numbers: [Speech(i, babble(8.0, i), None) for i in numbers])  # type: ignore[arg-type]
    monkeypatch.setattr(fidelity, "untrained_whisper", lambda name, _: LoadedWhisper(model.eval(), name, "0", "x"))
    monkeypatch.setattr(fidelity, "TIMED_S", 1.0)

    def as_on_cuda(encoder: Encoder, settings: StreamingSettings, graph: bool | None) -> Chain:
        chain = whisper_stages(encoder, settings, graph=graph is not False)
        static = causal_stage(chain)._static
        if static is not None:
            monkeypatch.setattr(type(static), "captured", True)
        return chain

    monkeypatch.setattr(fidelity, "whisper_stages", as_on_cuda)
    file = tmp_path / "a.json"
    threads = torch.get_num_threads()
    assert fidelity.main(["--random-weights", "--layer", "2", "--rows", "100+0@2", "--json", str(file), *words]) == 0
    torch.set_num_threads(threads)
    offline, row = json.loads(file.read_text())["rows"]
    assert (offline["graph"], row["graph"]) == (False, not words)
    assert row["step_ms"]["p50"] > 0
    for name in ("phone_accuracy", "offline_phone_accuracy", "of_offline", "of_offline_se", "linear_r", "cosine"):
        assert row[name] is None
    assert fidelity.main(["--random-weights", "--picture", "a.png"]) == 2


# ---------------------------------------------------------------- real speech and weights, minutes


@pytest.fixture(scope="module")
def base() -> whisper.model.Whisper:
    pytest.importorskip("pocketsphinx")
    torch.set_num_threads(1)
    return load_whisper("base").model


@pytest.fixture(scope="module")
def base_chain(base: whisper.model.Whisper) -> Chain:
    return whisper_stages(Encoder(base, 3), StreamingSettings(3, 100, delay_ms=0))


@pytest.fixture(scope="module")
def training() -> list[Speech]:
    return load_speech(TRAIN)


@pytest.fixture(scope="module")
def probe(base_chain: Chain, training: list[Speech]) -> PhoneProbe:
    return PhoneProbe([fidelity.embed(base_chain, s.sound) for s in training], [s.labels for s in training])


@pytest.mark.long
def test_causal_keeps_most_of_the_phones(
    base: whisper.model.Whisper, base_chain: Chain, training: list[Speech], probe: PhoneProbe
) -> None:
    testing = load_speech(TEST)
    labels = [s.labels for s in testing]
    offline = PhoneProbe([offline_embedding(base, s.sound, [3])[3] for s in training], [s.labels for s in training])
    best = offline.accuracy([offline_embedding(base, s.sound, [3])[3] for s in testing], labels)
    causal = probe.accuracy([fidelity.embed(base_chain, s.sound) for s in testing], labels)
    assert best > 0.65
    assert 0.85 * best <= causal < best


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_swap_of_caches_costs_no_phones(base_chain: Chain, training: list[Speech], probe: PhoneProbe) -> None:
    """Ten streams of nearly five minutes: each frame is once in the 2 s after a swap, and nine times elsewhere."""
    testing = load_speech(SWAP_TRIALS)
    sound = np.concatenate([s.sound[: len(s.labels) // 5 * 5 * 320 - 1600] for s in testing])
    labels = np.concatenate([s.labels[: len(s.labels) // 5 * 5 - 5] for s in testing])
    stage = causal_stage(base_chain)
    shifts = range((stage.epoch - stage.history) // AFTER_SWAP)
    before = training[0].sound
    right = []
    for shift in shifts:
        (found,) = at_every_distance(base_chain, sound, before, [shift])
        right.append(probe.right(found, labels))
    hits, near = np.stack(right), near_a_swap(base_chain, len(right[0]), shifts)
    assert np.all(near.sum(axis=0) == 1)
    spoken = labels[: hits.shape[1]] != SILENT
    after_swap = np.sum(hits & near, axis=0)[spoken]
    elsewhere = np.sum(hits & ~near, axis=0)[spoken] / (len(shifts) - 1)
    difference = after_swap - elsewhere
    begins = np.arange(0, len(difference), AFTER_SWAP)  # the error is that of whole stretches: neighbours are alike
    stretches = np.add.reduceat(difference, begins)
    error = stretches.std() * np.sqrt(len(stretches)) / len(difference)
    print(
        f"{len(difference)} frames: {after_swap.mean():.4f} in the 2 s after a swap, {elsewhere.mean():.4f} elsewhere, "
        f"difference {difference.mean():+.4f} (standard error {error:.4f})"
    )
    assert len(difference) > 8000
    assert abs(difference.mean()) < 0.01
