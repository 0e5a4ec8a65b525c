"""Steps to skip in the middle of a sequence: the loop that passes over them, by every method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated
from op_by_op import op_by_op

import rnnjax
from rnnjax import associative, autodiff, checkpointed, sequential
from rnnjax.online import rtrl

T, B, D, H = 6, 4, 3, 2
RNG = np.random.default_rng(3)
XS = RNG.standard_normal((T, B, D))
MASK = RNG.random((T, B)) > 0.4
MASK[:, 3] = False
MASK[:, 2] = True
LENGTHS = np.array([T, 5, T, T])
RESETS = RNG.random((T, B)) > 0.6
RESETS[-1, 2], MASK[-1, 2] = True, False  # an episode of nothing but skipped steps
SEEN = np.where(MASK[..., None], XS, np.nan)  # what is skipped is never seen
CELLS = {
    "learned": (rnnjax.stack(rnnjax.learned_carry(rnnjax.gru(3)), rnnjax.lstm(H)), None),
    "linear": (rnnjax.min_gru(H), associative()),
}


def by_loop(cell, params, xs, carry, reverse):
    """The last carry, the outputs and all carries; a flag says that an episode is to begin."""
    fresh, each = cell.initial_carry(params, ()), []
    for b in range(B):
        now, y, begins = jax.tree.map(lambda leaf, b=b: leaf[b], carry), jnp.zeros(H), False
        ys, carries = [jnp.zeros(H)] * T, [now] * T
        steps = range(LENGTHS[b])
        for t in reversed(steps) if reverse else steps:
            if RESETS[t, b] and not reverse:
                begins, y = True, jnp.zeros(H)
            if MASK[t, b]:
                now, y = cell.step(params, fresh if begins else now, xs[t, b])
                begins = False
            ys[t], carries[t] = y, now
            if RESETS[t, b] and reverse:
                begins, y = True, jnp.zeros(H)
        if not reverse:
            carries[LENGTHS[b] :] = [now] * (T - LENGTHS[b])
        each.append((now, ys, carries))
    lasts, ys, carries = zip(*each, strict=True)

    def stacked(axis, trees):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *trees)

    return (
        stacked(0, lasts),
        jnp.stack([*map(jnp.stack, ys)], 1),
        stacked(1, [stacked(0, one) for one in carries]),
    )


def cost(last, ys):
    return sum((k + 1) * jnp.sum(jnp.sin(a)) for k, a in enumerate(jax.tree.leaves((last, ys))))


@functools.cache
def drawn(name):
    cell = CELLS[name][0]
    params = cell.init(jax.random.key(0), D)
    return jax.tree.map(
        lambda leaf: leaf + 0.3 * RNG.standard_normal(leaf.shape),
        (params, cell.initial_carry(params, (B,))),
    )


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_skipped_steps_are_passed_over_by_every_gradient_and_method(name, reverse):
    (cell, method), (params, carry) = CELLS[name], drawn(name)
    options = {"lengths": LENGTHS, "resets": RESETS, "mask": MASK, "reverse": reverse}

    def run(params, xs, carry, **how):
        last, ys = rnnjax.unroll(cell, params, xs, carry=carry, **options, **how)
        return cost(last, ys), (last, ys)

    def loop(params, xs, carry):
        last, ys, carries = by_loop(cell, params, xs, carry, reverse)
        return cost(last, ys), (last, ys, carries)

    with op_by_op():
        want_grads, (last, ys, carries) = jax.grad(loop, (0, 1, 2), has_aux=True)(params, XS, carry)
    for how in (
        {"method": method},
        {"method": sequential(), "gradient": autodiff()},
        {"method": method, "gradient": checkpointed(2)},
    ):
        by = evaluated(jax.grad(functools.partial(run, **how), (0, 1, 2), has_aux=True))
        got_grads, got = by(params, SEEN, carry)
        assert_same(got, (last, ys))
        assert_same(got_grads, want_grads)
    online = evaluated(jax.grad(functools.partial(run, gradient=rtrl()), (0, 2), has_aux=True))
    if name == "linear":
        assert_same(online(params, SEEN, carry)[0], (want_grads[0], want_grads[2]))
    with op_by_op():
        every = rnnjax.unroll(cell, params, SEEN, carry=carry, **options, return_carries=True)
    assert_same(every, (carries, ys))


def test_no_steps():
    cell, (params, carry) = CELLS["linear"][0], drawn("linear")
    shapes = jax.eval_shape(lambda: rnnjax.unroll(cell, params, XS[:0], carry=carry, mask=MASK[:0]))
    assert jax.tree.map(jnp.shape, shapes) == (jax.tree.map(jnp.shape, carry), (0, B, H))


def test_nothing_to_skip_and_both_directions(eager):
    cell, (params, carry) = CELLS["linear"][0], drawn("linear")
    whole = rnnjax.unroll(cell, params, XS, carry=carry, resets=RESETS)
    everything = np.ones((T, B), bool)
    assert_same(rnnjax.unroll(cell, params, XS, carry=carry, resets=RESETS, mask=everything), whole)
    layer = rnnjax.bidirectional(cell, cell)
    both = layer.apply((params, params), SEEN, mask=MASK)[1]
    assert_same(both[..., :H], rnnjax.unroll(cell, params, XS, mask=MASK)[1])


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (
            MASK.astype(int),
            TypeError,
            "mask has dtype int64: expected booleans, false at",
        ),
        (MASK.T, ValueError, r"mask has shape \(4, 6\): expected \(6, 4\)"),
        ("no", TypeError, "mask must be booleans"),
    ],
)
def test_wrong_masks(mask, error, message):
    with pytest.raises(error, match=message):
        rnnjax.unroll(CELLS["linear"][0], drawn("linear")[0], XS, mask=mask)
