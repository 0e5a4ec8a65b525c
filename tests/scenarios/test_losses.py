"""Losses by hand, CTC against the sum over all alignments, and padding that changes nothing."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scenario_nets import RAGGED, B, T, assert_close, log_softmax, noisy, words

from rnnjax import scenarios

CLASSES = 3


def test_valid_steps():
    got = scenarios.valid_steps(jnp.array([[2, 0], [3, 1]]), 3)
    want = np.array([[[1, 0], [1, 1]], [[1, 0], [1, 0]], [[0, 0], [1, 0]]], bool)
    assert got.dtype == jnp.bool_
    assert_close(got, want)


def test_cross_entropy_by_hand():
    logits, labels = noisy(1, (T, B, CLASSES)), words(2, (T, B), CLASSES)
    valid = np.asarray(scenarios.valid_steps(RAGGED, T))
    gains = np.take_along_axis(log_softmax(logits), np.asarray(labels)[..., None], -1)[..., 0]
    assert_close(scenarios.cross_entropy(logits, labels), -gains.mean())
    assert_close(scenarios.cross_entropy(logits, labels, valid), -gains[valid].mean())
    assert_close(scenarios.cross_entropy(logits[0, 0], labels[0, 0]), -gains[0, 0])


def test_squared_error_by_hand():
    outputs, targets = noisy(1, (T, B, 2)), noisy(2, (T, B, 2))
    valid = np.asarray(scenarios.valid_steps(RAGGED, T))
    squares = (np.asarray(outputs) - np.asarray(targets)) ** 2
    assert_close(scenarios.squared_error(outputs, targets), squares.mean())
    assert_close(scenarios.squared_error(outputs, targets, valid), squares[valid].mean())


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_what_is_not_valid_has_no_influence(bad):
    logits, labels = noisy(1, (T, B, CLASSES)), words(2, (T, B), CLASSES)
    valid = scenarios.valid_steps(RAGGED, T)
    of = jax.jit(jax.value_and_grad(scenarios.cross_entropy))
    dirty = jnp.where(valid[..., None], logits, bad)
    value, grad = of(dirty, jnp.where(valid, labels, 10**6), valid)
    assert_close((value, grad), of(logits, labels, valid))
    assert not np.asarray(grad)[~np.asarray(valid)].any()

    outputs, targets = noisy(1, (T, B, 2)), noisy(2, (T, B, 2))
    of = jax.jit(jax.value_and_grad(scenarios.squared_error, argnums=(0, 1)))
    dirty = [jnp.where(valid[..., None], a, bad) for a in (outputs, targets)]
    assert_close(of(*dirty, valid), of(outputs, targets, valid))


def ctc_problem():
    lengths, counts = np.array([T, 4, 3]), np.array([2, 1, 3])
    return noisy(1, (T, B, CLASSES)), lengths, words(2, (3, B), CLASSES - 1) + 1, counts


def test_reductions_are_of_the_cost_of_every_entry():
    logits, labels = noisy(1, (T, B, CLASSES)), words(2, (T, B), CLASSES)
    valid = np.asarray(scenarios.valid_steps(RAGGED, T))
    gains = np.take_along_axis(log_softmax(logits), np.asarray(labels)[..., None], -1)[..., 0]
    squares = ((np.asarray(logits) - np.asarray(logits)[::-1]) ** 2).mean(axis=-1)
    for loss, other, costs in (
        (scenarios.cross_entropy, labels, -gains),
        (scenarios.squared_error, logits[::-1], squares),
    ):
        dirty = jnp.where(valid[..., None], logits, jnp.nan)
        assert_close(loss(dirty, other, valid, reduction="none"), np.where(valid, costs, 0))
        assert_close(loss(dirty, other, valid, reduction="sum"), costs[valid].sum())
        assert_close(loss(logits, other, reduction="none"), costs)
        assert_close(loss(logits, other, reduction="mean"), costs.mean())
    problem = ctc_problem()
    costs = scenarios.ctc(*problem, reduction="none")
    alone = [scenarios.ctc(*(x[..., b : b + 1] if x.ndim < 3 else x[:, b : b + 1] for x in problem))
             for b in range(B)]  # fmt: skip
    assert_close(costs, np.array(alone))
    assert np.isfinite(costs[:2]).all()
    assert_close(scenarios.ctc(*problem, zero_infinity=True, reduction="sum"),
                 np.where(np.isfinite(costs), costs, 0).sum())  # fmt: skip


def test_label_smoothing_mixes_the_labels_with_all_classes():
    logits, labels = noisy(1, (T, B, CLASSES)), words(2, (T, B), CLASSES)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), 0.1)
    want = -(np.asarray(targets) * log_softmax(logits)).sum(axis=-1)
    smooth = partial(scenarios.cross_entropy, label_smoothing=0.1)
    assert_close(smooth(logits, labels), want.mean())
    assert_close(jax.jit(smooth)(logits, labels, label_smoothing=0.1), want.mean())
    valid = scenarios.valid_steps(RAGGED, T)
    dirty = jnp.where(valid[..., None], logits, jnp.nan)
    assert_close(smooth(dirty, labels, valid, reduction="none"), np.where(valid, want, 0))
    never = logits.at[..., 0].set(-jnp.inf)
    assert np.isfinite(scenarios.cross_entropy(never, labels * 0 + 1, label_smoothing=0.0))


def test_nothing_valid_costs_nothing():
    none = jnp.zeros((T, B), bool)
    logits, labels = noisy(1, (T, B, CLASSES)), words(2, (T, B), CLASSES)
    value, grad = jax.jit(jax.value_and_grad(scenarios.cross_entropy))(logits, labels, none)
    assert value == 0
    assert not np.asarray(grad).any()
    assert scenarios.squared_error(logits, logits + 1, none) == 0
    assert scenarios.cross_entropy(logits[:0], labels[:0]) == 0


def test_losses_are_float32_at_least():
    logits = noisy(1, (T, B, CLASSES)).astype(jnp.bfloat16)
    labels = words(2, (T, B), CLASSES)
    assert scenarios.cross_entropy(logits, labels).dtype == jnp.float32
    assert scenarios.squared_error(logits, logits).dtype == jnp.float32
    exact = scenarios.cross_entropy(logits.astype(jnp.float64), labels)
    assert_close(scenarios.cross_entropy(logits, labels), exact, rtol=1e-6)
    lengths, counts = jnp.array([T, 2, 3]), jnp.array([2, 1, 0])
    assert scenarios.ctc(logits, lengths, jnp.maximum(labels[:2], 1), counts).dtype == jnp.float32


def collapsed(path, blank):
    """Merge what is repeated, then drop blanks."""
    merged = [symbol for symbol, _ in itertools.groupby(path)]
    return tuple(symbol for symbol in merged if symbol != blank)


def alignments(log_probs, labels, blank):
    """-ln of the sum over all paths of one sequence that spell its labels."""
    steps = len(log_probs)
    total = -np.inf
    for path in itertools.product(range(CLASSES), repeat=steps):
        if collapsed(path, blank) == tuple(labels):
            total = np.logaddexp(total, sum(log_probs[t, k] for t, k in enumerate(path)))
    return -total


@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_is_the_sum_over_all_alignments(blank):
    first, second = (k for k in range(CLASSES) if k != blank)
    spelled = [[first, second], [second, second], [first], [], [first, first, second]]
    lengths = np.array([5, 4, 1, 3, 5])
    logits = noisy(1, (5, len(spelled), CLASSES))
    counts = np.array([len(s) for s in spelled])
    labels = np.array([s + [-9] * (3 - len(s)) for s in spelled]).T  # garbage in the padding
    dirty = jnp.where(scenarios.valid_steps(lengths, 5)[..., None], logits, jnp.nan)
    of = jax.jit(
        jax.value_and_grad(
            lambda logits: scenarios.ctc(logits, lengths, labels, counts, blank=blank)
        )
    )
    value, grad = of(dirty)
    each = [
        alignments(log_softmax(logits[:n, b]), spelled[b], blank) for b, n in enumerate(lengths)
    ]
    assert_close(value, np.mean(each), rtol=1e-10)
    assert_close((value, grad), of(logits))
    assert not np.asarray(grad)[1:, 2].any()

    step = 1e-6
    for t, b, k in ((0, 0, first), (3, 1, blank), (0, 2, second), (4, 4, first)):
        moved = [np.array(logits[: lengths[b], b]) for _ in range(2)]
        moved[0][t, k] += step
        moved[1][t, k] -= step
        up, down = (alignments(log_softmax(m), spelled[b], blank) for m in moved)
        assert_close(grad[t, b, k], (up - down) / (2 * step * len(spelled)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc_of_labels_that_cannot_be(zero_infinity):
    """Two that are equal need three steps; a class whose logit is -inf does not come."""
    lengths, labels = np.array([2, 2]), jnp.array([[1, 2], [1, 0]])
    counts = np.array([2, 1])
    logits = noisy(1, (2, 2, CLASSES)).at[:, 1, 2].set(-jnp.inf)
    value, grad = jax.jit(jax.value_and_grad(ctc_zeroing if zero_infinity else scenarios.ctc))(
        logits, lengths, labels, counts
    )
    assert value == (0 if zero_infinity else np.inf)
    np.testing.assert_array_equal(grad, 0)


def ctc_zeroing(*arguments):
    return scenarios.ctc(*arguments, zero_infinity=True)


def test_ctc_with_a_class_that_never_comes():
    """Its logit of -inf is as if it were not there."""
    logits, labels = noisy(3, (4, 1, CLASSES)), jnp.array([[1]])
    wider = jnp.concatenate([logits, jnp.full((4, 1, 1), -jnp.inf)], -1)
    arguments = (np.array([4]), labels, np.array([1]))
    value, grad = jax.value_and_grad(scenarios.ctc)(wider, *arguments)
    want, grad_want = jax.value_and_grad(scenarios.ctc)(logits, *arguments)
    assert_close(value, want)
    assert_close(grad[..., :-1], grad_want)


def test_ctc_costs_are_right_however_large_and_never_below_zero():
    labels, one = jnp.array([[1]]), np.array([1])
    logits = jnp.array([0.0, -3e5, -4e5])[None, None]  # one step, which has to be class 1
    value, grad = jax.value_and_grad(scenarios.ctc)(logits, one, labels, one)
    assert value == 3e5
    assert_close(grad[0, 0], jnp.array([1.0, -1.0, 0.0]))
    certain = jnp.array([0.0, 40.0, 0.0], jnp.float32)[None, None].repeat(50, 0)
    assert scenarios.ctc(certain, np.array([50]), labels, one) >= 0


def test_ctc_without_labels_is_all_blanks():
    logits = noisy(1, (T, B, CLASSES))
    got = scenarios.ctc(logits, RAGGED, jnp.zeros((0, B), int), jnp.zeros(B, int))
    each = [-log_softmax(logits[:n, b])[:, 0].sum() for b, n in enumerate(RAGGED)]
    assert_close(got, np.mean(each))


def test_squared_error_of_complex_numbers_is_that_of_both_parts():
    outputs, targets = (noisy(k, (T, 2)) + 1j * noisy(k + 1, (T, 2)) for k in (1, 3))
    squares = np.abs(np.asarray(outputs - targets)) ** 2
    assert_close(scenarios.squared_error(outputs, targets), squares.mean())
    assert_close(
        scenarios.squared_error(outputs.real, targets), np.mean(abs(outputs.real - targets) ** 2)
    )
    assert scenarios.squared_error(jnp.ones((3, 0)), jnp.ones((3, 0))) == 0


def test_labels_are_not_as_narrow_as_their_dtype():
    """In int8, 200 classes are -56, which would count from the end."""
    label, logits = jnp.array([-1], jnp.int8), noisy(1, (1, 200))
    assert np.isnan(jax.jit(scenarios.cross_entropy)(logits, label))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.199, got values from -1 to -1"):
        scenarios.cross_entropy(logits, label)


def test_labels_that_are_no_classes_are_refused_and_cost_nan_where_they_are_not_known():
    logits = noisy(1, (1, 1, CLASSES))
    one = jnp.ones(1, int)
    cross_entropy = jax.jit(scenarios.cross_entropy)
    ctc = jax.jit(scenarios.ctc, static_argnames="blank")
    for label in (-1, -CLASSES, CLASSES):
        label = jnp.full((1, 1), label)
        assert np.isnan(cross_entropy(logits, label))
        assert np.isnan(ctc(logits, one, label, one))
        assert np.isfinite(scenarios.ctc(logits, one, label, 0 * one))
        assert scenarios.cross_entropy(logits, label, label == 0) == 0
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2.*said by valid="):
            scenarios.cross_entropy(logits, label)
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2.*said by label_lengths"):
            scenarios.ctc(logits, one, label, one)
    assert np.isnan(ctc(logits, one, jnp.full((1, 1), 2), one, blank=2))
    with pytest.raises(ValueError, match="labels must not be the blank, 2"):
        scenarios.ctc(logits, one, jnp.full((1, 1), 2), one, blank=2)
