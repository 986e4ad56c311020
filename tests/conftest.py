"""LSL kept to this machine and this run; real recordings where the environment points at them."""

from __future__ import annotations

import os
import random
import tempfile
import uuid
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "2")

LSL_CONFIG = """[ports]
IPv6 = disable
BasePort = {port}
PortRange = 96
[multicast]
ResolveScope = machine
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session}
[log]
level = -2
"""


def isolate_lsl() -> None:
    """Give this run, and the processes that it starts, an LSL session of its own. Before pylsl loads."""
    if "LSLAPICFG" not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="corticast-lsl-"))
        path = folder / "lsl_api.cfg"
        port = 18000 + 100 * random.randrange(100)  # LSL's own 32 ports do not hold two test runs at once
        path.write_text(LSL_CONFIG.format(session=uuid.uuid4().hex, port=port))
        os.environ["LSLAPICFG"] = str(path)


isolate_lsl()


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings, which may not be part of the project."""
    folder = os.environ.get("CORTICAST_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CORTICAST_TEST_DATA does not point at the real recordings")
    return Path(folder)
