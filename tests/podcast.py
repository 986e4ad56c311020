"""A small data set of the structure of OpenNeuro ds005574 1.0.2, and a server that gives it out as OpenNeuro does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import edfio
import numpy as np
from scipy.io import wavfile

RATE_HZ, SOUND_HZ, SECONDS = 512, 44_100, 6.0
GOOD = ("LGA2", "LGA3", "LGB65", "LO1", "DLAMT2")
UNPLACED = ("LGA1", "SG1")  # ECOG, bad, "no localization"
MISC = ("DC1",)
MONITORS = {"TRIG": "uV", "OSAT": "%", "PR": "bpm", "Pleth": "uV"}  # the set calls them ECOG, bad
GROUPS = {"LGA2": "G", "LGA3": "G", "LGB65": "EG", "LO1": "S", "LO2": "S", "DLAMT2": "D"}  # LO2 was not recorded
WORDS = (("Act", 0.71, 0.79), ("one,", 0.99, 1.19), ("monkey", 1.651, 1.931), ("in", 1.951, 2.011))


def ecog_uv(subject: str) -> np.ndarray:
    """(channels, samples), in the order of the file."""
    channels = (UNPLACED[0], *GOOD, UNPLACED[1], *MISC, *MONITORS)
    noise = np.random.default_rng(int(subject)).normal(size=(len(channels), round(SECONDS * RATE_HZ)))
    return np.round(30 * noise, 1)


def sound() -> np.ndarray:
    """(samples, 2) 16-bit."""
    wave = np.random.default_rng(7).normal(size=(round(SECONDS * SOUND_HZ), 2))
    return np.asarray(2000 * wave, np.int16)


def write_podcast(root: Path, subjects: tuple[str, ...] = ("02", "03")) -> Path:
    """File names, columns and fields as the published set has them."""
    (root / "stimuli").mkdir(parents=True)
    description = {"Name": 'The "Podcast" ECoG dataset', "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    description |= {"License": "CC0", "DatasetDOI": "doi:10.18112/openneuro.ds005574.v1.0.2"}
    _json(root / "dataset_description.json", description)
    (root / "README.md").write_text("# a small set of the same structure, made by a test\n")
    _table(root / "participants.tsv", ("participant_id", "nyu_id"), [(f"sub-{s}", f"NY{s}") for s in subjects])
    wavfile.write(root / "stimuli/podcast.wav", SOUND_HZ, sound())
    rows = "".join(f"{word},{start},{end}\n" for word, start, end in (*WORDS, ("unaligned", "", "")))
    rows = rows.replace("one,,", '"one,",')
    (root / "stimuli/podcast_transcript.csv").write_text(f"word,start,end\n{rows}", encoding="utf-8")
    for subject in subjects:
        _subject(root / f"sub-{subject}/ieeg", subject)
    return root


def _subject(folder: Path, subject: str) -> None:
    folder.mkdir(parents=True)
    stem = f"sub-{subject}_task-podcast"
    names = (UNPLACED[0], *GOOD, UNPLACED[1], *MISC, *MONITORS)
    units = [MONITORS.get(name, "uV") for name in names]
    signals = [
        edfio.EdfSignal(row, RATE_HZ, label=name, physical_dimension=unit, physical_range=(-3276.7, 3276.7))
        for row, name, unit in zip(ecog_uv(subject), names, units, strict=True)
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(0.0, None, "start")]).write(folder / f"{stem}_ieeg.edf")
    channels = [
        (name, "MISC" if name in MISC else "ECOG", unit, "n/a", "n/a", float(RATE_HZ), *_status(name))
        for name, unit in zip(names, units, strict=True)
    ]
    channels.append(("EDF Annotations", "MISC", "n/a", "n/a", "n/a", 1728.0, "good", "n/a"))
    columns = ("name", "type", "units", "low_cutoff", "high_cutoff", "sampling_frequency", "status")
    _table(folder / f"{stem}_channels.tsv", (*columns, "status_description"), channels)
    facts: dict[str, object] = {
        "TaskName": "podcast",
        "TaskDescription": "Passive listening to a 30 minute audio stimulus.",
    }
    facts |= {"iEEGReference": "Two-contact subdural strip", "PowerLineFrequency": 60, "SoftwareFilters": "n/a"}
    _json(folder / f"{stem}_ieeg.json", facts | {"SamplingFrequency": float(RATE_HZ), "RecordingDuration": SECONDS})
    places = {name: np.array([-50.0 - i, 10.0 * i, 5.5]) for i, name in enumerate(GROUPS)}
    for space, moved in (("MNI152NLin2009aSym", 0.0), ("Other", 3.0)):
        rows = [(name, *(xyz + moved), 4.15, GROUPS[name]) for name, xyz in places.items()]
        _table(folder / f"sub-{subject}_space-{space}_electrodes.tsv", ("name", "x", "y", "z", "size", "group"), rows)
    mni = {"iEEGCoordinateSystem": "MNI152NLin2009aSym", "iEEGCoordinateUnits": "mm"}
    _json(folder / f"sub-{subject}_space-MNI152NLin2009aSym_coordsystem.json", mni)
    other = {"iEEGCoordinateSystem": "Other", "iEEGCoordinateSystemDescription": "subject native space"}
    _json(folder / f"sub-{subject}_space-Other_coordsystem.json", other | {"iEEGCoordinateUnits": "n/a"})


def _status(name: str) -> tuple[str, str]:
    if name in UNPLACED or name in MONITORS:
        return "bad", "no localization"
    return ("bad", "noisy psd") if name == "LGA3" else ("good", "n/a")


def _json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _table(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    lines = ["\t".join(map(str, row)) for row in (columns, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass
class Served:
    """What the server gives out, and what it was asked for. breaks_at: file: bytes after which the line breaks, once.

    damaged: files whose bytes are changed on the way, once.
    """

    root: Path
    url: str = ""
    tags: tuple[str, ...] = ("1.0.1", "1.0.2")
    breaks_at: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, Range

    def files(self) -> list[dict[str, object]]:
        found = sorted(path for path in self.root.rglob("*") if path.is_file())
        names = [path.relative_to(self.root).as_posix() for path in found]
        return [
            {"filename": name, "urls": [f"{self.url}/{name}"], "size": path.stat().st_size, "id": name}
            for name, path in zip(names, found, strict=True)
        ]


@contextlib.contextmanager
def served(root: Path) -> Iterator[Served]:
    """OpenNeuro's GraphQL answers at /graphql, and the files with ranges and ETags."""
    state = Served(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
            if "snapshots" in query:
                data: object = {"dataset": {"snapshots": [{"id": f"ds005574:{tag}"} for tag in state.tags]}}
            else:
                data = {"snapshot": {"id": "ds005574:1.0.2", "files": state.files()}}
            body = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self._file(body=False)

        def do_GET(self) -> None:
            self._file(body=True)

        def _file(self, body: bool) -> None:
            name = self.path.lstrip("/")
            content = (root / name).read_bytes()
            first = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") :].rstrip("-"))
            self.send_response(206 if first else 200)
            self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            if not body:
                return
            state.asked.append((name, self.headers.get("Range") or ""))
            part = content[first:]
            if name in state.damaged:
                state.damaged.remove(name)
                part = bytes([part[0] ^ 1]) + part[1:]
            stop = state.breaks_at.pop(name, None)
            self.wfile.write(part[:stop])
            if stop is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
