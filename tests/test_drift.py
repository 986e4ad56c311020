"""Adaptation against a patient whose tuning turns by 60 degrees while the session runs, and against one who stays."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptation import MINUTE, from_nothing, turned
from benchmarks.drifting_patient import drifting, mean_r


def check(seed: int) -> None:
    r = turned(seed, 60.0, 30)
    assert r["fitted, minutes 3 to 5"] < 0.6 * r["fitted, before"], "cos 60 degrees is a half"
    assert r["shown, minutes 3 to 5"] > 0.9 * r["fitted, before"], "recovered within two minutes"
    assert r["shown, minute 2"] > 0.8 * r["fitted, before"]
    assert r["shown, before"] > r["fitted, before"] - 0.01
    stays = turned(seed, 0.0, 30)
    for part in ("before", "minute 1", "minute 2", "minutes 3 to 5"):
        assert stays[f"shown, {part}"] >= stays[f"fitted, {part}"] - 0.01, part


def test_a_turn_is_followed_and_nothing_costs_nothing() -> None:
    check(1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 8))
def test_so_it_is_for_other_patients(seed: int) -> None:
    check(seed)


@pytest.mark.long
def test_a_session_without_calibration_gets_there() -> None:
    found = from_nothing(1, 30)
    assert found["minutes_to_90_percent"] is not None
    assert found["minutes_to_90_percent"] <= 3.0


def test_the_patient_is_what_it_says() -> None:
    """The fitted model is right before the turn and half right after it."""
    one = drifting(3, 4.0, 2.0, 60.0)
    predicted = one.model.layer(one.x).data
    before, after = (
        mean_r(predicted, one.observed, 50, one.turned),
        mean_r(predicted, one.observed, one.turned, 4 * MINUTE),
    )
    assert 0.45 < before < 0.65
    assert after == pytest.approx(before / 2, abs=0.05)
    assert np.isfinite(one.observed.data).all()
