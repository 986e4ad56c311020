"""`Delay`: what a sound card or amplifier takes before it stamps a sample, taken off its times."""

from __future__ import annotations

from collections.abc import Mapping

from realtime.block import Block

NOT_MEASURED = "delay not measured"


class Delay:
    """The same rows, stamped delay_s earlier: when it happened rather than when the device stamped it.

    It changes what a row speaks of, not what is known when: lag_s, in the output's times, is delay_s.
    Without state.
    """

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.lag_s = max(0.0, delay_s)

    def initial_state(self) -> None:
        return None

    def step(self, x: Block, state: None) -> tuple[Block, None]:
        extra = {name: array.copy() for name, array in x.extra.items()}
        return Block(x.data.copy(), x.times - self.delay_s, x.index, extra), state

    def layer(self, x: Block) -> Block:
        return self.step(x, None)[0]


def delays_in_words(delays: Mapping[str, float | None]) -> str:
    """Of each stream, in milliseconds, for reports."""
    return "; ".join(
        f"{name}: {NOT_MEASURED}" if delay_s is None else f"{name}: {1e3 * delay_s:g} ms"
        for name, delay_s in delays.items()
    )
