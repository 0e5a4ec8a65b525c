"""What is drawn against the sources' definitions in plain Python."""

import math

import jax
import numpy as np
import pytest

from rnnjax.experiments.tasks import (
    adding,
    copying,
    counting,
    delayed_xor,
    dyck,
    lorenz,
    match_to_sample,
    parity,
    sine,
    temporal_order,
)


def batch_of(task, step=0, seed=0):
    return jax.tree.map(np.asarray, task.batches(seed)[step])


def symbols_of(batch, b):
    """The symbols of one sequence, its padding left out; -1 where a step is blank."""
    steps = len(batch.xs) if batch.lengths is None else batch.lengths[b]
    xs = batch.xs[:steps, b]
    return np.where(xs.sum(-1) > 0, xs.argmax(-1), -1).tolist()


@pytest.mark.parametrize(
    "make", [parity, adding, copying, temporal_order, delayed_xor, dyck, counting]
)
def test_a_batch_is_fixed_by_its_seed_and_step(make):
    task = make(hidden=2)
    one, same = batch_of(task, 3, 5), batch_of(make(hidden=2), 3, 5)
    jax.tree.map(np.testing.assert_array_equal, one, same)
    for other in (batch_of(task, 4, 5), batch_of(task, 3, 6)):
        assert not np.array_equal(one.xs, other.xs)


@pytest.mark.parametrize("targets", ["every", "last"])
def test_parity_counts_ones(targets):
    batch = batch_of(parity(hidden=2, max_length=9, targets=targets))
    assert batch.lengths.min() == 1
    assert batch.lengths.max() == 9
    for b, length in enumerate(batch.lengths):
        bits = (batch.xs[:length, b, 0] > 0).astype(int).tolist()
        assert set(np.abs(batch.xs[:length, b, 0])) == {1.0}
        assert not batch.xs[length:, b].any()
        judged = range(length) if targets == "every" else [length - 1]
        assert batch.valid[:, b].nonzero()[0].tolist() == list(judged)
        for t in judged:
            assert batch.targets[t, b] == sum(bits[: t + 1]) % 2


@pytest.mark.parametrize("variant", ["le_2015", "arjovsky_2016"])
def test_adding_sums_two_marked_numbers(variant):
    batch = batch_of(adding(hidden=2, length=12, variant=variant, batch_size=200))
    numbers, marks = batch.xs[..., 0], batch.xs[..., 1]
    assert numbers.min() >= 0
    assert numbers.max() <= 1
    assert set(marks.sum(0)) == {2.0}
    if variant == "arjovsky_2016":
        assert set(marks[:6].sum(0)) == {1.0}
    for b in range(200):
        a, c = marks[:, b].nonzero()[0]
        np.testing.assert_allclose(batch.targets[b, 0], numbers[a, b] + numbers[c, b], rtol=1e-12)


def test_adding_of_1997():
    batch = batch_of(adding(hidden=2, length=40, variant="hochreiter_1997", batch_size=300))
    assert batch.lengths.min() >= 40
    assert batch.lengths.max() <= 44
    for b, length in enumerate(batch.lengths):
        numbers, marks = batch.xs[:length, b].T
        assert marks[0] == marks[-1] == -1
        places = (marks == 1).nonzero()[0]
        assert len(places) in (1, 2)  # a number at the first step counts as zero
        assert places.max() < 20
        assert places.min() < 10 or len(places) == 1
        expected = 0.5 + numbers[places].sum() / 4
        np.testing.assert_allclose(batch.targets[b, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("variant", ["le_2015", "arjovsky_2016", "hochreiter_1997"])
def test_the_baseline_of_adding_is_the_variance_of_its_targets(variant):
    task = adding(hidden=2, length=30, variant=variant, batch_size=60_000)
    targets = batch_of(task).targets
    (baseline,) = task.baselines.values()
    np.testing.assert_allclose(np.var(targets), baseline, rtol=0.03)


def test_copying_asks_for_what_was_said():
    task = copying(hidden=2, delay=7, items=4, symbols=5, batch_size=3)
    batch = batch_of(task)
    assert batch.xs.shape == (7 + 2 * 4, 3, 7)
    for b in range(3):
        read = symbols_of(batch, b)
        said = read[:4]
        assert max(said) < 5
        assert read[4:] == [5] * 6 + [6] + [5] * 4  # blanks, and the mark after 7 - 1 of them
        assert batch.targets[:, b].tolist() == [5] * 11 + said
    (baseline,) = task.baselines.values()
    np.testing.assert_allclose(baseline, 4 * math.log(5) / 15)


@pytest.mark.parametrize("marks", [2, 3])
@pytest.mark.parametrize("variant", ["pascanu_2013", "hochreiter_1997"])
def test_temporal_order_names_what_was_shown(variant, marks):
    task = temporal_order(hidden=2, length=50, marks=marks, variant=variant, batch_size=100)
    batch = batch_of(task)
    for b in range(100):
        read = symbols_of(batch, b)
        shown = [symbol for symbol in read if symbol < 2]
        assert len(shown) == marks
        assert batch.targets[b] == sum(symbol * 2**k for k, symbol in enumerate(shown))
        places = [t for t, symbol in enumerate(read) if symbol < 2]
        if variant == "hochreiter_1997":
            assert read[0] == 6
            assert read[-1] == 7
            assert 50 <= len(read) <= 55
        if (variant, marks) == ("hochreiter_1997", 2):  # at 10-20 and 50-60 of 100
            assert 5 <= places[0] <= 10
            assert 25 <= places[1] <= 30
    assert task.baselines["chance"] == 1 / 2**marks


def test_delayed_xor_is_of_two_marked_bits():
    batch = batch_of(delayed_xor(hidden=2, length=20, batch_size=100))
    for b in range(100):
        bits, marks = batch.xs[:, b].T
        a, c = marks.nonzero()[0]
        assert a < 2 <= c < 10
        assert batch.targets[b] == int(bits[a]) ^ int(bits[c])


@pytest.mark.parametrize("kinds", [1, 2])
def test_dyck_strings_balance_and_say_what_may_follow(kinds):
    batch = batch_of(dyck(hidden=2, kinds=kinds, max_length=12, test_length=20, batch_size=200))
    for b, length in enumerate(batch.lengths):
        stack = []
        for t, symbol in enumerate(symbols_of(batch, b)):
            if symbol < kinds:
                stack.append(symbol)
            else:
                assert stack.pop() == symbol - kinds
            closing = [int(bool(stack) and stack[-1] == kind) for kind in range(kinds)]
            assert batch.targets[t, b].astype(int).tolist() == [1] * kinds + closing
        assert not stack
        assert batch.valid[:, b].sum() == length


def test_dyck_draws_all_balanced_strings_alike():
    task = dyck(hidden=2, max_length=8, test_length=10, batch_size=30_000)
    batch = batch_of(task)
    eight = [tuple(symbols_of(batch, b)) for b in (batch.lengths == 8).nonzero()[0]]
    counts = np.unique(np.array(eight), axis=0, return_counts=True)[1]
    assert len(counts) == 14  # Catalan's number of four pairs
    np.testing.assert_allclose(counts / counts.sum(), 1 / 14, rtol=0.15)


@pytest.mark.parametrize("letters", [2, 3])
def test_counting_strings_and_what_may_follow(letters):
    batch = batch_of(counting(hidden=2, letters=letters, max_n=5, batch_size=40))
    for b, length in enumerate(batch.lengths):
        n = (length - 1) // letters
        string = [0, *(k for k in range(1, letters + 1) for _ in range(n))]
        assert symbols_of(batch, b) == string
        for t, symbol in enumerate(string):
            following = batch.targets[t, b].nonzero()[0].tolist()
            ahead = [*string, letters + 1][t + 1] - 1  # 0 for a, 1 for b, …, then the end
            assert following == ([0, 1] if symbol == 1 else [ahead])


def test_match_to_sample_rewards_the_right_reaction():
    batch = batch_of(match_to_sample(hidden=2, stimuli=4, noise=0.0, batch_size=100))
    seen = {0: 0, 1: 0}
    for b, length in enumerate(batch.lengths):
        fixate, stimulus = batch.xs[:length, b, 0], batch.xs[:length, b, 1:]
        visible = stimulus.any(-1).nonzero()[0]
        sample, test = stimulus[visible[0]].argmax(), stimulus[visible[-1]].argmax()
        reacts = (fixate == 0).nonzero()[0]
        expected = 1 if sample == test else 2
        assert set(batch.targets[reacts, b]) == {expected}
        assert not batch.targets[: reacts[0], b].any()
        seen[int(sample == test)] += 1
    assert min(seen.values()) > 30


def test_sine_is_one():
    batch = batch_of(sine(hidden=2, min_period=7, max_period=7, noise=0.0, length=30))
    np.testing.assert_array_equal(batch.xs[1:], batch.targets[:-1])
    wave = batch.targets[..., 0]
    turn = 2 * np.cos(2 * np.pi / 7)  # x_{t+1} = 2 cos(ω) x_t - x_{t-1}
    np.testing.assert_allclose(wave[2:], turn * wave[1:-1] - wave[:-2], atol=1e-10)


def test_lorenz_moves_as_its_equations_say():
    batch = batch_of(lorenz(hidden=2, length=40, noise=0.0))
    from rnnjax.experiments.tasks.synthetic._lorenz import DEVIATION, INTERVAL, MEAN

    state = batch.targets[..., :] * np.array(DEVIATION) + np.array(MEAN)
    fine = 200  # Euler's steps to an interval
    x, y, z = np.moveaxis(state[0], -1, 0)
    for _ in range(fine):
        dx, dy, dz = 10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z
        h = INTERVAL / fine
        x, y, z = x + h * dx, y + h * dy, z + h * dz
    np.testing.assert_allclose(np.stack([x, y, z], -1), state[1], atol=0.2)
    assert abs(state[..., 2].mean() - MEAN[2]) < 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parity(targets="some"), "targets must be one of 'every', 'last'"),
        (lambda: parity(cell="ltsm"), "did you mean 'lstm'"),
        (lambda: parity(max_length=0), "max_length must be at least 1"),
        (lambda: adding(variant="le"), "variant must be one of"),
        (lambda: adding(length=1), "length must be at least 2"),
        (lambda: copying(symbols=1), "symbols must be at least 2"),
        (lambda: temporal_order(marks=4), "marks must be 2 or 3"),
        (lambda: temporal_order(length=5), "length must be at least 20"),
        (lambda: delayed_xor(length=5), "length must be at least 10"),
        (lambda: dyck(max_length=7), "max_length must be even"),
        (lambda: dyck(max_length=10, test_length=8), "test_length must exceed"),
        (lambda: counting(letters=1), "letters must be at least 2"),
        (lambda: match_to_sample(min_delay=5, max_delay=4), "at least min_delay"),
        (lambda: match_to_sample(noise=-1.0), "noise is a standard deviation"),
        (lambda: sine(min_period=1), "2 < min_period"),
        (lambda: sine(noise=-1.0), "noise is a standard deviation, at least 0, got -1"),
        (lambda: sine(noise=float("nan")), "noise must be a real number, got nan"),
        (lambda: sine(batch_size=0), "batch_size must be at least 1"),
        (lambda: sine(test_size=0), "test_size must be at least 1"),
        (lambda: lorenz(test_size=-2), "test_size must be at least 1"),
        (lambda: lorenz(context=1), "context must be at least 2"),
    ],
)
def test_wrong_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("option", ["length", "context", "horizon", "batch_size", "test_size"])
@pytest.mark.parametrize("task", [sine, lorenz])
def test_spans_and_sizes_are_whole(task, option):
    with pytest.raises(TypeError, match=rf"{option} must be an int, got 2\.5"):
        task(hidden=2, **{option: 2.5})
