"""The soak: its arithmetic against what is known, and a minute of it through real LSL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import soak
from benchmarks.latency_source import BEAT_HZ
from benchmarks.soak_verdict import Samples, Verdict, growth, judge, lane_drift

ROWS_HZ = 50.0


def swelling(seconds: float, late_s: float, drift_ppm: float, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Stamps that are late, and more so with time, and the log of what swells with the true time."""
    true_s = 1000.0 + np.arange(round(seconds * ROWS_HZ)) / ROWS_HZ
    stamps = true_s + late_s + drift_ppm * 1e-6 * (true_s - true_s[0])
    values = np.log(1.0 + 0.8 * np.cos(2 * np.pi * BEAT_HZ * true_s))
    return stamps, values + noise * np.random.default_rng(0).normal(size=len(values))


def notes(drift_ppm: float = 0.0, **changes: Any) -> dict[str, Any]:
    """What a client saves of five minutes."""
    sound_s, sound = swelling(300.0, 0.003, 0.0)
    observed_s, observed = swelling(300.0, -0.014, drift_ppm)
    counts = {"received": 900, "lost": 70, "skipped": 30}
    events = [{"event": "stopped", "time": 0.0, "samples": {"sound": counts, "ecog": counts}}]
    return {
        **{"sound_s": sound_s, "sound": sound, "observed_s": observed_s, "observed": observed},
        **{"predicted_s": sound_s, "predicted": sound, "latency": np.full(100, 0.02)},
        **{"sound_anchor": 5, "ecog_anchor": 5, "sound_missing": 0, "ecog_missing": 0},
        "events": json.dumps(changes.pop("events", events)),
        **changes,
    }


def judged(client: dict[str, Any], sent: int = 1005, rss_mb_per_h: float = 0.0) -> Verdict:
    seconds = np.arange(0.0, 300.0, 5.0)
    ones = np.ones(len(seconds))
    samples = Samples(seconds, 400 + rss_mb_per_h * seconds / 3600, 20 * ones, 30 * ones, ones)
    source = {"ends": np.array([10, sent])}
    return judge(client, {"sound": source, "ecog": source}, samples, 60.0)


@pytest.mark.parametrize("drift_ppm", [0.0, 20.0, -300.0])
def test_the_drift_between_lanes_is_found_in_their_stamps(drift_ppm: float) -> None:
    at_s, drift_ms = lane_drift(notes(drift_ppm), 30.0)
    assert len(at_s) == 26
    np.testing.assert_allclose(drift_ms, drift_ms[0] + drift_ppm * 1e-3 * (at_s - at_s[0]), atol=0.3)


def test_all_is_well_where_nothing_is_wrong() -> None:
    verdict = judged(notes())
    assert verdict.failures() == []
    assert verdict.rss_slope_mb_per_h[0] == pytest.approx(0.0)
    assert verdict.seconds == pytest.approx(300.0, abs=0.1)
    assert json.loads(json.dumps(verdict.content()))["failures"] == []


def test_what_is_wrong_is_told() -> None:
    assert "1 of 1001 samples are neither" in judged(notes(), sent=1006).failures()[0]
    assert "drift apart" in judged(notes(drift_ppm=20.0)).failures()[0]
    assert "memory grew by" in judged(notes(), rss_mb_per_h=200.0).failures()[0]
    broken = swelling(300.0, 0.003, 0.0)[0]
    broken[7000:] += 0.5
    (failure,) = judged(notes(predicted_s=broken)).failures()
    assert "break off 1 times" in failure
    known = [*json.loads(notes()["events"]), {"event": "skip", "time": float(broken[7000]) + 1.0}]
    verdict = judged(notes(predicted_s=broken, events=known))
    assert (verdict.failures(), verdict.breaks, verdict.events) == ([], 1, {"skip": 1})


def test_growth_is_between_the_first_and_the_last_fifth() -> None:
    assert growth(np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 100])) == pytest.approx((9 + 100) / 2 - 1.5)


def test_a_minute_is_soaked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--json", str(tmp_path / "soak.json"), "--picture", str(tmp_path / "soak.png"))
    rig = ("--model", "tiny.en", "--layer", "2", "--random-weights", "--channels", "16", "--rate", "1000")
    status = soak.main(["--minutes", "1", *rig, *files])
    said = capsys.readouterr().out.splitlines()
    content = json.loads((tmp_path / "soak.json").read_text())
    for lane in content["lanes"].values():
        assert lane["sent"] == lane["received"] + lane["lost"] + lane["skipped"]
        assert lane["received"] > 0.9 * 60 * 1000
        assert lane["missing"] == 0
    assert content["unexplained_breaks"] == 0
    assert content["worst_drift_ms"] < 2.0
    assert content["rss_growth_mb"] < 40.0, "a minute is no time to be flat in: each new size of a step leaves some MB"
    assert (status, said[-1]) == ((1, "FAILED: " + "; ".join(content["failures"])) if status else (0, "passed"))
    assert (tmp_path / "soak.png").read_bytes()[:4] == b"\x89PNG"
