"""Lets a model learn from aligned rows while it predicts: switched on and off, told in `status`, the same in replay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, Protocol

import numpy as np

from realtime.align import align
from realtime.block import Block, Floats, Mask, concat
from realtime.sources.pump import Event
from realtime.stage import Stage

ROWS = 50  # a second of the learner's grid


class Adaptive(Stage[Any], Protocol):
    """A model that predicts with the newest read-out published.

    learner: a stage from aligned rows to one row a second with extra["weights"] and ["shown"], `resumed` and `claimed`.
    delay_rows: a read-out counts from so long after the last row that taught it.
    """

    learner: Any
    delay_rows: int
    late: int

    def publish(self, first_row: int, weights: Floats | None, shown: bool) -> None: ...
    def restart(self, weights: Floats | None, shown: bool) -> None: ...


class Adapter:
    """Steps the learner over aligned rows, hands each second's read-out to the model, tells which prediction is shown.

    `take` is for one thread, `switch` for any. tell: of every change, as a status event with the row from which it
    holds; facts: what the settings say now. Silent rows teach nothing, nor do masked ones, as outside listening.
    What goes wrong ends the adaptation, never the predictions.
    """

    def __init__(
        self,
        model: Adaptive,
        tell: Callable[[Event], None],
        on: bool = False,
    ) -> None:
        self.facts: dict[str, Any] = {"adaptation": False, "adaptation_shown": "fitted"}
        self.state = model.learner.initial_state()
        self.on = False
        self._model, self._tell = model, tell
        self._wanted = on
        self._claimed: Mask | None = None
        self._shown = False

    def claim(self, claimed: Mask) -> None:
        """Which electrodes (E,) decide which prediction is shown, from the next aligned rows on."""
        wanted = None if claimed.all() else claimed
        if wanted is None or self._claimed is None or not np.array_equal(wanted, self._claimed):
            self._claimed = wanted

    def switch(self, on: bool) -> None:
        """From the next aligned rows on. What was learnt is kept while it is off, and not shown."""
        self._wanted = on

    def resume(self, state: Any, on: bool) -> None:
        """Go on with what an earlier engine had learnt. Before the first row."""
        self.state = self._model.learner.resumed(state)
        self._wanted = on
        self._shown = bool(state.shown) and on
        if self._shown:
            self._model.restart(self._model.learner.used_weights(self.state).astype(np.float32), True)

    def take(self, aligned: Block) -> None:
        if not len(aligned) or "components" not in aligned.extra:
            return
        try:
            self._take(aligned)
        except Exception as error:
            self._wanted = self.on = False
            self._model.publish(aligned.end + self._model.delay_rows, None, False)
            message = f"the adaptation stopped: {type(error).__name__}: {error}; the fitted model's predictions go on"
            self._say(aligned.end, {"event": "adaptation_failed", "message": message})

    def _take(self, aligned: Block) -> None:
        if self._wanted != self.on:
            self._turn(self._wanted, aligned.index)
        if not self.on:
            return
        if (claimed := self._claimed) is not self._model.learner.claimed:
            self._model.learner.claimed = claimed
            told = np.ones(aligned.data.shape[1], np.bool_) if claimed is None else claimed
            self._say(aligned.index, {"event": "adaptation_claims", "claimed": told.tolist()})
        learn = np.ones((len(aligned), 1), np.bool_)
        if "silent" in aligned.extra:
            learn &= ~np.asarray(aligned.extra["silent"], np.bool_)
        rows = replace(aligned, extra={**aligned.extra, "learn": learn})
        taught, self.state = self._model.learner.step(rows, self.state)
        for i in range(len(taught)):
            first_row = (taught.index + i + 1) * ROWS + self._model.delay_rows
            shown = bool(taught.extra["shown"][i, 0])
            self._model.publish(first_row, np.asarray(taught.extra["weights"][i]), shown)
            self._compare(first_row, shown, taught.data[i])

    def _turn(self, on: bool, row: int) -> None:
        self.on = on
        self._shown = self._shown and on
        if not on:
            self._model.publish(row + self._model.delay_rows, None, False)
        words = "on: learning from what is observed" if on else "off: the fitted model is shown"
        self._say(row, {"event": "adaptation", "message": f"adaptation {words}"})

    def _compare(self, row: int, shown: bool, r: Floats) -> None:
        fitted, adapted = (round(float(v), 3) if np.isfinite(v) else None for v in r)
        told = {"adaptation_r": {"fitted": fitted, "adapted": adapted}, "adaptation_late": self._model.late}
        self.facts = {**self.facts, **told}
        if shown == self._shown:
            return
        self._shown = shown
        better, other = ("adapted", "fitted") if shown else ("fitted", "adapted")
        both = {"adapted": adapted, "fitted": fitted}
        message = f"the {better} model is shown now: mean r {both[better]} in the last minute, {other} {both[other]}"
        self._say(row, {"event": "adaptation", "message": message})

    def _say(self, row: int, event: Event) -> None:
        shown = "adapted" if self._shown else "fitted"
        self.facts = {**self.facts, "adaptation": self.on, "adaptation_shown": shown}
        self._tell({**event, "row": row, "on": self.on, "shown": shown})


def run_adapting(
    model: Adaptive,
    x: Block,
    observed: Block,
    switches: Iterable[tuple[int, bool]] = ((0, True),),
    claims: Iterable[tuple[int, Mask]] = (),
) -> Block:
    """Predictions (rows, E) of an adapting model over a recording, as it gave them live.

    x: embeddings, observed: high gamma of the whole recording. switches: (row, on) of the "adaptation" events of
    the recorded status, claims: (row, claimed) of the "adaptation_claims". A fresh model is needed: it learns anew.
    """
    adapter, state, parts = Adapter(model, lambda _event: None), model.initial_state(), []
    switched = [(row, partial(adapter.switch, on)) for row, on in switches]
    waiting = sorted(switched + [(row, partial(adapter.claim, mask)) for row, mask in claims], key=itemgetter(0))
    edges = sorted({*range(0, len(x), ROWS), *(row - x.index for row, _ in waiting if 0 < row - x.index < len(x))})
    for start, end in zip(edges, [*edges[1:], len(x)], strict=True):
        while waiting and waiting[0][0] <= x.index + start:
            waiting.pop(0)[1]()
        y, state = model.step(x.rows(start, end), state)
        adapter.take(align(y, observed))
        parts.append(y)
    return concat(parts)
