"""Recordings to the electrodes that record the sound itself, through the chains that run live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from realtime.block import Block
from realtime.commands import wiring
from realtime.commands.material import Calibration
from realtime.contamination import Contamination, ContaminationResult
from realtime.offline import pieces, through
from realtime.rig_watch import SOUND_HZ, unreferenced
from realtime.sources.recording import RecordedStream, to_blocks
from realtime.stage import Chain

PIECE_S = 0.5


def contamination_of(
    recordings: Sequence[Calibration],
    plan: wiring.EcogPlan,
    progress: Callable[[float], None] = lambda _share: None,
) -> ContaminationResult:
    """Over all recordings together, the electrodes in the plan's order."""
    spec = recordings[0].ecog.spec
    found = Contamination(len(plan.electrodes(spec)), spec.rate_hz, SOUND_HZ)
    for number, one in enumerate(recordings):

        def told(share: float, number: int = number) -> None:
            progress((number + share) / len(recordings))

        found.begin()
        heard = _stepwise(one.sound, wiring.heard_lane(one.sound.spec, one.channel, one.delay_s), None)
        chain = wiring.ecog_lane(one.ecog.spec, plan)
        chain = wiring.upto(chain, unreferenced(chain))
        for is_sound, block in _in_time(heard, _stepwise(one.ecog, chain, told)):
            (found.add_sound if is_sound else found.add_ecog)(block)
    return found.result()


def _stepwise(stream: RecordedStream, chain: Chain, progress: Callable[[float], None] | None) -> Iterator[Block]:
    blocks = to_blocks(stream)
    return through(chain, pieces(blocks, stream.spec.rate_hz, PIECE_S), sum(map(len, blocks)), progress)


def _in_time(sound: Iterator[Block], ecog: Iterator[Block]) -> Iterator[tuple[bool, Block]]:
    """(whether it is sound, block): always from the stream that is behind, sound first."""
    reached = {True: -float("inf"), False: -float("inf")}
    sources = {True: sound, False: ecog}
    while sources:
        is_sound = min(sources, key=lambda which: (reached[which], not which))
        block = next(sources[is_sound], None)
        if block is None:
            del sources[is_sound]
        elif len(block):
            reached[is_sound] = float(block.times[-1])
            yield is_sound, block
