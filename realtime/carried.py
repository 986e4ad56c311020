"""What a restarted engine goes on with: counts, baselines and score, in small files written whole or not at all."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from realtime.repair import RepairState
from realtime.score import ScoreState
from realtime.state import load_state, save_state
from realtime.zscore import ZScoreState

SCORE, ADAPTATION = "score", "adaptation"
KEPT_SHARE = 0.02  # of the time that keeping state may take


@dataclass
class LaneState:
    """Counts so far, the time of the newest row used, and the states of stages that outlive a restart."""

    received: int = 0
    lost: int = 0
    skipped: int = 0
    resets: int = 0
    newest_time_s: float = 0.0
    repair: RepairState = field(default_factory=RepairState)
    z_score: ZScoreState = field(default_factory=ZScoreState)

    def into(self, names: tuple[str, ...], fresh: tuple[Any, ...]) -> tuple[Any, ...]:
        """A chain's fresh state with what is kept. Rows that were pending, and filters, begin anew."""
        kept = {
            "repair": RepairState(nan_samples=self.repair.nan_samples, filled_rows=self.repair.filled_rows),
            "z_score": self.z_score if self.z_score.median is not None else None,
        }
        return tuple(kept.get(name) or state for name, state in zip(names, fresh, strict=True))


@dataclass
class ScoreRest:
    """A score's state without its sums, and the time of its newest row."""

    state: ScoreState
    newest_time_s: float = 0.0


@dataclass
class AdaptationRest:
    """state: of a model's learner. on: it was learning."""

    state: Any
    on: bool


@dataclass
class _Second:
    second: int
    sums: np.ndarray[Any, Any]


class Pace:
    """When state is to be kept again: every `every_s`, and later where keeping it took long, as on a slow disk."""

    def __init__(self, every_s: float):
        self._every_s, self._next_s = every_s, 0.0

    def due(self, now_s: float) -> bool:
        return now_s >= self._next_s

    def kept(self, began_s: float, ended_s: float) -> None:
        self._next_s = ended_s + max(self._every_s, (ended_s - began_s) / KEPT_SHARE)


class StateFolder:
    """A folder with the state of one engine. What cannot be read, or was never written, is None."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._saved_second: int | None = None

    def save_lane(self, name: str, state: LaneState) -> None:
        self._write(name, save_state(state))

    def load_lane(self, name: str) -> LaneState | None:
        found: LaneState | None = self._load(name, LaneState())
        return found

    def save_score(self, state: ScoreState, newest_time_s: float) -> None:
        """Only the seconds that are new since the last call: the sums of a minute are large."""
        window = len(state.sums)
        first = max(state.second - window, self._saved_second if self._saved_second is not None else 0, 0)
        for second in range(first, state.second):
            self._write(f"{SCORE}-{second % window}", save_state(_Second(second, state.sums[second % window])))
        self._saved_second = state.second
        self._write(SCORE, save_state(ScoreRest(replace(state, sums=state.sums[:0]), newest_time_s)))

    def load_score(self, fresh: ScoreState) -> ScoreRest | None:
        """fresh: a new state of the same score, whose window counts."""
        rest: ScoreRest | None = self._load(SCORE, ScoreRest(fresh))
        if rest is None:
            return None
        window = len(fresh.sums)
        sums = np.zeros((window, *rest.state.sums.shape[1:]))
        for slot in range(window):
            one: _Second | None = self._load(f"{SCORE}-{slot}", _Second(0, sums))
            if one is not None and rest.state.second - window <= one.second < rest.state.second:
                sums[slot] = one.sums
        return replace(rest, state=replace(rest.state, sums=sums))

    def save_adaptation(self, state: Any, on: bool) -> None:
        self._write(ADAPTATION, save_state(AdaptationRest(state, on)))

    def load_adaptation(self, fresh: Any) -> AdaptationRest | None:
        """fresh: a new state of the same learner. What was learnt for other electrodes or components is None."""
        found: AdaptationRest | None = self._load(ADAPTATION, AdaptationRest(fresh, False))
        if found is None or found.state.weights is None or found.state.weights.shape != fresh.weights.shape:
            return None
        return found

    def _write(self, name: str, content: bytes) -> None:
        """The engine goes on without its state where the disk does not take it."""
        aside = self._folder / f".{name}"
        with contextlib.suppress(OSError):
            aside.write_bytes(content)
            aside.replace(self._path(name))

    def _load(self, name: str, like: Any) -> Any:
        try:
            return load_state(self._path(name).read_bytes(), like)
        except Exception:  # of another version, or damaged: a restart must not fail for it
            return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"
