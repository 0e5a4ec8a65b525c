"""The three definitions of truncated BPTT: how far back each cost reaches, to the step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import bptt, truncated, truncated_williams_peng, truncated_window

GRADIENTS = {
    truncated(1): lambda t: t,
    truncated(3): lambda t: t // 3 * 3,
    truncated_window(1): lambda t: t,
    truncated_window(3): lambda t: t - 2,
    truncated_williams_peng(3, 2): lambda t: t // 2 * 2 - 1,
    truncated_williams_peng(4, 2): lambda t: t // 2 * 2 - 2,
    truncated_williams_peng(5, 3): lambda t: t // 3 * 3 - 2,
    truncated_williams_peng(3, 3): lambda t: t // 3 * 3,
    truncated_williams_peng(3, 1): lambda t: t - 2,
}
COUNTER = rnnjax.identity_rnn(1)  # h_t = h_{t-1} + x_t
ONE = rnnjax.cells.IdentityParams(w_x=jnp.ones((1, 1)))


def counted(reach, lengths, steps, weights, reverse):
    """Σ of the weights of all costs that step t, and the initial carry, are in the reach of."""
    found, first = np.zeros((len(lengths), steps)), np.zeros(len(lengths))
    for b, length in enumerate(lengths):
        order = [*range(length)][::-1] if reverse else [*range(length)]
        sources = [(i, weights[t]) for i, t in enumerate(order)] + [(max(length - 1, 0), 100)]
        for i, weight in sources:  # the final carry is a cost of the last step
            for j in order[max(reach(i), 0) : i + 1]:
                found[b, j] += weight
            if reach(i) <= 0:
                first[b] += weight
    return found, first


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("gradient", GRADIENTS, ids=str)
def test_each_cost_reaches_back_to_its_step(gradient, reverse):
    """For every length, of one step too, and with a last piece that is shorter."""
    for steps, lengths in [(1, None), (6, None), (7, None), (7, [0, 1, 2, 4, 6, 7])]:
        rows = [steps] if lengths is None else lengths
        weights = 2.0 ** np.arange(steps)  # so that no sum is another's
        options = {} if lengths is None else {"lengths": jnp.array(lengths)}

        def cost(xs, carry, options=options, weights=weights):
            options = {**options, "gradient": gradient, "reverse": reverse}
            last, ys = rnnjax.unroll(COUNTER, ONE, xs, carry=carry, **options)
            return jnp.sum(ys[..., 0] * weights[:, None]) + 100 * jnp.sum(last.h)

        xs, carry = jnp.ones((steps, len(rows), 1)), COUNTER.initial_carry(ONE, (len(rows),))
        xs_ct, carry_ct = jax.grad(cost, (0, 1))(xs, carry)
        found, first = counted(GRADIENTS[gradient], rows, steps, weights, reverse)
        np.testing.assert_array_equal(xs_ct[..., 0].T, found)
        np.testing.assert_array_equal(carry_ct.h[:, 0], first)


@pytest.mark.parametrize("gradient", [truncated(2), truncated_williams_peng(3, 2)], ids=str)
def test_no_step_at_all(gradient):
    def cost(carry):
        last, ys = rnnjax.unroll(COUNTER, ONE, jnp.ones((0, 1)), carry=carry, gradient=gradient)
        return 100 * jnp.sum(last.h) + jnp.sum(ys)

    assert jax.grad(cost)(COUNTER.initial_carry(ONE)).h.tolist() == [100.0]


@pytest.mark.parametrize(
    "gradient",
    [truncated(2), truncated_williams_peng(3, 2), truncated_window(2), rnnjax.checkpointed(2)],
    ids=str,
)
def test_no_example_at_all(gradient):
    def cost(params):
        last, ys = rnnjax.unroll(COUNTER, params, jnp.ones((5, 0, 1)), gradient=gradient)
        assert (last.h.shape, ys.shape) == ((0, 1), (5, 0, 1))
        return jnp.sum(last.h) + jnp.sum(ys)

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.grad(cost)(ONE)))


CELL = rnnjax.vanilla(4)
PARAMS = CELL.init(jax.random.key(0), 2)
XS = np.random.default_rng(0).normal(size=(7, 3, 2))


def gradient_by(gradient, **options):
    def cost(params, xs):
        last, ys = rnnjax.unroll(CELL, params, xs, gradient=gradient, **options)
        return jnp.sum(jnp.sin(jax.tree.leaves(ys)[-1])) + jnp.sum(last.h**2)

    return jax.grad(cost, (0, 1))(PARAMS, XS)


@pytest.mark.usefixtures("eager")
def test_definitions_differ_and_meet_at_their_ends():
    def distance(a, b):
        a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(g)]) for g in (a, b))
        return np.linalg.norm(a - b) / np.linalg.norm(b)

    same = rnnjax.sequential()
    by = functools.partial(gradient_by, method=same)
    exact = by(bptt())
    chunks, window, blocks = (
        by(g) for g in (truncated(3), truncated_window(3), truncated_williams_peng(3, 2))
    )
    for a, b in [(chunks, window), (window, blocks), (blocks, chunks)]:
        assert distance(a, b) > 0.01
    for each in (chunks, window, blocks):
        assert 0.01 < distance(each, exact) < 1
    assert distance(by(truncated_williams_peng(3, 3)), chunks) < 1e-14
    assert distance(by(truncated_williams_peng(3, 1)), window) < 1e-14
    assert distance(by(truncated_window(7)), exact) < 1e-14
    assert distance(by(truncated_williams_peng(9, 8)), exact) < 1e-14


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("reverse", [False, True])
def test_carries_of_every_step_are_those_of_the_full_run(reverse):
    lengths = jnp.array([7, 4, 0])
    options = {"lengths": lengths, "reverse": reverse, "return_carries": True}
    want = rnnjax.unroll(CELL, PARAMS, XS, **options)
    for gradient in (truncated(2), truncated_williams_peng(3, 2)):
        got = rnnjax.unroll(CELL, PARAMS, XS, gradient=gradient, **options)
        jax.tree.map(np.testing.assert_array_equal, got, want)

    def cost(gradient, params, xs):  # of the carry at the end, in the padding of the others
        carries, _ = rnnjax.unroll(CELL, params, xs, gradient=gradient, **options)
        return jnp.sum(carries.h[0 if reverse else -1])

    def last(gradient, params, xs):
        carry, _ = rnnjax.unroll(CELL, params, xs, gradient=gradient, **options_of_last)
        return jnp.sum(carry.h)

    options_of_last = {"lengths": lengths, "reverse": reverse}
    for gradient in (truncated(2), truncated_williams_peng(3, 2)):
        got, want = (jax.grad(f, (1, 2))(gradient, PARAMS, XS) for f in (cost, last))
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-14), got, want)


def test_h_prime_is_at_most_h():
    with pytest.raises(ValueError, match="h_prime must be at most h = 2, got 3: the costs of the"):
        truncated_williams_peng(2, 3)
