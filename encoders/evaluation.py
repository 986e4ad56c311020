"""How good predictions are: masked correlation, what of the variance is predicted, the null, p-values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, rfft
from scipy.stats import false_discovery_control

from realtime.block import Floats, Mask
from realtime.errors import UserError

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def correlation(predicted: Floats, observed: Floats, bad: Mask) -> Doubles:
    """Pearson correlation of each electrode, (electrodes,), over the rows that are finite and not bad.

    predicted, observed, bad: (rows, electrodes). NaN with under 2 such rows or no variance in either.
    """
    p, o, ok = masked_standard(predicted, observed, bad)
    norms = np.sqrt(np.sum(p * p, axis=0) * np.sum(o * o, axis=0))
    varies = (norms > 0) & (ok.sum(axis=0) >= 2)
    r = np.sum(p * o, axis=0) / np.where(varies, norms, 1.0)
    return np.where(varies, np.clip(r, -1.0, 1.0), np.nan)


def r_squared(predicted: Floats, observed: Floats, bad: Mask) -> Doubles:
    """Share of each electrode's variance that is predicted, (electrodes,): 1 - squared error / variance.

    Arguments and NaN as in `correlation`. Below zero where the electrode's mean would have been the better guess.
    """
    p, o = predicted.astype(np.float64), observed.astype(np.float64)
    ok = np.isfinite(p) & np.isfinite(o) & ~np.asarray(bad, np.bool_)
    count = ok.sum(axis=0)
    mean = np.where(ok, o, 0.0).sum(axis=0) / np.maximum(count, 1)
    total = np.sum(np.where(ok, o - mean, 0.0) ** 2, axis=0)
    error = np.sum(np.where(ok, o - p, 0.0) ** 2, axis=0)
    least, most = np.where(ok, o, np.inf).min(axis=0), np.where(ok, o, -np.inf).max(axis=0)
    varies = (count >= 2) & (least < most)
    return np.where(varies, 1.0 - error / np.where(varies, total, 1.0), np.nan)


def shift_null(
    predicted: Floats,
    observed: Floats,
    bad: Mask,
    rate_hz: float,
    draws: int,
    seed: int,
    min_shift_s: float = 5.0,
) -> Doubles:
    """Correlations, (draws, electrodes), of the predictions with observations shifted round in time.

    predicted, observed, bad: (rows, electrodes) at rate_hz. Each draw shifts all electrodes by the same number of
    rows, at least min_shift_s from either end, so that what electrodes share stays shared. No shift is drawn twice:
    where there are fewer than `draws`, each is there once. A pair counts where neither of its rows is masked. Exact
    Pearson correlations: the masked sums at all shifts are circular cross-correlations, computed by FFT. Raises
    UserError where the recording is too short for any shift.
    """
    shifts = drawn_shifts(len(predicted), rate_hz, draws, seed, min_shift_s)
    p, o, ok = masked_standard(predicted, observed, bad)
    null = np.empty((len(shifts), p.shape[1]))
    for electrode in range(p.shape[1]):
        null[:, electrode] = _shifted_r(p[:, electrode], o[:, electrode], ok[:, electrode], shifts)
    return null


def drawn_shifts(rows: int, rate_hz: float, draws: int, seed: int, min_shift_s: float = 5.0) -> Rows:
    """The shifts, in rows, that `shift_null` uses: at most (draws,). Row t is paired with observed row t - shift."""
    least = max(1, int(np.ceil(min_shift_s * rate_hz)))
    possible = np.arange(least, rows - least + 1)
    if not len(possible):
        raise UserError(
            f"{rows / rate_hz:.1f} s to evaluate found, at least {2 * least / rate_hz:.1f} s expected, because "
            f"the null shifts by {min_shift_s:g} s or more: evaluate a longer recording"
        )
    rng = np.random.default_rng(seed)
    return rng.choice(possible, min(draws, len(possible)), replace=False).astype(np.intp)


def p_values(r: Doubles, null: Doubles, pooled: bool = False) -> Doubles:
    """One-sided p of each r, (electrodes,), against null draws (draws, electrodes): (1 + exceeding) / (1 + draws).

    pooled: against the draws of all electrodes together, which resolves smaller p where their nulls are alike.
    Draws that are NaN count for nothing; a NaN r, or one without any draw, has a NaN p. The convention keeps p
    above zero (Phipson and Smyth 2010).
    """
    draws = null.reshape(-1, 1) if pooled else null
    valid = np.isfinite(draws)
    exceeding = _count_at_least(draws[valid], r) if pooled else np.sum(valid & (draws >= r), axis=0)
    count = valid.sum(axis=0)
    return np.where(np.isfinite(r) & (count > 0), (1.0 + exceeding) / (1.0 + count), np.nan)


def benjamini_hochberg(p: Doubles) -> Doubles:
    """p adjusted for the false discovery rate (Benjamini and Hochberg 1995), any shape; NaN is left out and kept."""
    adjusted = np.full(np.shape(p), np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested], method="bh")
    return adjusted


def masked_standard(predicted: Floats, observed: Floats, bad: Mask) -> tuple[Doubles, Doubles, Mask]:
    """Both minus their masked mean and over their masked SD, zero where masked or constant; and what counts."""
    p, o = predicted.astype(np.float64), observed.astype(np.float64)
    ok = np.isfinite(p) & np.isfinite(o) & ~np.asarray(bad, np.bool_)
    return _standard(p, ok), _standard(o, ok), ok


def _standard(x: Doubles, ok: Mask) -> Doubles:
    count = np.maximum(ok.sum(axis=0), 1)
    least, most = np.where(ok, x, np.inf).min(axis=0), np.where(ok, x, -np.inf).max(axis=0)
    x = np.where(ok & (least < most), x, 0.0)  # a constant minus its mean is not quite zero
    x = np.where(ok, x - x.sum(axis=0) / count, 0.0)
    sd = np.sqrt(np.sum(x * x, axis=0) / count)
    return x / np.where(sd > 0, sd, 1.0)


def _shifted_r(p: Doubles, o: Doubles, ok: Mask, shifts: Rows) -> Doubles:
    """Masked Pearson correlation of p[t] with o[t - shift], round in time, for every shift."""
    rows = len(p)
    spectra = rfft(np.stack([ok.astype(np.float64), p, p * p, o, o * o]), axis=1)
    m, fp, fpp, fo, foo = spectra
    left = np.stack([m, fp, fpp, m, m, fp])
    right = np.stack([m, m, m, fo, foo, fo])
    sums = irfft(left * np.conj(right), rows, axis=1)[:, shifts]
    n, sp, spp, so, soo, spo = sums
    n = np.round(n)
    count = np.maximum(n, 1.0)
    var_p, var_o = spp - sp * sp / count, soo - so * so / count
    varies = (n >= 2) & (var_p > 1e-9) & (var_o > 1e-9)  # in SDs of the whole: FFT rounding stays far below
    r = (spo - sp * so / count) / np.sqrt(np.where(varies, var_p * var_o, 1.0))
    return np.where(varies, np.clip(r, -1.0, 1.0), np.nan)


def _count_at_least(draws: Doubles, r: Doubles) -> npt.NDArray[np.intp]:
    return len(draws) - np.searchsorted(np.sort(draws), r, side="left")
