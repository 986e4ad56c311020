"""Every format gives the numbers that were put into it, in microvolts, with labels, bad channels and positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped, import-not-found]
from hypothesis import given
from hypothesis import strategies as st

from realtime.block import Spec
from realtime.commands.choose import ecog_by_rate, pick_stream, sound_by_rate
from realtime.errors import UserError
from realtime.offline import PIECE_S, run_chain
from realtime.signals import ecog_chain
from realtime.sources.recorded import RecordedStream
from realtime.sources.recording import Recording, load_recording, read_blocks, save_folder, starting_at, to_blocks
from realtime.sources.samples import OnDisk, RegularStamps, placed
from tests.written import write_bids, write_brainvision, write_edf, write_mixed_edf, write_nwb, write_wav

RATE_HZ, SOUND_HZ, SECONDS = 500.0, 16000.0, 4.0
CHANNELS = ("LA1", "LA2", "G 3")
EDF_STEP_UV = 2000 / 65535


def noise(rows: int, columns: int = 3, seed: int = 0) -> np.ndarray:
    return (30 * np.random.default_rng(seed).normal(size=(rows, columns))).astype(np.float32)


def chirp(seconds: float, seed: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=round(seconds * SOUND_HZ))).astype(np.float32)


@pytest.fixture
def ecog() -> np.ndarray:
    return noise(round(SECONDS * RATE_HZ))


def picked(recording: Recording) -> tuple[RecordedStream, RecordedStream]:
    """Sound and ECoG, as every command finds them."""
    return pick_stream(recording, "sound", None, sound_by_rate), pick_stream(recording, "ecog", None, ecog_by_rate)


# --- rows on a disk ------------------------------------------------------------------------------------


@given(st.integers(0, 12), st.integers(-14, 14), st.integers(-14, 14), st.integers(0, 2))
def test_rows_on_a_disk_are_those_of_the_array(rows: int, start: int, stop: int, column: int) -> None:
    array = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    lazy = OnDisk(lambda a, b: array[a:b].copy(), array.shape)
    np.testing.assert_array_equal(lazy[start:stop], array[start:stop])
    np.testing.assert_array_equal(lazy[start:stop, column], array[start:stop, column])
    np.testing.assert_array_equal(lazy[:, [column]], array[:, [column]])
    np.testing.assert_array_equal(lazy - 2.0, array - 2.0)
    np.testing.assert_array_equal(lazy[array[:, 0] > 5], array[array[:, 0] > 5])
    assert (len(lazy), lazy.shape, lazy[start:stop].dtype) == (rows, array.shape, array.dtype)
    if rows:
        np.testing.assert_array_equal(lazy[-1], array[-1])
        with pytest.raises(IndexError):
            lazy[rows]


@given(st.lists(st.tuples(st.integers(-8, 30), st.integers(1, 9)), min_size=1, max_size=4), st.data())
def test_sounds_lie_where_they_are_placed(plays: list[tuple[int, int]], data: st.DataObject) -> None:
    sounds = [(start, np.full((length, 1), 2.0**i, np.float32)) for i, (start, length) in enumerate(plays)]
    expected = np.zeros((24, 1), np.float32)
    for start, sound in sounds:
        for i, value in enumerate(sound):
            if 0 <= start + i < 24:
                expected[start + i] += value
    first = data.draw(st.integers(0, 24))
    stop = data.draw(st.integers(first, 24))
    np.testing.assert_array_equal(placed(sounds, 24)[first:stop], expected[first:stop])


def test_a_chain_reads_a_recording_piece_by_piece() -> None:
    data, read = noise(round(2.5 * PIECE_S * RATE_HZ), 2), []

    def rows(first: int, stop: int) -> np.ndarray:
        read.append(stop - first)
        return data[first:stop].copy()

    spec, stamps = Spec("ecog", RATE_HZ, ("A1", "A2")), RegularStamps(3.0, len(data), RATE_HZ)
    stream = RecordedStream(spec, OnDisk(rows, data.shape), stamps)
    chain = ecog_chain(RATE_HZ, 2, baseline=([3.0, 3.0], [0.5, 0.5]))
    (found,) = run_chain(stream, chain)
    assert max(read) == round(PIECE_S * RATE_HZ)
    assert sum(read) == len(data), "a row was read twice"
    (expected,) = run_chain(RecordedStream(spec, data, np.asarray(stamps)), chain)
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(found.times, expected.times)


@given(st.integers(1, 40), st.integers(0, 90), st.lists(st.tuples(st.integers(0, 89), st.floats(0.06, 3)), max_size=3))
def test_blocks_read_one_by_one_are_the_pieces_of_the_runs(
    rows: int, count: int, gaps: list[tuple[int, float]]
) -> None:
    stamps = np.arange(count) / 100.0
    for at, seconds in gaps:
        stamps[at:] += seconds
    stream = RecordedStream(Spec("ecog", 100.0, ("n",)), np.arange(count, dtype=np.float32)[:, None], stamps)
    expected = [run.rows(start, start + rows) for run in to_blocks(stream) for start in range(0, len(run), rows)]
    found = list(read_blocks(stream, rows))
    assert [(block.index, len(block)) for block in found] == [(block.index, len(block)) for block in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
        np.testing.assert_array_equal(one.times, other.times)


# --- plain files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_wav_and_npy_without_a_word_about_them(tmp_path: Path, ecog: np.ndarray, dtype: type) -> None:
    sound = chirp(SECONDS)
    np.save(tmp_path / "grid_500Hz.npy", ecog.astype(dtype))
    write_wav(tmp_path / "speech.wav", SOUND_HZ, (sound * 32768).astype(np.int16))
    for path in (tmp_path, None):
        if path is None:  # the pair, by either of its files
            (tmp_path / "speech.wav").rename(tmp_path / "grid.wav")
        for one in (tmp_path,) if path else (tmp_path / "grid.wav", tmp_path / "grid_500Hz.npy"):
            heard, seen = picked(load_recording(one))
            np.testing.assert_array_equal(seen.data, ecog.astype(dtype).astype(np.float32))
            np.testing.assert_allclose(np.asarray(heard.data)[:, 0], sound, atol=1 / 32768)
            assert (seen.spec.rate_hz, seen.spec.unit, heard.spec.rate_hz) == (RATE_HZ, "microvolts", SOUND_HZ)
            np.testing.assert_allclose(seen.stamps, np.arange(len(ecog)) / RATE_HZ)


def test_24_bit_sound_that_cannot_be_mapped(tmp_path: Path) -> None:
    sound = chirp(0.5)
    soundfile.write(tmp_path / "s.wav", sound, round(SOUND_HZ), subtype="PCM_24")
    (stream,) = load_recording(tmp_path / "s.wav").streams.values()
    np.testing.assert_allclose(np.asarray(stream.data)[:, 0], sound, atol=2**-22)


def test_a_folder_keeps_bad_channels_and_positions(tmp_path: Path, ecog: np.ndarray) -> None:
    stream = RecordedStream(
        Spec("ecog", RATE_HZ, CHANNELS),
        ecog,
        RegularStamps(1.0, len(ecog), RATE_HZ),
        bad=("LA2",),
        positions={"LA1": (1.0, 2.0, -3.0)},
        coordinates="MNI152Lin, mm",
        regions={"LA2": "STG"},
    )
    save_folder(Recording({"ecog": stream}), tmp_path / "saved")
    found = load_recording(tmp_path / "saved").streams["ecog"]
    assert (found.bad, found.positions, found.coordinates) == (stream.bad, stream.positions, stream.coordinates)
    assert found.regions == stream.regions
    np.testing.assert_array_equal(found.stamps, stream.stamps)


# --- EDF and BrainVision -------------------------------------------------------------------------------


def test_edf(tmp_path: Path) -> None:
    data = noise(2000, 4)
    path = write_edf(tmp_path / "a.edf", data, RATE_HZ, (*CHANNELS, "Pulse"), ("uV", "mV", "V", "bpm"))
    recording = load_recording(path)
    assert list(recording.streams) == ["ecog", "other"]
    stream = recording.streams["ecog"]
    assert (stream.spec.channels, stream.spec.unit, stream.spec.rate_hz) == (CHANNELS, "microvolts", RATE_HZ)
    np.testing.assert_allclose(stream.data / np.array([1, 1e3, 1e6]), data[:, :3], atol=EDF_STEP_UV)
    np.testing.assert_array_equal(stream.data[700:731], np.asarray(stream.data)[700:731])
    np.testing.assert_allclose(np.asarray(recording.streams["other"].data)[:, 0], data[:, 3], atol=EDF_STEP_UV)
    assert recording.markers == {"annotations": [(0.5, "clap")]}


def test_edf_with_sound_at_a_rate_of_its_own(tmp_path: Path, ecog: np.ndarray) -> None:
    sound = chirp(SECONDS).astype(np.float64)
    path = write_mixed_edf(tmp_path / "mixed.edf", ecog[:, :2], sound, (RATE_HZ, SOUND_HZ))
    heard, seen = picked(load_recording(path))
    np.testing.assert_allclose(seen.data, ecog[:, :2], atol=EDF_STEP_UV)
    np.testing.assert_allclose(np.asarray(heard.data)[:, 0], sound * 1e-3, atol=2e-8)  # a fact of MNE's: mV become V
    np.testing.assert_array_equal(heard.data[16_123:17_000], np.asarray(heard.data)[16_123:17_000])


def test_brainvision(tmp_path: Path, ecog: np.ndarray) -> None:
    stream = load_recording(write_brainvision(tmp_path, ecog, RATE_HZ, CHANNELS)).streams["ecog"]
    assert stream.spec == Spec("ecog", RATE_HZ, CHANNELS, "microvolts")
    np.testing.assert_allclose(stream.data, ecog, rtol=1e-6)


def test_sound_beside_a_file_and_sound_that_is_named(tmp_path: Path, ecog: np.ndarray) -> None:
    path = write_edf(tmp_path / "a.edf", ecog, RATE_HZ, CHANNELS, ["uV"] * 3)
    sound = chirp(SECONDS)
    write_wav(tmp_path / "a.wav", SOUND_HZ, sound)
    heard, _ = picked(load_recording(path))
    np.testing.assert_array_equal(np.asarray(heard.data)[:, 0], sound)
    other = write_wav(tmp_path / "other.wav", SOUND_HZ, sound[::-1].copy())
    heard, _ = picked(load_recording(path, other, 1.5))
    np.testing.assert_array_equal(np.asarray(heard.data)[:, 0], sound[::-1])
    assert heard.stamps[0] == 1.5


def test_a_clinical_recording(recordings: Path) -> None:
    recording = load_recording(recordings / "clinical_ecog.edf")
    stream = recording.streams["ecog"]
    grid = [i for i, name in enumerate(stream.spec.channels) if name.startswith("G")]
    assert (len(grid), stream.spec.rate_hz, len(stream.data)) == (64, 2048.0, 4096)
    assert sum(len(one.spec.channels) for one in recording.streams.values()) == 115
    assert {"OSAT", "PR"} <= set(recording.streams["other"].spec.channels)
    assert 10 < np.median(np.std(np.asarray(stream.data)[:, grid], axis=0)) < 100, "microvolts"
    assert pick_stream(recording, "ecog", None, ecog_by_rate) is stream
    chain = ecog_chain(2048.0, len(stream.spec.channels), baseline=(np.zeros(len(stream.spec.channels)),) * 2)
    assert sum(len(block) for block in run_chain(stream, chain)) > 50


# --- BIDS ----------------------------------------------------------------------------------------------


def test_bids(tmp_path: Path, ecog: np.ndarray) -> None:
    first, second = chirp(0.8, seed=1), chirp(0.5, seed=2)
    write_wav(tmp_path / "stimuli" / "a.wav", SOUND_HZ, first)
    write_wav(tmp_path / "stimuli" / "b" / "b.wav", SOUND_HZ, second)
    stimuli = [(0.5, "a.wav"), (0.9, "a.wav"), (2.25, "b/b.wav"), (3.0, "n/a"), (3.2, "a.wav")]
    write_bids(tmp_path, ecog, RATE_HZ, CHANNELS, stimuli, bad=["LA2"], aux=np.linspace(0, 1, len(ecog)))
    recording = load_recording(tmp_path)
    heard, seen = picked(recording)
    assert seen.spec == Spec("ecog", RATE_HZ, CHANNELS, "microvolts")
    assert (seen.bad, seen.coordinates.split(", ")[-1]) == (("LA2",), "mm")
    assert seen.positions["G 3"] == pytest.approx((2.0, 4.0, -2.0))
    np.testing.assert_allclose(seen.data, ecog, rtol=1e-6)
    np.testing.assert_allclose(
        np.asarray(recording.streams["other"].data)[:, 0], np.linspace(0, 1, len(ecog)), atol=1e-6
    )
    expected = np.zeros(round(SECONDS * SOUND_HZ), np.float32)
    for onset_s, sound in ((0.5, first), (2.25, second), (3.2, first)):  # the row at 0.9 s is within the first
        start = round(onset_s * SOUND_HZ)
        expected[start : start + len(sound)] = sound[: len(expected) - start]
    np.testing.assert_array_equal(np.asarray(heard.data)[:, 0], expected)
    assert [text for _, text in recording.markers["events"]] == ["word"] * 5


@pytest.mark.parametrize("column", ["region", "anat", "label"])
def test_regions_of_a_bids_set(tmp_path: Path, ecog: np.ndarray, column: str) -> None:
    path = write_bids(tmp_path, ecog, RATE_HZ, CHANNELS)
    (table,) = tmp_path.rglob("*_electrodes.tsv")
    head, *lines = table.read_text(encoding="utf-8-sig").splitlines()
    regions = {"LA1": " STG", "LA2": "n/a", "G 3": "Unknown"}
    lines = [f"{line}\t{regions[line.split(chr(9))[0]]}" for line in lines]
    table.write_text("\n".join([f"{head}\t{column}", *lines]), encoding="utf-8")
    assert load_recording(path).streams["ecog"].regions == {"LA1": "STG"}


def test_an_audio_channel_of_a_bids_set(tmp_path: Path) -> None:
    data, sound = noise(8000, 2), chirp(0.5)
    path = write_bids(tmp_path, data, 16000.0, ("LA1", "LA2"), aux=sound[:8000])
    (table,) = tmp_path.rglob("*_channels.tsv")
    table.write_text(table.read_text(encoding="utf-8-sig").replace("MISC", "AUDIO"), encoding="utf-8")
    recording = load_recording(path)
    heard, seen = picked(recording)
    np.testing.assert_allclose(np.asarray(heard.data)[:, 0], sound, rtol=1e-6)
    np.testing.assert_allclose(seen.data, data, rtol=1e-6)
    assert recording.warnings == ()


def nwb_in_a_set(root: Path, ecog: np.ndarray, channels: tuple[str, ...] = CHANNELS) -> Path:
    """The set that MNE-BIDS writes, its BrainVision files replaced by an NWB one that calls G 3 bad."""
    write_wav(root / "stimuli" / "a.wav", SOUND_HZ, chirp(0.8, seed=1))
    written = write_bids(root, ecog, RATE_HZ, CHANNELS, [(0.5, "a.wav")], bad=["LA2"])
    path = write_nwb(written.with_suffix(".nwb"), ecog, RATE_HZ, channels, bad=["G 3"])
    for ending in (".vhdr", ".vmrk", ".eeg"):
        written.with_suffix(ending).unlink()
    return path


def test_the_tables_of_a_set_describe_its_nwb_file(tmp_path: Path, ecog: np.ndarray) -> None:
    nwb_in_a_set(tmp_path, ecog)
    (table,) = tmp_path.rglob("*_electrodes.tsv")
    head, first, _, last = table.read_text(encoding="utf-8-sig").splitlines()
    nowhere = "\t".join(["LA2", *["n/a"] * head.count("\t")])
    table.write_text("\n".join([f"{head}\tregion", f"{first}\tHG", f"{nowhere}\tn/a", f"{last}\tn/a"]))
    recording = load_recording(tmp_path)
    heard, seen = picked(recording)
    assert (seen.spec.name, seen.bad) == ("ecog", ("LA2", "G 3"))
    assert seen.positions["G 3"] == pytest.approx((2.0, 4.0, -2.0))
    assert (set(seen.positions), seen.coordinates.split(", ")[-1]) == ({"G 3"}, "mm"), "not the file's own"
    assert seen.regions == {"LA1": "HG", "LA2": "STG"}
    np.testing.assert_allclose(seen.data, ecog, rtol=1e-6)
    at = round(0.5 * SOUND_HZ)
    np.testing.assert_array_equal(np.asarray(heard.data)[at : at + round(0.8 * SOUND_HZ), 0], chirp(0.8, seed=1))
    assert not np.asarray(heard.data)[:at].any()
    assert float(np.asarray(heard.stamps[:1])[0]) == 0.25, "onsets count from the first row"
    assert len(heard.data) == pytest.approx(SECONDS * SOUND_HZ, abs=SOUND_HZ / RATE_HZ + 1)
    assert recording.markers == {"events": [(0.75, "word")]}
    assert recording.warnings == ()


def test_events_without_onsets_are_one_line(tmp_path: Path, ecog: np.ndarray) -> None:
    path = nwb_in_a_set(tmp_path, ecog)
    (table,) = tmp_path.rglob("*_events.tsv")
    table.write_text(table.read_text(encoding="utf-8-sig").replace("onset", "begins"), encoding="utf-8")
    with pytest.raises(UserError, match="does not fit the BIDS files beside it"):
        load_recording(path)


def test_tables_of_other_electrodes_are_told_of(tmp_path: Path, ecog: np.ndarray) -> None:
    path = nwb_in_a_set(tmp_path, ecog, ("A1", "A2", "A3"))
    recording = load_recording(path)
    (told,) = recording.warnings
    assert "no electrode of the file is in channels.tsv" in told
    assert recording.streams["ecog"].bad == ()
    assert recording.streams["ecog"].coordinates == "coordinates of the NWB file, n/a"


# --- NWB -----------------------------------------------------------------------------------------------


def test_nwb(tmp_path: Path, ecog: np.ndarray) -> None:
    sound = chirp(SECONDS)
    path = write_nwb(tmp_path / "a.nwb", ecog, RATE_HZ, CHANNELS, (SOUND_HZ, sound), bad=["G 3"])
    heard, seen = picked(load_recording(path))
    assert seen.spec == Spec("ecog", RATE_HZ, CHANNELS, "microvolts")
    assert (seen.bad, seen.positions["LA2"]) == (("G 3",), (1.0, 2.0, -1.0))
    assert seen.coordinates == "coordinates of the NWB file, n/a"
    assert seen.regions == {"LA1": "STG", "LA2": "STG"}, "not `unknown`"
    np.testing.assert_allclose(seen.data, ecog, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(heard.data)[:, 0], sound)
    np.testing.assert_allclose(seen.stamps, 0.25 + np.arange(len(ecog)) / RATE_HZ)
    np.testing.assert_array_equal(seen.data[100:110], np.asarray(seen.data)[100:110])


@pytest.mark.parametrize(
    ("said", "coordinates", "place"),
    [
        ("x in MNI152NLin2009cAsym space", "MNI152NLin2009cAsym, mm", (1.0, 2.0, -1.0)),
        ("MNI coordinate in micrometers", "MNI, mm", (0.001, 0.002, -0.001)),
        ("millimetres from the anterior commissure", "coordinates of the NWB file, mm", (1.0, 2.0, -1.0)),
    ],
)
def test_nwb_coordinates_are_what_their_columns_say(
    tmp_path: Path, ecog: np.ndarray, said: str, coordinates: str, place: tuple[float, ...]
) -> None:
    path = write_nwb(tmp_path / "a.nwb", ecog, RATE_HZ, CHANNELS, axes=said)
    seen = load_recording(path).streams["ecog"]
    assert (seen.coordinates, seen.positions["LA2"]) == (coordinates, place)


def test_nwb_with_whole_numbers_stamps_and_a_gap(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(-3000, 3000, (2000, 3)).astype(np.int16)
    stamps = 7.0 + np.arange(2000) / RATE_HZ
    stamps[1200:] += 0.6
    sound = (chirp(1.0) * 32768).astype(np.int16)
    recording = load_recording(
        write_nwb(tmp_path / "a.nwb", counts, RATE_HZ, CHANNELS, (SOUND_HZ, sound), stamps=stamps)
    )
    heard, seen = picked(recording)
    np.testing.assert_allclose(seen.data, counts, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(heard.data)[:, 0] * 32768, sound)
    assert seen.spec.rate_hz == RATE_HZ
    before, after = to_blocks(seen)
    assert (before.end, after.index - before.end) == (1200, 300)


# --- a later start -------------------------------------------------------------------------------------


def test_starting_later_keeps_times_offsets_and_jumps() -> None:
    data = np.arange(3000, dtype=np.float32)[:, None]
    stamps = 5.0 + np.arange(3000) / RATE_HZ
    stamps[2000:] += 1.0  # 500 rows are lost
    offsets = ((0, 0.1), (600, 0.1002), (2600, 0.1004))
    stream = RecordedStream(Spec("ecog", RATE_HZ, ("A1",)), data, stamps, offsets, jumps=(2900,))
    later = starting_at(stream, 7.0)
    assert (later.anchor_s, later.offsets, later.jumps) == (7.0, ((0, 0.1002), (1600, 0.1004)), (1900,))
    whole, found = to_blocks(stream), to_blocks(later)
    assert [block.index for block in found] == [0, 1500]
    np.testing.assert_array_equal(np.concatenate([b.data for b in found])[:, 0], np.arange(1000, 3000))
    times = np.concatenate([b.times for b in whole])[1000:]
    np.testing.assert_allclose(np.concatenate([b.times for b in found]), times, atol=2e-3)
    assert starting_at(later, 6.0) is later, "no earlier than its own anchor"
    with pytest.raises(UserError, match=r"has ended by 98\.9|has ended by 99"):
        starting_at(stream, 99.0)
