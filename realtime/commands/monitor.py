"""`corticast monitor`: the window on a running engine."""

from realtime.monitor.__main__ import add_arguments
from realtime.monitor.__main__ import show as run

__all__ = ["add_arguments", "run"]
