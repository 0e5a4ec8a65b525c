"""Arrays that a step reads besides its arguments are differentiated too, or that is refused."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax

T, B, H = 9, 3, 2
XS = jax.random.normal(jax.random.key(1), (T, B, 2))
INNER = rnnjax.vanilla(H)
PARAMS = INNER.init(jax.random.key(0), 2)
GAIN = jnp.array([0.7, 1.3])


def times(x, gain):
    return x * jnp.broadcast_to(gain, x.shape)


def by_wrap(gain):
    """A cell without a rule, whose outputs are multiplied by an array from outside."""

    def scaled(step):
        def new(params, carry, x_t):
            carry, y_t = step(params, carry, x_t)
            return carry, times(y_t, gain)

        return new

    return rnnjax.wrap(INNER, scaled)


def by_rule(gain):
    """A cell with a rule, whose projections are multiplied by an array from outside."""
    rule = INNER.rule

    def project(params, xs):
        return times(rule.project(params, xs), gain)

    def step(params, carry, x_t):
        return rule.forward(params, carry, project(params, x_t))[0]

    def gradients(params, xs, tapes, deltas):
        return rule.gradients(params, xs, tapes, times(deltas, gain))

    return rnnjax.Cell(
        INNER.init,
        INNER.initial_carry,
        step,
        rnnjax.Rule(project, rule.forward, rule.backward, gradients),
    )


def by_linear(gain):
    """A cell that is linear in its carry, with coefficients from outside."""

    def step(params, carry, x_t):
        new = times(carry, gain) + x_t @ params
        return new, new

    def coefficients(params, xs):
        b = xs @ params
        return jnp.broadcast_to(gain, b.shape), b

    linear = rnnjax.Linear(coefficients, lambda params, carry, xs: carry)
    return rnnjax.Cell(
        lambda key, inputs: jnp.ones((inputs, H)),
        lambda params, shape, key=None: jnp.zeros((*shape, H)),
        step,
        structure=rnnjax.Structure(linear=linear),
    )


def cost(make, params, gain, **options):
    carry, ys = rnnjax.unroll(make(gain), params, XS, **options)
    return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(carry))


def by_scan(make, params, gain, **_):
    cell = make(gain)
    first = cell.initial_carry(params, (B,))
    carry, ys = jax.lax.scan(lambda carry, x_t: cell.step(params, carry, x_t), first, XS)
    return jnp.sum(jnp.sin(ys)) + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(carry))


CELLS = {by_wrap: PARAMS, by_rule: PARAMS, by_linear: 0.3 * jnp.ones((2, H))}
CASES = [
    (make, options)
    for make in CELLS
    for options in (
        {},
        {"gradient": rnnjax.autodiff()},
        {"gradient": rnnjax.checkpointed(2, levels=2)},
        {"gradient": rnnjax.truncated(20, rnnjax.checkpointed(4))},
        {"method": rnnjax.methods.deer()},
    )
]
CASES += [(by_rule, {"gradient": rnnjax.bptt()}), (by_rule, {"gradient": rnnjax.truncated(20)})]
CASES += [(by_linear, {"method": rnnjax.methods.associative()})]


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-8)


def names(case):
    return getattr(case, "__name__", None) or ", ".join(map(str, case.values())) or "defaults"


@pytest.mark.parametrize(("make", "options"), CASES, ids=names)
@pytest.mark.parametrize("jitted", [False, True])
def test_the_gradient_is_that_of_a_scan(make, options, jitted):
    params = CELLS[make]

    def both(function):
        along = jax.grad(lambda gain: function(make, params, gain, **options))
        whole = jax.grad(lambda *at: function(make, *at, **options), (0, 1))
        return jax.jit(along)(GAIN) if jitted else along(GAIN), whole(params, GAIN)

    found, expected = both(cost), both(by_scan)
    assert np.all(np.abs(expected[0]) > 1e-2)
    jax.tree.map(close, found, expected)


def test_under_vmap_and_forwards():
    gains = jnp.stack([GAIN, 2 * GAIN])
    options = {"gradient": rnnjax.checkpointed(3)}

    def each(function):
        along = jax.vmap(jax.grad(lambda gain: function(by_rule, PARAMS, gain, **options)))
        tangent = jax.jvp(lambda g: function(by_rule, PARAMS, g, **options), (GAIN,), (GAIN,))
        return jax.jit(along)(gains), tangent

    jax.tree.map(close, each(cost), each(by_scan))


def test_in_a_reversible_cell():
    inner = rnnjax.unicornn(2)
    params = inner.init(jax.random.key(0), 2)

    def value(gain, gradient):
        def step(params, carry, x_t):
            return inner.step(params, carry, times(x_t, gain))

        def inverse(params, carry, x_t):
            return inner.structure.inverse(params, carry, times(x_t, gain))

        structure = rnnjax.Structure(inverse=inverse)
        cell = rnnjax.Cell(inner.init, inner.initial_carry, step, None, structure)
        return jnp.sum(jnp.sin(rnnjax.unroll(cell, params, XS, gradient=gradient)[1]))

    found, expected = (
        jax.jit(jax.grad(partial(value, gradient=gradient)))(GAIN)
        for gradient in (rnnjax.reversible(), rnnjax.autodiff())
    )
    assert np.all(np.abs(expected) > 1e-3)
    close(found, expected)


@pytest.mark.parametrize(
    "gradient",
    [
        rnnjax.checkpointed(2, rnnjax.bptt(clip=rnnjax.gradients.clip_by_value(1.0))),
        rnnjax.online.rtrl(),
    ],
    ids=str,
)
def test_gradients_that_have_none_along_it_say_so(gradient):
    text = f"the program around it .* gradient={re.escape(str(gradient))} has no .* params or of xs"
    with pytest.raises(ValueError, match=text):
        jax.grad(lambda gain: cost(by_rule, PARAMS, gain, gradient=gradient))(GAIN)


@pytest.mark.parametrize("gradient", [None, rnnjax.checkpointed(2)], ids=str)
@pytest.mark.parametrize("beside", [False, True])
def test_integers_and_keys_that_are_read(gradient, beside):
    def value(function, params, gain, index, key):
        def by_both(gain):
            noise = jax.random.uniform(key, (H,))
            own = by_rule(gain if beside else GAIN)
            return own._replace(
                step=lambda p, c, x: own.step(p, c, times(x, noise[index])), rule=None
            )

        return function(by_both, params, gain, gradient=gradient)

    at = PARAMS, GAIN, jnp.array([1, 0]), jax.random.key(3)
    found, expected = (
        jax.jit(jax.grad(partial(value, function), (0, 1)))(*at) for function in (cost, by_scan)
    )
    jax.tree.map(close, found, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", None])
def test_the_computation_keeps_the_dtype_of_the_params(dtype):
    """Whatever that of an array that is read: one that the step casts."""

    def run(gain):
        def step(params, carry, x_t):
            own = times(x_t, gain.astype(x_t.dtype))
            new = jnp.tanh(own + carry) if dtype is None else jnp.tanh(own @ params + carry)
            return new, (new, x_t)

        first = "bfloat16" if dtype is None else dtype
        cell = rnnjax.Cell(
            lambda key, inputs: (),
            lambda params, shape, key=None: jnp.zeros((*shape, 2), first),
            step,
        )
        params = () if dtype is None else jnp.eye(2, dtype=dtype)
        return rnnjax.unroll(cell, params, XS.astype("bfloat16"))

    (found, ys), (expected, own) = jax.jit(run)(GAIN), run(GAIN)
    assert [y.dtype for y in ys] == [jnp.bfloat16, jnp.bfloat16]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ys[0], own[0])


def test_a_cell_is_looked_through_once():
    traced = []

    def noting(step):
        def new(params, carry, x_t):
            traced.append(x_t)
            return step(params, carry, x_t)

        return new

    cell = rnnjax.wrap(INNER, noting)
    for _ in range(3):
        jax.grad(lambda params: rnnjax.unroll(cell, params, XS)[1].sum())(PARAMS)
    first = len(traced)
    jax.grad(lambda params: rnnjax.unroll(cell, params, 2 * XS)[1].sum())(PARAMS)
    assert len(traced) == first
