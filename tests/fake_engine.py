"""An engine's outlets with plausible contents and no engine: for tests and pictures of the monitor.

In a process of its own: `python -m tests.fake_engine --engine NAME`; it says "ready" when its outlets are there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pylsl

from realtime.sources.lsl import keep_forever

STEP_S = 0.02
BLOCK_ROWS = 5  # a block of 100 ms
COMPUTE_S = 0.015
OBSERVED_LATE_ROWS = 10
TELEMETRY = (
    "row_index", "newest_sample_index", "newest_sample_time", "arrival_time", "block_complete_time",
    "whisper_done_time", "model_done_time", "published_time", "sound_lost", "sound_skipped",
    "ecog_lost", "ecog_skipped",
)  # fmt: skip
Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def electrode_names(count: int) -> list[str]:
    return [f"LT{k + 1}" for k in range(count)]


class FakeEngine:
    """All outlets. `predicted(rows)` and `observed(rows)` say what the rows of any index hold."""

    def __init__(self, name: str, electrodes: int = 64, heads: int = 4, lags: int = 40, lead_s: float = 0.0) -> None:
        self.name, self.heads, self.lags, self.lead_s = name, heads, lags, lead_s
        self.electrodes = electrode_names(electrodes)
        random = np.random.default_rng(7)
        self.true_r = np.where(np.arange(electrodes) % 3 < 2, random.uniform(0.2, 0.75, electrodes), 0.0)
        self.true_r = random.permutation(self.true_r)
        self._rates = random.uniform(0.4, 3.0, (4, electrodes))
        self._phases = random.uniform(0, 2 * np.pi, (4, electrodes))
        self.accepts = False
        self.facts: dict[str, object] = {}  # more of what the settings say
        self.start_s = pylsl.local_clock()
        attention = [f"head{h}_lag{lag}" for h in range(heads) for lag in range(lags)]
        self._outlets = {
            "predicted": self._outlet("predicted", self.electrodes, 50.0),
            "observed": self._outlet("observed", self.electrodes, 50.0),
            "score": self._outlet("score", [*self.electrodes, "null_max_p95"], 1.0),
            "attention": self._outlet("attention", attention, 50.0),
            "sound": self._outlet("sound", ["level_db", *(f"mel{k}" for k in range(80))], 50.0),
            "telemetry": self._outlet("telemetry", TELEMETRY, 0.0, pylsl.cf_double64),
            "status": self._outlet("status", ["status"], 0.0, pylsl.cf_string),
            "spectrum": self._outlet("spectrum", ["hz", *self.electrodes], 0.0),
        }

    def _outlet(
        self, what: str, labels: Sequence[str], rate_hz: float, kind: int = pylsl.cf_float32
    ) -> pylsl.StreamOutlet:
        info = pylsl.StreamInfo(f"{self.name}.{what}", what, len(labels), rate_hz, kind, f"{self.name}.{what}")
        channels = info.desc().append_child("channels")
        for label in labels:
            channels.append_child("channel").append_child_value("label", label)
        return pylsl.StreamOutlet(info)

    def wait_for_monitor(self, timeout_s: float = 60.0) -> bool:
        """Until every outlet has a reader."""
        end_s = time.monotonic() + timeout_s
        return all(o.wait_for_consumers(max(0.01, end_s - time.monotonic())) for o in self._outlets.values())

    def times(self, rows: Indices) -> Array:
        """Times that rows speak of, seconds on the LSL clock."""
        return np.asarray(self.start_s + rows * STEP_S + self.lead_s)

    def predicted(self, rows: Indices) -> Array:
        """(rows, electrodes): bursts at syllable rate, stronger where the true r is high."""
        t = rows[:, None] * STEP_S
        waves = sum(np.sin(2 * np.pi * rate * t + phase) for rate, phase in zip(self._rates, self._phases, strict=True))
        return np.asarray(np.maximum(np.asarray(waves), -0.7) * (0.3 + self.true_r))

    def observed(self, rows: Indices) -> Array:
        """(rows, electrodes): predicted plus noise; NaN where masked, every 20 s for 1 s on every fourth electrode."""
        noise = np.stack([np.random.default_rng([11, int(row)]).standard_normal(len(self.electrodes)) for row in rows])
        signal = self.predicted(rows)
        spread = np.sqrt(1 / np.maximum(self.true_r, 0.2) ** 2 - 1)
        values = 0.4 + signal + (0.3 + self.true_r) * spread * noise * 1.3
        masked = (rows % 1000 >= 850) & (rows % 1000 < 900)
        values[np.ix_(masked, np.arange(len(self.electrodes)) % 4 == 3)] = np.nan
        return np.asarray(values)

    def attention(self, rows: Indices) -> Array:
        """(rows, heads * lags); the weights of each head sum to 1."""
        lags = np.arange(self.lags)
        centres = 4.0 + 6.0 * np.arange(self.heads)[:, None] + np.sin(rows * STEP_S)[:, None, None]
        weights = np.exp(-0.5 * ((lags - centres) / (1.5 + np.arange(self.heads)[:, None])) ** 2) + 0.01
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True)).reshape(len(rows), -1)

    def sound(self, rows: Indices) -> Array:
        """(rows, 81): level in dB, then log-mel."""
        t, band = rows[:, None] * STEP_S, np.arange(80)
        loud = np.clip(np.sin(2 * np.pi * 1.7 * t) + 0.5 * np.sin(2 * np.pi * 0.31 * t), -0.8, 1.0)
        ridges = np.cos(2 * np.pi * (band - 10 * np.sin(t)) / 18) * np.exp(-band / 60)
        return np.hstack([-28 + 14 * loud, np.clip(0.4 * loud + 0.7 * ridges * (loud > -0.5), -1.0, 1.5)])

    def push(self, what: str, values: Array, times: Array) -> None:
        """Rows of one outlet, each with its own time."""
        kind = np.float64 if what == "telemetry" else np.float32
        for row, stamp in zip(np.ascontiguousarray(values, kind), times, strict=True):
            self._outlets[what].push_sample(row, float(stamp))

    def push_block(self, first: int, count: int = BLOCK_ROWS) -> None:
        """One block of everything but observed, as complete now."""
        rows = np.arange(first, first + count)
        times = self.times(rows)
        self.push("predicted", self.predicted(rows), times)
        self.push("attention", self.attention(rows), times)
        self.push("sound", self.sound(rows), times - self.lead_s)
        complete_s = float(times[-1]) - self.lead_s
        stamps = complete_s + 0.06 + COMPUTE_S * np.array([0.0, 0.1, 0.2, 0.8, 0.95, 1.0 + 0.4 * np.sin(first)])
        telemetry = np.zeros((count, len(TELEMETRY)))
        telemetry[:, 0], telemetry[:, 1], telemetry[:, 2] = rows, rows * 320, complete_s
        telemetry[:, 3:8] = stamps[1:]
        self.push("telemetry", telemetry, times)

    def push_observed(self, first: int, count: int = BLOCK_ROWS) -> None:
        rows = np.arange(max(first, 0), max(first + count, 0))
        if len(rows):
            self.push("observed", self.observed(rows), self.times(rows))

    def push_score(self, row: int) -> None:
        """Running r, which wanders a little about the true one; NaN in the first 3 s."""
        wander = 0.05 * np.sin(row * STEP_S / 5 + np.arange(len(self.electrodes)))
        scores = np.append(self.true_r + wander, 0.14) if row > 150 else np.full(len(self.electrodes) + 1, np.nan)
        self.push("score", scores[None], self.times(np.array([row])))

    def spectrum(self, number: int) -> Array:
        """(bins, 1 + electrodes): Hz, then dB; 1/f with hum; the second electrode is dead, the third noisy."""
        bins_hz = np.arange(0.0, 251.0, 2.0)
        random = np.random.default_rng([12, number])
        powers = (
            30 - 20 * np.log10(np.maximum(bins_hz, 2.0))[:, None] + random.normal(0, 1.5, (126, len(self.electrodes)))
        )
        powers[25] += np.linspace(0, 25, len(self.electrodes))
        powers[:, 1] -= 40
        powers[:, 2] += 15
        return np.hstack([bins_hz[:, None], powers])

    def push_spectrum(self, row: int) -> None:
        """One spectrum, its rows in one chunk of one stamp."""
        rows = np.ascontiguousarray(self.spectrum(row), np.float32)
        self._outlets["spectrum"].push_chunk(rows, float(self.times(np.array([row]))[0]))

    def say(self, event: str, **more: object) -> None:
        """One status event."""
        body = {"event": event, "time": pylsl.local_clock(), **more}
        self._outlets["status"].push_sample([json.dumps(body)])

    def accept_commands(self, timeout_s: float = 30.0) -> bool:
        """Say that commands are taken, and listen to the monitor's stream of them."""
        self.accepts = True
        self.say_settings()
        found = pylsl.resolve_byprop("name", f"{self.name}.commands", 1, timeout_s)
        if found:
            self._commands = pylsl.StreamInlet(found[0])
            keep_forever(self._commands)
            self._commands.open_stream(timeout_s)
        return bool(found)

    def obey(self, timeout_s: float = 30.0) -> tuple[dict[str, object], float]:
        """Wait for a command and confirm it: the command and its stamp. Adaptation is refused."""
        texts, stamp = self._commands.pull_sample(timeout_s)
        command = json.loads(texts[0])
        done = command["command"] != "adapt"
        self.say("command", id=command["id"], done=done, message="" if done else "this model does not adapt")
        return command, stamp

    def say_settings(self) -> None:
        self.say(
            "settings", engine=self.name, model="lstm_attention", simulated=True, electrodes=self.electrodes,
            whisper={"name": "base", "layer": 3, "block_ms": 100.0, "mode": "cached"},
            streams_expected=["sound", "ecog"], accepts_commands=self.accepts, **self.facts,
        )  # fmt: skip

    def run(self, seconds: float = np.inf) -> None:
        """Publish in real time. A gap of 0.6 s every 30 s, so that a picture holds one."""
        block = 0
        while block * BLOCK_ROWS * STEP_S < seconds:
            first = block * BLOCK_ROWS
            due_s = self.start_s + (first + BLOCK_ROWS) * STEP_S + 0.06
            late_s = pylsl.local_clock() - due_s
            if late_s > 1.0:  # as the engine does, skip to now
                block += int(late_s / (BLOCK_ROWS * STEP_S))
                continue
            time.sleep(max(0.0, -late_s))
            if not 270 <= block % 300 < 276:
                self.push_block(first)
            self.push_observed(first - OBSERVED_LATE_ROWS - round(self.lead_s / STEP_S))
            if first % 50 == 0:
                self.push_score(first)
            if block % 20 == 10:
                self.say_settings()
                self.push_spectrum(first)
            block += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", default="corticast")
    parser.add_argument("--electrodes", type=int, default=64)
    parser.add_argument("--lead", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--contaminated", default="", help="names of electrodes, with commas")
    options = parser.parse_args()
    engine = FakeEngine(options.engine, options.electrodes, lead_s=options.lead)
    engine.facts = {"contaminated": [name for name in options.contaminated.split(",") if name]}
    print("ready", flush=True)
    engine.run(options.seconds)


if __name__ == "__main__":
    main()
