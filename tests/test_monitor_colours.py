"""Colours of the window as the colour-blind see them.

Simulation: Machado, Oliveira and Fernandes 2009, full severity, on linear RGB. Distance: CIE 1976, in CIELAB.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from realtime.monitor.attention import head_look
from realtime.monitor.curves import LABEL_HIGH, LABEL_WIDE, label_lags
from realtime.monitor.theme import THEMES, YELLOW, Theme

APART = 25.0  # 2 is just seen side by side
EYES = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    value = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def seen(colour: str, eye: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """L*, a*, b* of a colour as an eye sees it."""
    xyz = XYZ @ np.clip(EYES[eye] @ linear(colour), 0, 1) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def together(theme: Theme) -> dict[str, tuple[str, ...]]:
    """Colours that mean different things side by side."""
    return {
        "traces": (theme.predicted, theme.observed, theme.panel),
        "state": (theme.good, theme.bad, theme.background),
        "timeline": (*theme.states, theme.panel),
        "attention": (*theme.heads, theme.panel),
        "signs": (theme.bad, YELLOW),
    }


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", THEMES)
def test_colours_are_apart_for_every_eye(name: str, eye: str) -> None:
    for what, colours in together(THEMES[name]).items():
        for one, other in combinations(colours, 2):
            assert np.linalg.norm(seen(one, eye) - seen(other, eye)) >= APART, (what, one, other)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", THEMES)
def test_twelve_heads_are_told_apart_by_colour_or_by_line(name: str, eye: str) -> None:
    looks = [head_look(THEMES[name], head) for head in range(12)]
    for (colour, style), (other, another) in combinations(looks, 2):
        assert style != another or np.linalg.norm(seen(colour, eye) - seen(other, eye)) >= APART


@pytest.mark.parametrize("heads", [1, 2, 5, 8, 12])
def test_labels_lie_on_their_curves_and_not_on_each_other(heads: int) -> None:
    """Peaks at lags of their own, all of one shape, and noise."""
    lags = np.arange(40)
    rng = np.random.default_rng(heads)
    peaks = np.exp(-0.5 * ((lags - np.linspace(5, 35, heads)[:, None]) / 3) ** 2) + 0.01
    for weights in (peaks, np.repeat(peaks[:1], heads, axis=0), rng.uniform(0.2, 1.0, (heads, 40))):
        chosen = label_lags(weights)
        y = weights / weights.max()
        for (one, at), (other, there) in combinations(enumerate(chosen), 2):
            wide = abs(at - there) > LABEL_WIDE * 40
            assert wide or abs(y[one, at] - y[other, there]) > LABEL_HIGH, (one, other)
    if heads > 1:
        assert np.abs(np.array(label_lags(peaks)) - np.linspace(5, 35, heads)).max() <= 6, "where it stands out"


def test_a_label_stays_until_another_place_is_much_better() -> None:
    weights = np.full((2, 40), 0.1)
    weights[0, 10], weights[0, 30] = 0.5, 0.6
    assert label_lags(weights)[0] == 30
    assert label_lags(weights, [10, 20])[0] == 10
    weights[0, 10] = 0.2
    assert label_lags(weights, [10, 20])[0] == 30
    assert label_lags(weights[:, :25], [30, 20])[0] == 10, "a model with fewer lags"


def test_the_simulation_confuses_what_is_known_to_be_confused() -> None:
    """Red and green of one lightness: apart for most, one for those without red or green cones."""
    red, green = "#c05030", "#7a7a20"
    distances = {eye: np.linalg.norm(seen(red, eye) - seen(green, eye)) for eye in EYES}
    assert distances["usual"] > 2.5 * distances["deuteranopia"]
    np.testing.assert_allclose(seen("#ffffff", "usual"), [100, 0, 0], atol=0.1)
