"""The reversible gradient: equal to autodiff with nothing kept, and refused where it cannot be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated

import rnnjax
from rnnjax import autodiff, reversible, sequential, unicornn

T, B, D = 6, 3, 2
CELLS = {
    "unicornn": unicornn(4, dt=0.6, alpha=0.5),
    "stack": rnnjax.stack(unicornn(3, dt=0.6), rnnjax.residual(unicornn(3, alpha=2.0))),
    "without a rule": unicornn(4, dt=0.6)._replace(rule=None),
}
XS = np.random.default_rng(0).normal(size=(T, B, D))
LENGTHS = jnp.array([T, 2, 0])


def drawn(cell):
    """Params and a carry of random numbers."""
    rng = np.random.default_rng(1)
    params = cell.init(jax.random.key(0), D)
    carry = cell.initial_carry(params, (B,))
    return jax.tree.map(lambda x: x + 0.5 * rng.standard_normal(x.shape), (params, carry))


def unroll(cell, params, carry, xs, gradient) -> Any:
    return rnnjax.unroll(cell, params, xs, carry=carry, gradient=gradient)


def run_of(cell, gradient, **options):
    def run(params, carry, xs):
        options.update(gradient=gradient, method=sequential(), lengths=LENGTHS)
        return rnnjax.unroll(cell, params, xs, carry=carry, **options)

    return run


def cost(run) -> Any:
    def value(*at):
        leaves = jax.tree.leaves(run(*at))
        return sum(jnp.sum(jnp.sin(k + leaf)) for k, leaf in enumerate(leaves))

    return value


def assert_equal(found, exact):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"return_carries": True}])
@pytest.mark.parametrize("name", CELLS)
def test_equal_to_autodiff(name, options):
    cell = CELLS[name]
    at = (*drawn(cell), XS)

    def gradients(gradient):
        run = cost(run_of(cell, gradient, **options))
        return evaluated(jax.value_and_grad(run, (0, 1, 2)))(*at)

    assert_equal(gradients(reversible()), gradients(autodiff()))


def test_what_is_kept_beside_the_inputs_does_not_grow_with_time():
    cell = CELLS["unicornn"]

    def kept(steps):
        at = (*drawn(cell), XS[:steps])
        _, pull_back = jax.vjp(lambda p, c, x: unroll(cell, p, c, x, reversible())[0].y, *at)
        return sum(x.size for x in jax.tree.leaves(pull_back)) - at[2].size

    assert kept(T) == kept(T - 2) < 100


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, at: jax.jvp(f, at, at)[1],
        lambda f, at: jax.grad(lambda *at: jax.jvp(f, at, at)[1])(*at),
        lambda f, at: jax.jvp(jax.grad(f), at, at)[1],
        lambda f, at: jax.grad(lambda *at: jnp.sum(jax.grad(f)(*at).u ** 2))(*at),
        lambda f, at: jax.vmap(lambda s: jax.grad(lambda s: f(at[0], at[1], s * at[2]))(s))(
            jnp.array([1.0, 2])
        ),
    ],
)
def test_transformations(transform):
    cell = CELLS["unicornn"]
    at = (*drawn(cell), XS[:3])

    def by(gradient):
        f = cost(lambda p, c, x: unroll(cell, p, c, x, gradient))
        return evaluated(lambda *at: transform(f, at))(*at)

    assert_equal(by(reversible()), by(autodiff()))


def test_a_replaced_rule_is_the_one_that_runs():
    cell = CELLS["unicornn"]

    rule: Any = cell.rule

    def backward(*args):
        return jax.tree.map(jnp.zeros_like, rule.backward(*args))

    run = run_of(cell._replace(rule=rule._replace(backward=backward)), reversible())
    assert not np.any(jax.grad(cost(run))(*drawn(cell), XS).w_x)


def test_a_gradient_from_states_that_drifted_is_nan():
    """In float32, some ten steps of an unstable oscillator lose all digits on the way back."""
    cell = unicornn(1, dt=3.0, alpha=9.0, dtype="float32")
    params = cell.init(jax.random.key(0), 1)
    xs = np.ones((12, 1), np.float32)

    def slope(tolerance):
        value = cost(lambda params: unroll(cell, params, None, xs, reversible(tolerance)))
        return jax.grad(value)(params).u

    assert np.isnan(slope(1e-6))
    assert np.isfinite(slope(np.inf))


@pytest.mark.usefixtures("eager")
def test_a_wrong_inverse_is_found():
    cell = CELLS["unicornn"]
    inverse: Any = cell.structure.inverse

    def off(params, carry, x_t):
        before = inverse(params, carry, x_t)
        return before._replace(z=before.z + 1e-3)

    wrong = rnnjax.Cell(*cell[:4], rnnjax.Structure(inverse=off))
    report = rnnjax.gradients.check(wrong, inputs=D, differences=False)
    assert [row.way for row in report.values if not row.passed] == ["inverse", "inverse"]
    assert not report.passed
    assert "values by the inverse" in str(report)


def test_refusals():
    cell = CELLS["unicornn"]
    params, _ = drawn(cell)
    resets = jnp.zeros((T, B), bool)
    with pytest.raises(ValueError, match=r"cannot run backwards over resets=.*checkpointed\(\)"):
        rnnjax.unroll(cell, params, XS, resets=resets, gradient=reversible())
    lstm = rnnjax.lstm(2)
    with pytest.raises(ValueError, match=r"no inverse step \(Structure.inverse\)"):
        rnnjax.unroll(lstm, lstm.init(jax.random.key(0), D), XS, gradient=reversible())
    stack = rnnjax.stack(unicornn(2), lstm)
    with pytest.raises(ValueError, match="no inverse step"):
        rnnjax.unroll(stack, stack.init(jax.random.key(0), D), XS, gradient=reversible())
    changed = rnnjax.wrap(cell, lambda step: step)
    with pytest.raises(ValueError, match="no inverse step"):
        rnnjax.unroll(changed, params, XS, gradient=reversible())
    with pytest.raises(ValueError, match="tolerance must be at least 0, got -1"):
        reversible(-1)
