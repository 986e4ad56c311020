"""Colours of the window as the colour-blind see them.

Simulation: Machado, Oliveira and Fernandes 2009, full severity, on linear RGB. Distance: CIE 1976, in CIELAB.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

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
        "attention": (*theme.heads[:4], theme.panel),
        "signs": (theme.bad, YELLOW),
    }


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", THEMES)
def test_colours_are_apart_for_every_eye(name: str, eye: str) -> None:
    for what, colours in together(THEMES[name]).items():
        for one, other in combinations(colours, 2):
            assert np.linalg.norm(seen(one, eye) - seen(other, eye)) >= APART, (what, one, other)


def test_the_simulation_confuses_what_is_known_to_be_confused() -> None:
    """Red and green of one lightness: apart for most, one for those without red or green cones."""
    red, green = "#c05030", "#7a7a20"
    distances = {eye: np.linalg.norm(seen(red, eye) - seen(green, eye)) for eye in EYES}
    assert distances["usual"] > 2.5 * distances["deuteranopia"]
    np.testing.assert_allclose(seen("#ffffff", "usual"), [100, 0, 0], atol=0.1)
