"""A text in parallel streams: contiguous in training, each token scored once in evaluation."""

import pickle

import numpy as np
import pytest

from rnnjax.experiments.data.text import held_out_windows, streams

TEXT = np.arange(103)
B, T, EPOCH = 4, 5, 5  # 103 // 20 windows


def test_each_stream_goes_on_where_the_batch_before_ended():
    batches = streams(TEXT, B, T, seed=1)
    for step in range(3 * EPOCH - 1):
        one, following = batches[step], batches[step + 1]
        np.testing.assert_array_equal(one.tokens[1:], one.targets[:-1])
        np.testing.assert_array_equal((one.tokens + 1) % 103, one.targets)
        assert bool(one.start) == (step % EPOCH == 0)
        if not following.start:
            np.testing.assert_array_equal(following.tokens[0], one.targets[-1])
    assert one.tokens.shape == (T, B)
    assert one.tokens.dtype == np.int32


@pytest.mark.parametrize("epoch", [0, 1, 8])
def test_no_token_comes_twice_in_an_epoch(epoch):
    batches = streams(TEXT, B, T, seed=1)
    tokens = np.concatenate([batches[epoch * EPOCH + k].tokens.ravel() for k in range(EPOCH)])
    assert len(set(tokens.tolist())) == len(tokens) == 100


def test_epochs_and_seeds_cut_elsewhere():
    batches = [streams(TEXT, B, T, seed)[step] for seed in (1, 2) for step in (0, EPOCH)]
    assert len({int(batch.tokens[0, 0]) for batch in batches}) == 4


def test_batches_belong_to_seed_and_step():
    one = streams(TEXT, B, T, seed=3)
    for step in (12, 0, 10**9):
        for other in (streams(TEXT, B, T, seed=3), pickle.loads(pickle.dumps(one))):
            np.testing.assert_array_equal(one[step].tokens, other[step].tokens)


def test_too_short_a_text():
    with pytest.raises(ValueError, match="19 tokens, and a batch of 4 streams of 5 steps takes 20"):
        streams(np.arange(19), 4, 5)
    with pytest.raises(ValueError, match=r"^sea has 19 tokens"):
        streams(np.arange(19), 4, 5, name="sea")
    with pytest.raises(ValueError, match="steps must be at least 1"):
        streams(TEXT, 4, 0)


@pytest.mark.parametrize(
    ("count", "steps", "context"), [(1, 7, 3), (4, 5, 6), (3, 50, 1), (5, 2, 99)]
)
def test_every_held_out_token_is_scored_once_after_its_context(count, steps, context):
    train, held_out = np.arange(40), np.arange(40, 61)
    windows = list(held_out_windows(train, held_out, count, steps, context))
    tokens, targets, valid = (np.concatenate(parts) for parts in zip(*windows, strict=True))
    assert sorted(targets[valid].tolist()) == held_out.tolist()
    np.testing.assert_array_equal(targets[valid], tokens[valid] + 1)
    for stream in range(count):
        first = np.argmax(valid[:, stream])
        assert first == min(context, 40) - 1  # so many tokens are read before the first is scored
        read = tokens[: valid[:, stream].nonzero()[0][-1] + 1, stream]
        np.testing.assert_array_equal(np.diff(read), 1)
