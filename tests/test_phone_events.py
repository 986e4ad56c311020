"""Which phones count, and the responses to them, against plain loops."""

from __future__ import annotations

import numpy as np

from encoders.analysis.phone_classes import PHONES
from encoders.analysis.phone_events import Speech, phone_events, responses, window_means

TIMES = 10.0 + np.arange(300) / 50


def speech(phones: list[tuple[str, float, float]]) -> Speech:
    return Speech(TIMES, [(label, 10 + a, 10 + b) for label, a, b in phones])


def kept(phones: list[tuple[str, float, float]]) -> list[float]:
    return [round(float(onset), 6) for onset in phone_events([speech(phones)]).onsets_s - 10]


def run(first: float, count: int, length: float = 0.1) -> list[tuple[str, float, float]]:
    return [("AA", first + i * length, first + (i + 1) * length) for i in range(count)]


def test_phones_near_pauses_are_left_out() -> None:
    after = [round(1.5 + 0.1 * i, 6) for i in range(4)]
    assert kept([("SIL", 0, 1), *run(1, 10), ("SIL", 2, 2.3), *run(2.3, 4)]) == [*after[:4]]
    # a silence under 0.2 s is no pause
    assert kept([("SIL", 0, 1), *run(1, 10), ("SIL", 2, 2.1), *run(2.1, 4)])[:6] == [1.5, 1.6, 1.7, 1.8, 1.9, 2.1]
    assert kept(run(0, 4)) == []
    # no label at all counts as silence
    assert kept([*run(1, 10), *run(2.5, 10)]) == [1.5, 1.6, 1.7, 1.8, 3.0, 3.1, 3.2, 3.3]


def test_labels_and_parts() -> None:
    phones = [("AA", i * 0.1, (i + 1) * 0.1) for i in range(6)] + [("S", 0.6, 0.7), ("AA", 0.7, 1.2)]
    events = phone_events([speech(phones), speech(phones)])
    assert [PHONES[label] for label in events.labels] == ["AA", "S", "AA"] * 2
    assert events.part.tolist() == [0, 0, 0, 1, 1, 1]


def test_responses_are_interpolated_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 3))
    bad = np.zeros((300, 3), bool)
    bad[100, 1] = True
    one = speech(run(0, 55))
    events = phone_events([one])
    lags = np.array([0.0, 0.013, 0.1])
    found = responses(events, [one], [rows], [bad], lags)
    for i, onset in enumerate(events.onsets_s):
        for j, lag in enumerate(lags):
            for e in range(3):
                expected = np.interp(onset + lag, TIMES, rows[:, e])
                place = (onset + lag - 10) * 50
                near = abs(place - 100) < 1 - 1e-6
                if onset + lag > TIMES[-1] or (e == 1 and near):
                    assert np.isnan(found[i, j, e])
                else:
                    np.testing.assert_allclose(found[i, j, e], expected, atol=1e-6)


def test_window_mean_of_a_ramp_is_its_middle() -> None:
    one = speech(run(0, 55))
    events = phone_events([one])
    ramp = (TIMES - 10)[:, None]
    means = window_means(events, [one], [ramp], [np.zeros(ramp.shape, bool)], (0.15, 0.2))
    inside = events.onsets_s + 0.2 <= TIMES[-1]
    np.testing.assert_allclose(means[inside, 0], events.onsets_s[inside] - 10 + 0.175, atol=1e-9)


def test_nothing_is_read_across_a_gap() -> None:
    times = np.concatenate([TIMES[:150], TIMES[150:] + 0.2])
    one = Speech(times, [("AA", 10 + i * 0.1, 10.1 + i * 0.1) for i in range(55)])
    events = phone_events([one])
    rows = np.ones((300, 1))
    found = responses(events, [one], [rows], [np.zeros((300, 1), bool)], np.array([0.0]))[:, 0, 0]
    inside = (events.onsets_s > TIMES[149] + 1e-6) & (events.onsets_s < times[150] - 1e-6)
    assert inside.any()
    assert np.isnan(found[inside]).all()
    assert np.isfinite(found[~inside & (events.onsets_s <= times[-1])]).all()
