"""The latency benchmark: its arithmetic against slow oracles, its search, its processes, and one real run."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import latency, peers
from benchmarks.latency_case import Case, Measured, write_files
from benchmarks.latency_client import Counter
from benchmarks.latency_figures import COLUMN, distribution, parts, push_times
from benchmarks.latency_overload import BLOCKS_MS, STREAMS, highest
from realtime.cli import main
from realtime.config import load_config
from realtime.errors import UserError
from realtime.telemetry import TELEMETRY

ROW_KEYS = (
    *("model", "layer", "mode", "block_ms", "channels", "rate_hz", "device", "threads", "load", "graph"),
    *("compute_ms", "end_to_end_ms", "telemetry_ms", "lost", "skipped", "cpu_percent"),
)
PEER_KEYS = ("name", "what", "ms_per_s", "ratio", "ratio_low", "ratio_high")


# ---------------------------------------------------------------- arithmetic


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=12), anchor=st.integers(0, 3), data=st.data())
def test_push_times_are_those_of_the_chunk_that_held_the_sample(
    sizes: list[int], anchor: int, data: st.DataObject
) -> None:
    pushed_of = [10.0 + chunk for chunk, size in enumerate(sizes) for _ in range(size)]  # by counter
    if anchor >= len(pushed_of):
        anchor = 0
    indices = data.draw(st.lists(st.integers(0, len(pushed_of) - 1 - anchor), max_size=8))
    source = {"ends": np.cumsum(sizes), "pushed_s": 10.0 + np.arange(len(sizes))}
    found = push_times(np.array(indices, float), anchor, source)
    assert found.tolist() == [pushed_of[anchor + index] for index in indices]


def test_a_sample_that_was_never_pushed_is_refused() -> None:
    with pytest.raises(UserError, match="never pushed"):
        push_times(np.array([10.0]), 0, {"ends": np.array([10]), "pushed_s": np.array([1.0])})


def client_and_source(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Three rows of known times: two of one block, then one; the observed ones 30 ms after the predicted."""
    told = np.zeros((3, len(TELEMETRY)))
    told[:, COLUMN["newest_sample_index"]] = [19, 19, 39]
    told[:, COLUMN["newest_sample_time"]] = [1.001, 1.001, 2.001]
    told[:, COLUMN["arrival_time"]] = [1.002, 1.002, 2.004]
    told[:, COLUMN["block_complete_time"]] = [1.003, 1.003, 2.005]
    told[:, COLUMN["whisper_done_time"]] = [1.006, 1.006, 2.015]
    told[:, COLUMN["published_time"]] = [1.010, 1.010, 2.020]
    told[:, COLUMN["sound_lost"]] = [5, 5, 7]
    stamps = np.array([0.9, 0.92, 1.9])
    arrivals = np.array([1.011, 1.011, 2.025])
    client = {
        "predicted_stamps": stamps,
        "predicted_arrivals": arrivals,
        "observed_stamps": stamps[1:],
        "observed_arrivals": arrivals[1:] + 0.03,
        "telemetry": told,
        "telemetry_stamps": stamps,
        "counter_at_anchor": np.array(100),
        "counter_missing": np.array(0),
        "resets": np.array(0),
        "begin_s": np.array(1.0),
        "end_s": np.array(3.0),
        **changes,
    }
    return client, {"ends": np.array([110, 120, 140]), "pushed_s": np.array([0.5, 1.0, 2.0])}


def test_every_part_is_told_apart() -> None:
    found = parts(*client_and_source(), horizon_s=0.1)
    np.testing.assert_allclose(found.wait, [200, 180, 200])
    np.testing.assert_allclose(found.transport_in, [2, 2, 4])
    np.testing.assert_allclose(found.compute, [8, 8, 16])
    np.testing.assert_allclose(found.whisper, [3, 3, 10])
    assert [found.whisper_p50(0, 1), found.whisper_p50(-0.5, None)] == pytest.approx([3.0, 10.0])
    np.testing.assert_allclose(found.transport_out, [1, 1, 5])
    np.testing.assert_allclose(found.end_to_end, found.transport_in + found.compute + found.transport_out)
    np.testing.assert_allclose(found.telemetry, [9, 9, 19])
    np.testing.assert_allclose(found.clock_error, [1, 1, 1])
    np.testing.assert_allclose(found.lead_physical, [-111, -91, -125])
    np.testing.assert_allclose(found.lead_display, [30, 30])
    assert (found.lost, found.skipped) == (2, 0)


def test_rows_outside_the_measurement_do_not_count() -> None:
    found = parts(*client_and_source(begin_s=np.array(2.0)), horizon_s=0.1)
    np.testing.assert_allclose(found.end_to_end, [25])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resets": np.array(1)}, "could not be counted"),
        ({"counter_at_anchor": np.array(-1)}, "could not be counted"),
        ({"counter_missing": np.array(3)}, "3 samples did not reach"),
        ({"begin_s": np.array(9.0), "end_s": np.array(9.5)}, "too short"),
    ],
)
def test_figures_that_would_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parts(*client_and_source(**changes), horizon_s=0.1)


@settings(max_examples=20, deadline=None)
@given(chunks=st.lists(st.integers(1, 5), min_size=2, max_size=8), at=st.integers(0, 5), late=st.booleans())
def test_the_counter_finds_the_engines_first_sample(chunks: list[int], at: int, late: bool) -> None:
    """late: the engine tells its first sample when it has long passed by here."""
    counter, first = Counter(), 1000
    at = min(at, sum(chunks) - 1)
    if not late:
        counter.anchored(at / 7)
    for size in chunks:
        numbers = np.arange(first, first + size)
        counter.add(numbers.astype(float), (numbers - 1000) / 7)
        first += size
    if late:
        counter.anchored(at / 7)
    assert counter.at_anchor == 1000 + at
    assert counter.missing == 0
    counter.add(np.array([first + 2.0]), np.array([1e6]))
    assert counter.missing == 2


def test_percentiles_are_of_the_values_themselves() -> None:
    found = distribution(np.arange(1001.0))
    assert found == pytest.approx({"p50": 500.0, "p95": 950.0, "p99": 990.0, "p999": 999.0, "max": 1000.0})
    assert all(np.isnan(value) for value in distribution(np.empty(0)).values())


# ---------------------------------------------------------------- what is measured


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    latency.add_arguments(parser)
    return parser.parse_args(words)


def test_the_default_run_is_short_enough() -> None:
    """Twenty minutes for all rows and peers: what a row takes to start and end was 14 s on two busy cores."""
    cases = latency.chosen_cases(options())
    assert len(set(cases)) == len(cases) > 10
    assert len(cases) * (latency.SECONDS + latency.WARM_UP_S + 14) + 4 * 60 < 20 * 60
    assert {case.load for case in cases} == {None, "core", "disk"}


def test_options_are_swept_in_all_combinations() -> None:
    cases = latency.chosen_cases(options("--block-ms", "40", "100", "--load", "none", "core", "--layer", "6"))
    assert [(c.block_ms, c.load, c.layer) for c in cases] == [
        (40.0, None, 6),
        (40.0, "core", 6),
        (100.0, None, 6),
        (100.0, "core", 6),
    ]


@pytest.mark.parametrize("words", [(), ("--fast",), ("--device", "cuda")])
def test_eager_reaches_the_engine_and_the_row(words: tuple[str, ...], tmp_path: Path) -> None:
    for eager in (False, True):
        for case in latency.chosen_cases(options(*words, *(["--eager"] if eager else []))):
            case = replace(case, model="tiny.en", layer=2)
            write_files(tmp_path, case, random_weights=False)
            assert load_config(tmp_path / "rig.toml").whisper.graph is not eager
            row = Measured(case, parts(*client_and_source(), horizon_s=0.1), None).row()
            assert row["graph"] == (case.device == "cuda" and not eager)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_overload_finds_the_most_streams_and_then_the_smallest_block(data: st.DataObject) -> None:
    """Against trying everything, on machines where more streams never allow a smaller block."""
    needed = sorted(
        data.draw(st.lists(st.integers(0, len(BLOCKS_MS)), min_size=len(STREAMS), max_size=len(STREAMS))), reverse=True
    )
    smallest = dict(zip(STREAMS, needed, strict=True))
    tried: list[Case] = []

    def keeps_up(case: Case) -> bool:
        tried.append(case)
        return BLOCKS_MS.index(case.block_ms) >= smallest[(case.channels, case.rate_hz)]

    limit = highest(Case(), keeps_up)
    everything = (
        replace(Case(), channels=channels, rate_hz=rate_hz, block_ms=block_ms)
        for (channels, rate_hz), block_ms in itertools.product(STREAMS, BLOCKS_MS)
    )
    expected = next((case for case in everything if keeps_up(case)), None)
    assert (limit.case if limit else None) == expected
    capped = needed[0] < len(BLOCKS_MS)
    assert ("at least" in limit.advice() if limit else False) == capped, "nothing heavier was tried"
    tried.clear()
    highest(Case(), keeps_up)
    assert len(tried) <= 6, "at 40 s each, with 100 s of stalls: about six minutes"


# ---------------------------------------------------------------- peers


def test_contenders_take_turns_and_the_ratio_is_that_of_their_cost() -> None:
    order: list[str] = []
    noise = np.random.default_rng(0)

    def cost(name: str, ms: float) -> peers.Run:
        def once() -> float:
            order.append(name)
            return ms * float(noise.uniform(0.9, 1.1)) if order.count(name) > 1 else float("nan")

        return once

    theirs = [peers.Contender("slow", "x", cost("slow", 30.0)), peers.Contender("quick", "x", cost("quick", 5.0))]
    slow, quick = peers.in_turns("test", cost("ours", 10.0), theirs, 8)
    assert order == ["slow", "quick", "ours"] * 9, "a first round warms up and does not count"
    assert slow.ratio_low < 3.0 < slow.ratio_high < 4.0
    assert quick.ratio_low <= quick.ratio <= quick.ratio_high < 0.7
    assert tuple(slow.entry()) == PEER_KEYS


def test_a_peer_that_is_not_there_is_left_out_with_its_reason() -> None:
    told: list[tuple[str, str]] = []
    with peers.optional("one", lambda *words: told.append(words)):
        raise ImportError("No module named 'one'")
    with peers.optional("two", lambda *words: told.append(words)):
        raise peers.Missing("no weights")
    assert told == [("one", "No module named 'one'"), ("two", "no weights")]


# ---------------------------------------------------------------- processes


def bench(folder: Path, *words: object) -> subprocess.Popen[str]:
    """`corticast bench` with all its files, and so the names in its processes' command lines, under `folder`."""
    command = [sys.executable, "-m", "realtime.cli", "bench", *map(str, words)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def processes(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def await_that(there: Any, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


def test_a_fast_run_writes_what_it_should(tmp_path: Path) -> None:
    files = ("--json", tmp_path / "latency.json", "--picture", tmp_path / "latency.png")
    folder = tmp_path / "run"
    folder.mkdir()
    process = bench(folder, "--fast", *files)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "end to end" in out
    content = json.loads((tmp_path / "latency.json").read_text())
    (row,) = content["rows"]
    assert tuple(row) == ROW_KEYS
    for name in ("compute_ms", "end_to_end_ms", "telemetry_ms"):
        assert tuple(row[name]) == ("p50", "p95", "p99", "p999", "max")
        assert row[name]["p50"] <= row[name]["p99"] <= row[name]["max"]
    assert row["compute_ms"]["p50"] > 0 < row["end_to_end_ms"]["p50"]
    assert (row["lost"], row["skipped"]) == (0, 0)
    assert row["cpu_percent"] > 0
    (details,) = content["details"]
    assert details["rows"] > 0
    assert details["wait_ms"]["p50"] > 32.5, "a row was out before the sound that it needs"
    assert abs(details["clock_error_ms"]["p50"]) < 500, "the engine's clock and the source's push do not agree"
    assert {tuple(peer) for peer in content["peers"]} == {PEER_KEYS}
    assert {"openai-whisper", "torch.nn.LSTM"} <= {peer["name"] for peer in content["peers"]}
    assert content["machine"]["cores"]
    assert (tmp_path / "latency.png").read_bytes()[:4] == b"\x89PNG"
    assert list(folder.glob("corticast*")) == []


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_nothing_is_left_running(tmp_path: Path, number: signal.Signals) -> None:
    process = bench(tmp_path, "--fast", "--no-peers", "--seconds", "60", "--load", "core")
    await_that(lambda: any("latency_engine" in words for words in processes(tmp_path)))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    await_that(lambda: processes(tmp_path) == [])
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.splitlines()[-1] == "corticast: interrupted"
        assert list(tmp_path.glob("corticast*")) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--channels", "1025"), "expected a number of channels from 2 to 1024"),
        (("--fast", "--model", "tiny.en", "--layer", "9"), "layer 9 does not exist"),
        (("--fast", "--block-ms", "50"), "multiples of 20"),
        (("--overload", "--block-ms", "40"), "--block-ms has no use with --overload"),
        (("--overload", "--channels", "64"), "--channels has no use with --overload"),
        (("--overload", "--layer", "2", "3"), "--overload searches for one layer: give --layer one value"),
    ],
)
def test_mistakes_are_told_before_anything_starts(words: tuple[str, ...], message: str, capsys: Any) -> None:
    assert main(["bench", "--no-peers", *words]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.long
def test_every_peer_that_is_installed_runs(capsys: Any) -> None:
    left_out: list[str] = []
    found = peers.run_peers(False, True, lambda name, _: left_out.append(name))
    capsys.readouterr()
    names = {peer.name for peer in found}
    known = {
        "openai-whisper",
        "openai-whisper, same layer",
        "faster-whisper",
        "transformers",
        "torch.nn.LSTM",
        "MNE-LSL",
        "ezmsg-lsl",
    }
    assert names | set(left_out) == known
    assert not names & set(left_out)
    for peer in found:
        assert 0 < peer.ratio_low <= peer.ratio <= peer.ratio_high
