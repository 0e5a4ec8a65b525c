"""Batches of similar length, and padding."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

from rnnjax.experiments.data import (
    batches_by_length,
    bucket_sizes,
    bucketed_batches,
    pad,
    steps_per_epoch,
)

LENGTHS = np.random.default_rng(0).integers(1, 200, 103)


def epoch(batches, number, steps):
    return [batches[number * steps + k] for k in range(steps)]


@pytest.mark.parametrize("number", [0, 1, 7])
def test_each_example_comes_once_an_epoch(number):
    steps = steps_per_epoch(103, 10)
    batches = epoch(bucketed_batches(LENGTHS, 10, seed=3), number, steps)
    assert sorted(map(len, batches)) == [3] + [10] * 10
    assert sorted(np.concatenate(batches).tolist()) == list(range(103))


def test_remainder_can_be_dropped():
    steps = steps_per_epoch(103, 10, drop_remainder=True)
    source = bucketed_batches(LENGTHS, 10, seed=3, drop_remainder=True)
    left = []
    for number in range(12):
        batches = epoch(source, number, steps)
        assert [len(batch) for batch in batches] == [10] * 10
        seen = np.concatenate(batches)
        assert len(set(seen.tolist())) == 100
        left += sorted(set(range(103)) - set(seen.tolist()))
    assert len(set(left)) > 18  # others in every epoch


def test_batches_belong_to_seed_and_step():
    one, again, other = (bucketed_batches(LENGTHS, 10, seed=seed) for seed in (3, 3, 4))
    for step in (57, 0, 11, 10**12):
        np.testing.assert_array_equal(one[step], again[step])
        np.testing.assert_array_equal(one[step], pickle.loads(pickle.dumps(one))[step])
    assert any(one[k].tolist() != other[k].tolist() for k in range(3))
    assert any(one[k].tolist() != one[k + 11].tolist() for k in range(3))


def test_lengths_in_a_batch_are_similar_and_batches_shuffled():
    batches = epoch(bucketed_batches(LENGTHS, 10, seed=3), 2, 11)
    padding = sum(LENGTHS[b].max() * len(b) for b in batches) / LENGTHS.sum()
    assert padding < 1.25
    means = [LENGTHS[b].mean() for b in batches]
    assert means != sorted(means)
    strict = epoch(bucketed_batches(LENGTHS, 10, seed=3, mixing=0.0), 2, 11)
    spans = sorted((LENGTHS[b].min(), LENGTHS[b].max()) for b in strict)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


def test_grain_maps_and_iterates_from_a_step():
    batches = bucketed_batches(LENGTHS, 10, seed=3).map(lambda rows: LENGTHS[rows])
    np.testing.assert_array_equal(batches[5], LENGTHS[bucketed_batches(LENGTHS, 10, seed=3)[5]])


def test_in_order_holds_everything_once():
    batches = batches_by_length(LENGTHS, 25)
    assert sorted(np.concatenate(batches).tolist()) == list(range(103))
    assert LENGTHS[np.concatenate(batches)].tolist() == sorted(LENGTHS.tolist())


def test_too_few_examples():
    with pytest.raises(ValueError, match="0 examples do not fill a batch of 4"):
        bucketed_batches([], 4)
    with pytest.raises(ValueError, match="3 examples do not fill a batch of 4"):
        bucketed_batches([1, 2, 3], 4, drop_remainder=True)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        bucketed_batches([1, 2, 3], 0)


def test_padding_keeps_values_and_dtype():
    features = [np.full((t, 2), t, np.float32) for t in (9, 3)]
    xs, lengths = pad(features, fill=-1)
    assert xs.shape == (12, 2, 2)
    assert (xs.dtype, lengths.dtype) == (np.float32, np.int32)
    assert lengths.tolist() == [9, 3]
    assert (xs[:9, 0] == 9).all()
    assert (xs[9:, 0] == -1).all()
    assert (xs[:3, 1] == 3).all()
    assert (xs[3:, 1] == -1).all()
    assert pad([np.arange(3), np.arange(5)]).xs.dtype == np.arange(3).dtype


@pytest.mark.parametrize(
    ("length", "size"), [(0, 8), (8, 8), (9, 12), (12, 12), (13, 16), (24, 24), (25, 32), (33, 48)]
)
def test_few_lengths(length, size):
    assert pad([np.zeros(length)]).xs.shape == (size, 1)


def test_sizes_of_your_own():
    assert pad([np.zeros(5)], sizes=[10, 5]).xs.shape == (5, 1)
    assert pad([np.zeros(6)], sizes=[10, 5]).xs.shape == (10, 1)
    with pytest.raises(ValueError, match="11 steps, more than the largest size"):
        pad([np.zeros(11)], sizes=[10, 5])


def test_sizes_take_equal_shares():
    assert bucket_sizes(np.arange(1, 101), 4) == [25, 50, 75, 100]
    assert bucket_sizes([7, 7, 7], 4) == [7]
    assert bucket_sizes([3], 4) == [3]


def test_arrays_that_do_not_go_together():
    with pytest.raises(ValueError, match="differ in t alone"):
        pad([np.zeros((3, 2)), np.zeros((3, 4))])
    with pytest.raises(ValueError, match="at least one array"):
        pad([])


@pytest.mark.parametrize("fill", [0.5, -1, 300])
def test_a_fill_that_the_dtype_does_not_hold_is_refused(fill):
    message = f"fill must be a number that uint8 holds, got {fill}"
    with pytest.raises(ValueError, match=message):
        pad([np.array([1, 2], np.uint8)], fill=fill)
    assert pad([np.array([1, 2], np.uint8)], fill=255.0).xs.T.tolist() == [[1, 2] + 6 * [255]]
    assert pad([[1.0, 2.0]], sizes=[3], fill=0.1).xs.T.tolist() == [[1, 2, 0.1]]
    single = np.ones(1, np.float32)
    assert pad([single], sizes=[2], fill=0.1).xs[1, 0] == np.float32(0.1)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (
            [[1, 2], [3, 4]],
            r"lengths must be one number for each example, \[N\], got int64\[2, 2\]",
        ),
        ([1.0, np.nan], "lengths must be finite and at least 0, got nan"),
        ([3, -1], "lengths must be finite and at least 0, got -1"),
    ],
)
@pytest.mark.parametrize("use", [bucketed_batches, batches_by_length, bucket_sizes])
def test_lengths_are_one_number_for_each_example(use, lengths, message):
    with pytest.raises(ValueError, match=message):
        use(lengths, 2)


def test_what_else_is_refused():
    with pytest.raises(ValueError, match=r"bucket_sizes\(\) needs the length of at least one"):
        bucket_sizes([])
    for mixing in (-0.1, 1.0):
        with pytest.raises(ValueError, match="mixing must be at least 0 and below 1"):
            bucketed_batches([1, 2], 2, mixing=mixing)
