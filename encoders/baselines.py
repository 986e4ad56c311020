"""What a model must beat: the features of simpler accounts of the same sound, on the embeddings' own rows."""

from __future__ import annotations

import numpy as np

from realtime.block import Block, Floats, Times

RATE_ROWS = 50  # over which onsets are counted: 1 s


def spectrogram_at(mel: Block, times: Times) -> Floats:
    """Log-mel (rows, mels), 100 rows a second, at the times of frames, (frames, mels) float32.

    Each frame takes the row nearest to it and half of both its neighbours, as far as an embedding's own frame hears.
    """
    data = np.asarray(mel.data, np.float32)
    row = np.clip(np.searchsorted(mel.times, times - 0.005), 0, len(data) - 1)
    before, after = np.maximum(row - 1, 0), np.minimum(row + 1, len(data) - 1)
    mixed: Floats = (0.25 * data[before] + 0.5 * data[row] + 0.25 * data[after]).astype(np.float32)
    return mixed


def onset_rate(spectrogram: Floats) -> Floats:
    """(frames, 2) float32 from a spectrogram (frames, mels), 50 a second: strength of onsets, and their rate.

    Strength: the rise of the mean log-mel from frame to frame, falls counting as zero. Rate: its mean over the last
    second. For recordings without a transcript, in the place of word onsets (Oganian and Chang 2019 on such edges).
    """
    envelope = np.asarray(spectrogram, np.float64).mean(axis=1)
    strength = np.maximum(np.diff(envelope, prepend=envelope[:1]), 0.0)
    total = np.concatenate([np.zeros(RATE_ROWS), np.cumsum(strength)])
    rate = (total[RATE_ROWS:] - total[:-RATE_ROWS]) / RATE_ROWS
    return np.stack([strength, rate], axis=1).astype(np.float32)
