"""How much sound Whisper's decoder needs to know a word: log probability of spoken words from crops of several lengths.

    python -m benchmarks.word_context [--whisper base] [--json context.json]

64 words of ten minutes of read speech, drawn at random; for each the sound up to its end, the words within that sound
before it, and what the decoder says of its tokens. The last row pads 10 s of sound with silence to Whisper's 30 s.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.analysis_session import SOUND_HZ, spoken
from encoders.analysis.decoder import Heard, SpokenWord, WordTokens, crop_mel, read_before
from encoders.weights import load_whisper
from realtime.block import Floats
from realtime.commands.console import machine_facts, working

WORDS, BATCH, EARLIEST_S = 64, 8, 31.0
ROWS = ((30, 30), (15, 15), (10, 10), (5, 5), (10, 30))  # s of sound, s with the silence behind
Row = dict[str, Any]


def measure(
    model: Any,
    tokens: WordTokens,
    sound: Floats,
    words: Sequence[SpokenWord],
    chosen: Sequence[int],
    row: tuple[int, int],
) -> Row:
    """Mean log probability of the chosen words with its standard error, and what one costs."""
    context, whole = (seconds * SOUND_HZ for seconds in row)
    hear = Heard(model)
    found: list[float] = []
    begun = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(chosen), BATCH):
            some = chosen[first : first + BATCH]
            clips = [np.pad(sound[words[i].stop - context : words[i].stop], (0, whole - context)) for i in some]
            heard = hear([crop_mel(clip, whole, whole, model.dims.n_mels) for clip in clips])
            for i, one in zip(some, heard, strict=True):
                own = words[i].tokens
                text = [*tokens.prompt, *read_before(words, i, context, model.dims.n_text_ctx - len(tokens.prompt))]
                said = model.decoder(torch.tensor([text[:-1]]), one[None])[0, -len(own) :].log_softmax(-1)
                found.append(float(said.gather(1, torch.tensor(own)[:, None]).sum()))
    cost_ms = 1e3 * (time.perf_counter() - begun) / len(chosen)
    return {
        "sound_s": row[0],
        "with_silence_s": row[1],
        "log_p": float(np.mean(found)),
        "error": float(np.std(found) / np.sqrt(len(found))),
        "ms_a_word": round(cost_ms),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.word_context", description=description)
    parser.add_argument("--whisper", default="base")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    model = load_whisper(options.whisper).model
    tokens = WordTokens(model)
    sound, phones = spoken(10)
    words = [SpokenWord(tokens.of(w), round(SOUND_HZ * a), round(SOUND_HZ * b)) for w, a, b in phones.words]
    late = [i for i, word in enumerate(words) if word.stop >= EARLIEST_S * SOUND_HZ]
    chosen = np.random.default_rng(0).choice(late, WORDS, replace=False).tolist()
    rows = []
    with working(f"{WORDS} words, {len(ROWS)} crops") as progress:
        for number, row in enumerate(ROWS):
            rows.append(measure(model, tokens, sound, words, chosen, row))
            progress((number + 1) / len(ROWS))
    table = Table(
        "sound, s",
        "with silence, s",
        "log p of the word",
        "ms a word",
        title=f"Whisper {options.whisper}, {WORDS} words",
    )
    for one in rows:
        p = f"{one['log_p']:.2f} +- {one['error']:.2f}"
        table.add_row(str(one["sound_s"]), str(one["with_silence_s"]), p, str(one["ms_a_word"]))
    Console().print(table)
    if options.json:
        content = {"whisper": options.whisper, "rows": rows, "machine": machine_facts()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
