"""`corticast replay`: a recording over LSL again, in real time."""

from realtime.sources.replay import add_arguments, run

__all__ = ["add_arguments", "run"]
