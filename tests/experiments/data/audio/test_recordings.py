"""Folders of recordings in both layouts, their parts, and what is said about bad ones."""

from zlib import crc32

import numpy as np
import pytest
from data_files import flat, pcm

from rnnjax.experiments.data import cached
from rnnjax.experiments.data.audio import open_recordings, split_recordings, synthetic_recordings


def named(recordings, numbers):
    return sorted(recordings.entries[k].path.name for k in numbers)


def test_names_tell_label_speaker_and_part(tmp_path):
    recordings = open_recordings(flat(tmp_path), 8000)
    assert recordings.labels == ("3", "7")
    assert {entry.speaker for entry in recordings.entries} == {"theo", "de_wit"}
    train, test = split_recordings(recordings, None)
    assert {name[-5] for name in named(recordings, test)} == set("01234")
    assert {name[-5] for name in named(recordings, train)} == set("56")
    for k, entry in enumerate(recordings.entries):
        samples = recordings.samples(k)
        assert len(samples) == entry.size
        np.testing.assert_allclose(samples, 0.1 * int(entry.label), atol=1e-4)


def test_labels_with_numbers_are_in_their_order(tmp_path):
    for label in ("10", "2", "b10", "b9"):
        (tmp_path / label).mkdir()
        for take in range(2):
            pcm(tmp_path / label / f"{take}.wav", np.ones(300) / 2)
    assert open_recordings(tmp_path, 8000).labels == ("2", "10", "b9", "b10")


def test_few_takes_are_divided_all_the_same(tmp_path):
    recordings = open_recordings(flat(tmp_path, range(3)), 8000)
    train, test = split_recordings(recordings, None)
    assert len(test) == 3
    assert sorted([*train, *test]) == list(range(12))


def test_one_word_alone_for_training_is_refused(tmp_path):
    for name in ("no/1", "yes/1"):
        (tmp_path / name).parent.mkdir()
        pcm(tmp_path / f"{name}.wav", np.ones(300) / 2)
    least = "recordings of at least two words are needed for training, found "
    words = r"yes \(1 for training, 0 for testing\), no \(0 for training, 1 for testing\)\. Add "
    with pytest.raises(ValueError, match=f"^{least}{words}recordings of the other words"):
        split_recordings(open_recordings(tmp_path, 8000), None)
    pcm(tmp_path / "yes/2.wav", np.ones(300) / 2)
    (tmp_path / "testing_list.txt").write_text("no/1.wav\nyes/2.wav\n")
    words = r"yes \(1 for training, 1 for testing\), no \(0 for training, 1 for testing\)\. "
    with pytest.raises(ValueError, match=least + words):
        split_recordings(open_recordings(tmp_path, 8000), None)
    spoken = synthetic_recordings(2, 1)
    entries = [e for e in spoken.entries if e.speaker == "speaker1" or e.label == "3"]
    one = spoken._replace(entries=tuple(entries))
    words = r"3 \(1 for .*, 1 for testing\), 0 \(0 for training, 1 for .*, 9 \(0 for training, 1 "
    with pytest.raises(ValueError, match=f"^held_out='speaker1': {least}{words}"):
        split_recordings(one, "speaker1")


def test_speakers_held_out(tmp_path):
    recordings = open_recordings(flat(tmp_path), 8000)
    train, test = split_recordings(recordings, "de_wit")
    assert all("de_wit" in name for name in named(recordings, test))
    assert all("theo" in name for name in named(recordings, train))
    assert (len(train), len(test)) == (14, 14)
    with pytest.raises(ValueError, match="no speaker 'teo'; there are de_wit, theo; did you mean"):
        split_recordings(recordings, "teo")
    with pytest.raises(ValueError, match="leaves no speaker to train on"):
        split_recordings(recordings, "theo, de_wit")


def test_a_folder_for_each_label(tmp_path):
    for label in ("yes", "no", "_background_noise_"):
        (tmp_path / label).mkdir()
        for k in range(10):
            pcm(tmp_path / label / f"anna{k % 2}_nohash_{k}.WAV", np.ones(300 + k) / 2)
    pcm(tmp_path / "no" / "recorded.wav", np.ones(300) / 2)
    recordings = open_recordings(tmp_path, 16000)
    assert recordings.labels == ("no", "yes")
    assert {entry.speaker for entry in recordings.entries} == {"anna0", "anna1", ""}
    train, test = split_recordings(recordings, None)
    assert (len(train), len(test)) == (11, 10)  # one of the speakers
    assert {recordings.entries[k].label for k in test} == {"no", "yes"}
    assert all(recordings.samples(k).size == e.size for k, e in enumerate(recordings.entries))
    unknown = open_recordings(tmp_path, 8000)._replace(
        entries=tuple(e._replace(speaker="") for e in recordings.entries)
    )
    with pytest.raises(ValueError, match="none, since the file names contain no speakers"):
        split_recordings(unknown, "anna0")


def commands(folder, speakers, labels=("no", "yes")):
    """Two takes of each label by each speaker, in a folder for each label."""
    for label in labels:
        (folder / label).mkdir(exist_ok=True)
        for speaker in speakers:
            for take in range(2):
                pcm(folder / label / f"{speaker}_nohash_{take}.wav", np.ones(300) / 2)
    return folder


def speakers_of(recordings, numbers):
    return {recordings.entries[k].speaker for k in numbers}


def test_no_speaker_is_on_both_sides(tmp_path):
    names = [f"{k:08x}" for k in range(40)]
    recordings = open_recordings(commands(tmp_path, names), 8000)
    train, test = split_recordings(recordings, None)
    tested = {name for name in names if crc32(name.encode()) % 5 == 0}
    assert 0 < len(tested) < 20
    assert speakers_of(recordings, test) == tested
    assert speakers_of(recordings, train) == set(names) - tested
    assert len(test) == 4 * len(tested)


def test_speakers_leave_something_on_both_sides(tmp_path):
    fifth = [name for name in map(str, range(100)) if crc32(name.encode()) % 5 == 0][:3]
    others = [name for name in map(str, range(100)) if crc32(name.encode()) % 5][:3]
    for k, (names, tested) in enumerate(((fifth, 2), (others, 1))):
        folder = tmp_path / str(k)
        folder.mkdir()
        recordings = open_recordings(commands(folder, names), 8000)
        train, test = split_recordings(recordings, None)
        assert len(speakers_of(recordings, test)) == tested
        assert speakers_of(recordings, train) == set(names) - speakers_of(recordings, test)


def test_one_speaker_is_divided_by_files(tmp_path):
    recordings = open_recordings(commands(tmp_path, ["anna"]), 8000)
    assert [entry.test for entry in recordings.entries] == [True, False, True, False]


def test_the_list_of_the_folder_says_what_to_test_on(tmp_path):
    commands(tmp_path, ["anna", "berta"])
    listed = ["no/anna_nohash_1.wav", "yes/berta_nohash_0.wav", "up/anna_nohash_0.wav"]
    (tmp_path / "testing_list.txt").write_text("\ufeff" + "\r\n".join(listed), "utf-8")
    recordings = open_recordings(tmp_path, 8000)
    tested = {f"{e.label}/{e.path.name}" for e in recordings.entries if e.test}
    assert tested == set(listed[:2])
    (tmp_path / "testing_list.txt").write_text("no/carla_nohash_0.wav\n")
    with pytest.raises(ValueError, match=r"testing_list\.txt lists 0 of the 8 recordings"):
        open_recordings(tmp_path, 8000)
    (tmp_path / "testing_list.txt").write_bytes(b"no/anna_nohash_1.wav\n\xff\n")
    with pytest.raises(ValueError, match=r"testing_list\.txt, line 2: not utf-8"):
        open_recordings(tmp_path, 8000)


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected one of WAV files"):
        open_recordings(tmp_path / "none", 8000)
    with pytest.raises(ValueError, match=r"has no \.wav files: expected files named like"):
        open_recordings(tmp_path, 8000)
    inner = tmp_path / "recordings"
    inner.mkdir()
    flat(inner)
    with pytest.raises(ValueError, match=r"one label only, 'recordings'.*the folder that the"):
        open_recordings(tmp_path, 8000)
    pcm(inner / "seven.wav", np.ones(300))
    with pytest.raises(ValueError, match=r"seven\.wav: expected a name like 7_jackson_0\.wav"):
        open_recordings(inner, 8000)


def test_a_bad_file_is_named_before_training(tmp_path):
    path = flat(tmp_path) / "7_theo_3.wav"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"7_theo_3\.wav is truncated"):
        open_recordings(tmp_path, 8000)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"7_theo_3\.wav: expected a WAV file"):
        open_recordings(tmp_path, 8000)


def test_generated_speakers_are_kept_apart_and_belong_to_their_seed():
    one, again, other = (
        synthetic_recordings(5, 1),
        synthetic_recordings(5, 1),
        synthetic_recordings(5, 1, seed=1),
    )
    train, test = split_recordings(one, None)
    assert {one.entries[k].speaker for k in test} == {"speaker4"}
    assert {one.entries[k].speaker for k in train} == {f"speaker{s}" for s in range(4)}
    assert [one.entries[k].label for k in test] == list("0123456789")
    np.testing.assert_array_equal(one.samples(7), again.samples(7))
    assert not np.array_equal(one.samples(7), other.samples(7))
    loud = [np.abs(one.samples(k)).max() for k in range(50)]
    assert 0.29 < min(loud) <= max(loud) < 0.91
    assert all(0.1 < entry.size / one.rate < 2 for entry in one.entries)


def test_results_are_kept_up_to_a_limit():
    asked = []

    def read(k):
        asked.append(k)
        return np.full(100, k, np.float32)

    remembered = cached(read, limit=800)
    for k in (1, 2, 3, 1, 2, 3):
        assert remembered(np.int64(k))[0] == k
    assert asked == [1, 2, 3, 3]
