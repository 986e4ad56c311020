"""The engine's health in a terminal, where there is no window."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from realtime.block import Block
from realtime.commands.health import health, status_line
from realtime.commands.window import open_monitor
from realtime.telemetry import Telemetry


def engine(score: Block | None, lost: int = 0) -> Any:
    telemetry = Telemetry()
    for _ in range(100 if score is not None else 0):
        telemetry.sound.compute.add(31.0)
        telemetry.sound.to_publication.add(80.0)
    samples = {
        "sound": {"received": 123_456, "lost": 0, "skipped": 0},
        "ecog": {"received": 9, "lost": lost, "skipped": 0},
    }
    clock = {"rate_ppm": -31.4, "jitter_ms": 0.52, "offset_s": 0.0}
    names = tuple(f"G{k}" for k in range(64))
    return SimpleNamespace(
        settings=SimpleNamespace(
            name="corticast", electrodes=names, facts={"simulated": True, "delays": {"sound": None}}
        ),
        ages_s=lambda: {"sound": 0.04, "ecog": 7.3},
        adapter=None,
        samples=lambda: samples,
        telemetry=telemetry,
        clocks=lambda: {"sound": clock, "ecog": clock},
        score=score,
        failed=threading.Event(),
        left_out=(),
        rig=SimpleNamespace(contaminated=[], masked=SimpleNamespace(rows=0)),
        facts_now={"recording": {"on": True, "bytes": 12_300_000, "free_bytes": 45e9}},
    )


def printed(content: Any, width: int) -> list[str]:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(content)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_health_fits_and_names_the_ten_best(width: int) -> None:
    r = np.linspace(-0.1, 0.7, 64)
    r[60] = np.nan
    score = Block(r[None], np.zeros(1), 0, {"null_max_p95": np.array([[0.65]])})
    lines = printed(health(engine(score, lost=12), 12.0), width)
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= width
    assert lines[0].startswith("corticast: 12 s")
    assert next(line for line in lines if line.startswith("ecog")).split()[:5] == ["ecog", "9", "12", "0", "-31"]
    assert next(line for line in lines if line.startswith("ecog")).endswith("7.3 s")
    said = "SIMULATED PATIENT; streams 1 of 2; recording on, 12.3 MB, 45 GB left; adaptation off; delay not measured"
    assert said in " ".join(line.strip() for line in lines)
    assert "latency p50 79.9 ms" in text
    best = np.argsort(-np.nan_to_num(r, nan=-9.0))[:10].tolist()
    words = " ".join(lines[-2:]).split()
    assert words == [word for k in best for word in (f"G{k}", f"{r[k]:.2f}")]
    assert "G60" not in words
    assert "chance (0.65)" in text
    assert status_line(engine(score, lost=12), 12.0).startswith("12 s | lost 12 skipped 0 | compute p99 31")


def test_health_before_there_is_a_score() -> None:
    text = "\n".join(printed(health(engine(None), 1.0), 80))
    assert "nothing predicted yet" in text
    assert "a score needs 30 s" in text


def test_without_a_screen_a_line_says_where_the_window_can_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("realtime.commands.window.has_screen", lambda: False)
    assert open_monitor("rig-2") is None
    assert "no screen, so no window: corticast monitor --engine rig-2" in capsys.readouterr().err
