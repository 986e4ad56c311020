"""LSL kept to this machine and this run; real recordings where the environment points at them."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
from functools import cache
from pathlib import Path

import pytest

from benchmarks.processes import lsl_config

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "1")
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")  # of the processes that share the tests, gw0 to gw2

STREAMS = (  # a module that names one of these goes through real LSL streams
    *("realtime.sources.lsl", "realtime.sinks.lsl", "replaying", "tests.fake_engine", "benchmarks.soak"),
    *("test_supervisor", "test_bad_input", "test_bench"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what goes through real streams: it runs by itself, for timing is its own there."""
    found = {item.path: any(name in _source(item.path) for name in STREAMS) for item in items}
    for item in items:
        if found[item.path]:
            item.add_marker(pytest.mark.streams)


def pytest_sessionfinish() -> None:
    """Wait for what failed commands left at work, as loading Whisper: it would abort in the interpreter's end."""
    for thread in threading.enumerate():
        if thread.name == "meanwhile":
            thread.join(60.0)


@cache
def _source(path: Path) -> str:
    return f"{path.stem}\n{path.read_text(encoding='utf-8')}"


def isolate_lsl() -> None:
    """Give this process, and those that its tests start, an LSL session of its own. Before pylsl loads."""
    if os.environ.get("CORTICAST_TEST_LSL") == WORKER:
        return
    folder = Path(tempfile.mkdtemp(prefix="corticast-lsl-"))
    path = folder / "lsl_api.cfg"
    side = 250 * int(WORKER.removeprefix("gw")) if WORKER != "alone" else 0
    port = 18000 + 750 * random.randrange(14) + side  # LSL's own 32 ports do not hold all outlets and searches of a run
    path.write_text(lsl_config(port, 240), encoding="utf-8")
    os.environ["LSLAPICFG"], os.environ["CORTICAST_TEST_LSL"] = str(path), WORKER


isolate_lsl()
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so its children


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings, which may not be part of the project."""
    folder = os.environ.get("CORTICAST_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CORTICAST_TEST_DATA does not point at the real recordings")
    return Path(folder)
