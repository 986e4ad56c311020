"""Distilling: the blocks of a causal student learn to give the hidden states of the offline teacher.

What reads an embedding is linear, so errors count as a linear read-out meets them: in the principal components of the
teacher's standardised channels, each divided by a root of its spread (`readable`). Whisper's few huge channels then
weigh no more than others. Earlier blocks have targets of their own, which weigh less.

A student of one voice forgets others. So it goes only part of the way (`mix`) from the weights that it began with, the
teacher's or another student's, to the trained ones (Wortsman et al. 2022, robust fine-tuning), and speech is varied in
speed, loudness and tone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from encoders.distillation_data import RATE_HZ, Speech, varied, window
from encoders.distillation_model import Layout, Silent, causal_states, layout, offline_states, silent_keys
from encoders.encoder import POSITIONS, WINDOW_SAMPLES, Encoder
from encoders.mel import Mel, whole_clip_log_mel, whole_clip_stem
from encoders.silence import SILENT_LOG_MEL
from encoders.weights import LoadedWhisper
from realtime.block import Floats, regular
from realtime.errors import UserError

Pair = tuple[int, int]  # block and tail in frames

SEGMENT = 500  # frames that the student hears at once; three to a window
BLURRED = 25  # frames before a full window's end, where the teacher lacks the future that it sees elsewhere
METRIC_WINDOWS = 16
POWER = 0.5  # 0: channels standardised and no more; 1: components whitened
RIDGE = 0.01  # of the components' mean variance
EARLIER_BLOCKS = 0.2  # what their errors weigh together
WARM_UP = 0.05  # share of the run
CLIP = 1.0
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class DistillSettings:
    """layer: how many blocks are trained. pairs: (block, tail) in frames, one drawn for each segment.

    history, silence: in frames, as the stream has them. rate: of learning, at its highest. patience: epochs without a
    better held-out score until the run ends. dtype: of matrix products. mix: how far the student goes from the
    first weights to the trained ones.
    """

    layer: int
    pairs: tuple[Pair, ...]
    history: int = 500
    epochs: int = 8
    rate: float = 2e-4
    patience: int = 3
    seed: int = 0
    dtype: str = "float32"
    mix: float = 0.9
    silence: int = 100


@dataclass
class Progress:
    """How far a run is. best: weights of the epoch with the best held-out score; scores: of each epoch, 0 before."""

    window: int = 0
    scores: list[list[float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> int:
        means = [float(np.mean(scores)) for scores in self.scores]
        return int(np.argmax(means))


def readable(states: Sequence[Tensor]) -> Tensor:
    """(width, width) matrix A, so that |A e|^2 is what an error e costs a linear reader; 1 for an error as large as
    the teacher's own variation. states: each (frames, width)."""
    x = torch.cat(list(states)).double()
    deviation = x.std(dim=0).clamp(min=1e-8)
    z = (x - x.mean(dim=0)) / deviation
    variance, components = torch.linalg.eigh(z.T @ z / len(z))
    variance = variance.clamp(min=0)
    weight = (variance + RIDGE * variance.mean()) ** -POWER
    weight /= (weight * variance).sum()
    metric: Tensor = ((weight.sqrt() * components).T / deviation).float()
    return metric


class Distiller:
    """Teacher, student and optimiser over one speech; `run_window` and `score` are the steps of a run.

    start: whose blocks the student begins with; None: the teacher's.
    """

    def __init__(
        self,
        teacher: LoadedWhisper,
        speech: Speech,
        settings: DistillSettings,
        device: str = "cpu",
        start: LoadedWhisper | None = None,
    ):
        encoder = teacher.model.encoder
        if not 1 <= settings.layer <= len(encoder.blocks):
            raise UserError(
                f"layer {settings.layer} does not exist: {teacher.name} has layers 1 to {len(encoder.blocks)}"
            )
        self.settings, self.speech, self.device = settings, speech, torch.device(device)
        self._front = Encoder(teacher.model, 1)
        self._positions = self._front.positions.to(self.device)
        self._teacher = copy.deepcopy(encoder.blocks[: settings.layer]).to(self.device).requires_grad_(False)
        self.start_sha256 = start.sha256 if start else None
        first = start.model.encoder.blocks[: settings.layer] if start else self._teacher
        self._first = copy.deepcopy(first).to(self.device).requires_grad_(False)
        self.blocks = copy.deepcopy(self._first).requires_grad_(True)
        self._student = copy.deepcopy(self._teacher)
        self.optimiser = torch.optim.AdamW(self.blocks.parameters(), settings.rate, BETAS, weight_decay=0.0, fused=True)
        self.progress = Progress()
        self.windows = speech.windows * settings.epochs
        self._layouts: dict[tuple[int, Pair], Layout] = {}
        mel = torch.full((2 * POSITIONS, self._front.mels), SILENT_LOG_MEL)
        self._quiet = whole_clip_stem(mel, self._front.stem).to(self.device) + self._positions
        starts = np.linspace(0, max(0, len(speech.train) - WINDOW_SAMPLES), min(METRIC_WINDOWS, speech.windows))
        sample = [self._targets(window(speech.train, int(start))) for start in starts]
        self._metrics = [readable([states[i] for states in sample]) for i in range(settings.layer)]

    @property
    def epoch(self) -> int:
        return self.progress.window // self.speech.windows

    @property
    def finished(self) -> bool:
        done = len(self.progress.scores) - 1
        return done >= self.settings.epochs or (done >= 0 and done - self.progress.best_epoch >= self.settings.patience)

    def run_window(self) -> float:
        """Train on the next window; its mean loss. What is drawn depends on the seed and the window's number alone."""
        number = self.progress.window
        epoch, place = divmod(number, self.speech.windows)
        seeds = [self.settings.seed, epoch]
        shared = np.random.default_rng(seeds)
        shift, order = shared.uniform(), shared.permutation(self.speech.windows)
        rng = np.random.default_rng([*seeds, place])
        sound = varied(self.speech.train, int(order[place]), self.speech.windows, shift, rng)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate * self._share(number)
        losses = self._train(sound, rng)
        self.progress.window += 1
        return float(np.mean(losses))

    def _share(self, number: int) -> float:
        """Of the learning rate: a short rise, then half a cosine down."""
        done = (number + 0.5) / self.windows
        return min(1.0, done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))

    def _train(self, sound: Floats, rng: np.random.Generator) -> list[float]:
        targets, frames = self._targets(sound), self._frames(sound)
        begin, losses = int(rng.integers(0, SEGMENT // 2)), []
        silent = self._silent(self.blocks)
        for start in range(begin, len(frames), SEGMENT):
            pair = self.settings.pairs[int(rng.integers(len(self.settings.pairs)))]
            stop = min(start + SEGMENT, len(frames))
            if stop - start < 2 * sum(pair):
                continue
            cut = [t[start:stop] for t in targets]
            errors = self._errors(self.blocks, frames[start:stop], cut, pair, _from(silent, start))
            loss = errors[-1] + EARLIER_BLOCKS * sum(errors[:-1]) / max(1, len(errors) - 1)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.blocks.parameters(), CLIP)
            self.optimiser.step()
            losses.append(float(errors[-1].detach()))
        return losses

    def _silent(self, blocks: nn.ModuleList) -> Silent:
        """What the student's blocks, as they are now, make of silence; no gradient goes through it."""
        if not self.settings.silence:
            return []
        with self._autocast():
            return silent_keys(blocks, self._quiet)

    def _errors(
        self, blocks: nn.ModuleList, frames: Tensor, targets: Sequence[Tensor], pair: Pair, silent: Silent
    ) -> list[Tensor]:
        """Of each block: the share of the teacher's readable variation that the student misses."""
        at = self._layout(len(frames), pair)
        with self._autocast():
            states = causal_states(blocks, frames, at, silent)
        count = min(at.committed, len(targets[0]))
        return [
            ((state[:count].float() - target[:count]) @ metric.T).square().sum(dim=1).mean()
            for state, target, metric in zip(states, targets, self._metrics, strict=True)
        ]

    def _layout(self, frames: int, pair: Pair) -> Layout:
        if (frames, pair) not in self._layouts:
            if len(self._layouts) > 64:
                self._layouts.clear()
            self._layouts[frames, pair] = layout(frames, *pair, self.settings.history, self.settings.silence).to(
                self.device
            )
        return self._layouts[frames, pair]

    @torch.no_grad()
    def score(self) -> list[float]:
        """Of each pair: the share of the teacher's readable variation on held-out speech that the student gives.

        Less than 0 is possible: an error may be larger than the variation.
        """
        self._student.load_state_dict(self.student_weights())
        totals, count, silent = np.zeros(len(self.settings.pairs)), 0, self._silent(self._student)
        for begin in range(0, len(self.speech.held_out), WINDOW_SAMPLES):
            sound = window(self.speech.held_out, begin)
            targets, frames = self._targets(sound), self._frames(sound)
            for start in range(0, len(frames), SEGMENT):
                stop = min(start + SEGMENT, len(frames))
                if stop - start < 2 * max(map(sum, self.settings.pairs)):
                    continue
                cut = [t[start:stop] for t in targets]
                totals += [
                    float(self._errors(self._student, frames[start:stop], cut, pair, _from(silent, start))[-1])
                    for pair in self.settings.pairs
                ]
                count += 1
        return [float(share) for share in 1 - totals / max(count, 1)]

    def student_weights(self) -> dict[str, Tensor]:
        """The first weights, and `mix` of the way to the trained ones."""
        trained = self.blocks.state_dict()
        return {name: torch.lerp(t, trained[name], self.settings.mix) for name, t in self._first.state_dict().items()}

    def keep_score(self) -> list[float]:
        """Score, and remember the weights where they are the best so far."""
        scores = self.score()
        self.progress.scores.append(scores)
        if self.progress.best_epoch == len(self.progress.scores) - 1:
            self.progress.best = {name: tensor.cpu() for name, tensor in self.student_weights().items()}
        return scores

    @torch.no_grad()
    def _targets(self, sound: Floats) -> list[Tensor]:
        """The teacher's hidden states (frames, width) after each block, where it sees all that it needs."""
        padded = torch.from_numpy(np.pad(sound, (0, WINDOW_SAMPLES - len(sound))))
        stem = whole_clip_stem(whole_clip_log_mel(padded, self._front.mels), self._front.stem)
        with self._autocast():
            states = offline_states(self._teacher, stem.to(self.device) + self._positions)
        full = len(sound) >= WINDOW_SAMPLES
        count = POSITIONS - BLURRED if full else math.ceil(len(sound) / WINDOW_SAMPLES * POSITIONS)
        return [state[:count].float() for state in states]

    def _frames(self, sound: Floats) -> Tensor:
        """Stem frames (frames, width) as a stream would give them, positions added."""
        rows = Mel(self._front.mels).layer(regular(sound[:, None], RATE_HZ))
        data = torch.from_numpy(self._front.stem.layer(rows).data)[: POSITIONS - max(BLURRED, self.settings.silence)]
        return data.to(self.device) + self._positions[: len(data)]

    def _autocast(self) -> torch.autocast:
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.settings.dtype]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)


def _from(silent: Silent, start: int) -> Silent:
    """The silence that a segment meets which begins at this position."""
    return [(keys[:, start:], values[:, start:]) for keys, values in silent]


def distil(
    distiller: Distiller,
    tell: Callable[[Distiller, float], None] = lambda _distiller, _loss: None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Go on with a run until it is finished or `stop` says so, which it is asked after each window; True if finished.

    tell: called after each window with its loss, an epoch's score already kept.
    """
    progress = distiller.progress
    if not progress.scores:
        distiller.keep_score()
    while not distiller.finished:
        loss = distiller.run_window()
        if progress.window % distiller.speech.windows == 0:
            distiller.keep_score()
        tell(distiller, loss)
        if stop():
            return distiller.finished
    return True
