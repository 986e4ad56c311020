"""What an embedding holds of speech: linear read-outs on trials that trained nothing.

Phones are the ones that forced alignment finds; a frame's phone is the one spoken at its centre. Silence is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from encoders.phones import CLASSES, SILENCE, PhoneAlignment, align_phones
from encoders.speech import load_trials
from realtime.audio import Resample
from realtime.block import Floats, regular

RATE_HZ = 16_000
FRAME_SAMPLES = 320
TRAIN = (0, 2, 3, 4)  # numbers of the trials, 62 to 66 s each
TEST = (7, 8)  # 66 and 59 s
PHONES = tuple(phone for name, phones in CLASSES.items() if name != "silence" for phone in phones.split())
SILENT = -1
COMPONENTS = 50  # principal components of the offline embedding whose recovery is scored
PENALTY = 100.0  # of the ridge, in units of one frame of standardised features
INVERSE_PENALTY = 1e-2  # scikit-learn's C: best of 3e-4 to 1e-1 for the offline embedding within the training trials
ITERATIONS = 200

Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Speech:
    """One trial: sound (samples,) at 16 kHz; labels (frames,), each from PHONES or SILENT, frame j at 20 j ms."""

    number: int
    sound: npt.NDArray[np.float32]
    labels: Labels


def load_speech(numbers: Sequence[int]) -> list[Speech]:
    """The trials of these numbers, resampled and aligned; about 4 s of computing for each."""
    trials = load_trials()
    result = []
    for number in numbers:
        trial = trials[number]
        sound = Resample(trial.rate_hz).layer(regular(trial.sound[:, None], trial.rate_hz)).data[:, 0]
        sound = np.ascontiguousarray(sound, np.float32)
        result.append(Speech(number, sound, frame_labels(align_phones(sound, trial.transcript), len(sound))))
    return result


def frame_labels(alignment: PhoneAlignment, samples: int) -> Labels:
    """The phone at the centre of every 20 ms frame of a sound, (ceil(samples / 320),)."""
    centres_s = np.arange(-(-samples // FRAME_SAMPLES)) * (FRAME_SAMPLES / RATE_HZ)
    numbers = {phone: i for i, phone in enumerate(PHONES)} | {SILENCE: SILENT}
    starts_s = np.array([start for _, start, _ in alignment.phones])
    codes = np.array([numbers[label] for label, _, _ in alignment.phones], np.int64)
    return codes[np.searchsorted(starts_s, centres_s, side="right") - 1]


class PhoneProbe:
    """Multinomial logistic regression from one frame's embedding to its phone; one setting for every embedding."""

    def __init__(self, embeddings: Sequence[Floats], labels: Sequence[Labels]):
        """embeddings: one (frames, width) a trial, possibly shorter than its labels (frames,)."""
        x, y = spoken(embeddings, labels)
        self._scaler = StandardScaler()
        self._classifier = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is part of the probe
            self._classifier.fit(self._scaler.fit_transform(x), y)

    def right(self, embedding: Floats, labels: Labels) -> npt.NDArray[np.bool_]:
        """Whether each frame's phone is found, (frames,); False in silence."""
        found = self._classifier.predict(self._scaler.transform(embedding))
        return np.asarray(found == labels[: len(embedding)], np.bool_)

    def accuracy(self, embeddings: Sequence[Floats], labels: Sequence[Labels]) -> float:
        """Share of the spoken frames whose phone is found."""
        x, y = spoken(embeddings, labels)
        return float(np.mean(self._classifier.predict(self._scaler.transform(x)) == y))


def spoken(embeddings: Sequence[Floats], labels: Sequence[Labels]) -> tuple[Floats, Labels]:
    """The frames that are not silent, of all trials together."""
    kept = [y[: len(x)] != SILENT for x, y in zip(embeddings, labels, strict=True)]
    x = np.concatenate([e[k] for e, k in zip(embeddings, kept, strict=True)])
    return x, np.concatenate([y[: len(k)][k] for y, k in zip(labels, kept, strict=True)])


class Recovery:
    """How well the offline embedding's leading principal components are read, linearly, from another embedding.

    Components are those of the standardised offline channels on the training trials, so that Whisper's few huge
    channels do not stand for all; a ridge is fitted on the training trials for each.
    """

    def __init__(self, offline: Sequence[Floats], causal: Sequence[Floats], components: int = COMPONENTS):
        x, y = _paired(causal, offline)
        self._x, self._y = StandardScaler().fit(x), StandardScaler().fit(y)
        x, y = self._x.transform(x), self._y.transform(y)
        _, vectors = np.linalg.eigh(y.T @ y)
        self._components = vectors[:, ::-1][:, :components]
        gram = x.T @ x + PENALTY * np.eye(x.shape[1])
        self._weights = np.linalg.solve(gram, x.T @ (y @ self._components))

    def per_component(self, offline: Sequence[Floats], causal: Sequence[Floats]) -> Scores:
        """Pearson correlation of each component with its read-out, (components,)."""
        x, y = _paired(causal, offline)
        found, expected = self._x.transform(x) @ self._weights, self._y.transform(y) @ self._components
        found, expected = found - found.mean(axis=0), expected - expected.mean(axis=0)
        norms = np.linalg.norm(found, axis=0) * np.linalg.norm(expected, axis=0)
        return np.asarray(np.sum(found * expected, axis=0) / norms, np.float64)

    def r(self, offline: Sequence[Floats], causal: Sequence[Floats]) -> float:
        """Mean over the components."""
        return float(self.per_component(offline, causal).mean())


def centred_cosine(one: Sequence[Floats], other: Sequence[Floats]) -> float:
    """Mean over the frames of the cosine between two embeddings, each minus its own mean over all frames."""
    a, b = _paired(one, other)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return float(np.mean(np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))))


def _paired(one: Sequence[Floats], other: Sequence[Floats]) -> tuple[Scores, Scores]:
    """Two embeddings of the same trials, cut to the frames that both have."""
    counts = [min(len(a), len(b)) for a, b in zip(one, other, strict=True)]
    return (
        np.concatenate([a[:n] for a, n in zip(one, counts, strict=True)]).astype(np.float64),
        np.concatenate([b[:n] for b, n in zip(other, counts, strict=True)]).astype(np.float64),
    )
