"""Forced alignment on real read speech."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from encoders.phones import PHONE_CLASS, PhoneAlignment, align_phones
from encoders.speech import load_trials
from realtime.block import regular
from realtime.commands.analysis_transcript import phone_times, transcript_phones
from realtime.errors import UserError

pytest.importorskip("pocketsphinx")


@functools.cache
def aligned(trial: int) -> tuple[npt.NDArray[np.float32], str, PhoneAlignment]:
    spoken = load_trials()[trial]
    sound = soxr.resample(spoken.sound, spoken.rate_hz, 16_000).astype(np.float32)
    return sound, spoken.transcript, align_phones(sound, spoken.transcript)


def test_phones_tile_the_sound_and_lie_inside_their_words() -> None:
    sound, _, found = aligned(7)
    starts, ends = np.array([p[1:] for p in found.phones]).T
    assert starts[0] == 0
    assert ends[-1] == len(sound) / 16_000
    np.testing.assert_array_equal(starts[1:], ends[:-1])
    assert np.all(ends > starts)
    assert {p[0] for p in found.phones} <= PHONE_CLASS.keys()
    for _, start, end in found.words:
        assert start in starts
        assert end in ends


def test_every_word_is_aligned_in_order_or_reported() -> None:
    _, transcript, found = aligned(7)  # it holds a word that the dictionary lacks
    assert found.missing_words == ["squinted"]
    expected = [w for w in transcript.lower().split() if w not in found.missing_words]
    assert [w for w, _, _ in found.words] == expected


def test_pauses_are_quiet_and_vowels_loud() -> None:
    """The alignment must belong to this sound: shifted by a third of a second the difference is gone."""
    sound, _, found = aligned(7)

    def level_db(phone_class: str, shift_s: float) -> float:
        parts = [
            sound[int((start + shift_s) * 16_000) : int((end + shift_s) * 16_000)]
            for label, start, end in found.phones
            if PHONE_CLASS[label] == phone_class
        ]
        return 10 * float(np.log10(np.mean(np.concatenate(parts) ** 2)))

    contrast = {s: level_db("vowel", s) - level_db("silence", s) for s in (0.0, 0.3)}
    assert contrast[0.0] > 12
    assert contrast[0.3] < contrast[0.0] - 8


def test_speech_begins_where_the_alignment_says() -> None:
    """After pauses the level crosses a threshold, found without the aligner, close to the first phone's start."""
    sound, _, found = aligned(7)
    step = 80  # 5 ms
    level = np.sqrt(np.mean(sound[: len(sound) // step * step].reshape(-1, step) ** 2, axis=1))
    threshold = 0.03 * float(np.quantile(level, 0.95))
    errors_s = []
    for (label, start, end), (_, onset, _) in zip(found.phones, found.phones[1:], strict=False):
        if label == "SIL" and end - start > 0.3:
            first = int((end - 0.15) * 200)
            loud = np.flatnonzero(level[first : first + 60] > threshold)
            if len(loud):
                errors_s.append((first + loud[0]) / 200 - onset)
    assert len(errors_s) > 8
    assert abs(float(np.median(errors_s))) < 0.03


def test_what_cannot_be_aligned_is_told() -> None:
    with pytest.raises(UserError, match="no known word"):
        align_phones(np.zeros(16_000, np.float32), "zzyzx qwrtp")
    with pytest.raises(UserError, match="no way through"):
        align_phones(np.zeros(16_000, np.float32), "many words " * 40)
    with pytest.raises(UserError, match="expected \\(samples,\\)"):
        align_phones(np.zeros((16_000, 2), np.float32), "one")


def test_words_with_times_are_aligned_stretch_by_stretch(tmp_path: Path) -> None:
    """As over the whole sound at once; a stretch whose words are not spoken there loses that stretch alone."""
    sound, _, whole = aligned(7)
    words = [word for word in whole.words if word[2] < 25.0]
    last_s = words[-1][2]
    quiet = np.concatenate([sound[: round(last_s * 16_000)], np.zeros(32_000, np.float32)])
    rows = [*words, ("zzyzx", last_s + 0.5, last_s + 0.9), ("beyond", last_s + 9.0, last_s + 9.5)]
    table = "".join(f"{word},{start_s!r},{end_s!r}\n" for word, start_s, end_s in rows)
    (tmp_path / "words.csv").write_text(f"word,start,end\n{table}")
    found = transcript_phones([regular(quiet[:, None], 16_000)], tmp_path / "words.csv")
    starts, ends = np.array([p[1:] for p in found.phones]).T
    assert (starts[0], ends[-1]) == (0, len(quiet) / 16_000)
    np.testing.assert_allclose(starts[1:], ends[:-1])
    assert found.words == rows[:-1]
    assert "zzyzx" in found.missing_words
    assert found.outside_words == ["beyond"]
    spoken = [p for p in found.phones if p[0] != "SIL"]
    expected = [p for p in whole.phones if p[0] != "SIL" and p[2] <= last_s]
    assert abs(len(spoken) - len(expected)) <= 0.02 * len(expected)  # a word may be said in another way
    known = {(p[0], round(100 * p[1])) for p in spoken}
    same = [any((p[0], round(100 * p[1]) + step) in known for step in range(-2, 3)) for p in expected]
    assert np.mean(same) > 0.95


def test_sound_with_a_gap_is_aligned_on_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Phones lie where those of the whole sound do, the later ones by the gap later; words in the gap are told."""
    gap_s, begins_s = 5.0, 3.0  # on the recording's clock
    sound, _, whole = aligned(7)
    spoken = [word for word in whole.words if word[2] < 25.0]
    pauses = [(a[2], b[1]) for a, b in itertools.pairwise(spoken) if b[1] - a[2] > 0.3]
    pause = min(pauses, key=lambda one: abs(one[0] - 12.5))
    cut = round(sum(pause) / 2 * 16_000)
    cut_s, end = cut / 16_000, round((spoken[-1][2] + 0.2) * 16_000)
    runs = [
        regular(sound[:cut, None], 16_000, begins_s),
        regular(sound[cut:end, None], 16_000, begins_s + cut_s + gap_s),
    ]
    later_s = [gap_s * (word[1] > cut_s) for word in spoken]
    rows = [(word, a + more, b + more) for (word, a, b), more in zip(spoken, later_s, strict=True)]
    lost = [("swallowed", cut_s + 1.0, cut_s + 1.5), ("late", end / 16_000 + gap_s + 1.0, end / 16_000 + gap_s + 1.5)]
    table = "".join(f"{word},{a!r},{b!r}\n" for word, a, b in (*rows, *lost))
    (tmp_path / "words.csv").write_text(f"word,start,end\n{table}")
    found = phone_times(tmp_path, None, tmp_path / "words.csv", runs, begins_s)
    assert found is not None
    assert found.outside_words == ["swallowed", "late"]
    assert (
        "words.csv: 2 words begin where there is no sound, and are left out: swallowed, late" in capsys.readouterr().err
    )
    assert [word for word, _, _ in found.words] == [word for word, _, _ in spoken]
    times = np.array([row[1:] for row in rows]) + begins_s
    np.testing.assert_allclose(np.array([word[1:] for word in found.words]), times)
    known = [(label, a - begins_s) for label, a, _ in found.phones if label != "SIL"]
    assert not any(cut_s < a < cut_s + gap_s for _, a in known)
    expected = [(p[0], p[1] + gap_s * (p[1] > cut_s)) for p in whole.phones if p[0] != "SIL" and p[1] < spoken[-1][2]]
    near = {(label, round(100 * a) + step) for label, a in known for step in range(-2, 3)}
    for later in (False, True):
        same = [(label, round(100 * a)) in near for label, a in expected if (a > cut_s) == later]
        assert len(same) > 50
        assert np.mean(same) > 0.95
    starts, ends = np.array([p[1:] for p in found.phones]).T
    np.testing.assert_allclose(starts[1:], ends[:-1])
    (tmp_path / "text.txt").write_text("plain words")
    with pytest.raises(UserError, match=rf"has a gap {cut_s:.1f} s after its start \(1 in all\)"):
        transcript_phones(runs, tmp_path / "text.txt")
