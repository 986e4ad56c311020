"""Results of an analysis on disk: each part whole or not at all, under a name that says what went into it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.archive import atomic

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Result:
    """facts: JSON values. arrays: by name."""

    facts: dict[str, Any]
    arrays: dict[str, Array] = field(default_factory=dict)


class Store:
    """A folder of results and of intermediate arrays, by its whole name: workers run in folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def cells(self, part: str) -> Path:
        """Where what a part's cells found is kept until its result is."""
        return self.folder / "cells" / _file_name(part)

    @property
    def fits(self) -> Path:
        """Where fitted models are kept, for every part that asks for the same."""
        return self.folder / "fits"

    def arrays(
        self, name: str, key: object, labels: Sequence[int], make: Callable[[], Mapping[int, Array]]
    ) -> dict[int, Path]:
        """The files of some arrays that are made together, unless all of them are there already."""
        paths = self.paths(name, key, labels)
        if not all(path.exists() for path in paths.values()):
            made = make()
            for label, path in paths.items():
                with atomic(path) as aside, aside.open("wb") as file:
                    np.save(file, made[label], allow_pickle=False)
        return paths

    def paths(self, name: str, key: object, labels: Sequence[int]) -> dict[int, Path]:
        """Where `arrays` puts them."""
        stem = f"{_file_name(name)}-{key_of(key)}"
        return {label: self.folder / "features" / f"{stem}-{label}.npy" for label in labels}

    def result(self, part: str, key: object, make: Callable[[], Result]) -> Result:
        """The result of a part, kept from an earlier run where the same went into it."""
        path = self.folder / "parts" / f"{_file_name(part)}-{key_of(key)}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files if name != "facts"}
                return Result(json.loads(str(content["facts"])), arrays)
        made = make()
        if made.facts.get("failed"):
            return made  # what failed is tried again next time
        with atomic(path) as aside, aside.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(made.facts)), **made.arrays)  # type: ignore[arg-type]
        shutil.rmtree(self.cells(part), ignore_errors=True)
        return made


def _file_name(text: str) -> str:
    return re.sub("[^0-9A-Za-z.-]+", "_", text)


def key_of(key: object) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
