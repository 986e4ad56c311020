"""`corticast bench`: how late a prediction is on this machine. All of it is in `benchmarks.latency`."""

from benchmarks.latency import add_arguments, run

__all__ = ["add_arguments", "run"]
