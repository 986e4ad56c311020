"""When the patient hears nothing: rows that neither score nor teach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realtime.block import Block

RATE_HZ = 16_000
ROW_SAMPLES = 320  # 20 ms, as the embedding's frames
QUIET_S = 2.0  # speech pauses for less
BELOW_LOUDEST_DB = 35.0
QUIETEST_DB = -65.0  # of full scale: what is under this is silent whatever came before
FADING_DB_PER_S = 1.0 / 60.0  # how fast the loudest is forgotten


@dataclass
class SilenceState:
    """power, samples: sum of squares and count in the row being filled. quiet_rows: in a row, up to now.
    loudest_db: of any row, fading."""

    power: float = 0.0
    samples: int = 0
    quiet_rows: int = 0
    loudest_db: float = -200.0
    next_index: int = -1


class Silence:
    """Sound (samples, 1) at 16 kHz -> rows of 20 ms: 1 where all of the last QUIET_S was quiet, else 0. A stage.

    Quiet: BELOW_LOUDEST_DB under the loudest row so far, or under QUIETEST_DB. Stamped with the row's last sample.
    After a gap a new row begins; the loudest is remembered.
    """

    lag_s = 0.0

    def initial_state(self) -> SilenceState:
        return SilenceState()

    def step(self, x: Block, state: SilenceState) -> tuple[Block, SilenceState]:
        if len(x) and state.next_index not in (-1, x.index):
            state = SilenceState(loudest_db=state.loudest_db)
        if len(x) and state.next_index == -1:
            state.next_index = x.index
        first = (state.next_index - state.samples) // ROW_SAMPLES
        silent, times, at = [], [], 0
        power = np.nan_to_num(np.asarray(x.data[:, 0], np.float64), nan=0.0, posinf=0.0, neginf=0.0) ** 2
        while at < len(x):
            count = min(ROW_SAMPLES - state.samples, len(x) - at)
            state.power += float(power[at : at + count].sum())
            state.samples += count
            at += count
            if state.samples == ROW_SAMPLES:
                silent.append(self._row(state))
                times.append(float(x.times[at - 1]))
        if len(x):
            state.next_index = x.end
        return Block(np.array(silent, np.float32).reshape(-1, 1), np.array(times, np.float64), max(first, 0)), state

    def layer(self, x: Block) -> Block:
        return self.step(x, self.initial_state())[0]

    @staticmethod
    def _row(state: SilenceState) -> bool:
        level_db = 10 * np.log10(max(state.power / ROW_SAMPLES, 1e-20))
        state.loudest_db = max(level_db, state.loudest_db - FADING_DB_PER_S * ROW_SAMPLES / RATE_HZ)
        quiet = level_db < max(state.loudest_db - BELOW_LOUDEST_DB, QUIETEST_DB)
        state.quiet_rows = state.quiet_rows + 1 if quiet else 0
        state.power, state.samples = 0.0, 0
        return state.quiet_rows * ROW_SAMPLES >= QUIET_S * RATE_HZ
