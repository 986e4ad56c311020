"""Numbers within bounds on a command line: each gives what argparse takes as a `type`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def above_0(what: str) -> Callable[[str], float]:
    """Numbers above 0; `what` they are, such as `a number of seconds`."""
    return lambda text: _checked(text, lambda value: 0 < value < math.inf, f"{what} above 0")


def between(low: float, high: float, what: str) -> Callable[[str], float]:
    """Numbers from low to high, both included; high may be infinite."""
    words = f"{what} of {low:g} or more" if math.isinf(high) else f"{what} from {low:g} to {high:g}"
    return lambda text: _checked(text, lambda value: low <= value <= high and math.isfinite(value), words)


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """Whole numbers from low to high, both included."""

    def fits(value: float) -> bool:
        return low <= value <= high and value == int(value)

    return lambda text: int(_checked(text, fits, f"{what} from {low} to {high}"))


def _checked(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
    return value
