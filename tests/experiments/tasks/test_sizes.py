"""Sizes that no machine holds are refused before anything is drawn or read."""

import pytest
from data_files import flat

from rnnjax._names import spelled
from rnnjax.experiments import _memory
from rnnjax.experiments.tasks import caption, sequential_digits, speech


@pytest.fixture
def two_gigabytes(monkeypatch):
    monkeypatch.setattr(_memory, "available_memory", lambda: 2 * 10**9)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (caption, {"side": 100_000}, "^side=100000: one picture would take 120 GB of memory"),
        (caption, {"side": 2000}, "^side=2000: a batch of 64 pictures would take 3.072 GB"),
        (
            caption,
            {"pictures": 10**9},
            "^pictures=1000000000 and test_pictures=500: the desc",
        ),
        (
            sequential_digits,
            {"batch_size": 10**7},
            "^batch_size=10000000: a batch of images of 8",
        ),
    ],
)
def test_pictures(make, options, message, two_gigabytes):
    with pytest.raises(ValueError, match=message) as caught:
        make(hidden=2, **options)
    assert str(caught.value).endswith("more than 50% of the 2 GB available")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"rate": 10**8},
            "^rate=100000000, filters=40: the mel filters would take 1.342 GB",
        ),
        ({"filters": 10**7}, "^rate=8000, filters=10000000: the mel filters would take 20.56 GB"),
        ({"frames_per_step": 10**8}, "^batch_size=32, frames_per_step=100000000, filters=40: "),
        ({"mode": "ctc", "words": 10**7}, "filters=40, words=10000000: the features of a batch"),
        ({"mode": "ctc", "batch_size": 10**7}, "^batch_size=10000000, frames_per_step=3"),
    ],
)
def test_recordings(options, message, two_gigabytes, tmp_path):
    with pytest.raises(ValueError, match=message):
        speech(data=flat(tmp_path), hidden=2, **options)


def test_a_batch_of_all_recordings_is_no_larger_than_they_are(two_gigabytes, tmp_path):
    assert speech(data=flat(tmp_path), hidden=2, batch_size=10**9).name == "speech"


def test_flags_are_named(two_gigabytes):
    with spelled({"side": "--side"}), pytest.raises(ValueError, match=r"^--side 100000: one pict"):
        caption(side=100_000)
