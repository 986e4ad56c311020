"""Results out, as LSL streams that any LSL program can read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pylsl

from realtime.block import Block, Spec

BUFFER_S = 60  # kept per consumer: one that stalls for longer loses the oldest rows, and holds nobody up


class Outlet:
    """One LSL stream. Pushing never waits for a consumer.

    spec: with one channel label for every number of a row. text: a stream of strings, one channel, no rate.
    meta: further entries of the stream's description, such as settings. double: numbers are sent as float64.
    """

    def __init__(
        self,
        spec: Spec,
        type: str,
        source_id: str,
        text: bool = False,
        meta: Mapping[str, str] | None = None,
        double: bool = False,
    ):
        self.spec = spec
        channels = 1 if text else len(spec.channels)
        info = pylsl.StreamInfo(
            spec.name,
            type,
            channels,
            pylsl.IRREGULAR_RATE if text else spec.rate_hz,
            pylsl.cf_string if text else pylsl.cf_double64 if double else pylsl.cf_float32,
            source_id,
        )
        if len(spec.channels) == channels:
            info.set_channel_labels(list(spec.channels))
            info.set_channel_types(type)
            if spec.unit:
                info.set_channel_units(spec.unit)
        for key, value in (meta or {}).items():
            info.desc().append_child_value(key, value)
        self._text = text
        self._dtype = np.float64 if double else np.float32
        self._channels = channels
        self._outlet = pylsl.StreamOutlet(info, 0, BUFFER_S)

    def push(self, block: Block) -> None:
        """Send all rows of a block, each with its own time.

        Rows with more than one axis are flattened in C order: (heads, lags) becomes head 0's lags, then head 1's.
        Raises ValueError where a row has not one number per channel.
        """
        if self._text:
            raise ValueError(f"stream {self.spec.name!r} carries text: use push_text")
        if not len(block):
            return
        rows = np.ascontiguousarray(block.data, self._dtype).reshape(len(block), -1)
        if rows.shape[1] != self._channels:
            raise ValueError(f"a row has {rows.shape[1]} numbers, stream {self.spec.name!r} {self._channels} channels")
        self._outlet.push_chunk(rows, block.times.tolist())

    def push_text(self, text: str, time_s: float) -> None:
        """Send one string, such as JSON, stamped time_s."""
        if not self._text:
            raise ValueError(f"stream {self.spec.name!r} carries numbers: use push")
        self._outlet.push_sample([text], time_s)

    @property
    def have_consumers(self) -> bool:
        return bool(self._outlet.have_consumers())

    def wait_for_consumers(self, timeout_s: float) -> bool:
        """True as soon as somebody listens; False when the time is over."""
        return bool(self._outlet.wait_for_consumers(timeout_s))

    def close(self) -> None:
        """Take the stream off the network. Rows not yet read are lost."""
        del self._outlet
