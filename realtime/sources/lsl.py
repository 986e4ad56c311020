"""LSL streams in: finding them, and pulling their rows. `pump` brings these into a ring."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from realtime.block import Spec, Times
from realtime.errors import UserError
from realtime.sources.locations import Position, locations
from realtime.sources.pump import Arrivals, Counts, Event, pump

try:
    import pylsl
    from pylsl.util import LostError
    from pylsl.util import TimeoutError as LslTimeoutError
except (ImportError, RuntimeError, OSError) as error:  # a wheel without liblsl fails as it loads
    raise UserError(
        f"the LSL library could not be loaded ({str(error).splitlines()[0]}): install pylsl 1.18.6 or newer on a "
        "system it has liblsl for, or point the environment variable PYLSL_LIB at liblsl 1.18"
    ) from None

LSL_FILES = (Path("lsl_api.cfg"), Path.home() / "lsl_api" / "lsl_api.cfg", Path("/etc/lsl_api/lsl_api.cfg"))
if "LSLAPICFG" not in os.environ and not any(path.exists() for path in LSL_FILES):
    pylsl.set_config_content("[log]\nlevel = -3\n")  # fatal ones only: a stream that goes is told in our own lines

__all__ = [
    "Arrivals",
    "Counts",
    "Event",
    "LslInlet",
    "Network",
    "Reader",
    "StreamFound",
    "StreamQuery",
    "find_streams",
    "keep_forever",
    "local_clock",
    "pump",
]

NUMERIC = {
    pylsl.cf_int16: "int16",
    pylsl.cf_int32: "int32",
    pylsl.cf_float32: "float32",
    pylsl.cf_double64: "float64",
}
BUFFER_S = 60  # liblsl keeps this much for us; what a longer stall loses shows as a gap
RESOLVE_S = 5.0  # liblsl searches so long without a break, during which Ctrl-C is not heard
TWIN_S = 1.0  # a second stream of the same description answers later: seen after 0.5 s
PULL_S = 0.25  # of rows are taken at once, at most


def keep_forever(inlet: Any) -> None:
    """Let nothing destroy an inlet, the end of the process included: it can abort the process (liblsl issue 220)."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inlet))


def local_clock() -> float:
    """LSL's clock on this machine, seconds."""
    return float(pylsl.local_clock())


@dataclass(frozen=True, slots=True)
class StreamFound:
    """A stream on the network. channels: its labels. clock_offset_s: to add to its stamps; None if not measured.
    positions: of those channels whose description tells where they are, x, y, z in millimetres."""

    name: str
    type: str
    source_id: str
    channels: tuple[str, ...]
    rate_hz: float
    format: str
    host: str
    unit: str = ""
    clock_offset_s: float | None = None
    positions: Mapping[str, Position] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = f"{self.rate_hz:g} Hz" if self.rate_hz else "irregular"
        identity = f", source_id {self.source_id!r}" if self.source_id else ""
        return (
            f"{self.name!r} (type {self.type!r}, {len(self.channels)} x {self.format} at {rate}"
            f"{identity}, on {self.host})"
        )


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """Which stream is meant: what is given must match exactly."""

    name: str | None = None
    type: str | None = None
    source_id: str | None = None

    def predicate(self) -> str:
        """As XPath over a stream's description. Raises UserError if nothing is given."""
        given = {"name": self.name, "type": self.type, "source_id": self.source_id}
        terms = [f"{key}={_quoted(value)}" for key, value in given.items() if value]
        if not terms:
            raise UserError("a stream needs a name, a type or a source_id to be found by: give at least one")
        return " and ".join(terms)

    def matches(self, stream: StreamFound) -> bool:
        """Whether a stream is one that is meant."""
        given = ((self.name, stream.name), (self.type, stream.type), (self.source_id, stream.source_id))
        return all(wanted == found for wanted, found in given if wanted)

    def __str__(self) -> str:
        given = {"name": self.name, "type": self.type, "source_id": self.source_id}
        return ", ".join(f"{key} {value!r}" for key, value in given.items() if value)


def find_streams(timeout_s: float = 1.0, offsets: bool = False) -> list[StreamFound]:
    """All streams that answer within timeout_s, by name. offsets: measure their clocks too (0.7 s more)."""
    infos = pylsl.resolve_streams(timeout_s)
    if not infos:
        return []
    with ThreadPoolExecutor(min(8, len(infos))) as pool:
        found = list(pool.map(lambda info: _describe(info, offsets), infos))
    return sorted(found, key=lambda stream: stream.name)


def stream_names(engine: str, timeout_s: float = 1.0) -> list[str]:
    """Names of all streams that answer within timeout_s, but an engine's own, each once. Nothing is connected to."""
    names = {info.name() for info in pylsl.resolve_streams(timeout_s)}
    return sorted(name for name in names if not name.startswith(f"{engine}."))


class LslInlet:
    """One numeric LSL stream, as float32 rows with the raw stamps of their source.

    After `connect`: `spec`, `found` and `warnings` (lines for the user).
    """

    spec: Spec
    found: StreamFound

    def __init__(self, query: StreamQuery, timeout_s: float = 10.0, buffer_s: int = BUFFER_S):
        self.query = query
        self.timeout_s = timeout_s
        self.buffer_s = buffer_s
        self.warnings: list[str] = []

    def connect(self) -> LslInlet:
        """Find the stream and subscribe to its description; data flows from `open` or the first pull on.

        Raises UserError where no or more than one stream matches, or it has text or no regular rate.
        """
        info = self._resolve()
        _check_numeric(info)
        self._inlet = pylsl.StreamInlet(info, max_buflen=self.buffer_s, recover=True)
        keep_forever(self._inlet)
        try:
            full = self._inlet.info(timeout=self.timeout_s)
        except (LslTimeoutError, LostError):
            raise UserError(
                f"stream {info.name()!r} was found but did not answer within {self.timeout_s:g} s: "
                "check that its program still runs and that no firewall is in between"
            ) from None
        self.found, self.warnings = _found(full)
        self.spec = Spec(self.found.name, self.found.rate_hz, self.found.channels, self.found.unit)
        self._rows = max(32, round(PULL_S * self.spec.rate_hz))
        self._buffer = np.empty((self._rows, len(self.spec.channels)), NUMERIC[info.channel_format()])
        return self

    def open(self) -> None:
        """Let data flow: rows from now on wait for us, up to the buffer's length."""
        try:
            self._inlet.open_stream(timeout=self.timeout_s)
        except (LslTimeoutError, LostError):
            raise UserError(
                f"stream {self.spec.name!r} sent no data channel within {self.timeout_s:g} s: check its program"
            ) from None

    def pull(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], Times]:
        """Wait for rows: data float32 (n, channels) and raw stamps float64 (n,), n = 0 if none came.

        The next pull overwrites the data. Raises ConnectionError where the source is gone for good (it has no
        source_id).
        """
        try:
            _, stamps = self._inlet.pull_chunk(
                timeout_s, self._rows, dest_obj=self._buffer, min_samples=1, as_numpy=True
            )
        except LostError:
            raise ConnectionError(f"stream {self.spec.name!r} is gone, and without a source_id it stays so") from None
        return self._buffer[: len(stamps)].astype(np.float32, copy=False), np.array(stamps, np.float64)

    def time_correction(self, timeout_s: float = 5.0) -> float:
        """Seconds to add to the source's stamps. The first call takes about 0.7 s. Raises TimeoutError."""
        try:
            return float(self._inlet.time_correction(timeout=timeout_s))
        except (LslTimeoutError, LostError):
            raise TimeoutError(f"the clock of stream {self.spec.name!r} did not answer") from None

    def now(self) -> float:
        """The clock that corrected stamps are on."""
        return local_clock()

    def close(self) -> None:
        """Stop the flow. The inlet itself is kept until the process ends."""
        self._inlet.close_stream()

    def _resolve(self) -> Any:
        predicate = self.query.predicate()
        infos: list[Any] = []
        until = time.monotonic() + self.timeout_s
        while not infos and (left := until - time.monotonic()) > 0:
            infos = pylsl.resolve_bypred(predicate, 1, min(left, RESOLVE_S))
        if not infos:
            others = "; ".join(str(stream) for stream in find_streams(1.0)) or "none at all"
            raise UserError(
                f"no LSL stream with {self.query} appeared within {self.timeout_s:g} s; found: {others}; "
                "start its program or correct the name"
            )
        infos = pylsl.resolve_bypred(predicate, 2, TWIN_S) or infos
        if len(infos) > 1:
            which = "; ".join(str(_found(info)[0]) for info in infos)
            raise UserError(f"more than one LSL stream has {self.query}: {which}; give a source_id as well")
        return infos[0]


def _check_numeric(info: Any) -> None:
    if info.channel_format() not in NUMERIC:
        raise UserError(
            f"stream {info.name()!r} has {_format(info)} channels; numbers are needed "
            f"({', '.join(NUMERIC.values())}): choose another stream"
        )
    if info.nominal_srate() <= 0:
        raise UserError(
            f"stream {info.name()!r} has no regular rate (0 Hz stated); one with a fixed rate is needed: "
            "choose another stream or state the rate in its program"
        )


def _describe(info: Any, offset: bool) -> StreamFound:
    """A found stream with its labels; without them where it no longer answers."""
    inlet = pylsl.StreamInlet(info, max_buflen=1, recover=False)
    keep_forever(inlet)
    try:
        info = inlet.info(timeout=1.0)
        clock_offset = float(inlet.time_correction(timeout=2.0)) if offset else None
    except (LslTimeoutError, LostError):
        clock_offset = None
    return _found(info, clock_offset)[0]


def _found(info: Any, clock_offset_s: float | None = None) -> tuple[StreamFound, list[str]]:
    """What a description says, and what is wrong with it."""
    name, count = info.name(), info.channel_count()
    warnings = []
    labels = info.get_channel_labels() or []
    if len(labels) != count or not all(labels) or len(set(labels)) != count:
        if labels:
            warnings.append(
                f"stream {name!r} names {len(set(labels) - {None, ''})} different channels of {count}: "
                f"they are called {name}_0 to {name}_{count - 1} here"
            )
        labels = [f"{name}_{i}" for i in range(count)]
    units = set(info.get_channel_units() or []) - {None, ""}
    if len(units) > 1:
        warnings.append(f"stream {name!r} mixes units ({', '.join(sorted(units))}): they are taken as they are")
    if not info.source_id():
        warnings.append(
            f"stream {name!r} has no source_id: if its program restarts, the stream cannot be found again "
            "and this engine must be restarted; set a source_id in that program"
        )
    unit = units.pop() if len(units) == 1 else ""
    positions, wrong = locations(info.desc(), labels)
    if wrong:
        warnings.append(
            f"stream {name!r} tells places that cannot be, and are not used: {'; '.join(wrong[:3])}; expected X, Y, Z "
            "of each channel in mm, cm or m: correct them in its program, or give a montage"
        )
    return (
        StreamFound(
            name=name,
            type=info.type(),
            source_id=info.source_id(),
            channels=tuple(labels),
            rate_hz=float(info.nominal_srate()),
            format=_format(info),
            host=info.hostname(),
            unit=unit,
            clock_offset_s=clock_offset_s,
            positions=positions,
        ),
        warnings,
    )


def _format(info: Any) -> str:
    others = {pylsl.cf_string: "text", pylsl.cf_int8: "int8", pylsl.cf_int64: "int64"}
    return NUMERIC.get(info.channel_format(), others.get(info.channel_format(), "undefined"))


def _quoted(value: str) -> str:
    if "'" not in value:
        return f"'{value}'"
    if '"' in value:
        raise UserError(f"a stream cannot be searched by {value!r}, which holds both kinds of quotes: rename it")
    return f'"{value}"'


class Network:
    """The streams whose name begins with `prefix`, watched in the background: asking never waits.

    For programs that show what is there now and live through its loss, where `LslInlet` insists.
    """

    def __init__(self, prefix: str) -> None:
        self._resolver = pylsl.ContinuousResolver(pred=f"starts-with(name,{_quoted(prefix)})", forget_after=3.0)

    def present(self) -> list[tuple[str, str]]:
        """(name, id) of each stream seen, newest first. A stream that returns has another id."""
        return [(info.name(), info.uid()) for info in self._seen()]

    def open(self, uid: str) -> Reader:
        """The stream of that id, which `present` gave. May wait some seconds. Raises ConnectionError."""
        for info in self._seen():
            if info.uid() == uid:
                return Reader(info)
        raise ConnectionError("the stream is no longer there")

    def _seen(self) -> list[Any]:
        return sorted(self._resolver.results(), key=lambda info: -float(info.created_at()))


class Reader:
    """One stream that is there now, numbers or text, pulled without waiting.

    spec: name, rate (0 where irregular), labels. Whatever fails raises ConnectionError: the stream is lost. One whose
    program restarts has another id in `Network`; one whose connection broke has the same.
    """

    def __init__(self, info: Any, timeout_s: float = 3.0) -> None:
        self.uid: str = info.uid()
        self.is_text: bool = info.channel_format() == pylsl.cf_string
        self._inlet = self._try(pylsl.StreamInlet, info, max_buflen=BUFFER_S, recover=False)
        keep_forever(self._inlet)
        found, _ = _found(self._try(self._inlet.info, timeout_s))
        self.spec = Spec(found.name, found.rate_hz, found.channels, found.unit)
        self._try(self._inlet.open_stream, timeout_s)

    def pull(self) -> tuple[Any, Times]:
        """All rows that are there: an array (rows, channels) or a list of texts, and their raw stamps (rows,)."""
        values, stamps = self._try(self._inlet.pull_chunk, 0.0, 4096, as_numpy=not self.is_text)
        return [row[0] for row in values] if self.is_text else values, np.asarray(stamps, np.float64)

    def time_correction(self, timeout_s: float = 2.0) -> float:
        """Seconds to add to the stream's stamps for this machine's clock. The first call waits about a second.

        Raises TimeoutError where the clock does not answer, as behind a firewall: rows may come all the same.
        """
        try:
            return float(self._try(self._inlet.time_correction, timeout_s))
        except ConnectionError as error:
            if isinstance(error.__cause__, LslTimeoutError):
                raise TimeoutError(f"the clock of stream {self.spec.name!r} did not answer") from None
            raise

    def close(self) -> None:
        """Stop the flow. The inlet itself is kept until the process ends."""
        self._inlet.close_stream()

    @staticmethod
    def _try(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except RuntimeError as error:  # of which liblsl's errors are: lost, over time, internal
            raise ConnectionError(f"the stream is lost ({error})") from error
