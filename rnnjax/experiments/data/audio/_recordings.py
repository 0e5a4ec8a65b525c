"""Sets of recordings: a folder of WAV files, or synthetic speakers; and their test split."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from rnnjax._arguments import checked_arguments, nearest
from rnnjax._names import option
from rnnjax.experiments._order import natural
from rnnjax.experiments.data._storage import cached
from rnnjax.experiments.data._text_files import stripped_lines
from rnnjax.experiments.data.audio._formants import RATE, speak, voice
from rnnjax.experiments.data.audio._wav import checked_size, read_wav

_NAME = re.compile(r"([^_]+)_(.+)_(\d+)\.wav", re.IGNORECASE)  # 7_jackson_0.wav
_FIRST_TAKES = 5  # test takes of each speaker and digit, as the authors of the data set define them
_EVERY = 5  # one in five is for testing if nothing defines a test set
_LIST = "testing_list.txt"
_SHOWN = 10  # words that an error counts


class Recording(NamedTuple):
    label: str
    speaker: str  # empty if unknown
    size: int  # samples, at the rate of the set
    path: Path | None  # None for a synthetic one
    test: bool  # whether it is in the default test set


class Recordings(NamedTuple):
    """A set of recordings, whose samples are read on demand."""

    entries: tuple[Recording, ...]
    samples: Callable[[int], np.ndarray]  # index -> [N] float32
    rate: int  # of the samples, Hz
    labels: tuple[str, ...]  # sorted, numbers in them by size


@checked_arguments
def open_recordings(folder: Path, rate: int) -> Recordings:
    """Open a folder of WAV files; headers are read now, samples on demand.

    Two layouts: files with names like `7_jackson_0.wav` (label, speaker, number), of which those
    numbered 0 to 4 are the test set, as in the Free Spoken Digit Dataset; or one folder for each
    label, as in Speech Commands, where what stands before `_nohash_` in a name is the speaker.
    Folders whose names begin with `_` or `.` are ignored. In the second layout the test set is:

    - the files in `testing_list.txt` (lines like `yes/anna_nohash_0.wav`), if there is one;
      entries without a file are ignored;
    - otherwise all files of about a fifth of the speakers, chosen by a hash of their names, so
      that no speaker is both in training and in the test; files of unknown speakers are for
      training;
    - every fifth file of each label in the order of names, if fewer than two speakers are known
      or a label would be left without training files.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: no WAV files, names in neither layout, fewer than two labels, a list that leaves
        no training or no test files, or a file that is not WAV or truncated.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: expected one of WAV files")
    files = _wavs(folder)
    found = list(_by_name(files)) if files else list(_by_folder(folder))
    if not found:
        raise ValueError(
            f"{folder} has no .wav files: expected files named like 7_jackson_0.wav, or a folder "
            "of them for each label"
        )
    labels = sorted({label for label, *_ in found}, key=natural)
    if len(labels) < 2:
        raise ValueError(
            f"{folder} has recordings of one label only, {labels[0]!r}: expected at least two. "
            "If the file names contain the labels, pass the folder that the files are in"
        )
    divided = _divided(found) if files else _divided_folders(folder, found)
    entries = tuple(
        Recording(label, speaker, checked_size(path, rate), path, test)
        for label, speaker, path, test in divided
    )
    paths = [path for _, _, path, _ in found]
    return Recordings(entries, cached(lambda k: read_wav(paths[k], rate)), rate, tuple(labels))


_Found = tuple[str, str, Path, bool]  # label, speaker, path, for testing


def _wavs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav")


def _by_name(files: Iterable[Path]) -> Iterable[_Found]:
    for path in files:
        parts = _NAME.fullmatch(path.name)
        if parts is None:
            raise ValueError(
                f"{path}: expected a name like 7_jackson_0.wav (label, speaker, number), or a "
                "folder of recordings for each label"
            )
        yield parts[1], parts[2], path, int(parts[3]) < _FIRST_TAKES


def _by_folder(folder: Path) -> Iterable[_Found]:
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith(("_", ".")):
            for k, path in enumerate(_wavs(inner)):
                speaker, known, _ = path.stem.partition("_nohash_")
                yield inner.name, speaker if known else "", path, k % _EVERY == 0


def _divided(found: list[_Found]) -> list[_Found]:
    """The same; if the take numbers leave a label without training files, every fifth is a test."""
    trained = {label for label, _, _, test in found if not test}
    if trained == {label for label, *_ in found} and any(test for *_, test in found):
        return found
    return _with_tests(found, [k % _EVERY == 0 for k in range(len(found))])


def _divided_folders(folder: Path, found: list[_Found]) -> list[_Found]:
    """The same, with the test set from the list, from speakers, or else every fifth file."""
    if (folder / _LIST).is_file():
        return _by_list(folder / _LIST, found)
    if speakers := _test_speakers(found):
        return _with_tests(found, [speaker in speakers for _, speaker, *_ in found])
    return _divided(found)


def _by_list(path: Path, found: list[_Found]) -> list[_Found]:
    listed = {line.strip() for _, line in stripped_lines(path, "utf-8")}
    tests = [f"{label}/{recording.name}" in listed for label, _, recording, _ in found]
    if not any(tests) or all(tests):
        raise ValueError(
            f"{path} lists {sum(tests)} of the {len(found)} recordings there are: expected lines "
            f"like {found[0][0]}/{found[0][2].name}, for some but not all of them; without this "
            "file the test set is chosen by speakers"
        )
    return _with_tests(found, tests)


def _test_speakers(found: list[_Found]) -> set[str]:
    """About a fifth of the speakers, by a hash of their names; each label keeps training files."""
    said: dict[str, Counter[str]] = {}
    for label, speaker, *_ in found:
        said.setdefault(speaker, Counter())[label] += 1
    left = Counter(label for label, *_ in found)
    chosen: set[str] = set()
    hashed = {name: crc32(name.encode()) for name in said if name}
    for name in sorted(hashed, key=lambda name: (hashed[name] % _EVERY, hashed[name])):
        if chosen and hashed[name] % _EVERY:
            break  # at least one, even if no hash falls into the fifth
        if all(left[label] > count for label, count in said[name].items()):
            chosen.add(name)
            left -= said[name]
    return chosen


def _with_tests(found: list[_Found], tests: list[bool]) -> list[_Found]:
    return [(*entry[:3], test) for entry, test in zip(found, tests, strict=True)]


@checked_arguments
def synthetic_recordings(speakers: int, takes: int, seed: int = 0) -> Recordings:
    """The ten digits by synthetic speakers; the last quarter of the speakers is for testing.

    Args:
      speakers: number of speakers, at least 2.
      takes: recordings of each digit by each speaker.
      seed: of voices and utterances.
    """
    voices = [voice(seed, s) for s in range(speakers)]
    said = [(s, d, k) for s in range(speakers) for d in range(10) for k in range(takes)]
    samples = [speak(d, voices[s], (seed, s, d, k)) for s, d, k in said]
    trained = speakers - max(1, speakers // 4)
    entries = tuple(
        Recording(str(d), f"speaker{s}", len(x), None, s >= trained)
        for (s, d, _), x in zip(said, samples, strict=True)
    )
    return Recordings(entries, lambda k: samples[k], RATE, tuple("0123456789"))


def split_recordings(recordings: Recordings, held_out: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Split recordings into training and test indices.

    Args:
      recordings: the whole set.
      held_out: test speakers, separated by commas; None for the default test set.

    Raises:
      ValueError: an unknown speaker (the nearest is suggested), no training speaker left, or
        recordings of one word alone for training.
    """
    if held_out is None:
        test = np.array([entry.test for entry in recordings.entries])
        _check_words(recordings, test, "")
        return np.flatnonzero(~test), np.flatnonzero(test)
    speakers = sorted({entry.speaker for entry in recordings.entries} - {""}, key=natural)
    wanted = [name.strip() for name in held_out.split(",")]
    for name in wanted:
        if name not in speakers:
            known = ", ".join(speakers) or "none, since the file names contain no speakers"
            raise ValueError(f"no speaker {name!r}; there are {known}{nearest(name, speakers)}")
    test = np.array([entry.speaker in wanted for entry in recordings.entries])
    if test.all():
        raise ValueError(f"{option('held_out', held_out)} leaves no speaker to train on")
    _check_words(recordings, test, f"{option('held_out', held_out)}: ")
    return np.flatnonzero(~test), np.flatnonzero(test)


def _check_words(recordings: Recordings, test: np.ndarray, begin: str) -> None:
    """Raise ValueError, with the counts of all words, if fewer than two are left for training."""
    trained, tested = (
        Counter(recordings.entries[k].label for k in np.flatnonzero(chosen))
        for chosen in (~test, test)
    )
    if len(trained) > 1:
        return
    each = [
        f"{word} ({trained[word]:,} for training, {tested[word]:,} for testing)"
        for word in sorted(recordings.labels, key=lambda word: (-trained[word], natural(word)))
    ]
    others = f" and {len(each) - _SHOWN:,} more" if len(each) > _SHOWN else ""
    raise ValueError(
        f"{begin}recordings of at least two words are needed for training, found "
        f"{', '.join(each[:_SHOWN])}{others}. Add recordings of the other words, or choose those "
        f"for testing otherwise, by {option('held_out')} or in {_LIST}"
    )
