"""What the fitted model misses, learnt while it runs: recursive least squares of its read-out, with forgetting.

The leading components of the embedding, one delay for each electrode, explain what is left of the observed activity
after the fitted prediction. One covariance of the components is shared by all electrodes. It is kept in information
form, as sums over rows that fade, and solved anew each second: it stays symmetric, positive definite and bounded
for as long as it runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from realtime.block import Block, Mask, Times, bad_samples

Doubles = npt.NDArray[np.float64]

ROWS = 50  # a second
SUMS = 9  # rows; observed, fitted, adapted; their squares; observed with fitted, with adapted
LARGEST_SD = 10.0  # an observed value beyond this counts as this: one artefact must not rule a minute
LARGEST_COMPONENT = 30.0


@dataclass(frozen=True, slots=True)
class AdaptationConfig:
    """How the read-out adapts.

    components: how many leading ones of the embedding. lags: delays tried, in rows of 20 ms; each electrode takes
    the one that explains most. memory_s: after so many seconds of learning a row's weight is 1/e. prior: rows'
    worth of belief in the fitted model, which does not fade. window_s: of the scores that decide which prediction is
    shown. margin: by how much the adapted one must be better in mean r to be shown; the fitted one is shown again
    when the adapted one is no longer better. enough_s: unmasked seconds that an electrode's score needs.
    """

    components: int = 32
    lags: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    memory_s: float = 60.0
    prior: float = 300.0
    window_s: int = 60
    margin: float = 0.01
    enough_s: float = 20.0


@dataclass(slots=True)
class AdaptationState:
    """H: the longest lag; R: rows of a second; M: lags; K: components; E: electrodes.

    second: the one being filled, of the stream's own rows; next: index of the next row; learnt: rows learnt from.
    components (H + R, K), heard (H + R): rows of the second and before it, and which of them count. observed,
    fitted, adapted, ok (H + R, E): the same rows. gram (K, K), cross (M, K, E): fading sums. weights (M, K, E): their
    solution for every lag; lag (E): the one in use. sums (window, E, SUMS): of each second for the scores. shown: 1
    where the adapted prediction is the one to show.
    """

    second: int
    next: int
    learnt: int
    components: Doubles
    heard: Mask
    observed: Doubles
    fitted: Doubles
    adapted: Doubles
    ok: Mask
    gram: Doubles
    cross: Doubles
    weights: Doubles
    lag: npt.NDArray[np.int64]
    sums: Doubles
    shown: int


class Adaptation:
    """Aligned rows, 50 a second -> once a second the read-out that they taught. A stage.

    claimed: (E,) which electrodes decide which prediction is shown; None: all. All learn.

    Input: data (rows, E, 2), shown and observed; extra["fitted"], ["adapted"] (rows, E), the two predictions as they
    were made; extra["components"] (rows, K); extra["bad"] (rows, E); extra["learn"] (rows, 1), optional, False where
    nothing is to be learnt or scored. Output, stamped with the second's last row and numbered by the stream's own
    seconds: data (seconds, 2) float32, mean r over electrodes of the fitted and the adapted prediction in the last
    window_s, NaN with too little to score; extra["shown"] (seconds, 1) bool, whether the adapted one is the better;
    extra["weights"] (seconds, M, K, E) float32, zero at the lags that an electrode does not use.

    A row is scored before it is learnt from, because its prediction was made before it was observed. A row that is
    masked for some electrodes teaches the others alone. A gap does not restart it: lost rows are masked, nothing is
    forgotten meanwhile, and a second whose last row was lost gives no row.
    """

    lag_s = 0.0

    def __init__(self, electrodes: int, components: int, config: AdaptationConfig | None = None) -> None:
        self.config = config or AdaptationConfig()
        self.electrodes, self.components = electrodes, components
        self.claimed: Mask | None = None
        self.lags = np.array(self.config.lags)
        self.history = int(self.lags.max())
        self.keep = float(np.exp(-1.0 / (self.config.memory_s * ROWS)))

    def initial_state(self) -> AdaptationState:
        c, rows, wide = self.config, self.history + ROWS, (self.history + ROWS, self.electrodes)
        solution = (len(self.lags), self.components, self.electrodes)
        return AdaptationState(
            second=0,
            next=-1,
            learnt=0,
            components=np.zeros((rows, self.components)),
            heard=np.zeros(rows, np.bool_),
            observed=np.zeros(wide),
            fitted=np.zeros(wide),
            adapted=np.zeros(wide),
            ok=np.zeros(wide, np.bool_),
            gram=np.zeros((self.components, self.components)),
            cross=np.zeros(solution),
            weights=np.zeros(solution),
            lag=np.zeros(self.electrodes, np.int64),
            sums=np.zeros((c.window_s, self.electrodes, SUMS)),
            shown=0,
        )

    def resumed(self, state: AdaptationState) -> AdaptationState:
        """What a new stream of rows begins with: all that was learnt and scored, none of the rows."""
        fresh = self.initial_state()
        for name in ("learnt", "gram", "cross", "weights", "lag", "sums", "shown"):
            setattr(fresh, name, getattr(state, name))
        return fresh

    def step(self, x: Block, state: AdaptationState) -> tuple[Block, AdaptationState]:
        if len(x) and (state.next < 0 or x.index < state.next):
            state = self.resumed(state)
            state.second = x.index // ROWS
        results: list[tuple[float, float, bool, Doubles]] = []
        times: list[float] = []
        numbers: list[int] = []
        at = 0
        while at < len(x):
            self._move_to((x.index + at) // ROWS, state)
            slot = (x.index + at) % ROWS
            count = min(ROWS - slot, len(x) - at)
            self._fill(x.rows(at, at + count), slot, state)
            at += count
            if slot + count == ROWS:
                numbers.append(state.second)
                times.append(float(x.times[at - 1]))
                self._move_to(state.second + 1, state)
                results.append((*self._compare(state), bool(state.shown), self.used_weights(state)))
        if len(x):
            state.next = x.end
        return self._block(results, times, numbers[0] if numbers else state.second), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def used_weights(self, state: AdaptationState) -> Doubles:
        """(M, K, E): the solution at each electrode's own lag, zero at the others."""
        used: Doubles = np.where(np.arange(len(self.lags))[:, None, None] == state.lag, state.weights, 0.0)
        return used

    def _fill(self, x: Block, slot: int, state: AdaptationState) -> None:
        """Put rows of the second into their slots; what is not finite, or not to be learnt from, does not count."""
        rows = slice(self.history + slot, self.history + slot + len(x))
        components = np.asarray(x.extra["components"], np.float64)
        learn = np.asarray(x.extra["learn"], bool)[:, 0] if "learn" in x.extra else np.ones(len(x), bool)
        heard = learn & np.isfinite(components).all(axis=1)
        state.heard[rows] = heard
        components = np.clip(components, -LARGEST_COMPONENT, LARGEST_COMPONENT)
        state.components[rows] = np.where(heard[:, None], components, 0.0)
        values = [x.data[:, :, 1], np.asarray(x.extra["fitted"]), np.asarray(x.extra["adapted"])]
        ok = ~bad_samples(x, self.electrodes) & learn[:, None] & np.isfinite(values).all(axis=0)
        state.ok[rows] = ok
        for kept, value in zip((state.observed, state.fitted, state.adapted), values, strict=True):
            kept[rows] = np.clip(np.where(ok, value, 0.0), -LARGEST_SD, LARGEST_SD)

    def _move_to(self, second: int, state: AdaptationState) -> None:
        """Score and learn the second being filled and go on to `second`; those in between have no rows."""
        for _ in range(min(second - state.second, self.config.window_s + 2)):
            state.sums[state.second % self.config.window_s] = _sums(state, self.history)
            self._learn(state)
            self._choose(state)
            state.second += 1
            rows = (state.components, state.heard, state.ok, state.observed, state.fitted, state.adapted)
            for kept in rows:
                kept[: self.history] = kept[ROWS:].copy()
                kept[self.history :] = 0
        state.second = second

    def _learn(self, state: AdaptationState) -> None:
        """The ROWS oldest rows of components, which every lag's observed row has followed by now."""
        z = state.components[:ROWS]
        after = np.arange(ROWS)[:, None] + self.lags  # (R, M)
        ok = state.ok[after]  # (R, M, E)
        used = state.heard[:ROWS] & ok.any(axis=(1, 2))
        count = int(used.sum())
        if not count:
            return
        missed = (state.observed - state.fitted)[after]  # (R, M, E)
        explained = (z @ state.weights).transpose(1, 0, 2)  # (M, R, E) -> (R, M, E)
        target = np.where(ok, missed, explained)  # what is masked teaches nothing
        newer = count - np.cumsum(used)
        root = np.sqrt(np.where(used, self.keep**newer, 0.0))[:, None]
        faded, weighted = self.keep**count, z * root
        gram = faded * state.gram + weighted.T @ weighted
        state.gram = (gram + gram.T) / 2
        state.cross = faded * state.cross + weighted.T @ (target * root[:, None]).transpose(1, 0, 2)
        state.learnt += count
        self._solve(state)

    def _solve(self, state: AdaptationState) -> None:
        factor = cho_factor(state.gram + self.config.prior * np.eye(self.components))
        columns = state.cross.transpose(1, 0, 2).reshape(self.components, -1)  # (M, K, E) -> (K, M E)
        solved = cho_solve(factor, columns).reshape(self.components, len(self.lags), self.electrodes)
        state.weights = np.ascontiguousarray(solved.transpose(1, 0, 2))
        state.lag = np.einsum("mke,mke->me", state.cross, state.weights).argmax(axis=0)  # explains most

    def _choose(self, state: AdaptationState) -> None:
        fitted, adapted = self._compare(state)
        if np.isfinite(fitted):
            state.shown = int(adapted > fitted + (0.0 if state.shown else self.config.margin))

    def _compare(self, state: AdaptationState) -> tuple[float, float]:
        """Mean r of the fitted and of the adapted prediction, over those claimed with enough to score; NaN for none."""
        n, o, f, a, oo, ff, aa, of, oa = state.sums.sum(axis=0).T  # (E,) each
        enough = n >= self.config.enough_s * ROWS
        if self.claimed is not None:
            enough &= self.claimed
        if not enough.any():
            return float("nan"), float("nan")
        return float(_r(n, o, f, oo, ff, of)[enough].mean()), float(_r(n, o, a, oo, aa, oa)[enough].mean())

    def _block(self, results: list[tuple[float, float, bool, Doubles]], times: list[float], index: int) -> Block:
        r = np.array([row[:2] for row in results], np.float32).reshape(-1, 2)
        shown = np.array([row[2] for row in results], np.bool_).reshape(-1, 1)
        shape = (-1, len(self.lags), self.components, self.electrodes)
        weights = np.array([row[3] for row in results], np.float32).reshape(shape)
        stamps: Times = np.array(times, np.float64)
        return Block(r, stamps, index, {"shown": shown, "weights": weights})


def _sums(state: AdaptationState, first: int) -> Doubles:
    """(E, SUMS) over the rows from `first` on, which are zero where they do not count."""
    ok, o, f, a = (part[first:] for part in (state.ok, state.observed, state.fitted, state.adapted))
    products = (ok, o, f, a, o * o, f * f, a * a, o * f, o * a)
    return np.stack([product.sum(axis=0, dtype=np.float64) for product in products], axis=1)


def _r(n: Doubles, x: Doubles, y: Doubles, xx: Doubles, yy: Doubles, xy: Doubles) -> Doubles:
    """Pearson's r from sums; 0 where one does not vary: what predicts nothing is right about nothing."""
    n = np.maximum(n, 1.0)
    var_x, var_y = xx - x * x / n, yy - y * y / n
    varies = (var_x > 1e-9 * np.maximum(xx, 1e-9)) & (var_y > 1e-9 * np.maximum(yy, 1e-9))
    return np.where(varies, (xy - x * y / n) / np.sqrt(np.where(varies, var_x * var_y, 1.0)), 0.0)
