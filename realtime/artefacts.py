"""`Artefacts`: finds what is no brain activity, marks it, and takes its edges out before the filters can ring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.block import Block, Floats, Mask, bad_samples

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BIN_S = 0.05  # scales are updated so often
DRIFT_BINS = 4  # the longest difference: to the mean of the bin so many bins ago
WARM_BINS = 4  # before a channel's scale counts; the start's own guard outlasts it
GAIN, GAIN_BAD = 0.02, 0.001  # of a bin in the running scale: 2.5 s; 50 s where something in the bin was bad
JOINT_SD = 4.0  # where another channel passes the threshold, or half of them this one
LEAST_COMMON = 8  # channels, for a rule about half of them
HOLD_S = 0.05  # stays marked so long after: the gap between pulses, the other flank of a spike
FLAT_S = 0.05
RAIL_S = 0.005
SD_PER_MEAN = 1.2533  # SD of a normal distribution over its mean absolute value
TINY = 1e-9
LONG_AGO = np.int64(2**40)


@dataclass
class ArtefactState:
    """Everything per channel. seen: samples since the (re)start. history: (period, channels) newest samples.

    scale: (3, channels) mean absolute step, swing and drift. sums: (4, channels) of the bin under way, these three and
    the sample itself. means: (DRIFT_BINS, channels) of the newest complete bins, the oldest first. bins: that count in
    the scale. bin_bad: something in the bin under way was bad. since: samples since the last hit. unchanged: samples
    with the same value. highest, lowest: so far. offset: subtracted. last: newest good sample. was_bad: the newest.
    """

    next_index: int = -1
    seen: int = 0
    history: Floats | None = None
    scale: Values | None = None
    sums: Values | None = None
    means: Values | None = None
    bins: Counts | None = None
    bin_bad: Mask | None = None
    since: Counts | None = None
    unchanged: Counts | None = None
    highest: Floats | None = None
    lowest: Floats | None = None
    offset: Values | None = None
    last: Values | None = None
    was_bad: Mask | None = None


class Artefacts:
    """Marks artefacts in extra["bad"] and bridges them.

    A sample is hit where one of three differences is over `threshold_sd` SDs of that channel: the step from the sample
    before, the swing over one period of the mains (so that hum cancels), the drift from the mean of 50 ms about 0.2 s
    ago. That finds pulses, cautery, spikes, movement, and steps of the reference. The SD is 1.25 times a running mean
    of the absolute difference, updated every 50 ms in its logarithm with bounded influence: a bin counts for 2.5 s, one
    with an artefact in it twenty times less, so that a channel which stays loud is the new normal after minutes.
    At a sample where any channel is hit, those over JOINT_SD are hit as well (a stimulation pulse further away); where
    half of the channels (and four) are over JOINT_SD, all are (a step of the common reference).
    Flat: the very same value for 50 ms. Saturated: the same value for 5 ms, and no more extreme one was seen before.

    Bad is what was hit within the last 50 ms, and what was marked already. How long the filters ring after it is
    `BandPower`'s to add. Nothing before a hit is marked: the largest that goes unseen is under the threshold.

    A bad sample becomes the channel's last good value, and the good ones after it are shifted to go on from there: so
    nothing rings that was marked, steps that stay included. Each channel begins at 0.

    Input (time, channels) without NaN; output float64 of the same shape and unit, extra["bad"] set. lag_s is 0. After a
    gap it restarts and knows no scale for 0.2 s.
    """

    lag_s = 0.0

    def __init__(self, rate_hz: float, mains_hz: float = 50.0, threshold_sd: float = 10.0) -> None:
        self.threshold_sd = threshold_sd
        self.period = max(2, round(rate_hz / mains_hz))
        self.bin = max(2, round(BIN_S * rate_hz))
        self.hold = round(HOLD_S * rate_hz)
        self.flat = max(1, round(FLAT_S * rate_hz))
        self.rail = max(2, round(RAIL_S * rate_hz))

    def initial_state(self) -> ArtefactState:
        return ArtefactState()

    def step(self, x: Block, state: ArtefactState) -> tuple[Block, ArtefactState]:
        if len(x) and (state.history is None or x.index != state.next_index):
            state = self._fresh(x.data)
        out, bad = np.empty(x.data.shape), bad_samples(x)
        at = 0
        while at < len(x):
            upto = min(len(x), at + self.bin - state.seen % self.bin)
            out[at:upto] = self._within_a_bin(x.data[at:upto], bad[at:upto], state)
            at = upto
        if len(x):
            state.next_index = x.end
        return Block(out, x.times.copy(), x.index, {"bad": bad}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    def _fresh(self, data: Floats) -> ArtefactState:
        """As if the first sample had been there forever."""
        first, channels = data[0], data.shape[1]
        return ArtefactState(
            history=np.repeat(first[None], self.period, axis=0),
            scale=np.zeros((3, channels)),
            sums=np.zeros((4, channels)),
            means=np.repeat(first[None].astype(np.float64), DRIFT_BINS, axis=0),
            bins=np.zeros(channels, np.int64),
            bin_bad=np.zeros(channels, bool),
            since=np.full(channels, LONG_AGO),
            unchanged=np.zeros(channels, np.int64),
            highest=np.full(channels, -np.inf, data.dtype),
            lowest=np.full(channels, np.inf, data.dtype),
            offset=first.astype(np.float64),
            last=first.astype(np.float64),
            was_bad=np.zeros(channels, bool),
        )

    def _within_a_bin(self, x: Floats, bad: Mask, state: ArtefactState) -> Values:
        """The next samples, all of one bin: their bad samples are marked in `bad`, the bridged samples returned."""
        assert state.history is not None
        assert state.sums is not None
        assert state.means is not None
        assert state.bin_bad is not None
        with_before = np.concatenate([state.history, x])
        before = with_before[self.period - 1 : -1]
        differences = (
            np.abs(x - before),
            np.abs(x - with_before[: len(x)]),
            np.abs(x - state.means[0].astype(x.dtype)),
        )
        hit = self._hits(differences, state)
        hit |= self._stands_still(x, x == before, state)
        bad |= self._held(hit, state)
        state.sums += [*(d.sum(axis=0, dtype=np.float64) for d in differences), x.sum(axis=0, dtype=np.float64)]
        state.bin_bad |= bad.any(axis=0)
        bridged = _bridged(x, bad, state)
        state.history = with_before[-self.period :].copy()
        state.seen += len(x)
        if state.seen % self.bin == 0:
            self._close_bin(state)
        return bridged

    def _hits(self, differences: tuple[Floats, ...], state: ArtefactState) -> Mask:
        assert state.scale is not None
        assert state.bins is not None
        known = state.bins >= WARM_BINS
        per_sd = np.where(known, 1 / (SD_PER_MEAN * np.maximum(state.scale, TINY)), 0).astype(differences[0].dtype)
        largest = differences[0] * per_sd[0]
        for difference, inverse in zip(differences[1:], per_sd[1:], strict=True):
            np.maximum(largest, difference * inverse, out=largest)
        hit: Mask = largest > self.threshold_sd
        joint = largest > JOINT_SD
        common = 2 * np.count_nonzero(joint, axis=1) >= max(LEAST_COMMON, np.count_nonzero(known))
        if common.any() or hit.any():
            hit |= (joint & hit.any(axis=1, keepdims=True)) | common[:, None]
        return hit

    def _stands_still(self, x: Floats, same: Mask, state: ArtefactState) -> Mask:
        """Where a channel has the same value for FLAT_S, or for RAIL_S at an extreme."""
        assert state.unchanged is not None
        assert state.highest is not None
        assert state.lowest is not None
        marked = np.zeros(x.shape, bool)
        highest, lowest = np.maximum(state.highest, x.max(axis=0)), np.minimum(state.lowest, x.min(axis=0))
        repeating = np.flatnonzero(same.any(axis=0))
        row = np.arange(len(x))[:, None]
        changed = np.where(same[:, repeating], -1 - state.unchanged[repeating], row)
        unchanged = row - np.maximum.accumulate(changed, axis=0)
        long = np.flatnonzero((unchanged >= self.rail).any(axis=0))
        if len(long):
            channels, runs = repeating[long], unchanged[:, long]
            values = x[:, channels]
            top = values >= np.maximum(state.highest[channels], np.maximum.accumulate(values, axis=0))
            bottom = values <= np.minimum(state.lowest[channels], np.minimum.accumulate(values, axis=0))
            marked[:, channels] = (runs >= self.flat) | ((runs >= self.rail) & (top | bottom))
        state.unchanged = np.zeros_like(state.unchanged)
        state.unchanged[repeating] = unchanged[-1]
        state.highest, state.lowest = highest, lowest
        return marked

    def _held(self, hit: Mask, state: ArtefactState) -> Mask:
        """What was hit, and HOLD_S after it."""
        assert state.since is not None
        rows = len(hit)
        if not hit.any() and state.since.min() > self.hold:
            state.since = np.minimum(state.since + rows, LONG_AGO)
            return hit
        row = np.arange(rows)[:, None]
        newest = np.maximum.accumulate(np.where(hit, row, -state.since), axis=0)
        state.since = np.minimum(rows - newest[-1], LONG_AGO)
        held: Mask = row - newest <= self.hold
        return held

    def _close_bin(self, state: ArtefactState) -> None:
        """Take the bin that is complete into the scales and begin the next."""
        assert state.scale is not None
        assert state.sums is not None
        assert state.means is not None
        assert state.bins is not None
        assert state.bin_bad is not None
        found = state.sums / self.bin
        usual = np.maximum(1.0 / (state.bins + 1.0), GAIN)
        gain = np.where(state.bin_bad & (state.bins > 0), GAIN_BAD, usual)
        ratio = np.log(np.maximum(found[:3], TINY) / np.maximum(state.scale, TINY))
        moved = state.scale * np.exp(gain * np.clip(ratio, -1.0, 1.0))
        waits = (found[0] <= 0) | ((state.bins == 0) & state.bin_bad)  # a flat channel that comes back is a new one,
        state.scale = np.where(state.bins == 0, found[:3], moved)  # and no scale begins with a bin that is half flat
        state.bins = np.where(waits, 0, state.bins + 1)
        state.means = np.concatenate([state.means[1:], found[3:]])
        state.sums = np.zeros_like(state.sums)
        state.bin_bad = np.zeros_like(state.bin_bad)


def _bridged(x: Floats, bad: Mask, state: ArtefactState) -> Values:
    """Bad samples held, good ones shifted to go on from there."""
    assert state.offset is not None
    assert state.last is not None
    assert state.was_bad is not None
    good = x.astype(np.float64)
    if not bad.any() and not state.was_bad.any():
        state.last = good[-1].copy()
        return good - state.offset
    row = np.arange(len(x))[:, None]
    newest = np.maximum.accumulate(np.where(bad, -1, row), axis=0)  # good sample up to each
    held = np.where(newest >= 0, np.take_along_axis(good, np.maximum(newest, 0), axis=0), state.last)
    held_before = np.concatenate([state.last[None], held[:-1]])
    was_bad = np.concatenate([state.was_bad[None], bad[:-1]])
    offsets = state.offset + np.cumsum(np.where(was_bad & ~bad, good - held_before, 0.0), axis=0)
    state.offset, state.last, state.was_bad = offsets[-1].copy(), held[-1].copy(), bad[-1].copy()
    bridged: Values = held - offsets
    return bridged
