"""The causal ECoG chain: repair, artefacts, reference, mains notch, band power, z-score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from realtime.artefacts import Artefacts
from realtime.band_power import EPSILON_UV2, BandPower, check_band
from realtime.bipolar import Bipolar
from realtime.block import ROW_RATE_HZ, Block, bad_samples
from realtime.envelope import envelope_delay_s, ring_s
from realtime.errors import UserError
from realtime.filters import Notch, band_pass
from realtime.repair import Repair
from realtime.stage import Chain
from realtime.zscore import ZScore, baseline

__all__ = [
    "BROADBAND_HZ",
    "EPSILON_UV2",
    "BandPower",
    "Notch",
    "Reference",
    "ZScore",
    "baseline",
    "ecog_chain",
    "envelope_delay_s",
]

ARTEFACT_SD = 10.0
WINDOW_S = 0.02  # over which power is taken, at least
BROADBAND_HZ = (0.5, 200.0)  # the `band_hz` of the broadband target


class Reference:
    """Subtract from each channel the mean of its group's good channels, sample by sample.

    groups: channel indices, a channel in one group at most; a channel in none stays as it is.
    bad_channels: count in no mean and are marked bad. A channel that extra["bad"] marks at a sample does not
    count at that sample; where a group has no good channel, nothing is subtracted.

    Input (time, channels), output float64 of the same shape and unit, extra["bad"] set. lag_s is 0.
    Without state: a gap means nothing to it.
    """

    lag_s = 0.0

    def __init__(self, groups: Sequence[Sequence[int]], bad_channels: Sequence[int] = ()) -> None:
        self.groups = [_indices(group) for group in groups if len(group)]
        self.bad_channels = np.asarray(bad_channels, np.intp)

    def initial_state(self) -> None:
        return None

    def step(self, x: Block, state: None) -> tuple[Block, None]:
        bad = bad_samples(x)
        bad[:, self.bad_channels] = True
        data = x.data.astype(np.float64)
        for group in self.groups:
            good = ~bad[:, group]
            total = np.where(good, data[:, group], 0.0).sum(axis=1, keepdims=True)
            data[:, group] -= total / np.maximum(good.sum(axis=1, keepdims=True), 1)
        return Block(data, x.times.copy(), x.index, {"bad": bad}), state

    def layer(self, x: Block) -> Block:
        return self.step(x, None)[0]


def ecog_chain(
    rate_hz: float,
    channels: int,
    *,
    mains_hz: float = 50.0,
    band_hz: tuple[float, float] = (70.0, 150.0),
    row_rate_hz: float = ROW_RATE_HZ,
    groups: Sequence[Sequence[int]] | None = None,
    bad_channels: Sequence[int] = (),
    pairs: Sequence[tuple[int, int]] | None = None,
    baseline: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    fill_s: float = 0.5,
    artefact_sd: float = ARTEFACT_SD,
) -> Chain:
    """From raw ECoG, (time, channels) microvolts, to z-scored log power, (rows, channels), and extra["bad"].

    groups: channels that share a reference; None: all share one. bad_channels: see `Reference`. pairs: bipolar
    differences in place of a shared reference (`Bipolar`), which are the channels from there on. baseline: median
    and MAD of each; None: collected from the first minute (`ZScore`). fill_s: see `Repair`. artefact_sd: see
    `Artefacts`.
    At more than 50 rows a second each is still of WINDOW_S: in less the band's own beating is most of what there is.
    The delay of notch and band-pass together is measured here; it is the chain's lag_s.
    Raises UserError where the band does not fit below the Nyquist rate, or channels or baseline do not fit the
    stream.
    """
    low_hz, high_hz = band_hz
    check_band(rate_hz, low_hz, high_hz, row_rate_hz)
    groups = [range(channels)] if groups is None else groups
    _check_channels(channels, groups, bad_channels)
    _check_baseline(channels if pairs is None else len(pairs), baseline)
    notch = Notch(rate_hz, mains_hz, high_hz + mains_hz)  # the first harmonic past the band still leaks into it
    filters = [notch.sos, band_pass(rate_hz, low_hz, high_hz)]
    window_rows = max(1, round(WINDOW_S * row_rate_hz))
    delay_s = envelope_delay_s(filters, rate_hz, low_hz, high_hz, window_rows / row_rate_hz)
    guard_s = ring_s(filters, rate_hz)
    median, mad = (None, None) if baseline is None else baseline
    return Chain(
        [
            ("repair", Repair(rate_hz, fill_s, hold=True)),
            ("artefacts", Artefacts(rate_hz, mains_hz, artefact_sd)),
            ("reference", Reference(groups, bad_channels) if pairs is None else Bipolar(pairs, bad_channels)),
            ("notch", notch),
            ("band_power", BandPower(rate_hz, low_hz, high_hz, row_rate_hz, delay_s, guard_s, window_rows)),
            ("z_score", ZScore(median, mad, row_rate_hz=row_rate_hz)),
        ]
    )


def _check_channels(channels: int, groups: Sequence[Sequence[int]], bad_channels: Sequence[int]) -> None:
    grouped = [channel for group in groups for channel in group]
    outside = sorted({c for c in [*grouped, *bad_channels] if not 0 <= c < channels})
    if outside:
        raise UserError(
            f"reference groups and bad channels: found channel {outside[0]}, expected 0 to {channels - 1}; "
            "correct the montage"
        )
    twice = sorted({c for c in grouped if grouped.count(c) > 1})
    if twice:
        raise UserError(f"reference groups: found channel {twice[0]} twice, expected it once; take it out of one group")


def _check_baseline(channels: int, baseline: tuple[npt.ArrayLike, npt.ArrayLike] | None) -> None:
    for name, values in zip(("median", "MAD"), baseline or (), strict=False):
        if np.shape(values) != (channels,):
            raise UserError(
                f"baseline {name}: found shape {np.shape(values)}, expected ({channels},); calibrate with this stream"
            )


def _indices(group: Sequence[int]) -> slice | npt.NDArray[np.intp]:
    """A slice where it will do: it is several times faster."""
    if list(group) == list(range(group[0], group[-1] + 1)):
        return slice(group[0], group[-1] + 1)
    return np.asarray(group, np.intp)
